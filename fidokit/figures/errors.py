"""Error clusters as plotly figures and contact sheets, from their tables; no computation."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from fidokit._util import numbers
from fidokit._util.checks import COUNT, check_number
from fidokit.data.geometry import Preprocessing, from_input
from fidokit.exceptions import ImageError
from fidokit.figures.masks import COLOURS, dressed, fitting, outline_png, overlay_png, overlay_size, plotly_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from fidokit.errors.result import ErrorClusters
    from fidokit.errors.verify import Change

_NO_CLUSTER = "#b5b5b5"
VERDICT_COLOURS = {
    "proved": "#009e73",
    "supported": "#0072b2",
    "not shown": "#8a8a8a",
    "not a matter of pixels to fill in": "#cc79a7",
}
_STATES = {True: ("right", "circle"), False: ("wrong", "x"), None: ("not judged", "circle-open")}
#: Classes that a confusion matrix has room for.
_MOST_CLASSES = 40
_RED, _GREY = (200, 30, 30), (190, 190, 190)
_MARGIN, _CAPTION = 6, 32


def cluster_map(table: pd.DataFrame, names: Mapping[int, str] | None = None) -> go.Figure:
    """The images on a plane, alike ones near each other: coloured by cluster, a cross where the classifier is wrong.

    Args:
        table: `ErrorClusters.map`.
        names: number of a cluster -> its sentence, shown in the legend and over its images. Images of clusters that are
            not in it are shown as such of none; None names the clusters by their numbers.

    Returns:
        A trace for each cluster and state; ``customdata`` holds the image_ids.
    """
    import plotly.graph_objects as go

    own = table["cluster"].where(table["cluster"].isin(list(names)), -1) if names is not None else table["cluster"]
    numbers = sorted({int(number) for number in own}, key=lambda number: (number >= 0, number))
    figure = go.Figure()
    colours = cluster_colours(numbers)
    for number in numbers:
        title = f"cluster {number}" if number >= 0 else "in no systematic cluster"
        sentence = (names or {}).get(number)
        colour = colours[number]
        for state, (word, symbol) in _STATES.items():
            rows = table[(own == number) & _in_state(table["correct"], state)]
            if not len(rows):
                continue
            figure.add_trace(
                go.Scattergl(
                    x=rows["x"].tolist(),
                    y=rows["y"].tolist(),
                    mode="markers",
                    name=f"{title}, {word}",
                    legendgroup=str(number),
                    marker={
                        "color": colour,
                        "symbol": symbol,
                        "size": 9 if state is False else 6,
                        "opacity": 0.9 if number >= 0 or state is False else 0.55,
                    },
                    customdata=rows["image_id"].astype(str).tolist(),
                    text=[_hover(row, sentence) for row in rows.to_dict("records")],
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    # Positions on the plane have no unit: only what is near what says something.
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return dressed(figure, 560, top=30)


def cluster_colours(numbers: Iterable[int]) -> dict[int, str]:
    """Number of a cluster -> its colour on the map; of -1, which is none, a grey."""
    shown = sorted({number for number in numbers if number >= 0})
    return {-1: _NO_CLUSTER} | {number: COLOURS[i % len(COLOURS)] for i, number in enumerate(shown)}


def confusion_figure(table: pd.DataFrame, clusters: pd.DataFrame) -> go.Figure:
    """What is taken for what; a cell that systematic clusters lie behind names them.

    Args:
        table: `ErrorClusters.map`.
        clusters: `ErrorClusters.clusters`.

    Returns:
        One heat map, true classes down, predicted ones across, both sorted. ``customdata`` holds the numbers of a
        cell's clusters, the clearest first, separated by commas: what a click on it opens. With more than 40 classes,
        those with most errors.
    """
    import plotly.graph_objects as go

    judged = table[table["correct"].notna()]
    names = _confused(judged)
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for label, predicted in zip(judged["label"], judged["predicted"], strict=True):
        if label in place and predicted in place:
            counts[place[label], place[predicted]] += 1
    behind: dict[tuple[int, int], list[int]] = {}
    systematic = clusters[clusters["systematic"].astype(bool)]
    for number, label, predicted in zip(
        systematic["cluster"], systematic["true_class"], systematic["predicted_class"], strict=True
    ):
        if label in place and predicted in place:
            behind.setdefault((place[label], place[predicted]), []).append(int(number))
    text, custom = [], []
    for i in range(len(names)):
        cells = [behind.get((i, j), []) for j in range(len(names))]
        custom.append([",".join(map(str, cell)) for cell in cells])
        text.append([_cell_text(int(counts[i, j]), cell) for j, cell in enumerate(cells)])
    wrong = counts.astype(float)
    np.fill_diagonal(wrong, np.nan)
    ticks = [plotly_text(name, 32) for name in names]
    figure = go.Figure(
        go.Heatmap(
            # Right answers are many and would leave the errors without a colour.
            z=[[None if np.isnan(value) else value for value in row] for row in wrong],
            x=list(range(len(names))),
            y=list(range(len(names))),
            text=text,
            texttemplate="%{text}",
            customdata=custom,
            colorscale=[[0, "#ffffff"], [1, "#d55e00"]],
            zmin=0,
            zmax=float(np.nanmax(wrong, initial=1)),
            xgap=1,
            ygap=1,
            hovertext=[[f"{a}<br>taken for {b}: {int(counts[i, j])}" for j, b in enumerate(ticks)] for i, a in
                       enumerate(ticks)],
            hovertemplate="%{hovertext}<extra></extra>",
            colorbar={"title": "errors"},
        )
    )  # fmt: skip
    axis = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": ticks, "showgrid": False}
    figure.update_xaxes(title="predicted", **axis)
    figure.update_yaxes(title="true class", autorange="reversed", **axis)
    return dressed(figure, 180 + 26 * max(len(names), 6), legend=False, top=30)


def effect_figure(table: pd.DataFrame) -> go.Figure:
    """What changing pixels did to each cluster: errors turned right beyond the control, with 95 % intervals.

    Args:
        table: `Verification.table`, which `ErrorClusters.verify` returns.

    Returns:
        One trace, a point a cluster, coloured by its verdict.
    """
    import plotly.graph_objects as go

    rows = table.to_dict("records")
    figure = go.Figure(
        go.Scatter(
            x=[float(row["effect"]) for row in rows],
            y=list(range(len(rows))),
            mode="markers",
            marker={"size": 11, "color": [VERDICT_COLOURS.get(str(row["verdict"]), _NO_CLUSTER) for row in rows]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [float(row["effect_high"] - row["effect"]) for row in rows],
                "arrayminus": [float(row["effect"] - row["effect_low"]) for row in rows],
                "thickness": 2,
                "width": 0,
                "color": "#8a8a8a",
            },
            customdata=[[int(row["cluster"])] for row in rows],
            text=[_broken(plotly_text(str(row["sentence"]), None)) for row in rows],
            hovertemplate="cluster %{customdata[0]}<br>%{text}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": "#555555", "width": 1, "dash": "dot"})
    figure.update_xaxes(title="errors turned right, minus those under the control", range=[-1.05, 1.05], zeroline=False)
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=[plotly_text(f"cluster {row['cluster']}: {row['verdict']}") for row in rows],
        zeroline=False,
    )
    return dressed(figure, 130 + 34 * max(len(rows), 1), legend=False, top=30)


def contact_sheet(errors: ErrorClusters, cluster: int, n: int = 24, columns: int = 6, side: int = 180) -> bytes:
    """The most typical images of a cluster on one sheet, their masks drawn on, errors in a red frame.

    Args:
        errors: the clusters.
        cluster: number of one.
        n: images at most.
        columns: images in a row.
        side: of each picture in pixels.

    Returns:
        A PNG. Under each picture stand its rank, its label and what it was called.

    Raises:
        SettingsError: a cluster that there is not, or a number below 1.
    """
    for name, value in (("n", n), ("columns", columns), ("side", side)):
        check_number(name, value, COUNT)
    members = errors.images(cluster).head(n)
    about = errors.map.set_index("image_id")
    row_of = {image_id: i for i, image_id in enumerate(errors.features.image_ids)}
    preprocessing = errors.study.preprocessing
    cell = (side + 2 * _MARGIN, side + 2 * _MARGIN + _CAPTION)
    rows = max(1, -(-len(members) // columns))
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for position, (image_id, rank) in enumerate(zip(members["image_id"], members["rank"], strict=True)):
        left, top = (position % columns) * cell[0], (position // columns) * cell[1]
        correct = about.loc[image_id, "correct"]
        wrong = not pd.isna(correct) and not bool(correct)
        edges = (left + 3, top + 3, left + cell[0] - 4, top + side + 2 * _MARGIN - 4)
        draw.rectangle(edges, outline=_RED if wrong else _GREY, width=3)
        picture = _picture(errors, image_id, row_of[image_id], preprocessing, side)
        if picture is None:
            draw.text((left + 2 * _MARGIN, top + side // 2), "cannot be read", fill=(90, 90, 90), font=font)
        else:
            sheet.paste(picture, (left + _MARGIN + (side - picture.width) // 2,
                                  top + _MARGIN + (side - picture.height) // 2))  # fmt: skip
        label = about.loc[image_id, "label"]
        lines = (
            f"{rank}. {label if isinstance(label, str) else 'no label'}",
            f"-> {about.loc[image_id, 'predicted']}",
        )
        for line, text in enumerate(lines):
            place = (left + _MARGIN, top + side + 2 * _MARGIN + 2 + 14 * line)
            draw.text(place, fitting(text, side, draw, font), fill=(30, 30, 30), font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def change_picture(change: Change, side: int = 150) -> Image.Image:
    """A photograph as the classifier saw it, with the region outlined, beside the same with the region filled in.

    Args:
        change: of `fidokit.errors.verify.changes`.
        side: of each of the two in pixels, the longer one.
    """
    height, width = change.region.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    sheet = Image.new("RGB", (2 * size[0] + _MARGIN, size[1]), (255, 255, 255))
    for place, pixels in enumerate((change.image, change.filled)):
        sheet.paste(from_input(pixels).resize(size, Image.Resampling.LANCZOS), (place * (size[0] + _MARGIN), 0))
    region = np.asarray(Image.fromarray(change.region).resize(size, Image.Resampling.NEAREST))
    line = Image.open(io.BytesIO(outline_png(region))).convert("RGBA")
    sheet.paste(line, mask=line.getchannel("A"))
    return sheet


def _picture(
    errors: ErrorClusters, image_id: str, row: int, preprocessing: Preprocessing, side: int
) -> Image.Image | None:
    """A photograph with its mask drawn on, at most `side` long; None if it cannot be read."""
    data, position = errors.study.data, errors.study.positions[image_id]
    try:
        photograph, geometry = data.shown(position, preprocessing)
    except ImageError:
        return None
    scale = side / max(photograph.size)
    size = (max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale)))
    mask = errors.features.masks[row]
    laid = geometry.mask_to_photograph(mask, overlay_size(mask, photograph.width, photograph.height))
    layer = Image.open(io.BytesIO(overlay_png(laid))).convert("RGBA").resize(size, Image.Resampling.BILINEAR)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(0.6 * alpha)))
    bare = photograph.resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    return Image.alpha_composite(bare, layer).convert("RGB")


def _in_state(correct: pd.Series[Any], state: bool | None) -> Any:
    return correct.isna() if state is None else correct.eq(state).fillna(False).astype(bool)


def _hover(row: dict[str, Any], sentence: str | None) -> str:
    label = row["label"] if isinstance(row["label"], str) else "none"
    lines = [
        plotly_text(str(row["image_id"])),
        f"label {plotly_text(label)}",
        f"predicted {plotly_text(str(row['predicted']))} ({numbers.number(float(row['score']))})",
        plotly_text(str(row["half"])),
        *([_broken(plotly_text(sentence, None))] if sentence else []),
    ]
    return "<br>".join(lines)


def _broken(text: str, width: int = 80) -> str:
    """Escaped text in lines that a hover label has room for."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return "<br>".join([*lines, line])


def _confused(judged: pd.DataFrame) -> list[str]:
    """The classes of a confusion matrix, sorted: all, or those with most errors."""
    names = sorted({str(name) for column in ("label", "predicted") for name in judged[column]})
    if len(names) <= _MOST_CLASSES:
        return names
    wrong = judged[judged["correct"].eq(False)]
    counts = pd.concat([wrong["label"], wrong["predicted"]]).astype(str).value_counts()
    ordered = sorted(counts.index, key=lambda name: (-int(counts[name]), name))
    return sorted(ordered[:_MOST_CLASSES])


def _cell_text(count: int, clusters: list[int]) -> str:
    if clusters:
        return f"{count} · cluster {', '.join(map(str, clusters))}"
    return str(count) if count else ""
