"""`ExplainWidget`: choose a photograph and a class, watch the mask as it is optimised, keep the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite
from typing import Any

import traitlets
from PIL import Image

from fidokit._util.html import joined, name_tag, tag
from fidokit._util.numbers import number
from fidokit.data.geometry import Geometry
from fidokit.data.images import LabelledImages
from fidokit.data.labels import is_right, match_labels
from fidokit.exceptions import ImageError, SettingsError
from fidokit.figures.masks import COLOUR_MAP, COLOUR_MAPS, KIND_NAMES, colour_map
from fidokit.methods import get_method, list_methods
from fidokit.methods.base import Kind, Masks
from fidokit.methods.regions import Regions
from fidokit.methods.verdicts import Verdict, standing
from fidokit.models.classifier import Classifier
from fidokit.models.goals import RUNNER_UP, check_asked, meant
from fidokit.widgets.answering import RunningWidget
from fidokit.widgets.display import KIND_ORDER, counted, facts_of
from fidokit.widgets.forms import GIVEN, filled_in, method_form, presets
from fidokit.widgets.gallery import Gallery
from fidokit.widgets.overlay import STATIC_PANELS, static_panels, static_size
from fidokit.widgets.pixels import layer_values, mask_layer, opening, outlined, sent_photograph
from fidokit.widgets.running import ExplainJob, ExplainRequest, Listener, LookJob, Progress
from fidokit.widgets.static_form import BUNDLES


class ExplainWidget(RunningWidget):
    """Explain one photograph after the other: choose it, a class and a method, and watch the mask while it is made.

    The computation runs in a thread beside the notebook's cells. What is chosen in the browser and what is set from
    Python are the same attributes; `start`, `stop` and `upload` do what the buttons do.

    Args:
        classifier: the classifier.
        data: photographs to choose from; None for uploads alone.
        method: the method that is chosen first.
        settings: settings of that method, offered as a set of its own; None for its defaults.
        baselines: methods that are computed before, with their defaults, to stand next to the mask. The default ones
            take about 50 evaluations together; those that the classifier does not support are left out, and said so.
        whole_frame: show the classifier the whole frame of each photograph, squashed to its input's shape, instead of
            what it was trained with; for animals at the edge. Can be changed between runs, by a button too.
        check: whether to cut the mask's regions in the end, and to check whether they are enough, or needed, under
            fill-ins that nothing was optimised with: 36 evaluations. May be set between runs.

    Attributes:
        image_id: the chosen photograph; empty while there is none.
        target: name of the class or taxon to explain; None for the predicted class. A part that no other name has may
            be set.
        against: likewise what to contrast it with; None for all others, ``"runner-up"`` for the best class beside it.
        rank: rank of the taxonomy at which to explain, see `fidokit.explain`; None for the class itself.
        method: name of the chosen method.
        settings: the settings object that is used at the next start.
        state: ``ready``, ``preparing`` (the classifier, the first time), ``running``, ``stopping``, ``done``,
            ``stopped`` or ``failed``.
        result: the `Masks` of the last run, of what there was if it was stopped; None before. It can be observed; the
            observer is called in the computing thread.
        regions: the `Regions` of the last run's mask, see `fidokit.find_regions`; None where they were not checked.
        baseline_results: method -> `Masks` of the last run's baselines.
        error: the exception of what failed last.

    Raises:
        SettingsError: an unknown method, or settings of another one.

    Example:
        >>> widget = fk.ExplainWidget(clf, data, method="grad-cam", baselines=())
        >>> widget.image_id == data.table["image_id"].iloc[0]
        True
    """

    BUSY = ("preparing", "running", "stopping")
    _esm = BUNDLES / "explain.js"
    _css = BUNDLES / "explain.css"
    _tables = traitlets.Dict().tag(sync=True)
    _photographs = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    _classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _taxa = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    _ranks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _looked = traitlets.Dict().tag(sync=True)
    _methods = traitlets.List(traitlets.Dict()).tag(sync=True)
    _photograph = traitlets.Dict().tag(sync=True)
    _layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    _shown = traitlets.Unicode().tag(sync=True)
    _progress = traitlets.Dict().tag(sync=True)
    _facts = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    _preset = traitlets.Unicode("default").tag(sync=True)
    image_id = traitlets.Unicode().tag(sync=True)
    target = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    against = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    rank = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    method = traitlets.Unicode("fido").tag(sync=True)
    settings = traitlets.Any()
    result = traitlets.Instance(Masks, allow_none=True)
    check = traitlets.Bool(True)
    whole_frame = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        classifier: Classifier,
        data: LabelledImages | None = None,
        *,
        method: str = "fido",
        settings: Any = None,
        baselines: Sequence[str] = ("grad-cam", "integrated-gradients"),
        whole_frame: bool = False,
        check: bool = True,
    ) -> None:
        chosen = get_method(method).resolve(settings)
        for name in baselines:
            get_method(name)
        self.classifier, self.baselines = classifier, tuple(baselines)
        self.baseline_results: dict[str, Masks] = {}
        self.regions: Regions | None = None
        self._region_layers: set[str] = set()
        self._in_sight: dict[str, None] = {}
        self._looking: LookJob | None = None
        self.error: Exception | None = None
        self._gallery = Gallery(data)
        self._given = {} if settings is None else {method: chosen}
        self._parts: dict[str, list[bytes]] = {}
        self._view: tuple[Image.Image, Geometry] | None = None
        super().__init__(
            _tables={name: colour_map(name).tobytes() for name in (COLOUR_MAP, *COLOUR_MAPS)},
            _photographs=self._gallery.listing(),
            _classes=list(classifier.class_names),
            _taxa=_other_taxa(classifier),
            _ranks=[] if classifier.taxonomy is None else list(classifier.taxonomy.levels),
            _methods=[method_form(name, self._given.get(name)) for name in list_methods()],
            _preset=GIVEN if self._given else "default",
            method=method,
            settings=chosen,
            whole_frame=whole_frame,
            check=check,
        )
        if data is not None and len(data):
            with self._errors_shown():
                self.image_id = str(data.table["image_id"].iloc[0])

    # --- what Python and the browser do --------------------------------------------------------------------------

    def start(self) -> None:
        """Explain the chosen photograph; returns at once, see `wait`.

        Raises:
            SettingsError: no photograph is chosen, a class is unknown or contrasted with itself, or it is running.
        """
        with self._lock:
            if self.state in self.BUSY:
                raise SettingsError("an explanation is running; stop it first")
            if not self.image_id:
                raise SettingsError("choose a photograph first, or upload one")
            if self.rank is None:
                self._check(self.target, self.against)
            baselines = tuple(name for name in self.baselines if name != self.method)
            order = ExplainRequest(
                self._gallery.one(self.image_id),
                self.method,
                self.settings,
                self.target,
                self.against,
                baselines,
                self.check,
                self.rank,
            )
            self.baseline_results, self.error, self.result, self.regions = {}, None, None, None
            self._region_layers = set()
            self._layers, self._facts, self._progress, self._message = [], [], {}, ""
            self._stop_looking()
            self.state = "preparing"
            self._run = ExplainJob(self._shown_to, order, _WidgetListener(self))
            self._run.start()

    def upload(self, name: str, content: bytes) -> None:
        """Add a photograph, the bytes of an image file, and choose it.

        Raises:
            ImageError: it is too large, or no photograph; the message says what to do.
        """
        image_id = self._gallery.add(name, content)
        self._photographs = self._gallery.listing()
        self.image_id = image_id

    # --- the attributes -------------------------------------------------------------------------------------------

    @traitlets.validate("image_id")
    def _is_photograph(self, proposal: Any) -> Any:
        if self.state in self.BUSY:
            raise SettingsError("an explanation is running; stop it before you choose another photograph")
        if proposal["value"] and proposal["value"] not in self._gallery:
            raise SettingsError(f"there is no photograph {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("target", "against")
    def _is_class(self, proposal: Any) -> Any:
        name = proposal["value"]
        if not name:
            return None
        if name != RUNNER_UP:
            name = str(meant(name, self.classifier.class_names, self.classifier.taxonomy))
            self._check(None, name)
        return name

    def _check(self, target: str | None, against: str | None) -> None:
        check_asked(target, against, self.classifier.class_names, self.classifier.taxonomy, self.classifier.head)

    @traitlets.validate("rank")
    def _is_rank(self, proposal: Any) -> Any:
        rank, taxonomy = proposal["value"] or None, self.classifier.taxonomy
        if rank is not None and taxonomy is None:
            raise SettingsError("the classifier has no taxonomy, so there are no ranks; make it with taxonomy=...")
        if rank is not None and taxonomy is not None:
            taxonomy.level(rank)
        return rank

    @traitlets.validate("method")
    def _is_method(self, proposal: Any) -> Any:
        get_method(proposal["value"])
        return proposal["value"]

    @traitlets.observe("method")
    def _other_method(self, change: Any) -> None:
        settings = self._given.get(change["new"])
        self._preset = "default" if settings is None else GIVEN
        self.settings = get_method(change["new"]).settings() if settings is None else settings

    @traitlets.validate("whole_frame")
    def _is_idle(self, proposal: Any) -> Any:
        if self.state in self.BUSY:
            raise SettingsError("an explanation is running; stop it before you change what the classifier is shown")
        return proposal["value"]

    @property
    def _shown_to(self) -> Classifier:
        """The classifier that looks: at the whole frame, where that is asked for."""
        return self.classifier.with_fit("squash") if self.whole_frame else self.classifier

    @traitlets.observe("image_id", "whole_frame")
    def _other_photograph(self, change: Any) -> None:
        self._layers, self._facts, self._progress, self._message = [], [], {}, ""
        self._view, self.state = None, "ready"
        if not self.image_id:
            self._photograph = {}
            return
        try:
            photograph, geometry = self._gallery.open(self.image_id, self._shown_to.preprocessing)
        except ImageError as error:
            # Said where the picture would be, too: the message goes with the next thing that is done.
            self._photograph = {"reason": str(error)}
            raise
        unseen = self._gallery.one(self.image_id).unseen_words(0, geometry)
        self._photograph = sent_photograph(photograph, geometry, unseen)
        self._view = static_size(photograph), geometry

    # --- what the browser says --------------------------------------------------------------------------------------

    def _actions(self) -> dict[str, Callable[..., None]]:
        return {
            "choose": self._choose,
            "start": self._start_as_typed,
            "likely": self._look,
            "stop": self.stop,
            "frame": self._frame,
            "upload": self._take_part,
            "thumbnails": self._send_thumbnails,
        }

    def _words_of(self, error: Exception) -> str:
        return self._gallery.named(super()._words_of(error))

    def _choose(self, image: str) -> None:
        self.image_id = image

    def _frame(self, whole: bool) -> None:
        self.whole_frame = whole

    def _start_as_typed(
        self,
        method: str,
        preset: str,
        fields: dict[str, Any],
        target: str | None,
        against: str | None,
        rank: str | None = None,
    ) -> None:
        base = presets(method, self._given.get(method))
        if preset not in base:
            raise SettingsError(f"{method} has no settings {preset!r}; it has {', '.join(base)}")
        settings = filled_in(method, base[preset], fields)
        self.method = method
        self.target, self.against, self.rank = target, against, rank
        self._preset, self.settings = preset, settings
        self.start()

    def _look(self, images: Sequence[str] = ()) -> None:
        """See in a thread what the classifier says of the chosen photograph, and of others that are in sight."""
        with self._lock:
            self._in_sight = dict.fromkeys([*self._in_sight, *images])
            wanted = [name for name in dict.fromkeys([self.image_id, *self._in_sight]) if name in self._gallery]
            asked = {name: self._gallery.one(name) for name in wanted if name not in self._looked}
            if asked and self.state not in self.BUSY:
                self._stop_looking()
                self._looking = LookJob(self.classifier, asked, self._show_looks)
                self._looking.start()

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.stop()

    def _show_looks(self, looks: Mapping[str, list[tuple[str, float]]]) -> None:
        with self._lock:
            self._looked = {
                **self._looked,
                **{image_id: self._look_of(image_id, looks[image_id]) for image_id in looks},
            }

    def _look_of(self, image_id: str, likely: list[tuple[str, float]]) -> dict[str, Any]:
        """What the classifier says of a photograph, and whether that is what its label means."""
        predicted = likely[0][0] if likely else None
        label, classifier = self._gallery.describe(image_id)["label"], self.classifier
        match = match_labels([label], classifier.class_names, classifier.label_groups)
        state = "not judged"
        if label in match.classes and predicted is not None:
            state = "right" if is_right(match[label], predicted, classifier.label_groups) else "wrong"
        return {"predicted": predicted or "", "state": state, "likely": [list(pair) for pair in likely]}

    def _take_part(self, name: str, part: int, parts: int, content: bytes = b"") -> None:
        """A piece of an uploaded file: servers refuse messages of some ten megabytes."""
        pieces = [] if part == 0 else self._parts.get(name, [])
        self._parts[name] = [*pieces, content]
        if part + 1 < parts:
            return
        whole = self._parts.pop(name)
        try:
            if len(whole) != parts:
                raise ImageError(f"{name} did not arrive whole; upload it again")
            self.upload(name, b"".join(whole))
        except Exception as error:
            self.send({"kind": "uploaded", "refused": self._words_of(error)})
            raise
        self.send({"kind": "uploaded", "refused": ""})

    def close(self) -> None:
        """Stop, and close all views."""
        if hasattr(self, "_looking"):  # it is not where the constructor failed
            self._stop_looking()
        super().close()

    def _send_thumbnails(self, images: list[str]) -> None:
        for image_id in images:
            self.send({"kind": "thumbnail", "image": image_id}, [self._gallery.thumbnail(image_id)])
        self._look(images)

    # --- what is shown --------------------------------------------------------------------------------------------

    def _show_masks(self, masks: Mapping[str, Any], verdicts: Mapping[str, Verdict] | None = None) -> None:
        """Show masks by name; of those that are there already, only their bytes are sent.

        Args:
            masks: (h, w) each.
            verdicts: of all masks that are shown, at the end: those that explain little step back, and the view opens
                on the one that leads.
        """
        made = [mask_layer(name, mask) for name, mask in masks.items()]
        if verdicts is not None:
            every = {layer["name"]: layer for layer in (*self._layers, *made)}.values()
            geometry = None if self._view is None else self._view[1]
            judged = [
                layer
                | ({"verdict": verdicts[layer["name"]]} if layer["name"] in verdicts else {})
                | ({} if geometry is None else {"view": opening(geometry, layer_values(layer))})
                for layer in every
            ]
            self._layers = sorted(judged, key=self._standing)
            return
        names = [layer["name"] for layer in self._layers]
        if not all(layer["name"] in names for layer in made):
            every = {layer["name"]: layer for layer in (*self._layers, *made)}.values()
            self._layers = sorted(every, key=lambda layer: self._rank(layer["name"]))
            return
        places = []
        for layer in made:
            position = names.index(layer["name"])
            # In place: right for a view that opens later, without sending the others again.
            self._layers[position].update(layer)
            places.append({"layer": position, "height": layer["height"], "width": layer["width"]})
        self.send({"kind": "masks", "masks": places}, [layer["data"] for layer in made])

    def _standing(self, layer: Mapping[str, Any]) -> tuple[int, int]:
        return self._rank(layer["name"]), standing(layer.get("verdict", "not judged"))

    def _rank(self, name: str) -> int:
        """Own masks, then those of the baselines, then regions."""
        return 2 if name in self._region_layers else int(name in self.baseline_results)

    def __repr__(self) -> str:
        return f"ExplainWidget({self.image_id!r}, {self.method}, {self.state})"

    def _static_picture(self) -> Image.Image | None:
        if self._view is None:
            return None
        panels: list[tuple[str, Any]] = [("photograph", None)]
        panels += [(layer["name"], layer_values(layer)) for layer in self._layers[:STATIC_PANELS]]
        return static_panels(*self._view, panels)

    def _static_alt(self) -> str:
        masks = ", ".join(layer["name"] for layer in self._layers[:STATIC_PANELS])
        return f"{self.image_id}: photograph" + (f" and masks: {masks}" if masks else "")

    def _static_words(self) -> Sequence[object]:
        if not self.image_id:
            return ["No photograph chosen yet"]
        label = self._gallery.describe(self.image_id)["label"]
        words: list[object] = [joined([name_tag(self.image_id), f" ({label})" if label else None])]
        words += [joined([f"{term}: ", name_tag(value)]) for term, value in self._facts]
        words += [tag("strong", self._photograph["unseen"])] if self._photograph.get("unseen") else []
        if unseen := [layer["name"] for layer in self._layers[STATIC_PANELS:]]:
            words.append(f"Not in this picture: {', '.join(unseen)}")
        if self._message:
            words.append(tag("div", self._message))
        return words


def _other_taxa(classifier: Classifier) -> list[list[str]]:
    """[name, rank and number of classes] of the taxa that are not just a class, the coarsest first."""
    taxa = {} if classifier.taxonomy is None else classifier.taxonomy.taxa
    classes = set(classifier.class_names)
    own = [taxon for name, taxon in taxa.items() if name not in classes]
    return [[taxon.name, f"{taxon.rank}, {counted(len(taxon.members), 'class', 'classes')}"] for taxon in own]


class _WidgetListener(Listener):
    """Puts what a run tells into the widget; in the run's thread."""

    def __init__(self, widget: ExplainWidget) -> None:
        self.widget = widget
        self.unchecked: str | None = None

    def predicted(self, prediction: dict[str, object], likely: list[tuple[str, float]]) -> None:
        widget = self.widget
        widget._show_looks({widget.image_id: likely})
        with widget._lock:
            if widget.state == "preparing":
                widget.state = "running"
            best, second = (
                None if prediction[name] is None else str(prediction[name]) for name in ("predicted", "runner_up")
            )
            score, margin = (float(str(prediction[name])) for name in ("score", "margin"))
            rest = f"; then {second}, {number(score - margin)}" if second is not None else ""
            widget._facts = [["Predicted", f"{best}, {number(score)}{rest}"]]

    def baseline(self, name: str, result: Masks | None, reason: str | None) -> None:
        widget = self.widget
        if result is None:
            widget._facts = [*widget._facts, [name, f"left out: {reason}"]]
            return
        widget.baseline_results[name] = result
        widget._show_masks({name: result.attribution[0] if "attribution" in result.kinds else result.joint[0]})

    def progress(self, progress: Progress) -> None:
        widget = self.widget
        first = not widget._progress
        names = _shown_names(widget.method, progress.masks)
        widget._show_masks({names[kind]: progress.masks[kind] for kind in names})
        widget._progress = {
            "loss": progress.loss,
            "kept": progress.kept,
            "dropped": progress.dropped,
            "evaluations": progress.evaluations,
            "total": progress.total,
            "rate": progress.rate,
            "left": progress.left,
        }
        if first and names:
            widget._shown = next(iter(names.values()))

    def checked(self, regions: Regions | None, reason: str | None) -> None:
        self.widget.regions, self.unchecked = regions, reason

    def ended(self, result: Masks | None, error: Exception | None) -> None:
        widget = self.widget
        with widget._lock:
            stopped = widget.state == "stopping"
            if error is not None:
                widget.error = error
                widget._message = widget._words_of(error)
            if result is not None:
                names = _shown_names(widget.method, result.kinds)
                regions = {f"{names[one.kind]} {one.claim} region": one for one in widget.regions or ()}
                drawn = {name: outlined(one.region) for name, one in regions.items()}
                widget._region_layers = set(drawn)
                verdicts = {names[kind]: result.verdict(kind, 0) for kind in names}
                for name, made in widget.baseline_results.items():
                    verdicts[name] = made.verdict("attribution" if "attribution" in made.kinds else "joint", 0)
                widget._show_masks({names[kind]: result.kinds[kind][0] for kind in names} | drawn, verdicts)
                # A mask that is what its name says leads; none is left out.
                widget._shown = min(names.values(), key=lambda name: standing(verdicts[name]))
                told = [[f"Region {KIND_NAMES[one.kind]}", one.verdict] for one in regions.values()]
                if self.unchecked is not None:
                    told.append(["Regions", f"not checked: {self.unchecked}"])
                widget._facts = [*widget._facts, *facts_of(result), *told]
                stopped = stopped and not bool(result.finished[0])
                widget._progress = _final(widget._progress, result, stopped)
            widget.result = result
            widget.state = "failed" if error is not None else "stopped" if stopped else "done"
        widget._refresh_static()
        if error is None:
            widget._look()


def _final(progress: Mapping[str, Any], result: Masks, stopped: bool) -> dict[str, Any]:
    """The figures of the last look with those of the result, which counts all evaluations and scores the masks."""
    evaluations = int(result.evaluations[0])

    def score(scores: Mapping[Kind, Any], kind: Kind) -> float | None:
        own = scores.get(kind, next(iter(scores.values()), None))
        return None if own is None or not bool(isfinite(own[0])) else float(own[0])

    return {
        **progress,
        "evaluations": evaluations,
        "total": max(evaluations, progress["total"]) if stopped else evaluations,
        "kept": score(result.score_kept, "ssr"),
        "dropped": score(result.score_dropped, "sdr"),
    }


def _shown_names(method: str, kinds: Collection[Kind]) -> dict[Kind, str]:
    """Kind -> name of its layer, in the order they are shown."""
    several = len(kinds) > 1
    return {kind: f"{method} {KIND_NAMES[kind]}" if several else method for kind in KIND_ORDER if kind in kinds}
