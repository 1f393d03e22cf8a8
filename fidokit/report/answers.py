"""The report's section of an answer: what it says, its table, and the photographs to look at."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from fidokit._util.html import Html
from fidokit.errors.answer import Answer
from fidokit.exceptions import ImageError
from fidokit.figures.answers import cells_of, heads_of, with_box
from fidokit.figures.pictures import photographs_of
from fidokit.report.templating import rendered

#: Rows of the table, and photographs of an answer, 15 kB each: the page must open at once.
MOST_ROWS = 200
MOST_PHOTOGRAPHS = 240
_SIDE = 280


def answer_section(answer: Answer, place: int) -> Html:
    """The section of an answer, the one at this place of the page's answers."""
    groups = _groups(answer, f"answer-{place}")
    # A row leads to its own photograph, or to those of its group.
    anchors: dict[Any, str] = {name: anchor for name, (anchor, _) in groups.items()}
    if answer.has_photographs:
        anchors = {shown["image_id"]: shown["anchor"] for _, own in groups.values() for shown in own}
    rows = cells_of(answer, MOST_ROWS)
    keys = answer.table["image_id"] if answer.has_photographs else answer.table.iloc[:, 0]
    return rendered(
        "answers.html",
        answer=answer,
        place=place,
        heads=heads_of(answer),
        rows=[(anchors.get(key), cells) for key, cells in zip(keys.head(len(rows)), rows, strict=True)],
        groups=groups,
        most=MOST_PHOTOGRAPHS,
    )


def _groups(answer: Answer, prefix: str) -> dict[Any, tuple[str, list[dict[str, Any]]]]:
    """Group -> its anchor, and its photographs: anchor, image_id, caption, and source, or a reason."""
    data, remark = photographs_of(answer.study)
    groups: dict[Any, tuple[str, list[dict[str, Any]]]] = {}
    for i, example in enumerate(answer.examples.head(MOST_PHOTOGRAPHS).to_dict("records")):
        shown = {name: example[name] for name in ("image_id", "caption")} | {"anchor": f"{prefix}-{i}", "source": None}
        try:
            if data is None:
                raise ImageError(str(remark))
            photograph = with_box(data.open(answer.study.positions[example["image_id"]]), example, _SIDE)
            shown["source"] = _jpeg_source(photograph)
        except ImageError as error:
            shown["reason"] = str(error)
        groups.setdefault(example["group"], (f"{prefix}-group-{len(groups)}", []))[1].append(shown)
    return groups


def _jpeg_source(picture: Image.Image) -> Html:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80, optimize=True)
    return Html(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}")
