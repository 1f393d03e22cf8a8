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

_HEADS = {
    "n_errors": ("Errors", "discovery half"),
    "error_rate": ("Error rate", "discovery half"),
    "expected_rate": ("Expected", "from the classes"),
    "q_value": ("q", "corrected for all clusters"),
    "holdout_error_rate": ("Error rate", "held-out half"),
    "stability": ("Stability", "1 is best"),
    "effect": ("Effect", "of changing pixels"),
}
_PERCENT = ("error_rate", "expected_rate", "holdout_error_rate")


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
        remark = f"of {record['size']:,}" if name == "n_errors" else None
        if name == "effect" and np.isfinite(value):
            remark = " – ".join(number(_float(record[f"effect_{end}"])) for end in ("low", "high"))
        cells.append((value if np.isfinite(value) else None, _text(name, value), remark))
    pair = [str(record[name]) for name in ("true_class", "predicted_class") if isinstance(record[name], str)]
    return {
        "cluster": record["cluster"],
        "sentence": record["sentence"],
        "verdict": verdict,
        "cells": cells,
        "kind": "systematic" if systematic else "other",
        "text": "\n".join([*pair, str(record["sentence"]), verdict]),
    }


def _sheets(errors: ErrorClusters, systematic: pd.DataFrame) -> list[dict[str, Any]]:
    proofs = {} if errors.verification is None else errors.verification.table.set_index("cluster")["sentence"].to_dict()
    sheets = []
    for record in systematic.to_dict("records"):
        cluster = int(record["cluster"])
        sheet: dict[str, Any] = {
            "cluster": cluster,
            "lines": [line for line in (record["sentence"], proofs.get(cluster)) if line],
            "picture": None,
        }
        try:
            sheet["picture"] = png_source(contact_sheet(errors, cluster, **_SHEET))
        except StoreError as error:
            sheet["reason"] = str(error)
        sheets.append(sheet)
    return sheets


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
