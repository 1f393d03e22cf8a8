"""Masks as pictures and tables as plotly figures; everything shown here stands in a table."""

from __future__ import annotations

import html
import io
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fidokit.data.geometry import Box, Geometry, whole_pixels
from fidokit.exceptions import SettingsError
from fidokit.methods.verdicts import FAILING, standing
from fidokit.study.compare import METRIC_DIRECTIONS

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from fidokit.methods.base import Masks

COLOUR_MAPS = ("inferno", "magma", "plasma", "viridis", "cividis")
"""Perceptually uniform, told apart with every kind of colour vision, and of rising lightness when printed in grey."""

BETTER = {1: "higher is better", -1: "lower is better", 0: ""}
"""Which values of a figure are good, by the direction that `fidokit.study.compare.METRIC_DIRECTIONS` gives."""

COLOUR_MAP = "inferno"
"""The default: its reds and yellows stand out on the greens and browns of most field photographs."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Of lines and marks: told apart with every kind of colour vision (Okabe and Ito 2008), without their light yellow."""

CLAIM_COLOURS = {"sufficient": COLOURS[4], "destroying": COLOURS[5]}
"""Of the outlines of verified regions; each stands beside its verdict in words."""

DRAWN_AS = ("colours", "outline", "dimmed")
"""How a mask is drawn over its photograph: in colours, as a line around it, or with its surroundings dimmed, which
leaves an animal's own pattern visible."""

NOT_SEEN = "not seen by the classifier"
"""Of what is hatched."""

KIND_NAMES = {"ssr": "SSR", "sdr": "SDR", "joint": "joint", "effect": "effect", "attribution": "attribution"}

#: Share of a photograph from which all of it may as well be shown.
_MOST_SHOWN = 0.7
#: Of the hatching of what the classifier did not see: how much is left of the photograph's light there, how far apart
#: the lines are in pixels, and how light they are.
_HATCH_GROUND, _HATCH_PITCH, _HATCH_LINE = 0.45, 8, 150
_MARGIN, _CAPTION_HEIGHT, _LEGEND_HEIGHT = 12, 30, 24
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
    drawn_as: str = "colours",
    part: Box | None = None,
    faded: Collection[int] = (),
) -> bytes:
    """A photograph next to itself with masks drawn over it, each under a caption.

    Args:
        photograph: upright, RGB; of any scale.
        geometry: where the classifier's input lies in it.
        panels: captions and (h, w) masks over the input, from left to right; without a mask the photograph is bare.
        height: of each picture in pixels; less where it would be more than twice as wide.
        opacity: of a mask's highest value; with ``dimmed``, of the shade around it.
        colours: a name of `COLOUR_MAPS`.
        drawn_as: one of `DRAWN_AS`.
        part: the part of the photograph that the panels with masks show, such as `Geometry.view_of`; it is framed on
            the bare ones. None for all of it.
        faded: positions of panels that step back: masks that explain little.

    Returns:
        A PNG. What lies outside the classifier's input is hatched in every panel, and a line below says so.

    Raises:
        SettingsError: a mask that is not two-dimensional, an unknown colour map or style.
    """
    if drawn_as not in DRAWN_AS:
        raise SettingsError(f"unknown drawn_as {drawn_as!r}; choose one of {', '.join(DRAWN_AS)}")
    bare = _resized(photograph, height)
    near, near_geometry = (bare, geometry) if part is None else _part_of(photograph, geometry, part, height)
    pictures = []
    for position, (_, mask) in enumerate(panels):
        if mask is None:
            picture = _hatched(bare, geometry)
            if part is not None:
                _frame(picture, [edge * bare.width / geometry.width for edge in part])
        else:
            picture = _drawn_over(_hatched(near, near_geometry), near_geometry, mask, opacity, colours, drawn_as)
        pictures.append(Image.blend(picture, Image.new("RGB", picture.size, (255, 255, 255)), 0.5) if position in faded
                        else picture)  # fmt: skip
    legend = _legend(geometry, part)
    tallest = max((picture.height for picture in pictures), default=0)
    sheet = Image.new(
        "RGB",
        (
            _MARGIN + sum(picture.width + _MARGIN for picture in pictures),
            tallest + _CAPTION_HEIGHT + 2 * _MARGIN + (_LEGEND_HEIGHT if legend else 0),
        ),
        (255, 255, 255),
    )
    draw, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(15), _MARGIN
    for position, (picture, (caption, _)) in enumerate(zip(pictures, panels, strict=True)):
        ink = (110, 110, 110) if position in faded else (30, 30, 30)
        draw.text((left, _MARGIN), fitting(caption, picture.width, draw, font), fill=ink, font=font)
        sheet.paste(picture, (left, _MARGIN + _CAPTION_HEIGHT))
        left += picture.width + _MARGIN
    if legend:
        top, left = tallest + _CAPTION_HEIGHT + _MARGIN + 8, _MARGIN
        small = ImageFont.load_default(13)
        if geometry.unseen_words() is not None:
            sheet.paste(_hatching(np.full((14, 22, 3), 160, np.float32)), (left, top))
            left += 28
        draw.text((left, top - 1), fitting(legend, sheet.width - left, draw, small), fill=(30, 30, 30), font=small)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def masks_png(masks: Masks, i: int, *, height: int = 360, scores: bool = True, drawn_as: str = "colours") -> bytes:
    """The photograph of the i-th masks of a result, next to itself with the mask of each kind drawn over it.

    Masks that are enough by themselves come first, those that explain little last and faded. The first of them says
    which part of the photograph is shown; it is framed on the photograph.

    Args:
        masks: a result of `explain`.
        i: position of the photograph in it.
        height: of each picture in pixels.
        scores: whether the captions say, beside the kinds, the scores with each mask's region kept and dropped.
        drawn_as: one of `DRAWN_AS`.

    Returns:
        A PNG. The photograph's caption is the target with the score of the whole photograph. Masks whose photograph is
        not known lie on white, without a photograph beside them.

    Raises:
        ImageError: the photograph cannot be read any more.
    """
    panels: list[tuple[str, Any]] = []
    kinds = sorted(masks.kinds, key=lambda kind: standing(masks.verdict(kind, i)))
    part = None
    if masks.images is None:
        photograph = Image.new("RGB", (masks.size[1], masks.size[0]), (255, 255, 255))
        geometry = Geometry.whole(*photograph.size)
    else:
        photograph, geometry = masks.photograph(i)
        part = shown_part(geometry, masks.kinds[kinds[0]][i].numpy())
        panels.append((f"{masks.target[i]} {float(masks.score_full[i]):.2f}", None))
    n_bare = len(panels)
    for kind in kinds:
        caption = KIND_NAMES[kind]
        if scores and kind in masks.score_kept:
            kept, dropped = float(masks.score_kept[kind][i]), float(masks.score_dropped[kind][i])
            caption += f": kept {kept:.2f}, dropped {dropped:.2f}"
        panels.append((caption, masks.kinds[kind][i].numpy()))
    faded = [n_bare + place for place, kind in enumerate(kinds) if masks.verdict(kind, i) in FAILING]
    return panels_png(
        photograph,
        geometry,
        panels,
        height=height,
        opacity=0.75 if masks.images is not None else 1.0,
        drawn_as=drawn_as,
        part=part,
        faded=faded,
    )


def shown_part(geometry: Geometry, mask: npt.ArrayLike) -> Box | None:
    """The part of a photograph to open a mask's view on; None where that is most of it, or the mask is empty."""
    box = geometry.mask_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = part = geometry.view_of(box)
    return part if (x1 - x0) * (y1 - y0) < _MOST_SHOWN * geometry.width * geometry.height else None


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
    ways = [BETTER[METRIC_DIRECTIONS.get(name, 0)] for name in names]
    titles = [readable(name) + (f"<br><sub>{way}</sub>" if way else "") for name, way in zip(names, ways, strict=True)]
    figure = make_subplots(cols=len(names), shared_yaxes=True, horizontal_spacing=0.03, column_titles=titles)
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
                    [plotly_text(line, None), bottom, top] for line, bottom, top in zip(lines, low, high, strict=True)
                ],
                hovertemplate=(
                    "%{customdata[0]}<br>"
                    + readable(name)
                    + " %{x:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}]<extra></extra>"
                ),
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


def _resized(photograph: Image.Image, height: int) -> Image.Image:
    """A photograph at this height; less high where it would be more than twice as wide: viewers must open the sheet."""
    height = min(height, max(1, round(2 * height * photograph.height / photograph.width)))
    width = max(1, round(photograph.width * height / photograph.height))
    return photograph.resize((width, height), Image.Resampling.LANCZOS)


def _part_of(photograph: Image.Image, geometry: Geometry, part: Box, height: int) -> tuple[Image.Image, Geometry]:
    edges, scale = whole_pixels(part), photograph.width / geometry.width
    left, top, right, bottom = (round(edge * scale) for edge in edges)
    cut = photograph.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return _resized(cut, height), geometry.within(part)


def _legend(geometry: Geometry, part: Box | None) -> str:
    """What hatching and frame mean, as far as they are there."""
    unseen = f"hatched: {NOT_SEEN}" if geometry.unseen_words() is not None else ""
    return "; ".join(filter(None, [unseen, "framed: the part that the masks are shown on" if part else ""]))


def _frame(picture: Image.Image, edges: Sequence[float]) -> None:
    draw, box = ImageDraw.Draw(picture), [round(edge) for edge in edges]
    draw.rectangle(box, outline=(0, 0, 0), width=3)
    draw.rectangle([box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1], outline=(255, 255, 255), width=1)


def _hatched(bare: Image.Image, geometry: Geometry) -> Image.Image:
    """The picture, hatched where the classifier did not see it."""
    size = (bare.height, bare.width)
    seen: npt.NDArray[np.bool_] = geometry.mask_to_photograph(np.ones((1, 1), np.float32), size) > 0
    if seen.all():
        return bare.copy()
    pixels = np.asarray(bare, np.float32)
    hatched = np.asarray(_hatching(pixels), np.float32)
    return Image.fromarray(np.where(seen[..., None], pixels, hatched).astype(np.uint8))


def _hatching(pixels: npt.NDArray[np.float32]) -> Image.Image:
    """(H, W, 3) pixels under hatching."""
    rows, columns = np.indices(pixels.shape[:2])
    line = np.less((rows + columns) % _HATCH_PITCH, 2)[..., None]
    return Image.fromarray(np.where(line, _HATCH_LINE, pixels * _HATCH_GROUND).round().astype(np.uint8))


def _drawn_over(
    bare: Image.Image, geometry: Geometry, mask: npt.ArrayLike, opacity: float, colours: str, drawn_as: str
) -> Image.Image:
    pixels = np.asarray(bare, np.float32)
    values = _checked(geometry.mask_to_photograph(_checked(mask), (bare.height, bare.width)))
    if drawn_as == "outline":
        drawn = bare.copy()
        line = Image.open(io.BytesIO(outline_png(values >= 0.5))).convert("RGBA")
        drawn.paste(line, mask=line.getchannel("A"))
        return drawn
    seen = geometry.mask_to_photograph(np.ones((1, 1), np.float32), (bare.height, bare.width))
    # What is hatched is dark already.
    shade = values if drawn_as == "colours" else np.where(seen > 0, 1 - values, 0)
    alpha = opacity * shade[..., None]
    layer = colour_map(colours)[np.round(values * 255).astype(np.uint8)] if drawn_as == "colours" else 0
    return Image.fromarray(np.round(pixels * (1 - alpha) + layer * alpha).astype(np.uint8))


def fitting(text: str, width: int, draw: ImageDraw.ImageDraw, font: Any) -> str:
    """Text on one line, cut off where it would be wider than so many pixels."""
    text = " ".join(text.split())
    while draw.textlength(text, font=font) > width and len(text) > 1:
        text = text[:-2] + "…"
    return text
