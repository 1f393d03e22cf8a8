"""`Classifier`: a torch model with its preprocessing, class names, device and precision."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fidokit import device_choice, devices, frozen, opening
from fidokit.exceptions import ClassifierError, ImageError, SettingsError
from fidokit.images import LabelledImages, Preprocessing
from fidokit.methods.objective import Goal, Head, Targets
from fidokit.session import Session, Tally

if TYPE_CHECKING:
    import pandas as pd

ProgressBar = Callable[[int], object]


class Classifier:
    """Any torch image classifier, together with all that is needed to run it on photographs.

    The module itself is never changed: work is done on a frozen copy that lives as long as a `session`.

    Args:
        module: gives (B, K) logits, or an output object with ``.logits``, for (B, 3, H, W) normalised images.
        class_names: K different names; None takes them from the module's own configuration, else numbers them. For a
            single logit, one name (its opposite becomes "not NAME") or two (absent, present).
        mean, std: per channel, for images in [0, 1]. Default: the module's configuration, else ImageNet's.
        size: (H, W) of the input in pixels. Default: the module's configuration, else (224, 224).
        fit, crop_share, interpolation, use_boxes, box_padding: see `Preprocessing`. ``use_boxes=True`` crops every
            photograph to its annotated box.
        head: ``softmax`` for one class an image, ``sigmoid`` for independent classes; ``auto`` means sigmoid for a
            single logit and for modules configured as multi-label.
        device: ``auto`` is CUDA, MPS or XPU where there is one whose logits and input gradients agree with the CPU's on
            a probe, else the CPU; `device_reason` says why. Or cpu, cuda, cuda:N, mps, xpu.
        precision: ``auto`` takes the fastest of float32 and the low precisions native to the device that agrees with
            float32 on a probe; a name from `fidokit.frozen.PRECISIONS` is taken as it is. Resolved at the first use;
            `precision_reason` says what was chosen and why.
        micro_batch: evaluations that go through at once; None finds a fast number at the first use. Running out of
            memory lowers it. What was found out is remembered for the next process, see `fidokit.remembered`.
        layer: dotted name of the layer that class activation maps read; None finds it.
        name: how the model is named on the command line, so that a store can load it again.

    Raises:
        ClassifierError: the module cannot be run, or its logits and the names do not match.
        SettingsError: an unknown head, device, precision or layer, a device that is not there, or a micro-batch
            below 1.
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
            "mean": mean,
            "std": std,
            "size": (size, size) if isinstance(size, int) else size,
            "fit": fit,
            "crop_share": crop_share,
            "interpolation": interpolation,
        }
        options = own.preprocessing | {key: value for key, value in given.items() if value is not None}
        self.module = module
        self.preprocessing = Preprocessing(**options, use_boxes=use_boxes, box_padding=box_padding)
        self.device = torch.device("cpu") if device == "auto" else devices.asked_for(device)
        self.device_reason = "asked for"
        if precision != "auto" and precision not in frozen.PRECISIONS:
            raise SettingsError(
                f"unknown precision {precision!r}; choose auto or one of {', '.join(frozen.PRECISIONS)}"
            )
        if micro_batch is not None and (not isinstance(micro_batch, int) or micro_batch < 1):
            raise SettingsError(f"micro_batch must be a whole number of at least 1, or None, not {micro_batch!r}")
        self.precision = precision
        self.precision_reason = "not probed yet" if precision == "auto" else "asked for"
        self.micro_batch = micro_batch
        #: Precision and micro-batch as they were given.
        self.asked = (precision, micro_batch)
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
        #: Names of convolutions and of the batch normalisations that are folded into them; None before the first use.
        self.folded: frozen.Pairs | None = None
        #: The largest micro-batch of an exact session, where it was looked for.
        self.exact_limit: int | None = None
        #: The smallest batch on a GPU, to which smaller ones are padded; None where it was not looked for.
        self.least_batch: int | None = None
        self.tally = Tally()
        self._open: dict[str, Session] = {}
        if device == "auto":
            self.device, self.device_reason = device_choice.choose_device(self)
            self.tally = Tally()

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
            f"head={self.head}, device={self.device_text()}, precision={self.precision} ({self.precision_reason}))"
        )

    def device_text(self) -> str:
        """The device; where another one is there that was passed over, with the reason."""
        passed_over = " is there, but " in self.device_reason
        return f"{self.device} ({self.device_reason})" if passed_over else str(self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Copies of it have no session open and have spent nothing."""
        return self.__dict__ | {"_open": {}, "tally": Tally()}

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
        session = self._open_exact() if exact else self._open_fast()
        self._open[kind] = session
        begun_with = session.micro_batch
        try:
            yield session
        finally:
            del self._open[kind]
            # What did not fit once would not fit in the next session either.
            if session.micro_batch < begun_with and exact:
                self.exact_limit = session.micro_batch
            elif session.micro_batch < begun_with:
                self.micro_batch = session.micro_batch

    def any_session(self) -> Session:
        """For a look at the layers with a single image: a session that is open, else an exact one, without tuning."""
        return next(iter(self._open.values()), None) or opening.untuned(self)

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
        columns = ["predicted", "score", "margin", "runner_up", "reason"]
        table = pd.concat([table, pd.DataFrame(rows, index=table.index, columns=columns)], axis=1)
        judged = table["predicted"].notna() & table["label"].isin(known)
        table.insert(4, "correct", (table["predicted"] == table["label"]).astype("boolean").where(judged))
        return table

    def check_images(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images in [0, 1] as they are, in float32 and without a graph.

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
        images = images.detach()
        low, high = (float(v) for v in images.aminmax()) if images.numel() else (0.0, 0.0)
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ImageError(
                f"images must be in [0, 1] and finite, these reach from {low:.3g} to {high:.3g}; do not normalise "
                "them, the classifier does that"
            )
        return images.float()

    def fingerprint(self) -> str:
        """SHA-256 over parameters, buffers, preprocessing, head and class names: equal means the same classifier."""
        digest = hashlib.sha256()
        for key, value in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            if isinstance(value, Tensor):
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
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
            height, width = self.size
            raise ClassifierError(
                f"{type(self.module).__name__} cannot be run on a (1, 3, {height}, {width}) image: {error}. "
                "Is `size` right?"
            ) from error

    def _open_exact(self) -> Session:
        return opening.open_exact(self)

    def _open_fast(self) -> Session:
        return opening.open_fast(self)


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
    twin.asked = (precision, micro_batch)
    twin._open = {}
    return twin
