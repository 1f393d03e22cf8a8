"""What every answer to a question about a study has: a headline, a table, photographs to look at, and reservations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fidokit._util.atomic_write import write_atomically, writing
from fidokit._util.display import HtmlDisplay
from fidokit._util.spreadsheet import csv_bytes
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study

#: Columns of `Answer.examples`; the corners of a box may be left out.
EXAMPLE = ["group", "image_id", "caption"]
CORNERS = ["x0", "y0", "x1", "y1"]
_IMAGE = "image_id"


def no_examples() -> pd.DataFrame:
    """An empty `Answer.examples`."""
    return pd.DataFrame(columns=[*EXAMPLE, *CORNERS])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Answer(HtmlDisplay):
    """The answer to a question about a study; subclasses add what is special to theirs.

    The page, the notebook and `fidokit.AnswerWidget` show every answer from these attributes alone.

    Attributes:
        study: whose photographs it names.
        question: a plain title, such as ``Where to look first``.
        headline: one to three plain sentences, with numbers and with what to do.
        table: the answer, in order. With a column `image_id`, each row is a photograph; else its first column names the
            row. Columns `x_low` and `x_high` are the interval of a column `x`.
        columns: name of a column -> what it holds, in a few words, where its name does not say it.
        examples: the photographs to look at, in order: group (a heading; where the rows of the table are not
            photographs, the name of one of them), image_id, caption, and x0, y0, x1, y1, the box of what to look at in
            shares of the whole photograph's sides, NaN for none.
        notes: what was assumed and what could not be said, a sentence each.

    Raises:
        SettingsError: examples that lack a column, or belong to no row of the table or photograph of the study.
    """

    study: Study
    question: str
    headline: str
    table: pd.DataFrame
    columns: Mapping[str, str] = field(default_factory=dict)
    examples: pd.DataFrame = field(default_factory=no_examples)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if missing := [name for name in EXAMPLE if name not in self.examples]:
            raise SettingsError(f"the examples of an answer lack the column {missing[0]!r}")
        self.study.known_images(self.examples[_IMAGE])
        if not self.has_photographs and not set(self.examples["group"]) <= set(self.table.iloc[:, 0]):
            raise SettingsError(f"the groups of examples are values of the table's column {self.table.columns[0]!r}")
        boxes = {name: np.nan for name in CORNERS if name not in self.examples}
        object.__setattr__(self, "examples", self.examples.assign(**boxes)[[*EXAMPLE, *CORNERS]].reset_index(drop=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.question!r}, {len(self.table)} rows: {self.headline})"

    @property
    def has_photographs(self) -> bool:
        """Whether the rows of the table are photographs."""
        return _IMAGE in self.table

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()

    def to_csv(self, path: str | Path) -> Path:
        """Write the table as CSV (UTF-8); a text that a spreadsheet would run gets an apostrophe before it.

        Returns:
            The path.

        Raises:
            StoreError: the file cannot be written.
        """
        path = Path(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, csv_bytes(self.table))
        return path

    def summary(self) -> str:
        """Question, headline and notes, a line each."""
        return "\n".join([self.question, self.headline, *(f"Note: {note}" for note in self.notes)])

    def examples_of(self, row: int) -> pd.DataFrame:
        """The photographs that belong to a row of the table, as rows of `examples`.

        Args:
            row: its position. The row of a photograph has that one, without a caption where it is no example.
        """
        if not self.has_photographs:
            return self.examples[self.examples["group"] == self.table.iloc[row, 0]]
        image_id = self.table[_IMAGE].iloc[row]
        own = self.examples[self.examples[_IMAGE] == image_id].head(1)
        return own if len(own) else pd.DataFrame([["", image_id, "", *[np.nan] * 4]], columns=[*EXAMPLE, *CORNERS])
