"""Masks as pictures and tables as plotly figures; everything shown here stands in a table."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fidokit._util.numbers import number, with_interval
from fidokit.data.geometry import Geometry
from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from fidokit.methods.base import Masks

COLOUR_MAPS = ("inferno", "magma", "plasma", "viridis", "cividis")
"""Perceptually uniform, told apart with every kind of colour vision, and of rising lightness when printed in grey."""

COLOUR_MAP = "inferno"
"""The default: its reds and yellows stand out on the greens and browns of most field photographs."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Of lines and marks: told apart with every kind of colour vision (Okabe and Ito 2008), without their light yellow."""

CLAIM_COLOURS = {"sufficient": COLOURS[4], "destroying": COLOURS[5]}
"""Of the outlines of verified regions; each stands beside its verdict in words."""

KIND_NAMES = {"ssr": "SSR", "sdr": "SDR", "joint": "joint", "effect": "effect", "attribution": "attribution"}

# Steps of 1/63 cannot be told apart by eye, and an indexed PNG of 64 colours is half as large as one of 256.
_LEVELS = 64
_LONGEST_NAME = 48


@cache
def colour_map(name: str = COLOUR_MAP) -> npt.NDArray[np.uint8]:
    """The (256, 3) uint8 colours of a colour map, from 0 to 1; read-only, since it is shared.

    Raises:
        SettingsError: not one of `COLOUR_MAPS`.
    """
    if name not in COLOUR_MAPS:
        raise SettingsError(f"unknown colour map {name!r}; choose one of {', '.join(COLOUR_MAPS)}")
    from plotly.colors import sample_colorscale, unlabel_rgb

    colours = sample_colorscale(name.capitalize(), np.linspace(0, 1, 256).tolist())
    table = np.asarray([unlabel_rgb(colour) for colour in colours])
    lookup: npt.NDArray[np.uint8] = np.clip(np.round(table), 0, 255).astype(np.uint8)
    lookup.setflags(write=False)
    return lookup


def overlay_png(mask: npt.ArrayLike, size: tuple[int, int] | None = None, *, colours: str = COLOUR_MAP) -> bytes:
    """A mask as a transparent picture to lay over its photograph.

    Args:
        mask: (h, w) in [0, 1]; what lies outside is clipped, NaN is 0.
        size: (height, width) of the picture in pixels, reached bilinearly; default the mask's own.
        colours: a name of `COLOUR_MAPS`.

    Returns:
        An indexed PNG with 64 levels. Colour and alpha both rise with the mask: 0 is fully transparent, 1 opaque.

    Raises:
        SettingsError: the mask is not two-dimensional, or the colour map is unknown.
    """
    values = _checked(mask)
    if size is not None and size != values.shape:
        values = np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    indices = np.round(values * (_LEVELS - 1)).astype(np.uint8)
    steps = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    picture = Image.frombytes("P", (indices.shape[1], indices.shape[0]), np.ascontiguousarray(indices).tobytes())
    picture.putpalette(colour_map(colours)[steps].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=steps.tobytes(), optimize=True)
    return buffer.getvalue()


def asked_words(target: str, against: object) -> str:
    """What a mask explains, and what that is told from, if anything."""
    return f"{target} rather than {against}" if isinstance(against, str) else target


def overlay_size(mask: npt.ArrayLike, width: int, height: int, longest: int = 256) -> tuple[int, int]:
    """(height, width) in pixels at which a mask's overlay shows all that the mask says, for a picture of this aspect.

    A bilinear mask has nothing to show between its cells, so four pixels a cell do, at least 96 in all so that the edge
    of a window stays sharp, and at most `longest`; whoever draws it scales it up smoothly.
    """
    pixels = min(longest, max(96, 4 * max(np.shape(mask))))
    scale = pixels / max(width, height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def outline_png(region: npt.ArrayLike, *, colour: str = COLOURS[4], width: int = 2) -> bytes:
    """The outline of a region as a transparent picture to lay over its photograph.

    Args:
        region: (h, w) bool at the size of the picture.
        colour: of the line, as ``#rrggbb``; a dark line runs around it, so that it is seen on every ground.
        width: of the line in pixels, inside the region.

    Returns:
        An indexed PNG; at the picture's own edge there is a line too, where the region goes on beyond it.

    Raises:
        SettingsError: the region is not two-dimensional.
    """
    from scipy.ndimage import binary_dilation, binary_erosion

    inside = _checked(region) > 0.5
    line = inside & ~binary_erosion(inside, iterations=width)
    halo = binary_dilation(line, np.ones((3, 3))) & ~line
    picture = Image.fromarray(np.where(line, 1, np.where(halo, 2, 0)).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *(int(colour[i : i + 2], 16) for i in (1, 3, 5)), 0, 0, 0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=bytes([0, 255, 150]), optimize=True)
    return buffer.getvalue()


def panels_png(
    photograph: Image.Image,
    geometry: Geometry,
    panels: Sequence[tuple[str, npt.ArrayLike | None]],
    *,
    height: int = 360,
    opacity: float = 0.75,
    colours: str = COLOUR_MAP,
) -> bytes:
    """A photograph next to itself with masks drawn over it, each under a caption.

    Args:
        photograph: upright, RGB.
        geometry: where the classifier's input lies in it.
        panels: captions and (h, w) masks over the input, from left to right; without a mask the photograph is bare.
        height: of each picture in pixels; less where it would be more than twice as wide.
        opacity: of a mask's highest value.
        colours: a name of `COLOUR_MAPS`.

    Returns:
        A PNG. What lies outside the classifier's input is darkened where a mask is drawn.
    """
    # A panorama is shown less high, so that a sheet keeps a size that viewers can open.
    height = min(height, max(1, round(2 * height * photograph.height / photograph.width)))
    width = max(1, round(photograph.width * height / photograph.height))
    margin, caption_height = 12, 30
    bare = photograph.resize((width, height), Image.Resampling.LANCZOS)
    sheet = Image.new(
        "RGB", (margin + len(panels) * (width + margin), height + caption_height + 2 * margin), (255, 255, 255)
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for position, (caption, mask) in enumerate(panels):
        left = margin + position * (width + margin)
        picture = bare if mask is None else _drawn_over(bare, geometry, mask, opacity, colours)
        draw.text((left, margin), fitting(caption, width, draw, font), fill=(30, 30, 30), font=font)
        sheet.paste(picture, (left, margin + caption_height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def masks_png(masks: Masks, i: int, *, height: int = 360, scores: bool = True) -> bytes:
    """The photograph of the i-th masks of a result, next to itself with the mask of each kind drawn over it.

    Args:
        masks: a result of `explain`.
        i: position of the photograph in it.
        height: of each picture in pixels.
        scores: whether the captions say, beside the kinds, the scores with each mask's region kept and dropped.

    Returns:
        A PNG. The photograph's caption is the target with the score of the whole photograph. Masks whose photograph is
        not known lie on white, without a photograph beside them.

    Raises:
        ImageError: the photograph cannot be read any more.
    """
    panels: list[tuple[str, Any]] = []
    if masks.images is None:
        photograph = Image.new("RGB", (masks.size[1], masks.size[0]), (255, 255, 255))
        geometry = Geometry.whole(*photograph.size)
    else:
        photograph, geometry = masks.photograph(i)
        panels.append((f"{masks.target[i]} {number(float(masks.score_full[i]))}", None))
    for kind, mask in masks.kinds.items():
        caption = KIND_NAMES[kind]
        if scores and kind in masks.score_kept:
            kept, dropped = float(masks.score_kept[kind][i]), float(masks.score_dropped[kind][i])
            caption += f": kept {number(kept)}, dropped {number(dropped)}"
        panels.append((caption, mask[i].numpy()))
    return panels_png(photograph, geometry, panels, height=height, opacity=0.75 if masks.images is not None else 1.0)


def interval_columns(summary: pd.DataFrame) -> list[str]:
    """The columns of a summary that carry an interval: those with a NAME_low and a NAME_high beside them."""
    names = [str(name) for name in summary.columns]
    return [name for name in names if f"{name}_low" in names and f"{name}_high" in names]


def summary_figure(summary: pd.DataFrame) -> go.Figure:
    """The figures of `Study.summary()` with their intervals: one panel a figure, one line a method and kind.

    Args:
        summary: columns method, kind, and NAME, NAME_low, NAME_high for every figure shown.

    Raises:
        SettingsError: no figure in it carries an interval.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = interval_columns(summary)
    if not names:
        raise SettingsError("the summary holds no figure with an interval; pass the table of study.summary()")
    lines = [
        f"{method} · {KIND_NAMES.get(kind, kind)}"
        for method, kind in zip(summary["method"].astype(str), summary["kind"].astype(str), strict=True)
    ]
    figure = make_subplots(
        cols=len(names), shared_yaxes=True, horizontal_spacing=0.03, column_titles=[readable(name) for name in names]
    )
    places = list(range(len(lines)))
    for column, name in enumerate(names, start=1):
        middle = summary[name].astype(float)
        low, high = summary[f"{name}_low"].astype(float), summary[f"{name}_high"].astype(float)
        figure.add_trace(
            go.Scatter(
                x=middle.tolist(),
                y=places,
                mode="markers",
                marker={"size": 9, "color": "#0b5a7a"},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (high - middle).tolist(),
                    "arrayminus": (middle - low).tolist(),
                    "thickness": 2,
                    "width": 0,
                },
                customdata=[
                    [plotly_text(line, None), with_interval(own, bottom, top)]
                    for line, own, bottom, top in zip(lines, middle, low, high, strict=True)
                ],
                hovertemplate="%{customdata[0]}<br>" + readable(name) + " %{customdata[1]}<extra></extra>",
            ),
            row=1,
            col=column,
        )
    figure.update_xaxes(rangemode="tozero", zeroline=False)
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=places,
        ticktext=[plotly_text(line) for line in lines],
        zeroline=False,
    )
    figure.update_layout(
        template="plotly_white",
        showlegend=False,
        height=100 + 34 * len(lines),
        margin={"l": 10, "r": 10, "t": 50, "b": 40},
    )
    return figure


def readable(name: str) -> str:
    """A column's name as a heading: ``score_kept`` becomes ``score kept``."""
    return plotly_text(name.replace("_", " "))


def plotly_text(text: str, longest: int | None = _LONGEST_NAME) -> str:
    """A name as plotly shows it literally: plotly reads tags, entities, and TeX between dollar signs in any text."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return html.escape(text, quote=False).replace("$", "&#36;")


def dressed(figure: go.Figure, height: int, legend: bool = True, top: int = 60) -> go.Figure:
    """The figure in the dress that all of them wear; height and top margin in pixels."""
    figure.update_layout(
        template="plotly_white", height=height, showlegend=legend, margin={"l": 10, "r": 10, "t": top, "b": 40}
    )
    return figure


def _checked(mask: npt.ArrayLike) -> npt.NDArray[np.float32]:
    values = np.asarray(mask, dtype=np.float32)
    if values.ndim != 2 or values.size == 0:
        raise SettingsError(f"a mask has the shape (h, w), not {values.shape}; pass the mask of one image")
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def _drawn_over(
    bare: Image.Image, geometry: Geometry, mask: npt.ArrayLike, opacity: float, colours: str
) -> Image.Image:
    size = (bare.height, bare.width)
    seen = geometry.mask_to_photograph(np.ones((1, 1), np.float32), size)
    dimmed = np.asarray(bare, np.float32) * (0.45 + 0.55 * seen[..., None])
    values = _checked(geometry.mask_to_photograph(_checked(mask), size))
    layer = colour_map(colours)[np.round(values * 255).astype(np.uint8)].astype(np.float32)
    alpha = opacity * values[..., None]
    return Image.fromarray(np.round(dimmed * (1 - alpha) + layer * alpha).astype(np.uint8))


def fitting(text: str, width: int, draw: ImageDraw.ImageDraw, font: Any) -> str:
    """Text on one line, cut off where it would be wider than so many pixels."""
    text = " ".join(text.split())
    while draw.textlength(text, font=font) > width and len(text) > 1:
        text = text[:-2] + "…"
    return text
