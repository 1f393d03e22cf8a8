"""`Classifier`: a torch model with its preprocessing, class names, device and precision."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fidokit import frozen
from fidokit.exceptions import ClassifierError, ImageError, SettingsError
from fidokit.images import LabelledImages, Preprocessing
from fidokit.methods.objective import Goal, Head, Targets

if TYPE_CHECKING:
    import pandas as pd

ProgressBar = Callable[[int], object]


@dataclass(eq=False)
class Tally:
    """Evaluations spent so far: images sent through any session of a classifier, with or without a backward pass."""

    evaluations: int = 0


class Session:
    """A frozen copy of a classifier's module, ready for evaluations; made by `Classifier.session`.

    Attributes:
        module: the frozen copy.
        device, precision: where and how it computes.
        micro_batch: evaluations that go through at once.
        tally: the classifier's count of evaluations.
    """

    def __init__(self, module: nn.Module, classifier: Classifier, precision: frozen.Precision) -> None:
        self.module = module
        self.device = classifier.device
        self.precision = precision
        self.micro_batch = classifier.micro_batch or 1
        self.tally = classifier.tally
        self._single_logit = classifier.single_logit
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(classifier.preprocessing.mean, device=self.device).view(shape)
        self._std = torch.tensor(classifier.preprocessing.std, device=self.device).view(shape)

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> normalised, on the device, channels-last, in the precision of the weights.

        Pinned memory lets the copy to a GPU overlap with computation.
        """
        if self.device.type == "cuda" and images.device.type == "cpu":
            images = images.pin_memory()
        images = images.to(self.device, torch.float32, non_blocking=True)
        normalised = (images - self._mean) / self._std
        return normalised.to(self.precision.dtype, memory_format=torch.channels_last)

    def denormalise(self, normalised: Tensor) -> Tensor:
        """The (B, 3, H, W) float32 images in [0, 1] that these normalised ones came from."""
        return (normalised.float() * self._std + self._mean).clamp(0, 1)

    def forward(self, normalised: Tensor) -> Tensor:
        """(B, K) float32 logits of normalised images; a single logit z becomes the two logits (-z, z)."""
        self.tally.evaluations += normalised.shape[0]
        if self.precision.autocast is not None:
            with torch.autocast(self.device.type, dtype=self.precision.autocast):
                output = self.module(normalised)
        else:
            output = self.module(normalised)
        logits = frozen.logits_of(output).float()
        return torch.cat([-logits, logits], dim=1) if self._single_logit else logits

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(B, K) float32 logits, on the CPU, of (B, 3, H, W) images in [0, 1], a micro-batch at a time."""
        parts = []
        start = 0
        while start < len(images):
            try:
                parts.append(self.forward(self.normalise(images[start : start + self.micro_batch])).cpu())
            except Exception as error:
                if not self.shrink_after(error):
                    raise
                continue
            start += len(parts[-1])
        return torch.cat(parts)

    def shrink_after(self, error: BaseException) -> bool:
        """After an out-of-memory error: halve the micro-batch, say so, and return True if it is worth trying again."""
        if not frozen.is_out_of_memory(error) or self.micro_batch == 1:
            return False
        self.micro_batch //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(f"out of memory: going on with a micro-batch of {self.micro_batch}", RuntimeWarning, stacklevel=3)
        return True


class Classifier:
    """Any torch image classifier, together with all that is needed to run it on photographs.

    The module itself is never changed: work is done on a frozen copy that lives as long as a `session`.

    Args:
        module: gives (B, K) logits, or an output object with ``.logits``, for (B, 3, H, W) normalised images.
        class_names: K names; taken from the module's own configuration, else numbered. For a single logit, one name
            (its opposite becomes "not NAME") or two (absent, present).
        mean, std: per channel, for images in [0, 1]. Default: the module's configuration, else ImageNet's.
        size: (H, W) of the input in pixels. Default: the module's configuration, else (224, 224).
        fit, crop_share, interpolation, use_boxes, box_padding: see `Preprocessing`. ``use_boxes=True`` crops every
            photograph to its annotated box.
        head: ``softmax`` for one class an image, ``sigmoid`` for independent classes; ``auto`` means sigmoid for a
            single logit and for modules configured as multi-label.
        device: ``auto`` is CUDA where there is one, else the CPU.
        precision: ``auto`` takes the fastest of float32, bfloat16 and float16 that agrees with float32 on a probe;
            a name from `fidokit.frozen.PRECISIONS` is taken as it is. Resolved at the first use; `precision_reason`
            says what was chosen and why.
        micro_batch: evaluations that go through at once; None finds the fastest at the first use.
        layer: dotted name of the layer that class activation maps read; None finds it.
        name: how the model is named on the command line, so that a store can load it again.

    Raises:
        ClassifierError: the module cannot be run, or its logits and the names do not match.
        SettingsError: an unknown head, device, precision or layer.
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
            "mean": mean and tuple(mean),
            "std": std and tuple(std),
            "size": (size, size) if isinstance(size, int) else size,
            "fit": fit,
            "crop_share": crop_share,
            "interpolation": interpolation,
        }
        options = own.preprocessing | {key: value for key, value in given.items() if value is not None}
        self.module = module
        self.preprocessing = Preprocessing(**options, use_boxes=use_boxes, box_padding=box_padding)
        self.device = _device(device)
        if precision != "auto" and precision not in frozen.PRECISIONS:
            raise SettingsError(
                f"unknown precision {precision!r}; choose auto or one of {', '.join(frozen.PRECISIONS)}"
            )
        self.precision = precision
        self.precision_reason = "not probed yet" if precision == "auto" else "asked for"
        self.micro_batch = micro_batch
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
        self.class_names = _class_names(class_names if class_names is not None else own.class_names, outputs)
        self.tally = Tally()
        self._open: dict[str, Session] = {}

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

    def __repr__(self) -> str:
        return (
            f"Classifier({type(self.module).__name__}, {len(self.class_names)} classes, size={self.preprocessing.size}, "
            f"head={self.head}, device={self.device}, precision={self.precision} ({self.precision_reason}))"
        )

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input in pixels."""
        return self.preprocessing.size

    @contextmanager
    def session(self, *, exact: bool = False) -> Iterator[Session]:
        """A frozen copy of the module, ready for evaluations, for as long as the context is open.

        Inside another session of the same kind, that one is used again.

        Args:
            exact: float32 and every layer as it is, for methods that read layers; otherwise batch normalisation is
                folded into the convolutions and the classifier's precision is used.
        """
        kind = "exact" if exact else "fast"
        if kind in self._open:
            yield self._open[kind]
            return
        self._open[kind] = self._open_exact() if exact else self._open_fast()
        try:
            yield self._open[kind]
        finally:
            del self._open[kind]

    def logits(self, images: Tensor) -> Tensor:
        """(B, K) float32 logits of (B, 3, H, W) images in [0, 1]."""
        with self.session() as session:
            return session.logits(self.check_images(images))

    def log_odds(self, images: Tensor, targets: Targets = None, against: Targets = None) -> Tensor:
        """(B,) float32 log-odds of the targets, each an index or a name; by default of the predicted classes.

        Against all other classes: ``logit_c - logsumexp(others)``; with ``against``: ``logit_a - logit_b``; of a
        sigmoid head: the logit itself.
        """
        logits = self.logits(images)
        return self.goal(logits, targets, against).log_odds(logits)

    def goal(self, logits: Tensor, targets: Targets = None, against: Targets = None) -> Goal:
        """What to explain for images with these (B, K) logits."""
        return Goal.resolve(targets, against, logits=logits, class_names=self.class_names, head=self.head)

    def predict(self, data: LabelledImages, *, on_image: ProgressBar | None = None) -> pd.DataFrame:
        """One row an image: image_id, path, label, predicted, correct, score, margin, runner_up, reason.

        ``score`` is the probability of the predicted class and ``margin`` its distance to the runner-up's. An image
        that cannot be read keeps its row, with the reason and without a prediction; so does one with NaN logits.
        ``correct`` is missing where there is no label or the classifier does not know it.

        Args:
            data: the photographs.
            on_image: called with the number of images done since the last call.
        """
        rows: list[dict[str, object]] = []
        with self.session() as session:
            for start in range(0, len(data), session.micro_batch):
                chunk = range(start, min(start + session.micro_batch, len(data)))
                images: list[Tensor] = []
                reasons: dict[int, str] = {}
                for i in chunk:
                    try:
                        images.append(data.load(i, self.preprocessing)[0])
                    except ImageError as error:
                        reasons[i] = str(error)
                logits = iter(session.logits(torch.stack(images)) if images else torch.empty(0, 0))
                for i in chunk:
                    rows.append(self.prediction(None if i in reasons else next(logits), reasons.get(i)))
                if on_image is not None:
                    on_image(len(chunk))
        return self.prediction_table(data, rows)

    def prediction(self, logits: Tensor | None, reason: str | None = None) -> dict[str, object]:
        """Predicted class, score, margin and runner-up from (K,) logits, or the reason why there are none."""
        if logits is not None and not bool(torch.isfinite(logits).all()):
            reason = "the classifier gives NaN or infinite logits for this image"
        if logits is None or reason is not None:
            return {"predicted": None, "score": np.nan, "margin": np.nan, "runner_up": None, "reason": reason}
        scores = torch.sigmoid(logits) if self.head == "sigmoid" else torch.softmax(logits, 0)
        top = logits.topk(min(2, len(logits)))
        first, second = int(top.indices[0]), int(top.indices[-1])
        return {
            "predicted": self.class_names[first],
            "score": float(scores[first]),
            "margin": float(scores[first] - scores[second]),
            "runner_up": self.class_names[second] if second != first else None,
            "reason": None,
        }

    def prediction_table(self, data: LabelledImages, rows: list[dict[str, object]]) -> pd.DataFrame:
        """The table of `predict` from one `prediction` an image."""
        import pandas as pd

        known = set(self.class_names)
        table = data.table[["image_id", "path", "label"]].reset_index(drop=True)
        table = pd.concat([table, pd.DataFrame(rows, index=table.index)], axis=1)
        judged = table["predicted"].notna() & table["label"].isin(known)
        table.insert(4, "correct", (table["predicted"] == table["label"]).astype("boolean").where(judged))
        return table

    def check_images(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float images in [0, 1] as they are.

        Raises:
            ImageError: another shape, size or range; the message says how to convert.
        """
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
            shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ImageError(f"images must be a (B, 3, H, W) tensor, not {shape}; of one image, pass image[None]")
        if tuple(images.shape[2:]) != tuple(self.size):
            raise ImageError(
                f"images are {tuple(images.shape[2:])} pixels, the classifier's input is {self.size}; resize them, or "
                "pass LabelledImages, which are fitted by themselves"
            )
        if not images.is_floating_point():
            raise ImageError(f"images must be floating point in [0, 1], not {images.dtype}; divide by 255 first")
        low, high = (float(v) for v in images.aminmax()) if images.numel() else (0.0, 0.0)
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ImageError(
                f"images must be in [0, 1] and finite, these reach from {low:.3g} to {high:.3g}; do not normalise them, "
                "the classifier does that"
            )
        return images.float()

    def fingerprint(self) -> str:
        """SHA-256 over parameters, buffers, preprocessing, head and class names: equal means the same classifier."""
        digest = hashlib.sha256()
        for key, value in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            if isinstance(value, Tensor):
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for text in (repr(self.preprocessing), self.head, *self.class_names):
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()

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
            raise ClassifierError(
                f"{type(self.module).__name__} cannot be run on a (1, 3, {self.size[0]}, {self.size[1]}) image: {error}. "
                "Is `size` right?"
            ) from error

    def _open_exact(self) -> Session:
        precision = frozen.PRECISIONS["float32"]
        session = Session(frozen.frozen_copy(self.module, self.device), self, precision)
        # Layers that are kept, and float32, take more memory than the fast session that the size was found for.
        session.micro_batch = self.micro_batch or self._tune(session)
        return session

    def _open_fast(self) -> Session:
        twin = frozen.frozen_copy(self.module, self.device)
        probe = self._probe(8).to(memory_format=torch.channels_last)
        twin = frozen.fold_batch_norm(twin, probe)
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
        reference = frozen.forward_and_input_gradient(baseline.forward, probe)
        times: dict[str, float] = {}
        reasons: list[str] = []
        for precision in frozen.candidates(self.device):
            trial = Session(frozen.frozen_copy(twin, self.device, precision.dtype), self, precision)
            cast = probe.to(precision.dtype)
            try:
                other = frozen.forward_and_input_gradient(trial.forward, cast)
            except RuntimeError as error:
                reasons.append(f"{precision.name}: {str(error).splitlines()[0]}")
                continue
            if why := frozen.disagreement(reference, other):
                reasons.append(f"{precision.name}: {why}")
                continue
            times[precision.name] = frozen.seconds_per_call(
                lambda trial=trial, cast=cast: frozen.forward_and_input_gradient(trial.forward, cast),  # type: ignore[misc]
                self.device,
            )
        own = frozen.seconds_per_call(
            lambda: frozen.forward_and_input_gradient(baseline.forward, probe), self.device
        )
        best = min(times, key=times.__getitem__) if times else None
        if best is not None and times[best] <= frozen.FASTER * own:
            return best, f"agrees with float32 on a probe and takes {times[best] / own:.2f} of its time"
        if best is not None:
            reasons.append(f"{best}: takes {times[best] / own:.2f} of float32's time")
        return "float32", "; ".join(reasons)

    def _tune(self, session: Session) -> int:
        def evaluate(size: int) -> None:
            frozen.forward_and_input_gradient(session.forward, self._probe(size).to(session.precision.dtype))

        return frozen.find_micro_batch(evaluate, self.device)

    def _probe(self, n: int) -> Tensor:
        """(n, 3, H, W) normalised smooth noise, channels-last: nothing needs to be at hand to probe with."""
        generator = torch.Generator().manual_seed(0)
        probe = torch.zeros(n, 3, *self.size)
        for cells in (4, 16, 64):
            noise = torch.randn(n, 3, cells, cells, generator=generator)
            probe += 0.4 * nn.functional.interpolate(noise, size=self.size, mode="bilinear")
        return probe.to(self.device, memory_format=torch.channels_last)


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


def _class_names(names: Sequence[str] | None, outputs: int) -> list[str]:
    if outputs == 1:
        names = ["0", "1"] if names is None else [f"not {names[0]}", names[0]] if len(names) == 1 else names
        outputs = 2
    names = [str(i) for i in range(outputs)] if names is None else [str(name) for name in names]
    if len(names) != outputs:
        raise ClassifierError(f"the classifier gives {outputs} logits, but there are {len(names)} class names")
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ClassifierError(f"class names must differ, {twice!r} is there twice; add the index or a qualifier to it")
    return names


def with_precision(classifier: Classifier, precision: str, micro_batch: int | None) -> Classifier:
    """The same classifier with precision and micro-batch fixed: a resumed study computes as it began."""
    twin = Classifier.__new__(Classifier)
    twin.__dict__.update(classifier.__dict__)
    twin.preprocessing = replace(classifier.preprocessing)
    twin.precision, twin.precision_reason, twin.micro_batch = precision, "as the study began", micro_batch
    twin._open = {}
    return twin
