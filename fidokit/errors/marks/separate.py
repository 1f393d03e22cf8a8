"""`separate`: what separates one class from another in a study's photographs, proved by changing pixels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from fidokit.errors.answer import Answer
from fidokit.errors.features import PREFERRED, MapReader
from fidokit.errors.find import bursts_of
from fidokit.errors.groups import halves
from fidokit.errors.interventions import DEFAULT_INFILLS, Infills, check_infills
from fidokit.errors.marks.candidates import MOST, Candidate, alike_cells, named_parts
from fidokit.errors.marks.proof import ALPHA, LEAST, Proof, evaluations, judged
from fidokit.errors.marks.sights import Floats, knows_parts, sights
from fidokit.errors.verify import more_often
from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.methods import explain
from fidokit.models.goals import against_itself, class_index
from fidokit.study.store.store import mask_arrays
from fidokit.study.study import Study

#: What computes contrastive masks that the study has not: one evaluation a photograph, at the classifier's last places.
METHOD = "hires-cam"
#: Photographs of each class, at most; of more, so many are drawn.
MOST_PHOTOGRAPHS = 200
#: Blurred photographs of other classes that stand in for a mark, beside flat colours.
_PHOTOGRAPHS = 1
#: Photographs that show a mark as an example.
_EXAMPLES = 4
_COLUMNS = [
    *("mark", "seen_in", "where", "effect", "effect_low", "effect_high", "share", "p_value", "shown", "n", "n_a", "n_b"),
    *("effect_a", "effect_b", "x", "y", "area"),
]
