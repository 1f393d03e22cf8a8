"""`CompareWidget`: the masks of several methods side by side, with their metrics, in an order that tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from PIL import Image

from fidokit.exceptions import ImageError, SettingsError
from fidokit.figures.masks import COLOUR_MAP, COLOUR_MAPS, colour_map, interval_columns, summary_figure
from fidokit.figures.pictures import masks_of
from fidokit.methods.verdicts import LEADING
from fidokit.study.metrics.agreement import main_kind
from fidokit.study.ordering import (
    DATASET,
    DISAGREEMENT,
    MEAN,
    OWN_ORDERS,
    STATES,
    Order,
    figure_names,
    mask_figures,
    order_images,
)
from fidokit.study.study import Study
from fidokit.widgets.answering import AnsweringWidget
from fidokit.widgets.compare_rows import (
    Figures,
    better_words,
    figure_words,
    mask_names,
    page_rows,
    prediction,
    static_table,
    worst_first,
)
from fidokit.widgets.overlay import STATIC_PANELS, static_panels, static_size
from fidokit.widgets.plotly_source import plotly_source
from fidokit.widgets.static_form import BUNDLES
from fidokit.widgets.study_tiles import StudyTiles

#: Beneath each mask where nothing else is asked for, as far as they are measured.
METRICS = ("insertion", "deletion", "average_precision", "agreement")
#: Share of the images on which a method's main kind must be enough by itself to be shown first.
_MOSTLY = 0.5
_WORDS = {
    DATASET: "order of the dataset",
    DISAGREEMENT: "disagreement of the methods",
    "score": "score of the prediction",
    "margin": "margin over the runner-up",
}


class CompareWidget(AnsweringWidget):
    """The masks of several methods side by side, a page of images at a time, their metrics beneath.

    What is chosen in the browser and what is set from Python are the same attributes. All masks have one colour scale,
    0 to 1. Nothing is measured: what `Study.metrics` and `Study.regions` have found is shown.

    Args:
        study: the study.
        panels: the masks to show, names of `names`; default the main kind of every method or, where that is seldom
            enough by itself, the kind that is so most often.
        metrics: the figures beneath each mask; default insertion, deletion, average precision and agreement, as far as
            they are measured, else the scores with the region kept and dropped.
        page_size: images on a page.

    Attributes:
        names: all masks there are, by method and kind, in order.
        panels, metrics, page_size: as above.
        sort: ``dataset``, ``disagreement``, ``score``, ``margin``, or a figure of the masks.
        of: the mask whose figure counts, or ``mean``: over all masks of the image.
        descending: the highest first.
        state: ``all``, ``wrong``, ``right`` or ``not judged``.
        search: words that file, label or predicted class must contain.
        page: number of the page, from 0.
        image_id: the image that is shown large; empty for none.
        order: the images that fit, in their order, with the value they are ordered by.
        error: the exception of what failed last.

    Raises:
        SettingsError: a mask, a figure or an option that there is not.

    Example:
        >>> widget = fk.CompareWidget(study, page_size=2)
        >>> widget.sort = "margin"
        >>> len(widget.order)
        8
    """

    _esm = BUNDLES / "compare.js"
    _css = BUNDLES / "compare.css"
    _tables = traitlets.Dict().tag(sync=True)
    _names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _figures = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    _orders = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    _rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    _count = traitlets.List(traitlets.Int()).tag(sync=True)
    _plot = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _photograph = traitlets.Dict().tag(sync=True)
    _layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    _detail = traitlets.Dict().tag(sync=True)
    _remark = traitlets.Unicode().tag(sync=True)
    panels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    metrics = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sort = traitlets.Unicode(DATASET).tag(sync=True)
    of = traitlets.Unicode(MEAN).tag(sync=True)
    descending = traitlets.Bool(False).tag(sync=True)
    state = traitlets.Enum(STATES, "all").tag(sync=True)
    search = traitlets.Unicode().tag(sync=True)
    page = traitlets.Int(0).tag(sync=True)
    page_size = traitlets.Int(4, min=1, max=50).tag(sync=True)
    image_id = traitlets.Unicode().tag(sync=True)

    #: What another order or choice of images begins anew with its first page.
    _ORDERS = ("sort", "of", "descending", "state", "search", "page_size")
    _SHOWS = ("panels", "metrics", "page", *_ORDERS)

    def __init__(
        self,
        study: Study,
        *,
        panels: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
        page_size: int = 4,
    ) -> None:
        self.study = study
        self.error: Exception | None = None
        self._keys = mask_names(study)
        self._tiles = StudyTiles(study)
        self._at_once = True
        try:
            super().__init__(
                _tables={name: colour_map(name).tobytes() for name in (COLOUR_MAP, *COLOUR_MAPS)},
                _names=list(self._keys),
                _remark=self._tiles.remark or "",
                page_size=page_size,
            )
            self._read()
            self.panels = self._leading() if panels is None else list(panels)
            self.metrics = self._default_metrics() if metrics is None else list(metrics)
        except traitlets.TraitError as error:
            raise SettingsError(str(error)) from error
        self._at_once = False
        self._arrange()

    @property
    def names(self) -> list[str]:
        """All masks there are, by method and kind."""
        return list(self._keys)

    @property
    def order(self) -> pd.DataFrame:
        """The images that fit, in their order; see `fidokit.study.ordering.order_images`."""
        return self._order.copy()

    def refresh(self) -> None:
        """Read the study's tables again, after `Study.metrics` measured more or a run made more masks."""
        with self._lock:
            self.study = self.study.reread()
            self._tiles.study = self.study
            self._keys = mask_names(self.study)
            self._names = list(self._keys)
            self._read()
            self._arrange()
        self._refresh_static()

    def _read(self) -> None:
        self._table = mask_figures(self.study)
        names = figure_names(self._table)
        self._figures = [[name, figure_words(name), better_words(name)] for name in names]
        orders = [name for name in OWN_ORDERS if name != DISAGREEMENT or "agreement" in names]
        self._orders = [[name, _WORDS[name]] for name in orders] + [[name, figure_words(name)] for name in names]
        self._plot = []
        self._summary: pd.DataFrame | None = None

    def _leading(self) -> list[str]:
        """The main kind of each method; where it mostly fails its own test, the kind that most often passes it."""
        passes = self._table["verdict"].str.startswith(LEADING)
        shares = passes.groupby([self._table["method"], self._table["kind"]]).mean().to_dict()
        chosen = []
        for method in self.study.methods:
            kinds = self.study.kinds(method)
            own = {kind: shares.get((method, kind), 0.0) for kind in kinds}
            main = main_kind(kinds)
            best = main if own.get(main, 0.0) >= _MOSTLY else max(own, key=lambda kind: (own[kind], kind == main))
            chosen += [name for name, key in self._keys.items() if key == (method, best)]
        return chosen

    def _default_metrics(self) -> list[str]:
        measured = figure_names(self._table)
        return [name for name in METRICS if name in measured] or ["score_kept", "score_dropped"]

    # --- the attributes -------------------------------------------------------------------------------------------

    @traitlets.validate("panels")
    def _are_panels(self, proposal: Any) -> Any:
        for name in proposal["value"]:
            self._key(name)
        return list(dict.fromkeys(proposal["value"]))

    @traitlets.validate("metrics")
    def _are_metrics(self, proposal: Any) -> Any:
        known = figure_names(self._table)
        for name in proposal["value"]:
            if name not in known:
                raise SettingsError(
                    f"there is no figure {name!r}; there are {', '.join(known)}. study.metrics() measures more"
                )
        return list(dict.fromkeys(proposal["value"]))

    @traitlets.validate("sort")
    def _is_order(self, proposal: Any) -> Any:
        # Raises what says what there is.
        order_images(self.study, self._table, Order(by=proposal["value"]))
        return proposal["value"]

    @traitlets.validate("of")
    def _is_panel(self, proposal: Any) -> Any:
        if proposal["value"] != MEAN:
            self._key(proposal["value"])
        return proposal["value"]

    @traitlets.validate("image_id")
    def _is_image(self, proposal: Any) -> Any:
        if proposal["value"]:
            self._check_image(proposal["value"])
        return proposal["value"]

    @traitlets.observe(*_SHOWS)
    def _changed(self, change: Any) -> None:
        if not self._at_once:
            with self._changing([change["name"]]):
                pass

    @contextmanager
    def _changing(self, names: Sequence[str]) -> Iterator[None]:
        """Attributes of these names change; what is shown follows once, at the end."""
        with self._lock, self.hold_sync():
            self._at_once = True
            try:
                yield
                if set(names) & set(self._ORDERS) and "page" not in names:
                    self.page = 0
            finally:
                self._at_once = False
                self._arrange()
        self._refresh_static()

    @traitlets.observe("image_id")
    def _other_image(self, change: Any) -> None:
        self._photograph, self._layers, self._detail = {}, [], {}
        if not change["new"]:
            return
        layers = self._tiles.large(change["new"], self._keys)
        try:
            self._photograph = self._tiles.sent(change["new"])
        except ImageError as error:
            self._message = str(error)
            self._photograph = {"reason": str(error)}
        self._layers = layers
        self._detail = self._all_figures(change["new"], [layer["name"] for layer in layers])
        self._refresh_static()

    def _check_image(self, image_id: str) -> None:
        if image_id not in self.study.positions:
            raise SettingsError(f"there is no image {image_id!r} in the study")

    def _key(self, name: str) -> tuple[str, str]:
        if name not in self._keys:
            raise SettingsError(f"there are no masks {name!r}; there are {', '.join(self._keys)}")
        return self._keys[name]

    # --- what the browser says --------------------------------------------------------------------------------------

    def _actions(self) -> dict[str, Callable[..., None]]:
        return {
            "look": self._look,
            "pictures": self._send_pictures,
            "plot": self._make_plot,
            "plotly": self._send_plotly,
            "clicked": self._clicked,
        }

    def _look(self, **changes: Any) -> None:
        """Change several attributes at once."""
        if unknown := set(changes) - {*self._SHOWS, "image_id"}:
            raise SettingsError(f"CompareWidget has no attribute {min(unknown)!r}")
        self._message = ""
        new = {name: value for name, value in changes.items() if getattr(self, name) != value}
        with self._changing(list(new)):
            for name, value in new.items():
                try:
                    setattr(self, name, value)
                except traitlets.TraitError as error:
                    raise SettingsError(str(error)) from error

    def _send_pictures(self, images: list[str]) -> None:
        """A message an image, so that each is seen as soon as it is there: its photograph, and all its masks."""
        for image_id in images:
            self._check_image(image_id)
        for image_id, layers in self._tiles.layers(images, {name: self._keys[name] for name in self.panels}).items():
            described, data = self._tiles.picture(image_id, layers)
            self.send({"kind": "picture", "image": image_id, **described}, data)

    def _make_plot(self) -> None:
        with self._lock:
            if self._summary is None:
                self._summary = self.study.summary()
            self._draw_plot()

    def _draw_plot(self) -> None:
        """The figure of the summary, of the figures that are shown; empty until it was asked for."""
        if self._summary is None:
            return
        there = [name for name in self.metrics if name in interval_columns(self._summary)]
        columns = ["method", "kind", *(f"{name}{end}" for name in there for end in ("", "_low", "_high"))]
        figure = summary_figure(self._summary[columns]).to_json() if there else ""
        self._plot = [str(figure), plotly_source()[0]]

    def _send_plotly(self) -> None:
        version, content = plotly_source()
        self.send({"kind": "plotly", "version": version}, [content])

    def _clicked(self, trace: int, point: int) -> None:
        """A mean of the summary was clicked: the images behind it, its highest values first."""
        if self._summary is None:
            return
        there = [name for name in self.metrics if name in interval_columns(self._summary)]
        row = self._summary.iloc[point]
        name = next(name for name, key in self._keys.items() if key == (row["method"], row["kind"]))
        shown = self.panels if name in self.panels else [*self.panels, name]
        metric = there[trace]
        self._look(panels=shown, sort=metric, of=name, descending=worst_first(metric), page=0)

    # --- what is shown ----------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Put the images in order and show the page."""
        with self._lock:
            of = None if self.of == MEAN else self._keys[self.of]
            order = Order(self.sort, of, self.descending, self.state, self.search)
            self._order = order_images(self.study, self._table, order)
            pages = max(1, -(-len(self._order) // self.page_size))
            self._at_once, before = True, self._at_once
            self.page = min(max(self.page, 0), pages - 1)
            self._at_once = before
            shown = self._order.iloc[self.page * self.page_size : (self.page + 1) * self.page_size]
            figures = Figures(self._table, list(shown["image_id"]), self._keys)
            self._rows = page_rows(shown, figures, self.panels, self.metrics, self.sort)
            self._count = [len(self._order), len(self.study), pages]
            self._draw_plot()

    def _all_figures(self, image_id: str, names: Sequence[str]) -> dict[str, Any]:
        """Every figure of every mask of an image: names of the masks, and a line a figure."""
        figures = Figures(self._table, [image_id], self._keys)
        lines = [
            [words, better, *(figures.text(image_id, name, figure) for name in names)]
            for figure, words, better in self._figures
        ]
        found = [figures.words(image_id, name) for name in names]
        lines = [
            ["verdict", "", *(words[0] if words else "–" for words in found)],
            *(
                [["regions", "", *("; ".join(words[1:]) or "not cut" for words in found)]]
                if any(w[1:] for w in found)
                else []
            ),
            *lines,
        ]
        every = order_images(self.study, self._table, Order())
        about = prediction(every[every["image_id"] == image_id].iloc[0].to_dict())
        return {"about": about, "names": list(names), "lines": lines, "reasons": figures.reasons(image_id, names)}

    def __repr__(self) -> str:
        return f"CompareWidget({len(self.study)} photographs, {', '.join(self.panels)}; by {self.sort})"

    def _static_picture(self) -> Image.Image | None:
        shown = [self.image_id] if self.image_id else [row["image"] for row in self._rows]
        masks = masks_of(self.study, shown)
        strips = [strip for image_id in shown if (strip := self._strip(image_id, masks)) is not None]
        if not strips:
            return None
        sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), (255, 255, 255))
        top = 0
        for strip in strips:
            sheet.paste(strip, (0, top))
            top += strip.height
        return sheet

    def _strip(self, image_id: str, masks: dict[tuple[str, str, str], dict[str, Any]]) -> Image.Image | None:
        try:
            photograph, geometry = self._tiles.open(image_id)
        except ImageError:
            return None
        photograph = static_size(photograph)
        panels: list[tuple[str, Any]] = [(image_id, None)]
        for name in self.panels[:STATIC_PANELS]:
            row = masks.get((image_id, *self._keys[name]))
            panels.append((name, np.zeros((1, 1), np.float32)) if row is None else (name, row["mask"]))
        return static_panels(photograph, geometry, panels)

    def _static_words(self) -> Sequence[object]:
        first, last = self.page * self.page_size + 1, self.page * self.page_size + len(self._rows)
        order = _WORDS.get(self.sort, figure_words(self.sort))
        words = f"Masks of {', '.join(self.panels)}; images {first} to {last} of {len(self._order):,}, by {order}"
        ways = [f"{figure_words(name)}: {way}" for name in self.metrics if (way := better_words(name))]
        words += f" ({'; '.join(ways)})" if ways else ""
        return [words, static_table(self._rows, self.panels, self.metrics)]
