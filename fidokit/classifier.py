"""`Classifier`: a torch model with its preprocessing, class names, device and precision."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from fidokit import frozen
from fidokit.exceptions import ClassifierError, ImageError, SettingsError
from fidokit.fingerprint import fingerprint_of, fingerprint_parts
from fidokit.images import LabelledImages, Preprocessing
from fidokit.inputs import Images, as_tensor, check_tensor, given_images
from fidokit.methods.objective import Goal, Head, Targets
from fidokit.prediction import prediction_of, prediction_table
from fidokit.reading import Chunk, read_chunks
from fidokit.session import OpenSessions, PerThread, Session

if TYPE_CHECKING:
    import pandas as pd

ProgressBar = Callable[[int], object]
Transform = Callable[[Image.Image], Tensor]


class Classifier(PerThread):
    """Any torch image classifier, together with all that is needed to run it on photographs.

    The module itself is never changed: work is done on a frozen copy that lives as long as a `session`. Threads may use
    a classifier at the same time: each has sessions, and so a copy, of its own.

    Args:
        module: gives (B, K) logits, or an output object with ``.logits``, for (B, 3, H, W) normalised images.
        class_names: K different names; None takes them from the module's own configuration, else numbers them. For a
            single logit, one name (its opposite becomes "not NAME") or two (absent, present).
        mean, std: per channel, for images in [0, 1]. Default: the module's configuration, else ImageNet's.
        size: (H, W) of the input in pixels. Default: the module's configuration, else (224, 224).
        fit, crop_share, interpolation, use_boxes, box_padding: see `Preprocessing`. ``use_boxes=True`` crops every
            photograph to its annotated box.
        transform: a function of your own from the upright PIL image to (3, H, W) in [0, 1] at `size`, without
            Normalize, instead of fit, crop_share, interpolation and use_boxes; `Preprocessing` says what is lost by it.
        head: ``softmax`` for one class an image, ``sigmoid`` for independent classes; ``auto`` means sigmoid for a
            single logit and for modules configured as multi-label.
        device: ``auto`` is CUDA where there is one, else the CPU.
        precision: ``auto`` takes the fastest of float32, bfloat16 and float16 that agrees with float32 on a probe;
            a name from `fidokit.frozen.PRECISIONS` is taken as it is. Resolved at the first use; `precision_reason`
            says what was chosen and why.
        micro_batch: evaluations that go through at once; None finds the fastest at the first use. Running out of memory
            lowers it.
        layer: dotted name of the layer that class activation maps read; None finds it.
        name: how the model is named on the command line, so that a store can load it again.

    Raises:
        ClassifierError: the module cannot be run, or its logits and the names do not match.
        SettingsError: an unknown head, device, precision or layer, or a micro-batch below 1.
    """

    def __init__(
        self,
        module: nn.Module,
        class_names: Sequence[str] | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: tuple[int, int] | int | None = None,
        fit: str | None = None,
        crop_share: float | None = None,
        interpolation: str | None = None,
        use_boxes: bool = False,
        box_padding: float = 0.1,
        transform: Transform | None = None,
        head: str = "auto",
        device: str | torch.device = "auto",
        precision: str = "auto",
        micro_batch: int | None = None,
        layer: str | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ClassifierError(f"a torch.nn.Module is needed, not {type(module).__name__}")
        from fidokit.loading import own_configuration

        own = own_configuration(module)
        given: dict[str, Any] = {
            "mean": mean,
            "std": std,
            "size": (size, size) if isinstance(size, int) else size,
            "fit": fit,
            "crop_share": crop_share,
            "interpolation": interpolation,
        }
        options = own.preprocessing | {key: value for key, value in given.items() if value is not None}
        self.module = module
        if transform is not None and (fit, crop_share, interpolation) != (None, None, None):
            raise SettingsError("a transform takes the place of fit, crop_share and interpolation; leave them out")
        self.preprocessing = Preprocessing(**options, use_boxes=use_boxes, box_padding=box_padding, transform=transform)
        self.device = _device(device)
        if precision != "auto" and precision not in frozen.PRECISIONS:
            raise SettingsError(
                f"unknown precision {precision!r}; choose auto or one of {', '.join(frozen.PRECISIONS)}"
            )
        if micro_batch is not None and (not isinstance(micro_batch, int) or micro_batch < 1):
            raise SettingsError(f"micro_batch must be a whole number of at least 1, or None, not {micro_batch!r}")
        self.precision = precision
        self.precision_reason = "not probed yet" if precision == "auto" else "asked for"
        self.micro_batch = micro_batch
        #: Precision -> the fastest batch without a backward pass, where it was looked for.
        self.forward_batches: dict[str, int] = {}
        self.layer = layer
        self.name = name
        if layer is not None and layer not in dict(module.named_modules()):
            raise SettingsError(f"the classifier has no layer {layer!r}; `dict(module.named_modules())` lists them")
        if head not in ("auto", "softmax", "sigmoid"):
            raise SettingsError(f"unknown head {head!r}; choose auto, softmax or sigmoid")
        outputs = self._count_logits()
        self.single_logit = outputs == 1
        sigmoid = self.single_logit or own.multi_label if head == "auto" else head == "sigmoid"
        if self.single_logit and not sigmoid:
            raise SettingsError("a single logit has no softmax; use head='sigmoid' or 'auto'")
        self.head: Head = "sigmoid" if sigmoid else "softmax"
        self.class_names = _class_names(class_names, own.class_names, outputs)
        self.memory_format: torch.memory_format | None = None
        self._exact_limit: int | None = None
        super().__init__()

    @classmethod
    def load(cls, name: str, **options: Any) -> Classifier:
        """A classifier by its command-line name; ``options`` are those of the constructor.

        ``timm:NAME``, ``torchvision:NAME``, ``hf:PATH``, ``FILE.pt2`` (torch.export) or ``python:module:function``.

        Raises:
            MissingExtra: the library it needs is not installed.
            ClassifierError: nothing can be loaded under this name.
        """
        from fidokit.loading import load

        return load(name, **options)

    def _repr_html_(self) -> str:
        from fidokit.display import classifier_html

        return classifier_html(self)

    def __repr__(self) -> str:
        return (
            f"Classifier({type(self.module).__name__}, {len(self.class_names)} classes, size={self.size}, "
            f"head={self.head}, device={self.device}, precision={self.precision} ({self.precision_reason}))"
        )

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input in pixels."""
        return self.preprocessing.size

    @contextmanager
    def session(self, *, exact: bool = False) -> Iterator[Session]:
        """A frozen copy of the module, ready for evaluations, for as long as the context is open.

        Inside another session of the same kind, opened by the same thread, that one is used again.

        Args:
            exact: float32 and every layer as it is, for methods that read layers; otherwise batch normalisation is
                folded into the convolutions and the classifier's precision is used.
        """
        kind, sessions = "exact" if exact else "fast", self._open
        if kind in sessions:
            yield sessions[kind]
            return
        with self._lock:
            session = self._open_exact() if exact else self._open_fast()
        sessions[kind] = session
        begun_with = session.micro_batch
        try:
            yield session
        finally:
            del sessions[kind]
            # What did not fit once would not fit in the next session either; another thread may have found less.
            if session.micro_batch < begun_with:
                with self._lock:
                    if exact:
                        self._exact_limit = min(session.micro_batch, self._exact_limit or session.micro_batch)
                    else:
                        self.micro_batch = min(session.micro_batch, self.micro_batch or session.micro_batch)

    def any_session(self) -> Session:
        """For a look at the layers with a single image: a session that is open, else an exact one, without tuning."""
        found = next(iter(self._open.values()), None)
        if found is not None:
            return found
        with self._lock:
            return self._untuned()

    def logits(self, images: Images) -> Tensor:
        """(B, K) float32 logits of images.

        Args:
            images: `LabelledImages`; a (B, 3, H, W) tensor or array in [0, 1] at the classifier's size; or photographs
                of any size: paths, PIL images or (H, W, 3) arrays, one or a list of them.

        Raises:
            ImageError: one cannot be read, or is of the wrong shape, size or range; `predict` goes on.
        """
        tensor = as_tensor(images)
        if tensor is not None:
            checked = self.check_images(tensor)
            with self.session() as session:
                return session.logits(checked)
        data = given_images(images, self.check_images)
        parts = [torch.empty(0, len(self.class_names))]
        with self.session() as session, closing(self._read(data, session.micro_batch)) as reading:
            for chunk in reading:
                if chunk.unread:
                    position, reason = next(iter(chunk.unread.items()))
                    raise ImageError(f"image {position} has no logits: {reason}")
                parts.append(session.logits(chunk.images))
        return torch.cat(parts)

    def _read(self, data: LabelledImages, size: int) -> Generator[Chunk, None, None]:
        """The photographs, so many at a time, as the classifier's input."""
        chunks = [(start, range(start, min(start + size, len(data)))) for start in range(0, len(data), size)]
        return read_chunks(data, self.preprocessing, chunks)

    def log_odds(self, images: Images, targets: Targets = None, against: Targets = None) -> Tensor:
        """(B,) float32 log-odds of the targets, each an index or a name; by default of the predicted classes.

        Against all other classes: ``logit_c - logsumexp(others)``; with ``against``: ``logit_a - logit_b``; of a
        sigmoid head: the logit itself.
        """
        logits = self.logits(images)
        return self.goal(logits, targets, against).log_odds(logits)

    def goal(self, logits: Tensor, targets: Targets = None, against: Targets = None) -> Goal:
        """What to explain for images with these (B, K) logits."""
        return Goal.resolve(targets, against, logits=logits, class_names=self.class_names, head=self.head)

    def predict(self, data: Images, *, on_image: ProgressBar | None = None) -> pd.DataFrame:
        """One row an image: image_id, path, label, predicted, correct, score, margin, runner_up, reason.

        ``score`` is the probability of the predicted class and ``margin`` its distance to the runner-up's. An image
        that cannot be read keeps its row, with the reason and without a prediction; so does one with NaN logits.
        ``correct`` is missing where there is no label or the classifier does not know it.

        Args:
            data: the photographs, as for `logits`; those that are no `LabelledImages` have their positions as image_id
                and no labels.
            on_image: called with the number of images done since the last call.
        """
        data = given_images(data, self.check_images)
        rows: list[dict[str, object]] = []
        with self.session() as session, closing(self._read(data, session.micro_batch)) as reading:
            for chunk in reading:
                logits = dict(zip(chunk.positions, session.logits(chunk.images), strict=True))
                positions = sorted([*logits, *chunk.unread])
                rows += [self.prediction(logits.get(i), chunk.unread.get(i)) for i in positions]
                if on_image is not None:
                    on_image(len(positions))
        return self.prediction_table(data, rows)

    def prediction(self, logits: Tensor | None, reason: str | None = None) -> dict[str, object]:
        """Predicted class, score, margin and runner-up from (K,) logits, or the reason why there are none."""
        return prediction_of(logits, reason, self.class_names, self.head)

    def prediction_table(self, data: LabelledImages, rows: list[dict[str, object]]) -> pd.DataFrame:
        """The table of `predict` from one `prediction` an image."""
        return prediction_table(data, rows, self.class_names)

    def check_images(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images in [0, 1] as they are, in float32 and without a graph.

        Raises:
            ImageError: another shape, size or range; the message says how to convert.
        """
        return check_tensor(images, self.size)

    def fingerprint(self) -> str:
        """SHA-256 (hex) that names the classifier: equal means that the same module gives the same answers.

        It is made of parameters and buffers, the module's structure (``repr``), its logits of a fixed image, the
        preprocessing, the head and the class names; see `fidokit.fingerprint`. Computed anew at every call, without
        finding precision or micro-batch; logits that differ by rounding alone nearly always give the same one.

        Raises:
            ClassifierError: the module cannot be copied or run.
        """
        return fingerprint_of(fingerprint_parts(self))

    def _count_logits(self) -> int:
        parameter = next(self.module.parameters(), None)
        probe = torch.full((1, 3, *self.size), 0.5)
        if parameter is not None:
            probe = probe.to(parameter.device, parameter.dtype)
        try:
            with frozen.borrowed(self.module), torch.no_grad():
                return int(frozen.logits_of(self.module(probe)).shape[1])
        except ClassifierError:
            raise
        except Exception as error:
            height, width = self.size
            raise ClassifierError(
                f"{type(self.module).__name__} cannot be run on a (1, 3, {height}, {width}) image: {error}. "
                "Is `size` right?"
            ) from error

    def _copy(self) -> nn.Module:
        """A frozen float32 copy, in a memory format in which it can be run."""
        if self.memory_format is not None:
            return frozen.frozen_copy(self.module, self.device, memory_format=self.memory_format)
        twin = frozen.frozen_copy(self.module, self.device)
        self.memory_format = frozen.find_memory_format(twin, self._probe(2))
        return twin

    def _untuned(self) -> Session:
        return Session(self._copy(), self, frozen.PRECISIONS["float32"])

    def _open_exact(self) -> Session:
        session = self._untuned()
        if self.micro_batch is None and self._exact_limit is None:
            self._exact_limit = self._tune(session)
        session.micro_batch = min(size for size in (self.micro_batch, self._exact_limit) if size is not None)
        return session

    def _open_fast(self) -> Session:
        twin = self._copy()
        probe = self._probe(8)
        twin = frozen.fold_batch_norm(twin, probe[:2])
        if self.precision == "auto":
            self.precision, self.precision_reason = self._choose_precision(twin, probe)
        precision = frozen.PRECISIONS[self.precision]
        session = Session(twin.to(precision.dtype), self, precision)
        if self.micro_batch is None:
            self.micro_batch = self._tune(session)
        session.micro_batch = self.micro_batch
        return session

    def _choose_precision(self, twin: nn.Module, probe: Tensor) -> tuple[str, str]:
        baseline = Session(twin, self, frozen.PRECISIONS["float32"])
        # All copies first: a module that remembers what it computed cannot be copied after a pass with gradients.
        trials = [
            Session(frozen.frozen_copy(twin, self.device, low.dtype, baseline.memory_format), self, low)
            for low in frozen.candidates(self.device)
        ]
        if self.device.type == "cuda":
            probe = frozen.enough(baseline.forward, probe, self.micro_batch)
        reference = frozen.forward_and_input_gradient(baseline.forward, probe)
        times: dict[str, float] = {}
        reasons: list[str] = []
        for trial in trials:
            name, cast = trial.precision.name, probe.to(trial.precision.dtype)
            try:
                other = frozen.forward_and_input_gradient(trial.forward, cast)
            except RuntimeError as error:
                reasons.append(f"{name}: {str(error).splitlines()[0]}")
                continue
            if why := frozen.disagreement(reference, other):
                reasons.append(f"{name}: {why}")
                continue
            times[name] = self._seconds(trial, cast)
        own = self._seconds(baseline, probe)
        best = min(times, key=times.__getitem__) if times else None
        if best is not None and times[best] <= frozen.FASTER * own:
            return best, f"agrees with float32 on a probe and takes {times[best] / own:.2f} of its time"
        if best is not None:
            reasons.append(f"{best}: takes {times[best] / own:.2f} of float32's time")
        return "float32", "; ".join(reasons)

    def _seconds(self, session: Session, images: Tensor) -> float:
        return frozen.seconds_per_call(lambda: frozen.forward_and_input_gradient(session.forward, images), self.device)

    def _tune(self, session: Session) -> int:
        few = self._probe(8).to(session.precision.dtype)

        def evaluate(size: int) -> None:
            frozen.forward_and_input_gradient(session.forward, frozen.repeated(few, size))

        return frozen.find_micro_batch(evaluate, self.device)

    def _probe(self, n: int) -> Tensor:
        """(n, 3, H, W) normalised smooth noise, no more than a given micro-batch; no photograph needed."""
        n = min(n, self.micro_batch or n)
        generator = torch.Generator().manual_seed(0)
        probe = torch.zeros(n, 3, *self.size)
        for cells in (4, 16, 64):
            noise = torch.randn(n, 3, cells, cells, generator=generator)
            probe += 0.4 * nn.functional.interpolate(noise, size=self.size, mode="bilinear")
        return probe.to(self.device).contiguous(memory_format=self.memory_format or torch.channels_last)


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device 'cuda' was asked for, but torch sees no CUDA device; use device='auto'")
    return chosen


def _class_names(given: Sequence[str] | None, own: Sequence[str] | None, outputs: int) -> list[str]:
    """The names given, which must fit; else the module's own, made to fit; else numbers."""
    if isinstance(given, str):
        raise ClassifierError(f"class_names must be a list of names, not the text {given!r}")
    if given is None:
        # A module that was given a new head may still carry the names of its old one.
        return _distinct(own) if own is not None and len(own) == outputs > 1 else _numbers(max(outputs, 2))
    names = [str(name) for name in given]
    if outputs == 1:
        names = [f"not {names[0]}", names[0]] if len(names) == 1 else names
        outputs = 2
    if len(names) != outputs:
        raise ClassifierError(f"the classifier gives {outputs} logits, but there are {len(names)} class names")
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ClassifierError(f"class names must differ, {twice!r} is there twice; add the index or a qualifier to it")
    return names


def _numbers(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, those that stand there more than once with their index: ImageNet has two classes "crane"."""
    texts = [str(name) for name in names]
    marked = [f"{name} ({i})" if texts.count(name) > 1 else name for i, name in enumerate(texts)]
    return marked if len(set(marked)) == len(marked) else _numbers(len(texts))


def with_precision(classifier: Classifier, precision: str, micro_batch: int | None) -> Classifier:
    """The same classifier with precision and micro-batch fixed: a resumed study computes as it began."""
    twin = Classifier.__new__(Classifier)
    twin.__dict__.update(classifier.__dict__)
    twin.preprocessing = replace(classifier.preprocessing)
    twin.precision, twin.precision_reason, twin.micro_batch = precision, "as the study began", micro_batch
    twin._sessions = OpenSessions()
    return twin
