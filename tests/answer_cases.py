"""An answer about sites and one about photographs, of the study that the tests of the report share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from report_cases import HARM, SCRIPT_FILE, make_study

from fidokit.errors.answer import Answer

BOX = {"x0": 0.25, "y0": 0.5, "x1": 0.5, "y1": 1.0}


def sites(study, **options) -> Answer:
    """Three sites: the first has two photographs, of which one is gone, the last none."""
    table = pd.DataFrame(
        {
            "site": [HARM, "ridge", "=1+1"],
            "n": [4, 2, 10],
            "background": [0.4, 0.1, np.nan],
            "background_low": [0.3, 0.0, np.nan],
            "background_high": [0.5, 0.2, np.nan],
            "p_value": [0.0002, 0.4, np.nan],
            "found": [True, False, False],
            "why": [["reeds", "water"], None, "too few photographs that have an animal"],
        }
    )
    examples = pd.DataFrame(
        [
            {"group": HARM, "image_id": SCRIPT_FILE, "caption": "the reeds decide & more", **BOX},
            {"group": HARM, "image_id": "gone <i>.png", "caption": "the reeds again"},
            {"group": "ridge", "image_id": "b2.png", "caption": ""},
        ]
    )
    given = {
        "question": "Which site?",
        "headline": "One of 3 sites.",
        "table": table,
        "examples": examples,
        "columns": {"background": "share of the decision"},
        "notes": ("Said by nobody.",),
    }
    return Answer(study=study, **given | options)


def photographs(study) -> Answer:
    """Two photographs, of which one is an example."""
    table = pd.DataFrame({"rank": [1, 2], "image_id": ["b3.png", "b4.png"], "path": ["x", "y"]})
    examples = pd.DataFrame([{"group": "first", "image_id": "b4.png", "caption": "dark"}])
    return Answer(study=study, question="Which?", headline="Two.", table=table, examples=examples)


def made(folder: Path) -> tuple[Answer, Answer]:
    """Both answers, as a notebook of the tests asks for them."""
    study = make_study(folder)
    return sites(study), photographs(study)
