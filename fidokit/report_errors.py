"""The report's section of error clusters: a table to sort and filter, and a contact sheet of each systematic one."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fidokit.exceptions import StoreError
from fidokit.markup import Html, joined, number, tag
from fidokit.plots_errors import contact_sheet

if TYPE_CHECKING:
    from fidokit.errors.result import ErrorClusters

#: Rows of the table, and images of a contact sheet: the page must open at once.
MOST_CLUSTERS = 200
SHEET = {"n": 12, "columns": 6, "side": 130}
#: Contact sheets; one takes 200 to 400 kB.
MOST_SHEETS = 12

_HEADS = {
    "n_errors": ("Errors", "discovery half"),
    "error_rate": ("Error rate", "discovery half"),
    "expected_rate": ("Expected", "from the classes"),
    "q_value": ("q", "corrected for all clusters"),
    "holdout_error_rate": ("Error rate", "held-out half"),
    "stability": ("Stability", "1 is best"),
    "effect": ("Effect", "of changing pixels"),
}
_NOTE = (
    "Clusters are made without labels: of images alike in what the classifier used. Systematic is one whose errors are "
    "more than its classes explain, confirmed on the half of the images that it was not found on, and found again when "
    "images are drawn anew. The effect is the share of errors that turn right when the cause is filled in, minus the "
    "share when as many other pixels are."
)
_PERCENT = ("error_rate", "expected_rate", "holdout_error_rate")


def errors_section(errors: ErrorClusters) -> Html:
    """The section: what was found, the clusters, and the sheets of the systematic ones."""
    clusters = errors.clusters
    shown = clusters.head(MOST_CLUSTERS)
    systematic = shown[shown["systematic"].astype(bool)]
    # The sentences of the clusters stand in the table.
    lines = [line for line in errors.summary().splitlines() if not line.startswith("- ")]
    said = [tag("p", line, class_="small") for line in lines]
    if len(shown) < len(clusters):
        text = f"Of {len(clusters):,} clusters the {len(shown):,} clearest are shown."
        said.append(tag("p", text, class_="quiet small"))
    title = tag("h2", "Systematic errors", id="clusters-title")
    if clusters.empty:
        return tag("section", title, *said)
    return tag(
        "section",
        title,
        *said,
        _tools(len(shown), len(systematic)),
        _table(shown),
        tag("p", "No cluster fits. Change the search or the filter.", id="no-cluster", class_="nothing", hidden=True),
        tag(
            "p",
            _NOTE,
            class_="note",
        ),
        _sheets(errors, systematic),
    )


def _tools(n: int, n_systematic: int) -> Html:
    kinds = [("systematic", "Systematic", n_systematic), ("all", "All", n)]
    checked = "systematic" if n_systematic else "all"
    choices = [
        tag("label", tag("input", type="radio", name="cluster-kind", value=value, checked=value == checked),
            f"{words} ", tag("span", f"{count:,}", class_="quiet"))
        for value, words, count in kinds
    ]  # fmt: skip
    return tag(
        "div",
        tag("div", tag("label", "Search class or cause", for_="cluster-search"),
            tag("input", type="search", id="cluster-search", autocomplete="off", spellcheck="false"),
            class_="tool search"),
        tag("fieldset", tag("legend", "Clusters"), tag("div", *choices, class_="choices states"), class_="tool"),
        tag("p", id="clusters-shown", class_="shown quiet small", role="status"),
        id="cluster-tools", class_="tools loose", hidden=True, role="group", aria_label="Controls of the clusters",
    )  # fmt: skip


def _table(clusters: pd.DataFrame) -> Html:
    heads = [
        tag("th", "Cluster", scope="col", data_sort="number"),
        tag("th", "Verdict", tag("small", "by changing pixels"), scope="col", class_="text", data_sort="text"),
        tag("th", "What is known", scope="col", class_="text"),
        *(tag("th", title, tag("small", remark), scope="col", data_sort="number") for title, remark in _HEADS.values()),
    ]
    rows = [_row(record) for record in clusters.to_dict("records")]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), id="clusters")
    # A region that scrolls must be reachable with the keyboard.
    return tag("div", table, class_="scroll tall", tabindex=0, role="region", aria_labelledby="clusters-title")


def _row(record: dict[Any, Any]) -> Html:
    systematic = bool(record["systematic"])
    verdict = record["verdict"] if isinstance(record["verdict"], str) else "not verified" if systematic else "–"
    cells = [
        tag("th", str(record["cluster"]), scope="row", data_value=record["cluster"]),
        tag("td", verdict, class_="text wrap-short", data_value=verdict),
        tag("td", record["sentence"], class_="text wrap"),
    ]
    for name in _HEADS:
        value = _float(record[name])
        remark = None
        if name == "effect" and np.isfinite(value):
            low, high = (number(_float(record[f"effect_{end}"])) for end in ("low", "high"))
            remark = tag("span", f"{low} – {high}", class_="interval")
        if name == "n_errors":
            remark = tag("span", f"of {record['size']:,}", class_="interval")
        cells.append(tag("td", _text(name, value), remark, data_value=value if np.isfinite(value) else None))
    pair = [str(record[name]) for name in ("true_class", "predicted_class") if isinstance(record[name], str)]
    return tag(
        "tr",
        *cells,
        data_kind="systematic" if systematic else "other",
        data_text="\n".join([*pair, str(record["sentence"]), verdict]),
    )


def _sheets(errors: ErrorClusters, systematic: pd.DataFrame) -> Html | None:
    if systematic.empty:
        return None
    proofs = {} if errors.verification is None else errors.verification.table.set_index("cluster")["sentence"].to_dict()
    figures = []
    for record in systematic.head(MOST_SHEETS).to_dict("records"):
        cluster = int(record["cluster"])
        lines = [record["sentence"], proofs.get(cluster)]
        caption = tag("figcaption", tag("b", f"Cluster {cluster}"), *(tag("p", line) for line in lines if line))
        figures.append(tag("figure", caption, _sheet(errors, cluster), class_="sheet"))
    more = len(systematic) - len(figures)
    rest = tag("p", f"{more} more systematic clusters have no sheet here.", class_="quiet small") if more else None
    heading = tag("h3", "The most typical images of each systematic cluster")
    note = tag("p", "In a red frame: wrong. Under each: its rank, its label, and what it was called.",
               class_="quiet small")  # fmt: skip
    return tag("div", heading, note, joined(figures), rest, class_="sheets")


def _sheet(errors: ErrorClusters, cluster: int) -> Html:
    try:
        picture = contact_sheet(errors, cluster, **SHEET)
    except StoreError as error:
        return tag("div", f"The photographs cannot be shown: {error}", class_="missing")
    source = Html(f"data:image/png;base64,{base64.b64encode(picture).decode()}")
    return tag("img", src=source, alt=f"The most typical images of cluster {cluster}", loading="lazy", decoding="async")


def _text(name: str, value: float) -> Html | str:
    if not np.isfinite(value):
        return "–"
    if name in _PERCENT:
        return f"{100 * value:.0f} %"
    if name == "q_value":
        return f"{value:.1g}" if value < 0.01 else f"{value:.2f}"
    return f"{value:.2f}" if name in ("stability", "effect") else f"{value:,.0f}"


def _float(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)
