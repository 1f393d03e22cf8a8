"""`AnswerWidget`: an answer's headline, its table to sort and search, and the photographs that belong to a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

import pandas as pd
import traitlets
from PIL import Image

from fidokit._util.html import Html
from fidokit._util.spreadsheet import csv_bytes
from fidokit.errors.answer import Answer
from fidokit.exceptions import ImageError, SettingsError
from fidokit.figures.answers import cells_of, heads_of, with_box
from fidokit.figures.masks import COLOUR_MAP, COLOUR_MAPS, colour_map
from fidokit.study.study import Study
from fidokit.widgets.answering import AnsweringWidget
from fidokit.widgets.compare_rows import mask_names, prediction
from fidokit.widgets.pixels import LONGEST, sent_photograph
from fidokit.widgets.static_form import BUNDLES
from fidokit.widgets.study_tiles import SMALL, StudyTiles

#: Rows of the table that the browser gets; more take it seconds to lay out, and `to_csv` has all of them.
MOST_ROWS = 2000
#: Photographs shown of one row, or before one is chosen.
MOST_PHOTOGRAPHS = 48


class AnswerWidget(AnsweringWidget):
    """Any answer to look at: what it says, its table, and the photographs of the row that is chosen.

    Sort the table by a column, search it, choose a row: its photographs appear with what to look at outlined. A click
    on one shows it large, with the masks of the study.

    Args:
        answer: of `fidokit.check_labels` or another question.
        study: to take photographs and masks from; None for the answer's own.

    Attributes:
        row: position in ``answer.table`` of the chosen row; None for none, which shows the answer's examples. Can be
            set and observed.
        image_id: the photograph that is shown large; empty for none.
        error: the exception of what failed last.

    Raises:
        SettingsError: a study that lacks a photograph of the answer.

    Example:
        >>> from fidokit.errors.answer import Answer
        >>> table = study.predictions()[["image_id", "label", "predicted"]]
        >>> widget = fk.AnswerWidget(Answer(study=study, question="Which?", headline="All.", table=table))
        >>> widget.row = 2
        >>> widget
        AnswerWidget(Answer('Which?', 8 rows: All.))
    """

    _esm = BUNDLES / "answers.js"
    _css = BUNDLES / "answers.css"
    _tables = traitlets.Dict().tag(sync=True)
    _answer = traitlets.Dict().tag(sync=True)
    _shown = traitlets.List(traitlets.Dict()).tag(sync=True)
    _photograph = traitlets.Dict().tag(sync=True)
    _layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    _remark = traitlets.Unicode().tag(sync=True)
    row = traitlets.Int(None, allow_none=True).tag(sync=True)
    image_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, answer: Answer, study: Study | None = None) -> None:
        self.answer, self.study = answer, study or answer.study
        self.study.known_images(answer.examples["image_id"])
        self.error: Exception | None = None
        self._tiles = StudyTiles(self.study)
        self._predictions = self.study.predictions().set_index("image_id")
        self._large: dict[Any, Any] = {}
        super().__init__(
            _tables={name: colour_map(name).tobytes() for name in (COLOUR_MAP, *COLOUR_MAPS)},
            _answer={
                "question": answer.question,
                "headline": answer.headline,
                "notes": list(answer.notes),
                "heads": [astuple(head) for head in heads_of(answer)],
                "rows": [[astuple(cell) for cell in row] for row in cells_of(answer, MOST_ROWS)],
                "total": len(answer.table),
            },
            _remark=self._tiles.remark or "",
        )
        self._show(None)

    # --- the attributes -------------------------------------------------------------------------------------------

    @traitlets.validate("row")
    def _is_row(self, proposal: Any) -> Any:
        row = proposal["value"]
        if row is not None and not 0 <= row < len(self.answer.table):
            raise SettingsError(f"the table has rows 0 to {len(self.answer.table) - 1}, not {row}")
        return row

    @traitlets.validate("image_id")
    def _is_image(self, proposal: Any) -> Any:
        if proposal["value"]:
            self.study.known_images(proposal["value"])
        return proposal["value"]

    @traitlets.observe("row")
    def _other_row(self, change: Any) -> None:
        self._show(change["new"])

    @traitlets.observe("image_id")
    def _other_image(self, change: Any) -> None:
        self._photograph, self._layers, self._about = {}, [], {}
        image_id = change["new"]
        if not image_id:
            return
        try:
            photograph, geometry = self._tiles.open(image_id)
            # Boxes are places in the photograph; what a classifier's own transform makes of it has others.
            if self._large.get("image_id") == image_id and self._tiles.preprocessing.transform is None:
                photograph = with_box(photograph, self._large, LONGEST)
            self._photograph = sent_photograph(photograph, geometry, self._tiles.unseen_words(image_id, geometry))
        except ImageError as error:
            self._message = str(error)
            self._photograph = {"reason": str(error)}
        self._layers = self._tiles.large(image_id, mask_names(self.study))
        record = self._predictions.loc[image_id].to_dict()
        self._about = prediction(record | {"image_id": image_id, "reason": None})

    # --- what the browser says --------------------------------------------------------------------------------------

    def _actions(self) -> dict[str, Callable[..., None]]:
        return {"choose": self._choose, "pictures": self._send_pictures, "open": self._open, "csv": self._send_csv}

    def _choose(self, row: int | None) -> None:
        with self._lock:
            self._message = ""
            self.row = row

    def _send_pictures(self, images: list[str]) -> None:
        """A message a photograph, so that each is seen as soon as it is there."""
        for key in images:
            example = self._example(key)
            try:
                small = with_box(self._tiles.open(example["image_id"])[0], example, SMALL)
                photograph = sent_photograph(small)
            except ImageError as error:
                photograph = {"reason": str(error), "data": b""}
            data = photograph.pop("data")
            self.send({"kind": "picture", "image": key, "photograph": photograph, "near": [], "layers": []}, [data])

    def _open(self, image: str | None) -> None:
        self._message = ""
        self._large = {} if image is None else self._example(image)
        self.image_id = ""  # the same photograph may be opened with another box
        self.image_id = self._large.get("image_id", "")

    def _send_csv(self) -> None:
        """The whole table as a file that the browser saves."""
        self.send({"kind": "csv", "name": "answer.csv"}, [csv_bytes(self.answer.table)])

    # --- what is shown ----------------------------------------------------------------------------------------------

    def _examples(self, row: int | None) -> pd.DataFrame:
        return self.answer.examples if row is None else self.answer.examples_of(row)

    def _example(self, key: str) -> dict[Any, Any]:
        """The photograph of a key: a row of the table, empty for none, and a place among its photographs."""
        row, _, place = key.partition(":")
        return dict(self._examples(int(row) if row else None).iloc[int(place)])

    def _show(self, row: int | None) -> None:
        records = self._examples(row).head(MOST_PHOTOGRAPHS).to_dict("records")
        # The only group says nothing, and a chosen row says its own already.
        grouped = len(set(self.answer.examples["group"])) > 1 and (row is None or self.answer.has_photographs)
        self._shown = [
            {
                "key": f"{'' if row is None else row}:{place}",
                "image": str(record["image_id"]),
                "group": str(record["group"]) if grouped else "",
                "caption": str(record["caption"]),
            }
            for place, record in enumerate(records)
        ]

    def __repr__(self) -> str:
        return f"AnswerWidget({self.answer!r})"

    def _static_picture(self) -> Image.Image | None:
        return None

    def _static_words(self) -> Sequence[object]:
        return [Html(self.answer._repr_html_())]
