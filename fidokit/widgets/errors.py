"""`ErrorWidget`: the map of error clusters, linked with their table and with a gallery of photographs."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets
from ipywidgets import CallbackDispatcher
from PIL import Image

from fidokit._util.spreadsheet import csv_bytes
from fidokit.errors.result import ErrorClusters
from fidokit.errors.verification import Verification
from fidokit.exceptions import ImageError, SettingsError
from fidokit.figures.masks import COLOUR_MAP, COLOUR_MAPS, colour_map
from fidokit.widgets.answering import RunningWidget
from fidokit.widgets.compare_rows import mask_names, prediction
from fidokit.widgets.errors_tables import (
    change_rows,
    cluster_rows,
    column_words,
    counts_in,
    map_picture,
    members_of,
    points,
    static_clusters,
)
from fidokit.widgets.pixels import mask_layer
from fidokit.widgets.static_form import BUNDLES
from fidokit.widgets.study_tiles import StudyTiles
from fidokit.widgets.verifying import Verifying

#: What the gallery calls the masks that the clusters rest on.
MASK = "mask"


class ErrorWidget(RunningWidget):
    """Error clusters to look at: a map of all images, the table of clusters with their evidence, and a gallery.

    Select on the map with a box or a lasso, or choose a cluster: the gallery shows those images, the table how many of
    them each cluster holds, and `selection` has them in the notebook. Every selection arrives, in order, also those
    that are made while a cell runs.

    Args:
        errors: the clusters.

    Attributes:
        selected: image_ids of what is selected, in the order of the gallery; can be set and observed.
        selection: the same as a DataFrame.
        cluster: number of the chosen cluster, or None; choosing one selects its images, the most typical first.
        image_id: the image that is shown large; empty for none.
        state: ``ready``, ``running`` or ``stopping``, of a verification.
        error: the exception of what failed last.

    Example:
        >>> widget = fk.ErrorWidget(fk.find_error_clusters(study))
        >>> widget.selected = [data.table["image_id"].iloc[0]]
        >>> len(widget.selection)
        1
    """

    _esm = BUNDLES / "errors.js"
    _css = BUNDLES / "errors.css"
    _tables = traitlets.Dict().tag(sync=True)
    _points = traitlets.Dict().tag(sync=True)
    _ids = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _words = traitlets.Dict().tag(sync=True)
    _clusters = traitlets.List(traitlets.Dict()).tag(sync=True)
    _summary = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _view = traitlets.Dict().tag(sync=True)
    _progress = traitlets.List(traitlets.Int()).tag(sync=True)
    _photograph = traitlets.Dict().tag(sync=True)
    _layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    _remark = traitlets.Unicode().tag(sync=True)
    image_id = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Tuple()
    cluster = traitlets.Int(None, allow_none=True)

    def __init__(self, errors: ErrorClusters) -> None:
        self.errors = errors
        self.error: Exception | None = None
        self._tiles = StudyTiles(errors.study)
        self._map = errors.map
        self._places = {str(image_id): i for i, image_id in enumerate(self._map["image_id"])}
        self._rows: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._heard: dict[str, int] = {}
        self._listeners = CallbackDispatcher()
        super().__init__(
            _tables={name: colour_map(name).tobytes() for name in (COLOUR_MAP, *COLOUR_MAPS)},
            _points=points(self._map),
            _ids=list(self._places),
            _clusters=cluster_rows(errors),
            _words=column_words(),
            _summary=errors.summary().splitlines(),
            _remark=self._tiles.remark or "",
        )
        self._show_selection()

    # --- what Python and the browser do ---------------------------------------------------------------------------

    @property
    def selection(self) -> pd.DataFrame:
        """What is selected: image_id, path, label, predicted, correct, score, half, cluster (the clearest systematic
        one that holds the image, -1 for none), x and y, in the order of the gallery."""
        return self._map.iloc[self._rows].reset_index(drop=True)

    def on_select(self, callback: Callable[[ErrorWidget], object], remove: bool = False) -> None:
        """Call a function with the widget at every selection, also if it selects what was selected; or no longer.

        Selections made while a cell runs are told one by one, in order, where the kernel answers widgets beside cells
        in another thread.
        """
        self._listeners.register_callback(callback, remove=remove)

    def verify(self, clusters: Sequence[int] | None = None) -> None:
        """Change the pixels of clusters and count what turns right; returns at once, see `wait`.

        The result is in `errors`, as if `ErrorClusters.verify` had been called.

        Args:
            clusters: their numbers; None for all systematic ones.

        Raises:
            SettingsError: a cluster that there is not, none to verify, or a verification is running.
        """
        with self._lock:
            if self.state in self.BUSY:
                raise SettingsError("a verification is running; stop it first")
            table = self.errors.clusters
            chosen = table.loc[table["systematic"], "cluster"].tolist() if clusters is None else list(clusters)
            self.errors.check_clusters(chosen)
            if not chosen:
                raise SettingsError("no cluster is systematic; choose one to verify")
            self._message, self._progress, self.state = "", [0, 0], "running"
            self._run = Verifying(self.errors, chosen, self._show_progress, self._ended)
            self._run.start()

    def refresh(self) -> None:
        """Show what `errors` knows by now, as after `ErrorClusters.verify` in a cell."""
        with self._lock:
            self._clusters = cluster_rows(self.errors)
        self._refresh_static()

    # --- the attributes -------------------------------------------------------------------------------------------

    @traitlets.validate("selected")
    def _are_images(self, proposal: Any) -> Any:
        for image_id in proposal["value"]:
            self._row(image_id)
        return tuple(proposal["value"])

    @traitlets.validate("cluster")
    def _is_cluster(self, proposal: Any) -> Any:
        return None if proposal["value"] is None else self.errors.check_clusters([proposal["value"]])[0]

    @traitlets.validate("image_id")
    def _is_image(self, proposal: Any) -> Any:
        if proposal["value"]:
            self._row(proposal["value"])
        return proposal["value"]

    @traitlets.observe("selected")
    def _selected_in_python(self, change: Any) -> None:
        rows = np.asarray([self._places[image_id] for image_id in change["new"]], dtype=np.int64)
        if not np.array_equal(rows, self._rows):
            self._select(rows, None)

    @traitlets.observe("cluster")
    def _chosen_in_python(self, change: Any) -> None:
        if change["new"] is not None and change["new"] != self._view.get("cluster"):
            self._select(members_of(self.errors, change["new"]), change["new"])

    @traitlets.observe("image_id")
    def _other_image(self, change: Any) -> None:
        self._photograph, self._layers, self._about = {}, [], {}
        if not change["new"]:
            return
        try:
            self._photograph = self._tiles.sent(change["new"])
        except ImageError as error:
            self._message = str(error)
            self._photograph = {"reason": str(error)}
        self._layers = self._tiles.large(change["new"], mask_names(self.errors.study))
        record = self._map.iloc[self._places[change["new"]]].to_dict()
        self._about = prediction(record | {"reason": None})

    def _row(self, image_id: str) -> int:
        if image_id not in self._places:
            raise SettingsError(f"there is no image {image_id!r} among the images of these clusters")
        return self._places[image_id]

    # --- what the browser says --------------------------------------------------------------------------------------

    def _actions(self) -> dict[str, Callable[..., None]]:
        return {
            "select": self._take_selection,
            "heard": lambda view: self._say_heard(view, asked=True),
            "pictures": self._send_pictures,
            "open": self._open,
            "verify": self._verify_as_chosen,
            "changes": self._send_changes,
            "stop": self.stop,
            "csv": self._send_csv,
            "put": self._put,
        }

    def _take_selection(self, view: str, number: int, cluster: int | None = None, content: bytes = b"") -> None:
        """A selection of one of the browser's views, numbered from 1: each is taken once, and in order.

        Args:
            view: who made it.
            number: its number.
            cluster: the cluster that was chosen; None where images were selected.
            content: bytes of the uint32 rows of the map.
        """
        with self._lock:
            expected = self._heard.get(view, 0) + 1
            if number == expected:
                self._heard[view] = number
            self._say_heard(view)
            if number != expected:
                return
            if cluster is not None:
                self.errors.check_clusters([cluster])
                self._select(members_of(self.errors, cluster), cluster, (view, number))
                return
            rows = np.frombuffer(content, np.uint32).astype(np.int64)
            if len(rows) and rows.max() >= len(self._map):
                raise SettingsError(f"the selection names image {rows.max()} of {len(self._map)}")
            self._select(rows, None, (view, number))

    def _say_heard(self, view: str, asked: bool = False) -> None:
        """The number of the last selection of a view that arrived; where it asked, it sends again what came after."""
        self.send({"kind": "heard", "view": view, "number": self._heard.get(view, 0), "asked": asked})

    def _send_pictures(self, images: list[int]) -> None:
        """A message an image, so that each is seen as soon as it is there: photograph, and the mask of its cluster."""
        for row in images:
            image_id = str(self._map["image_id"].iloc[row])
            layer = mask_layer(MASK, self.errors.features.masks[row])
            described, data = self._tiles.picture(image_id, [layer])
            self.send({"kind": "picture", "image": row, **described}, data)

    def _open(self, image: int | None) -> None:
        self._message = ""
        self.image_id = "" if image is None else str(self._map["image_id"].iloc[image])

    def _verify_as_chosen(self, cluster: int | None = None) -> None:
        self.verify(None if cluster is None else [cluster])

    def _send_changes(self, cluster: int) -> None:
        rows, data = change_rows(self.errors, cluster)
        self.send({"kind": "changes", "cluster": cluster, "rows": rows}, data)

    def _send_csv(self) -> None:
        """The selected photographs as a file that the browser saves."""
        self.send({"kind": "csv", "name": "selection.csv"}, [csv_bytes(self.selection)])

    def _put(self, name: str) -> None:
        """Give the notebook a variable with the selection."""
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise SettingsError(f"{name!r} cannot be the name of a variable; use letters, digits and underscores")
        from IPython import get_ipython

        shell = get_ipython()
        if shell is None:
            raise SettingsError("there is no notebook to put it into; use widget.selection")
        shell.push({name: self.selection})
        self.send({"kind": "put", "name": name, "count": len(self._rows)})

    # --- what is shown ----------------------------------------------------------------------------------------------

    def _select(self, rows: npt.NDArray[np.int64], cluster: int | None, origin: tuple[str, int] | None = None) -> None:
        with self._lock:
            self._rows = rows
            self._show_selection(cluster, origin)
            self.cluster = cluster
            self.selected = tuple(self._map["image_id"].iloc[rows])
        self._listeners(self)

    def _show_selection(self, cluster: int | None = None, origin: tuple[str, int] | None = None) -> None:
        """Tell all views; the one that made the selection may have made others by now."""
        view, number = origin or ("", 0)
        listed = [row["cluster"] for row in self._clusters]
        self._view = {
            "rows": self._rows.astype(np.uint32).tobytes(),
            "cluster": cluster,
            "counts": counts_in(self.errors, listed, self._rows),
            "view": view,
            "number": number,
        }

    def _show_progress(self, done: int, total: int) -> None:
        self._progress = [done, total]

    def _ended(self, found: Verification | None, error: Exception | None) -> None:
        with self._lock:
            if found is not None:
                self.errors.verification = found
                self._clusters = cluster_rows(self.errors)
            if error is not None:
                self.error, self._message = error, self._words_of(error)
            self.state = "ready"
        self._refresh_static()

    def __repr__(self) -> str:
        return f"ErrorWidget({len(self._map)} images, {len(self.errors)} clusters, {len(self._rows)} selected)"

    def _static_picture(self) -> Image.Image:
        return map_picture(self._map)

    def _static_words(self) -> Sequence[object]:
        return ["Map of the images: a cross is wrong, a colour a systematic cluster", static_clusters(self.errors)]
