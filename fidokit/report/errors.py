"""The report's section of error clusters: a table to sort and filter, and a contact sheet of each systematic one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fidokit._util.html import Html
from fidokit._util.numbers import number
from fidokit.exceptions import StoreError
from fidokit.figures.errors import contact_sheet
from fidokit.report.templating import png_source, rendered

if TYPE_CHECKING:
    from fidokit.errors.result import ErrorClusters

#: Rows of the table, and images of a contact sheet: the page must open at once.
MOST_CLUSTERS = 200
_SHEET = {"n": 12, "columns": 6, "side": 130}
#: Contact sheets; one takes 200 to 400 kB.
_MOST_SHEETS = 12

#: Column -> its head, what to know of it, and its key in the glossary where that is not its own name.
_HEADS = {
    "n_errors": ("Errors", "where it was found", "cluster"),
    "expected_rate": ("Expected", "from the classes", "expected_rate"),
    "q_value": ("q", "lower is clearer, 0.05 counts", "q_value"),
    "holdout_error_rate": ("Held out", "errors on the other half", "holdout"),
    "stability": ("Stability", "1 is best, 0.5 counts", "stability"),
    "effect": ("Effect", "of changing pixels, high is clear", "effect"),
}
#: Columns that are shown with the number of photographs that they are a share of: errors, and all.
_OF = {"n_errors": ("n_errors", "size"), "holdout_error_rate": ("holdout_n_errors", "holdout_size")}
_PERCENT = ("expected_rate", "holdout_error_rate")


def errors_section(errors: ErrorClusters) -> Html:
    """The section: what was found, the clusters, and the sheets of the systematic ones."""
    clusters = errors.clusters
    shown = clusters.head(MOST_CLUSTERS)
    systematic = shown[shown["systematic"].astype(bool)]
    return rendered(
        "errors.html",
        # The sentences of the clusters stand in the table.
        lines=[line for line in errors.summary().splitlines() if not line.startswith("- ")],
        n_clusters=len(clusters),
        n_systematic=len(systematic),
        heads=_HEADS.values(),
        rows=[_row(record) for record in shown.to_dict("records")],
        sheets=_sheets(errors, systematic.head(_MOST_SHEETS)),
    )


def _row(record: dict[Any, Any]) -> dict[str, Any]:
    systematic = bool(record["systematic"])
    verdict = record["verdict"] if isinstance(record["verdict"], str) else "not verified" if systematic else "–"
    cells = []
    for name in _HEADS:
        value = _float(record[name])
        remark = None
        if name in _OF:
            wrong, of = (record[column] for column in _OF[name])
            remark = f"{_share(wrong, of)} of {of:,}" if name == "n_errors" else f"{wrong:,.0f} of {of:,}"
        if name == "effect" and np.isfinite(value):
            remark = " – ".join(number(_float(record[f"effect_{end}"])) for end in ("low", "high"))
        cells.append((value if np.isfinite(value) else None, _text(name, value), remark))
    pair = [str(record[name]) for name in ("true_class", "predicted_class") if isinstance(record[name], str)]
    return {
        "cluster": record["cluster"],
        "name": record["name"],
        "sentence": record["sentence"],
        "advice": record["advice"] if systematic else None,
        "verdict": verdict,
        "cells": cells,
        "kind": "systematic" if systematic else "other",
        "text": "\n".join([*pair, str(record["name"]), str(record["sentence"]), verdict]),
    }


def _sheets(errors: ErrorClusters, systematic: pd.DataFrame) -> list[dict[str, Any]]:
    proofs = {} if errors.verification is None else errors.verification.table.set_index("cluster")["sentence"].to_dict()
    sheets = []
    for record in systematic.to_dict("records"):
        cluster = int(record["cluster"])
        sheet: dict[str, Any] = {
            "cluster": cluster,
            "name": record["name"],
            "advice": record["advice"],
            "n": int(record["size"] + record["holdout_size"]),
            "lines": [line for line in (record["sentence"], proofs.get(cluster)) if line],
            "picture": None,
        }
        try:
            sheet["picture"] = png_source(contact_sheet(errors, cluster, **_SHEET))
        except StoreError as error:
            sheet["reason"] = str(error)
        sheets.append(sheet)
    return sheets


def _share(wrong: float, of: float) -> str:
    return f"{100 * wrong / of:.0f} %" if of else "–"


def _text(name: str, value: float) -> str:
    if not np.isfinite(value):
        return "–"
    if name in _PERCENT:
        return f"{100 * value:.0f} %"
    if name == "q_value":
        return f"{value:.1g}" if value < 0.01 else f"{value:.2f}"
    return number(value) if name in ("stability", "effect") else f"{value:,.0f}"


def _float(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)
