"""`Classifier`: a torch model with its preprocessing, class names, device and precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from fidokit._util.ambient import unaffected
from fidokit._util.checks import COUNT, SHARE, check_number, is_number, is_whole
from fidokit._util.display import HtmlDisplay
from fidokit.data.geometry import Fit, Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.data.inputs import Images, as_tensor, check_tensor, given_images
from fidokit.data.labels import NO_GROUPS, Groups, warn_of_labels
from fidokit.data.reading import Chunk, read_chunks
from fidokit.exceptions import ClassifierError, FidokitError, ImageError, SettingsError
from fidokit.models import device_choice, devices, frozen, loading, opening
from fidokit.models.adapting import fitted, plain_module, renamed_layer, runnable
from fidokit.models.class_names import ClassNames, numbers
from fidokit.models.class_names import class_names as names_of
from fidokit.models.configuration import own_configuration, settled
from fidokit.models.fingerprint import fingerprint_of, fingerprint_parts
from fidokit.models.goals import Goal, Head, Targets, at_rank, probabilities
from fidokit.models.outputs import refuse_embedding, resolved_head
from fidokit.models.prediction import prediction_of, prediction_table
from fidokit.models.prompted import Prompted
from fidokit.models.prompts import Names, Prompts, Templates
from fidokit.models.session import Session
from fidokit.models.state import ClassifierState, EvaluationCounter, OpenSessions
from fidokit.models.taxonomy import THRESHOLD, Taxonomy, TaxonomyLike
from fidokit.models.uncompiled import plain_name

if TYPE_CHECKING:
    import pandas as pd

ProgressBar = Callable[[int], object]
Transform = Callable[[Image.Image], Tensor]


class Classifier(HtmlDisplay, ClassifierState):
    """Any torch image classifier, together with all that is needed to run it on photographs.

    The module itself is never changed: work is done on a frozen copy that lives as long as a `session`. Threads may use
    a classifier at the same time: each has sessions, and so a copy, of its own.

    Args:
        module: gives (B, K) logits, or an output object with ``.logits``, for (B, 3, H, W) normalised images.
            A module that takes one channel, or channels last, gets an adapter, which `repr` names.
        class_names: K different names in the order of the logits, or a mapping, position -> name or name -> position
            (``class_to_idx``); None takes them from the module's own configuration, else numbers them. For a single
            logit, one name (its opposite becomes "not NAME") or two (absent, present).
        mean: of the input, one or one per channel, for images in [0, 1]. Default: that of the module's configuration,
            or of the model that it wraps, else ImageNet's, which is said once.
        std: by which the input is divided, likewise.
        size: (H, W) of the input in pixels. Default: the module's configuration, else (224, 224).
        fit, crop_share, interpolation, use_boxes, box_padding: see `Preprocessing`. ``use_boxes=True`` crops every
            photograph to its annotated box.
        transform: a function of your own from the upright PIL image to (3, H, W) in [0, 1] at `size`, without
            Normalize, instead of fit, crop_share, interpolation and use_boxes; `Preprocessing` says what is lost by it.
        head: what the outputs are: ``softmax``: logits of one class an image; ``sigmoid``: logits of independent
            classes; ``probabilities``: the module ends in a softmax or in sigmoids itself, and the logarithm or the
            log-odds of what it gives is used (``independent-probabilities`` where the rows do not sum to 1). ``auto``
            means probabilities where every row of a probe sums to 1, else sigmoid for a single logit and for modules
            configured as multi-label, else softmax.
        device: ``auto`` is CUDA, MPS or XPU where there is one whose logits and input gradients agree with the CPU's on
            a probe, else the CPU; `device_reason` says why. Or cpu, cuda, cuda:N, mps, xpu.
        precision: ``auto`` takes the fastest of float32 and the low precisions native to the device that agrees with
            float32 on a probe; a name from `frozen.PRECISIONS` is taken as it is. Resolved at the first use;
            `precision_reason` says what was chosen and why.
        micro_batch: evaluations that go through at once; None finds a fast number at the first use. Running out of
            memory lowers it. What was found out is remembered for the next process, see `fidokit.models.remembered`.
        layer: dotted name of the layer that class activation maps read; None finds it.
        name: how the model is named on the command line, so that a store can load it again.
        taxonomy: of the classes: a `Taxonomy`, or what one is made from, a DataFrame, a mapping class -> group or a
            file. Its taxa can then be asked for and stand as labels.

    Raises:
        ClassifierError: the module cannot be run, its logits and the names do not match, it gives embeddings and nobody
            named classes, or a class is not in the taxonomy.
        SettingsError: an unknown head, device, precision or layer, a device that is not there, a micro-batch below 1,
            or a taxonomy that is no tree.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
        >>> clf = fk.Classifier(net, ["jay", "tit"], mean=0.5, std=0.25, size=32)
        >>> clf.logits(torch.rand(5, 3, 32, 32)).shape
        torch.Size([5, 2])
    """

    @unaffected()
    def __init__(
        self,
        module: nn.Module,
        class_names: ClassNames | None = None,
        *,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
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
        taxonomy: TaxonomyLike | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ClassifierError(f"a torch.nn.Module is needed, not {type(module).__name__}")
        own = own_configuration(module)
        options: dict[str, Any] = own.preprocessing | {
            key: value
            for key, value in {
                "mean": _three(mean),
                "std": _three(std),
                "size": (size, size) if is_whole(size) else size,
                "fit": fit,
                "crop_share": crop_share,
                "interpolation": interpolation,
            }.items()
            if value is not None
        }
        if fit in ("squash", "trim") and crop_share is None:
            # The photograph from edge to edge is asked for, not the share that the module's own crop keeps.
            options["crop_share"] = 1.0
        if transform is not None and (fit, crop_share, interpolation) != (None, None, None):
            raise SettingsError("a transform takes the place of fit, crop_share and interpolation; leave them out")
        self.preprocessing = Preprocessing(**options, use_boxes=use_boxes, box_padding=box_padding, transform=transform)
        self.device = torch.device("cpu") if device == "auto" else devices.asked_for(device)
        self.device_reason = "asked for"
        if precision != "auto" and precision not in frozen.PRECISIONS:
            raise SettingsError(
                f"unknown precision {precision!r}; choose auto or one of {', '.join(frozen.PRECISIONS)}"
            )
        check_number("micro_batch", micro_batch, COUNT, or_none="the fastest")
        self.precision = precision
        self.precision_reason = "not probed yet" if precision == "auto" else "asked for"
        self.micro_batch = micro_batch = None if micro_batch is None else int(micro_batch)
        #: Precision and micro-batch as they were given.
        self.asked = (precision, micro_batch)
        #: Precision -> the fastest batch without a backward pass, where it was looked for.
        self.forward_batches: dict[str, int] = {}
        self.name = name
        if layer is not None and plain_name(layer) not in map(plain_name, dict(module.named_modules())):
            raise SettingsError(f"the classifier has no layer {layer!r}; `dict(module.named_modules())` lists them")
        fit_in = fitted(runnable(module), self.size)
        #: What runs: the module, or an adapter in front of it. It takes (B, 3, H, W) normalised images.
        self.module = fit_in.module
        self.layer = None if layer is None else renamed_layer(layer, module, self.module)
        given = {key for key, value in (("mean", mean), ("std", std)) if value is not None}
        #: What was done or assumed that one might not expect, for `repr`.
        self.preprocessing, self.notes = settled(self.preprocessing, own, fit_in, given)
        outputs = fit_in.outputs.shape[1]
        self.single_logit = outputs == 1
        self.class_names = names_of(class_names, own.class_names, outputs)
        if class_names is None and self.class_names == numbers(max(outputs, 2)):
            refuse_embedding(fit_in, own)
        self.head: Head = resolved_head(head, fit_in, multi_label=own.multi_label)
        self.taxonomy = None if taxonomy is None else Taxonomy.of(taxonomy).bound(self.class_names)
        self.memory_format: torch.memory_format | None = None
        #: Names of convolutions and of the batch normalisations that are folded into them; None before the first use.
        self.folded: frozen.Pairs | None = None
        #: The largest micro-batch of an exact session, where it was looked for.
        self.exact_limit: int | None = None
        #: The smallest batch on a GPU, to which smaller ones are padded; None where it was not looked for.
        self.least_batch: int | None = None
        super().__init__()
        if device == "auto":
            self.device, self.device_reason = device_choice.choose_device(self)
            self.counter = EvaluationCounter()

    @classmethod
    def load(cls, name: str, *, trust: bool = False, **options: Any) -> Classifier:
        """A classifier by its command-line name.

        - ``timm:NAME``, ``torchvision:NAME``, ``hf:PATH``, ``openclip:NAME``: published weights.
        - ``FILE.pt2``: a program of torch.export.
        - ``FILE.onnx``: converted to torch, so that there are gradients, and compared with onnxruntime. Size, layout
          and names of the classes are taken from it where it has them.
        - ``speciesnet:FOLDER``: Google's SpeciesNet classifier as it is published, which crops to a detector's boxes
          or takes whole photographs, as its type says. Classes are called "Puma concolor (puma)".
        - ``python:module:function``: what a function of yours makes.

        Args:
            name: in one of these forms.
            trust: load ``speciesnet:FOLDER``, a pickle. To load a pickle is to run whatever code its author put into
                it, with your rights; say it only of files of which you know where they come from. No other needs it.
            options: of the constructor, before what comes with the name; and ``names``, the classes in the order of
                the logits or, of a model of images and texts (``openclip:``, and ``hf:`` where that finds one), those
                to choose between, with ``templates`` and ``tokenizer``, see `from_prompts`.

        Raises:
            MissingExtra: the library it needs is not installed.
            ClassifierError: nothing can be loaded under this name, or a pickle without `trust`.
        """
        name, taxonomy = os.fspath(name), options.pop("taxonomy", None)
        try:
            made, own = loading.load(name, trust=trust, **options)
            classifier = made if isinstance(made, Classifier) else cls(made, **own)  # type: ignore[arg-type]
        except FidokitError:
            raise
        except Exception as error:
            raise ClassifierError(f"{name!r} could not be loaded: {error}") from error
        classifier.name = name
        return classifier if taxonomy is None else classifier.with_taxonomy(taxonomy)

    def with_fit(self, fit: Fit) -> Classifier:
        """The same classifier, shown another part of each photograph; this one stays as it is.

        Args:
            fit: ``squash`` for the whole frame, see `Preprocessing`.

        Raises:
            SettingsError: it has a transform of its own, which takes the place of `fit`.

        Example:
            >>> clf.with_fit("squash").preprocessing.fit
            'squash'
        """
        if self.preprocessing.transform is not None:
            raise SettingsError("the classifier has a transform of its own, which takes the place of fit")
        twin = _twin(self, type(self))
        twin.preprocessing = replace(self.preprocessing, fit=fit, crop_share=1.0)
        return twin

    def with_taxonomy(self, taxonomy: TaxonomyLike) -> Classifier:
        """The same classifier with a taxonomy; this one stays as it is.

        Args:
            taxonomy: as for the constructor.

        Raises:
            ClassifierError: a class is not in the taxonomy.
            SettingsError: it is no tree, or cannot be read.

        Example:
            >>> birds = dict.fromkeys(clf.class_names, "bird")
            >>> clf.with_taxonomy(birds).taxonomy.members("bird") == clf.class_names
            True
        """
        twin = _twin(self, type(self))
        twin.taxonomy = Taxonomy.of(taxonomy).bound(self.class_names)
        return twin

    @classmethod
    def from_prompts(
        cls,
        model: nn.Module | str | os.PathLike[str],
        names: Names,
        *,
        templates: Templates | None = None,
        tokenizer: Any = None,
        **options: Any,
    ) -> Classifier:
        """A classifier made of a model of images and texts, which chooses between the classes that are named.

        The logits are those of the model's own zero-shot classification: the cosine of image and text, times the logit
        scale, plus the bias where there is one (SigLIP); a class's texts are brought to length 1, averaged and brought
        to length 1 again (Radford et al., ICML 2021, section 3.1.4). The texts are encoded once, here; what is kept is
        the image tower, which gradients pass through as in any classifier.

        Args:
            model: ``openclip:NAME`` or ``hf:PATH``; or a CLIP, SigLIP or SigLIP 2 of transformers; or a CLIP, SigLIP
                or CoCa of open_clip (BioCLIP is one); or a module with the ``visual``, ``encode_text`` and
                ``logit_scale`` that these have. NAME is a folder, a name on the hub (``imageomics/bioclip``) or an
                architecture with the tag of its weights (``ViT-B-32/laion2b_s34b_b79k``).
            names: the classes in order; or class -> what it is called in texts, one or several, such as
                ``{"jay": ["Eurasian jay", "Garrulus glandarius"]}``.
            templates: texts with ``{}`` where that goes, or functions of it; ``"{}"`` for prompts that are whole texts.
                Default "a photo of {}.", without an article, since scientific names have none.
            tokenizer: the one that the model was trained with; in transformers its processor will do as well. Default:
                that of the name, or of the folder from which a model of transformers was loaded; open_clip's models do
                not know theirs, see ``open_clip.get_tokenizer``.
            **options: of `Classifier`; mean, std, size and cropping are the model's own where they are left out. The
                head is ``sigmoid`` for models with a bias, which judge each class by itself; ``head="softmax"`` lets
                the classes compete.

        Raises:
            SettingsError: no names, a class without prompt, one prompt for two classes, a template without ``{}``.
            ClassifierError: no text tower, no tokenizer, or a text longer than the model reads, which the libraries
                would cut off.
            MissingExtra: the library it needs is not installed.

        Example:
            >>> clf = fk.Classifier.from_prompts("openclip:imageomics/bioclip", ["jay", "tit"])  # doctest: +SKIP
        """
        if isinstance(model, str | os.PathLike):
            asked = {"names": names, "templates": templates, "tokenizer": tokenizer}
            classifier = cls.load(os.fspath(model), **asked, **options)
            if classifier.prompts is None:
                raise ClassifierError(
                    f"{classifier.name} is a classifier with classes of its own, which takes no texts; load it with "
                    "fidokit.Classifier.load"
                )
            return classifier
        module, own = loading.prompted(model, Prompts.of(names, templates), tokenizer, options)
        return cls(module, **own)  # type: ignore[arg-type]

    @property
    def prompts(self) -> Prompts | None:
        """The texts that stand for the classes; None for a classifier that was not made `from_prompts`."""
        module = plain_module(self.module)
        return module.prompts if isinstance(module, Prompted) else None

    def __repr__(self) -> str:
        notes = "".join(f"; {note}" for note in self.notes)
        taxonomy = "" if self.taxonomy is None else f", {self.taxonomy!r}"
        return (
            f"Classifier({type(plain_module(self.module)).__name__}, {len(self.class_names)} classes, "
            f"size={self.size}, head={self.head}, device={self.device_text()}, "
            f"precision={self.precision} ({self.precision_reason}){taxonomy}{notes})"
        )

    def device_text(self) -> str:
        """The device; where another one is there that was passed over, with the reason."""
        passed_over = " is there, but " in self.device_reason
        return f"{self.device} ({self.device_reason})" if passed_over else str(self.device)

    @property
    def _open(self) -> dict[str, Session]:
        """The sessions that the current thread has open."""
        return self._sessions.own

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
        with self._lock, unaffected():
            session = opening.open_exact(self) if exact else opening.open_fast(self)
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
                        self.exact_limit = min(session.micro_batch, self.exact_limit or session.micro_batch)
                    else:
                        self.micro_batch = min(session.micro_batch, self.micro_batch or session.micro_batch)

    def any_session(self) -> Session:
        """For a look at the layers with a single image: a session that is open, else an exact one, without tuning."""
        found = next(iter(self._open.values()), None)
        if found is not None:
            return found
        with self._lock:
            return opening.untuned(self)

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
        sigmoid head: the logit itself. Of a taxon: ``logsumexp(inside) - logsumexp(outside)``, see `goals.log_odds`.
        """
        logits = self.logits(images)
        return self.goal(logits, targets, against).log_odds(logits)

    def goal(
        self,
        logits: Tensor,
        targets: Targets = None,
        against: Targets = None,
        *,
        rank: str | None = None,
        within: str | None = None,
    ) -> Goal:
        """What to explain for images with these (B, K) logits; see `fidokit.explain`."""
        names, head, taxonomy = self.class_names, self.head, self.taxonomy
        if rank is not None or within is not None:
            targets, against = at_rank(targets, against, rank, within, logits, names, taxonomy)
        return Goal.resolve(targets, against, logits=logits, class_names=names, head=head, taxonomy=taxonomy)

    def likeliest(self, logits: Tensor, n: int = 8) -> list[tuple[str, float]]:
        """The classes with the highest scores by (K,) logits, at most `n`, and their scores, the highest first."""
        if not bool(torch.isfinite(logits).all()):
            return []
        best = probabilities(logits.float(), self.head).topk(min(n, len(logits)))
        return [
            (self.class_names[i], score) for i, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    @property
    def label_groups(self) -> Groups:
        """What labels may mean beside classes: the taxa of the taxonomy, and the classes inside each."""
        return NO_GROUPS if self.taxonomy is None else self.taxonomy.groups

    def predict(
        self, data: Images, *, threshold: float = THRESHOLD, on_image: ProgressBar | None = None
    ) -> pd.DataFrame:
        """One row an image: image_id, path, label, predicted, correct, score, margin, runner_up, reason.

        ``score`` is the probability of the predicted class and ``margin`` its distance to the runner-up's. An image
        that cannot be read keeps its row, with the reason and without a prediction; so does one with NaN logits.
        ``label`` is the class that the photograph's label means, see `labels.match_labels`; where it means none, a
        warning says so, and ``correct`` is missing, as it is without a label.

        With a taxonomy a label may be a taxon, and is right where the predicted class lies inside it; then there are
        rollup, the finest taxon whose score passes the threshold, its rollup_rank and rollup_score, and wrong_at, the
        coarsest rank at which an error goes wrong. ``clf.taxonomy.accuracy(table)`` and ``clf.taxonomy.errors(table)``
        count by rank.

        Args:
            data: the photographs, as for `logits`; those that are no `LabelledImages` have their positions as image_id
                and no labels.
            threshold: of the roll-up, see `fidokit.models.taxonomy.THRESHOLD`.
            on_image: called with the number of images done since the last call.
        """
        data = given_images(data, self.check_images)
        check_number("threshold", threshold, SHARE)
        warn_of_labels(data.table["label"], self.class_names, self.label_groups)
        rows: list[dict[str, object]] = []
        with self.session() as session, closing(self._read(data, session.micro_batch)) as reading:
            for chunk in reading:
                logits = dict(zip(chunk.positions, session.logits(chunk.images), strict=True))
                positions = sorted([*logits, *chunk.unread])
                rows += [self.prediction(logits.get(i), chunk.unread.get(i), threshold) for i in positions]
                if on_image is not None:
                    on_image(len(positions))
        return self.prediction_table(data, rows)

    def prediction(
        self, logits: Tensor | None, reason: str | None = None, threshold: float = THRESHOLD
    ) -> dict[str, object]:
        """Predicted class, score, margin, runner-up and roll-up from (K,) logits, or the reason why there are none."""
        return prediction_of(logits, reason, self.class_names, self.head, self.taxonomy, threshold)

    def prediction_table(self, data: LabelledImages, rows: list[dict[str, object]]) -> pd.DataFrame:
        """The table of `predict` from one `prediction` an image."""
        return prediction_table(data, rows, self.class_names, self.taxonomy)

    def check_images(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images in [0, 1] as they are, in float32 and without a graph.

        Raises:
            ImageError: another shape, size or range; the message says how to convert.
        """
        return check_tensor(images, self.size)

    def left_out(self, images: Tensor) -> list[tuple[int, ...]]:
        """What of the classifier is left out for each of (B, 3, H, W) images in [0, 1]: only a `Gallery` has such."""
        return [()] * len(images)

    def leaving_out(self, positions: tuple[int, ...]) -> AbstractContextManager[None]:
        """Inside, this is left out for all that is sent through in this thread; see `left_out`."""
        return nullcontext()

    def fingerprint(self) -> str:
        """SHA-256 (hex) that names the classifier: equal means that the same module gives the same answers.

        It is made of parameters and buffers, the module's structure (``repr``), its logits of a fixed image, the
        preprocessing, the head and the class names; see `fingerprint`. Computed anew at every call, without
        finding precision or micro-batch; logits that differ by rounding alone nearly always give the same one.

        Raises:
            ClassifierError: the module cannot be copied or run.
        """
        return fingerprint_of(fingerprint_parts(self))


def _three(values: Sequence[float] | float | None) -> Any:
    """Three channels of one: mean or std of a greyscale model, as tutorials write it."""
    if is_number(values):
        return (values,) * 3
    # Whatever else it is, `Preprocessing` refuses.
    return tuple(values) * 3 if isinstance(values, Sequence) and len(values) == 1 else values


def with_precision(classifier: Classifier, precision: str, micro_batch: int | None) -> Classifier:
    """The same classifier with precision and micro-batch fixed: a resumed study computes as it began."""
    twin = _twin(classifier, type(classifier))
    twin.precision, twin.precision_reason, twin.micro_batch = precision, "as the study began", micro_batch
    twin.asked = (precision, micro_batch)
    return twin


def plain_twin(classifier: Classifier, module: nn.Module, class_names: Sequence[str]) -> Classifier:
    """A `Classifier` of another module that differs from a classifier's in its last layer alone, and has no name."""
    twin = _twin(classifier, Classifier)
    twin.module, twin.class_names, twin.name = module, list(class_names), None
    return twin


def _twin(classifier: Classifier, kind: type[Classifier]) -> Classifier:
    """The same classifier as another object, of which no session is open."""
    twin = kind.__new__(kind)
    twin.__dict__.update(classifier.__dict__)
    twin.preprocessing = replace(classifier.preprocessing)
    twin._sessions = OpenSessions()
    return twin
