"""Masks as pictures and tables as plotly figures; everything shown here stands in a table."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from fidokit._util.html import printable
from fidokit._util.numbers import number, with_interval
from fidokit.data.geometry import Box, Geometry, whole_pixels
from fidokit.exceptions import SettingsError
from fidokit.methods.verdicts import FAILING, standing
from fidokit.models.goals import USUALLY_EXPLAINED
from fidokit.study.compare import METRIC_DIRECTIONS

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

CONTOUR_LEVEL = 0.5
"""Share of a mask's highest value at which its outline runs."""

_COARSE = 28
#: Of marching squares: corners inside, as bits from the upper left clockwise -> sides (top, right, bottom, left) that
#: the line comes from and goes to, with the inside on its left.
_SQUARES: dict[int, tuple[tuple[int, int], ...]] = {
    **{1: ((3, 0),), 2: ((0, 1),), 3: ((3, 1),), 4: ((1, 2),), 5: ((3, 0), (1, 2)), 6: ((0, 2),), 7: ((3, 2),)},
    **{8: ((2, 3),), 9: ((2, 0),), 10: ((0, 1), (2, 3)), 11: ((2, 1),), 12: ((1, 3),), 13: ((1, 0),), 14: ((0, 3),)},
}
# Steps of 1/63 cannot be told apart by eye, and an indexed PNG of 64 colours is half as large as one of 256.
_LEVELS = 64
_LONGEST_NAME = 48
#: Share of a photograph's area from which all of it may as well be shown.
_MOST_OF_IT = 0.7


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


def value_words(explained: str | None, against: object) -> str | None:
    """The value that a mask explains, where it is another than without being asked: logit, or log-odds of two."""
    usual = "log-odds" if isinstance(against, str) else USUALLY_EXPLAINED
    return None if explained == usual else explained


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


def contours(mask: npt.ArrayLike, geometry: Geometry, level: float = CONTOUR_LEVEL) -> list[list[tuple[float, float]]]:
    """The line around the places where a mask is high, in pixels of the photograph.

    Args:
        mask: (h, w) over the classifier's input.
        geometry: where that lies in the photograph.
        level: share of the mask's highest value that the line runs at.

    Returns:
        Closed loops of points (x, y), none for a mask that is 0 everywhere. Masks of more than 28 cells are averaged to
        28 first, as for `Geometry.mask_box`: around noise, a line says nothing.
    """
    values = _checked(mask)
    if not values.max() > 0:
        return []
    height, width = (min(side, _COARSE) for side in values.shape)
    coarse = Image.fromarray(values).resize((width, height), Image.Resampling.BOX)
    smooth = np.asarray(coarse.resize((2 * width, 2 * height), Image.Resampling.BILINEAR))
    x0, y0, x1, y1 = geometry.window
    scale = (x1 - x0) / smooth.shape[1], (y1 - y0) / smooth.shape[0]
    return [
        [(x0 + scale[0] * x, y0 + scale[1] * y) for x, y in loop]
        for loop in _loops(smooth, level * float(smooth.max()))
    ]


def contour_path(mask: npt.ArrayLike, geometry: Geometry) -> str:
    """`contours` as the path of an SVG; empty where there are none."""
    return "".join(f"M{' '.join(f'{x:.4g},{y:.4g}' for x, y in loop)}Z" for loop in contours(mask, geometry))


def _loops(values: npt.NDArray[np.float32], level: float) -> list[list[tuple[float, float]]]:
    """The lines at a level, by marching squares: loops of points (x, y) in cells, clipped to the picture."""
    padded = np.pad(values, 1)
    inside = padded >= level
    codes = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    follows: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    for row, column in zip(*np.nonzero((codes > 0) & (codes < 15)), strict=True):
        r, c = int(row), int(column)
        # Sides are named by the corner that they start at and their direction: 0 across, 1 down.
        sides = ((r, c, 0), (r, c + 1, 1), (r + 1, c, 0), (r, c, 1))
        for start, end in _SQUARES[int(codes[r, c])]:
            follows[sides[start]] = sides[end]
    height, width = values.shape
    found = []
    while follows:
        side = next(iter(follows))
        loop = []
        while side in follows:
            (r, c, down), side = side, follows.pop(side)
            one, other = padded[r, c], padded[r + down, c + 1 - down]
            share = float((level - one) / (other - one))
            x, y = c - 0.5 + share * (1 - down), r - 0.5 + share * down
            loop.append((min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))))
        found.append(loop)
    return found


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        caption: above it.
        photograph: upright, RGB.
        geometry: where the classifier's input lies in it.
        mask: (h, w) over the input; None leaves the photograph bare.
        line: colour of the line around the places where the mask is high, as ``#rrggbb``.
        coloured: whether the mask is drawn in colours; else its surroundings are dimmed.
    """

    caption: str
    photograph: Image.Image
    geometry: Geometry
    mask: npt.ArrayLike | None = None
    line: str = "#ffffff"
    coloured: bool = True

    def size(self, height: int) -> tuple[int, int]:
        """Width and height of the picture in pixels; less high where it would be more than twice as wide."""
        # A panorama is shown less high, so that a sheet keeps a size that viewers can open.
        height = min(height, max(1, round(2 * height * self.photograph.height / self.photograph.width)))
        return max(1, round(self.photograph.width * height / self.photograph.height)), height


_MARGIN, _CAPTION, _LEGEND, _FONT = 12, 30, 24, 15
_UNSEEN = "Hatched: not seen by the classifier."


def sheet_png(panels: Sequence[Panel], *, height: int = 360, opacity: float = 0.75, colours: str = COLOUR_MAP) -> bytes:
    """Pictures in a row, each under its caption.

    Args:
        panels: from left to right.
        height: of each picture in pixels; less where it would be more than twice as wide.
        opacity: of a mask's highest value.
        colours: a name of `COLOUR_MAPS`.

    Returns:
        A PNG. What lies outside the classifier's input is dark and hatched where a mask is drawn, which a line below
        says; a line runs around the places where the mask is above half of its highest value.
    """
    places, width, total = _laid_out(panels, height)
    sheet = Image.new("RGB", (width, total), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for panel, left in zip(panels, places, strict=True):
        size = panel.size(height)
        picture = panel.photograph.resize(size, Image.Resampling.LANCZOS)
        if panel.mask is not None:
            picture = _drawn_over(picture, panel, panel.mask, opacity, colours)
        draw.text((left, _MARGIN), fitting(panel.caption, size[0], draw, font), fill=(30, 30, 30), font=font)
        sheet.paste(picture, (left, _MARGIN + _CAPTION))
    if _any_unseen(panels):
        draw.text((_MARGIN, total - _LEGEND), fitting(_UNSEEN, width, draw, font), fill=(90, 90, 90), font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def sheet_svg(panels: Sequence[Panel], *, height: int = 360, opacity: float = 0.75, colours: str = COLOUR_MAP) -> bytes:
    """`sheet_png` as an SVG: captions and lines scale without loss; photographs have twice the pixels."""
    places, width, total = _laid_out(panels, height)
    measure, font = ImageDraw.Draw(Image.new("L", (1, 1))), ImageFont.load_default(_FONT)
    text = f'font-family="sans-serif" font-size="{_FONT - 1}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" viewBox="0 0 {width} {total}">',
        '<defs><pattern id="unseen" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">'
        '<rect width="7" height="7" fill="#0c0e10" fill-opacity="0.55"/><rect width="7" height="1" fill="#fff"/>'
        '</pattern></defs><rect width="100%" height="100%" fill="#fff"/>',
    ]
    for panel, left in zip(panels, places, strict=True):
        across, down = panel.size(height)
        caption = html.escape(printable(fitting(panel.caption, across, measure, font)), quote=False)
        parts.append(f'<text x="{left}" y="{_MARGIN + _FONT}" {text} fill="#1e1e1e">{caption}</text>')
        small = panel.photograph.convert("RGB").resize((2 * across, 2 * down), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=88)
        size = f'width="{across}" height="{down}"'
        parts += [
            f'<svg x="{left}" y="{_MARGIN + _CAPTION}" {size} viewBox="0 0 {across} {down}">',
            _svg_image(buffer.getvalue(), "jpeg", across, down),
        ]
        if panel.mask is not None:
            laid = _checked(panel.geometry.mask_to_photograph(_checked(panel.mask), (down, across)))
            layer = overlay_png(laid, colours=colours) if panel.coloured else _dimming_png(laid)
            parts.append(_svg_image(layer, "png", across, down, opacity))
            outer, (x0, y0, x1, y1) = f"M0,0H{across}V{down}H0Z", _on_picture(panel, across, down)
            parts.append(f'<path d="{outer}M{x0},{y0}V{y1}H{x1}V{y0}Z" fill-rule="evenodd" fill="url(#unseen)"/>')
            scale = across / panel.geometry.width, down / panel.geometry.height
            path = contour_path(panel.mask, panel.geometry)
            for colour, thick in (("#000", 3.5), (panel.line, 1.75)):
                parts.append(
                    f'<path d="{path}" transform="scale({scale[0]:.6f} {scale[1]:.6f})" fill="none" stroke="{colour}" '
                    f'stroke-width="{thick}" vector-effect="non-scaling-stroke"/>'
                )
        parts.append("</svg>")
    if _any_unseen(panels):
        parts.append(f'<text x="{_MARGIN}" y="{total - _LEGEND + _FONT}" {text} fill="#5a5a5a">{_UNSEEN}</text>')
    return "".join([*parts, "</svg>"]).encode()


def _laid_out(panels: Sequence[Panel], height: int) -> tuple[list[int], int, int]:
    """Where each picture begins, and width and height of the sheet."""
    places, left, highest = [], _MARGIN, 0
    for panel in panels:
        across, down = panel.size(height)
        places.append(left)
        left, highest = left + across + _MARGIN, max(highest, down)
    return places, left, highest + _CAPTION + 2 * _MARGIN + (_LEGEND if _any_unseen(panels) else 0)


def _any_unseen(panels: Sequence[Panel]) -> bool:
    return any(panel.mask is not None and panel.geometry.unseen_share() > 0.005 for panel in panels)


def _on_picture(panel: Panel, across: int, down: int) -> tuple[float, float, float, float]:
    """The classifier's window in pixels of the picture."""
    x0, y0, x1, y1 = panel.geometry.window
    wide, high = across / panel.geometry.width, down / panel.geometry.height
    return max(x0 * wide, 0.0), max(y0 * high, 0.0), min(x1 * wide, across), min(y1 * high, down)


def _svg_image(data: bytes, form: str, width: int, height: int, opacity: float = 1.0) -> str:
    source = f"data:image/{form};base64,{base64.b64encode(data).decode()}"
    return f'<image href="{source}" width="{width}" height="{height}" opacity="{opacity:g}"/>'


def _dimming_png(mask: npt.NDArray[np.float32]) -> bytes:
    """Black, as opaque as the mask is low."""
    alpha = Image.fromarray(np.round(255 * np.clip(0.9 - 1.8 * mask, 0, 1)).astype(np.uint8))
    layer = Image.new("LA", alpha.size)
    layer.putalpha(alpha)
    buffer = io.BytesIO()
    layer.save(buffer, "PNG")
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
    """A photograph next to itself with masks drawn over it, each under a caption; see `sheet_png`.

    Args:
        photograph: upright, RGB.
        geometry: where the classifier's input lies in it.
        panels: captions and (h, w) masks over the input, from left to right; without a mask the photograph is bare.
        height, opacity, colours: as of `sheet_png`.
    """
    cells = [Panel(caption, photograph, geometry, mask) for caption, mask in panels]
    return sheet_png(cells, height=height, opacity=opacity, colours=colours)


def shown_part(geometry: Geometry, *masks: npt.ArrayLike) -> Box | None:
    """The part of a photograph to open a view of masks on; None where that is most of it, or the masks are empty."""
    boxes = [box for mask in masks if (box := geometry.mask_box(mask)) is not None]
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    x0, y0, x1, y1 = part = geometry.view_of((min(left), min(top), max(right), max(bottom)))
    return part if (x1 - x0) * (y1 - y0) < _MOST_OF_IT * geometry.width * geometry.height else None


def cut_out(photograph: Image.Image, geometry: Geometry, part: Box) -> tuple[Image.Image, Geometry]:
    """A part of a photograph, of any scale, as a photograph of its own."""
    scale = photograph.width / geometry.width
    left, top, right, bottom = (round(edge * scale) for edge in whole_pixels(part))
    return photograph.crop((left, top, max(right, left + 1), max(bottom, top + 1))), geometry.within(part)


def masks_panels(masks: Masks, i: int, *, scores: bool = True) -> list[Panel]:
    """The photograph of the i-th masks of a result, and the mask of each kind drawn over it.

    Args:
        masks: a result of `explain`.
        i: position of the photograph in it.
        scores: whether the captions say, beside the kinds, the scores with each mask's region kept and dropped.

    Returns:
        The photograph's caption is the target with the score of the whole photograph. Masks whose photograph is not
        known lie on white, without a photograph beside them.

    Raises:
        ImageError: the photograph cannot be read any more.
    """
    panels = []
    if masks.images is None:
        photograph = Image.new("RGB", (masks.size[1], masks.size[0]), (255, 255, 255))
        geometry = Geometry.whole(*photograph.size)
    else:
        photograph, geometry = masks.photograph(i)
        panels.append(Panel(f"{masks.target[i]} {number(float(masks.score_full[i]))}", photograph, geometry))
    # Masks that are enough by themselves lead; those that explain little come last, and say which part is shown only
    # where all of them do.
    ordered = sorted(masks.kinds.items(), key=lambda item: standing(masks.verdict(item[0], i)))
    telling = [mask for kind, mask in ordered if masks.verdict(kind, i) not in FAILING] or [mask for _, mask in ordered]
    part = None if masks.images is None else shown_part(geometry, *(mask[i].numpy() for mask in telling))
    near = (photograph, geometry) if part is None else cut_out(photograph, geometry, part)
    for kind, mask in ordered:
        caption = KIND_NAMES[kind]
        if scores and kind in masks.score_kept:
            kept, dropped = (float(values[kind][i]) for values in (masks.score_kept, masks.score_dropped))
            caption += f": kept {number(kept)}, dropped {number(dropped)}"
        panels.append(Panel(caption, *near, mask[i].numpy()))
    return panels


def masks_png(masks: Masks, i: int, *, height: int = 360, scores: bool = True) -> bytes:
    """`masks_panels` as one PNG."""
    opacity = 0.75 if masks.images is not None else 1.0
    return sheet_png(masks_panels(masks, i, scores=scores), height=height, opacity=opacity)


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
        cols=len(names), shared_yaxes=True, horizontal_spacing=0.03, column_titles=[directed(name) for name in names]
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
    return dressed(figure, 100 + 34 * len(lines), legend=False, top=65)


def readable(name: str) -> str:
    """A column's name as a heading: ``score_kept`` becomes ``score kept``."""
    return plotly_text(name.replace("_", " "))


def directed(name: str) -> str:
    """A figure's name as a heading that says which direction is good, where one is."""
    good = {1: "higher is better", -1: "lower is better"}.get(METRIC_DIRECTIONS.get(name, 0))
    return f"{readable(name)}<br><sub>{good}</sub>" if good else readable(name)


def plotly_text(text: str, longest: int | None = _LONGEST_NAME) -> str:
    """A name as plotly shows it literally: plotly reads tags, entities, and TeX between dollar signs in any text."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return html.escape(text, quote=False).replace("$", "&#36;")


def dressed(figure: go.Figure, height: int, legend: bool = True, top: int = 60) -> go.Figure:
    """The figure in the dress that all of them wear, with a picture beside it in notebooks; sizes in pixels."""
    from fidokit.figures.notebook_form import ShownFigure

    figure = ShownFigure(figure)
    figure.update_layout(
        template="plotly_white", height=height, showlegend=legend, margin={"l": 10, "r": 10, "t": top, "b": 40}
    )
    return figure


def _checked(mask: npt.ArrayLike) -> npt.NDArray[np.float32]:
    values = np.asarray(mask, dtype=np.float32)
    if values.ndim != 2 or values.size == 0:
        raise SettingsError(f"a mask has the shape (h, w), not {values.shape}; pass the mask of one image")
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def _drawn_over(bare: Image.Image, panel: Panel, mask: npt.ArrayLike, opacity: float, colours: str) -> Image.Image:
    size = (bare.height, bare.width)
    seen = panel.geometry.mask_to_photograph(np.ones((1, 1), np.float32), size)[..., None]
    hatch = (np.add.outer(np.arange(size[0]), np.arange(size[1])) % 9 == 0)[..., None] & (seen == 0)
    ground = np.where(hatch, 200.0, np.asarray(bare, np.float32) * (0.45 + 0.55 * seen))
    values = _checked(panel.geometry.mask_to_photograph(_checked(mask), size))
    if panel.coloured:
        layer = colour_map(colours)[np.round(values * 255).astype(np.uint8)].astype(np.float32)
        alpha = opacity * values[..., None]
    else:
        layer, alpha = np.zeros(3, np.float32), opacity * np.clip(0.9 - 1.8 * values, 0, 1)[..., None] * (seen > 0)
    picture = Image.fromarray(np.round(ground * (1 - alpha) + layer * alpha).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    wide, high = bare.width / panel.geometry.width, bare.height / panel.geometry.height
    for loop in contours(mask, panel.geometry):
        points = [(x * wide, y * high) for x, y in (*loop, loop[0])]
        draw.line(points, fill="#000000", width=4, joint="curve")
        draw.line(points, fill=panel.line, width=2, joint="curve")
    return picture


def fitting(text: str, width: int, draw: ImageDraw.ImageDraw, font: Any) -> str:
    """Text on one line, cut off where it would be wider than so many pixels."""
    text = " ".join(text.split())
    while draw.textlength(text, font=font) > width and len(text) > 1:
        text = text[:-2] + "…"
    return text
