"""`Gallery`: an embedding model and labelled reference photographs as a classifier of individuals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from fidokit._util.ambient import unaffected
from fidokit._util.checks import Number, check_number
from fidokit._util.warning import warn
from fidokit.data.images import LabelledImages
from fidokit.data.inputs import Images, as_tensor, given_images
from fidokit.data.names import shorten
from fidokit.data.readers.cells import file_of
from fidokit.exceptions import ClassifierError, ImageError, SettingsError
from fidokit.models.adapting import plain_module, runnable
from fidokit.models.classifier import Classifier, plain_twin
from fidokit.models.session import Session
from fidokit.models.similarity import (
    RULES,
    Contrasts,
    References,
    Rule,
    Similarities,
    leaving_out,
    luminance_scale,
    picture_of,
    similarities_in,
    with_references,
)
from fidokit.models.state import EvaluationCounter

if TYPE_CHECKING:
    import pandas as pd

#: Where no individual has two references, nothing tells how far apart pictures of one are: the temperature at which
#: contrastive training usually starts (Wu, Xiong, Yu, Lin, CVPR 2018; Radford et al., ICML 2021).
_USUAL_TEMPERATURE = 0.07
#: Temperatures among which the references choose, a tenth apart, so that rounding does not choose another one.
_TEMPERATURES = tuple(round(0.01 * 1.1**k, 4) for k in range(49))
#: References whose similarities to all others are held at once.
_ROWS = 256
#: More photographs than this take long enough for a progress bar.
_MANY = 60


class Gallery(Classifier):
    """A classifier of individuals: an embedding model, and labelled reference photographs of each individual.

    Its logits are cosines, those of a photograph's embedding to the references of each individual, over a temperature.
    All else is as with any `Classifier`: masks (``against="runner-up"`` in a study: why this individual rather than the
    next), studies, errors, widgets. `fidokit.explain_pair` lays a mask on the reference that decided, too, and
    `fidokit.rank_falls` says how many ranks the right individual falls when a mask's region is gone.

    A photograph that is itself a reference is compared with the others alone: a reference is left out for the query
    that it is, which is said once. They are recognised by what the model sees, not by file names: the same photograph
    under another name, or saved once more as JPEG, is found, another box of the same photograph is not. So all
    references can be asked about, each left out in turn; their masks are computed one photograph at a time. Frames of
    one burst are different photographs, though, and make the task easier than it is: take references from other
    encounters than the queries.

    On the command line a gallery is ``python:module:function``, a function of yours that returns it. A stored study is
    opened again with the gallery, ``open_study(path, classifier=gallery)``, and knows it by the network, the references
    (their files' bytes, individuals and boxes), the rule and the temperature.

    Args:
        module: gives embeddings of (B, 3, H, W) normalised images: a (B, D) tensor or (B, D, h, w) map, such as timm's
            with ``num_classes=0`` (MegaDescriptor among them) and MiewID's; or transformers' output with
            ``image_embeds``, ``pooler_output`` or ``last_hidden_state``.
        references: labelled photographs; the labels are the individuals.
        rule: ``nearest`` (default) takes an individual's most similar reference, which can be shown; ``mean`` the mean
            over all of its references, which one odd photograph moves less.
        temperature: what cosines are divided by. None (default) lets the references choose (temperature scaling; Guo,
            Pleiss, Sun, Weinberger, ICML 2017): the one under which the references, each left out in turn, are told
            right most likely, with Platt's (1999) targets ``(n + 1) / (n + 2)``, so that it stays above 0 where all are
            told right. It sets the scale of scores and log-odds, and no order. Where no individual has two
            references: 0.07, at which contrastive training usually starts.
        individuals: only these, in this order; default all that have a reference, sorted.
        **options: of `Classifier`: mean, std, size, use_boxes, device, precision, layer, name and so on, but for
            class_names and head.

    Attributes:
        references: the references in use, in the order of `similarities`.
        failures: table of those that are not: image_id, label, reason (unreadable, no label, no finite embedding).
        rule, temperature: in use.

    Raises:
        ClassifierError: the module gives no embeddings, or fewer than two individuals have a reference.
        SettingsError: an unknown rule or option, a temperature that is not above 0, an individual that is asked for and
            has no reference.

    Warns:
        RuntimeWarning: references that cannot be used; individuals that have no other; one photograph under two names.

    Example:
        >>> references = fk.testbed.individuals(48, folder="references")
        >>> gallery = fk.Gallery(fk.testbed.embedder(), references, **fk.testbed.EMBEDDER_INPUT)
        >>> queries = fk.testbed.individuals(24, seed=1, folder="queries")
        >>> bool(gallery.predict(queries)["correct"].mean() > 0.8)
        True
    """

    @unaffected()
    def __init__(
        self,
        module: nn.Module,
        references: LabelledImages,
        *,
        rule: Rule = "nearest",
        temperature: float | None = None,
        individuals: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ClassifierError(f"a torch.nn.Module is needed, not {type(module).__name__}")
        if not isinstance(references, LabelledImages):
            raise SettingsError(
                f"references must be LabelledImages, not {type(references).__name__}; "
                "fidokit.LabelledImages.from_folder makes them, one folder an individual"
            )
        if rule not in RULES:
            raise SettingsError(f"unknown rule {rule!r}; choose {' or '.join(RULES)}")
        check_number("temperature", temperature, Number(above=0), or_none="the references' own choice")
        for taken in ("class_names", "head"):
            if taken in options:
                raise SettingsError(
                    f"a gallery takes no {taken}: its classes are the individuals of the references, one a photograph"
                )
        names, unlabelled, rows = _individuals(references, individuals)
        module = runnable(module)
        layer = options.get("layer")
        if layer is not None and layer in dict(module.named_modules()):
            options["layer"] = f"module.{layer}"
        super().__init__(Similarities(module, len(names)), names, head="softmax", **options)
        _warn_of_head(module)
        self.rule: Rule = rule
        self._fill(references, rows, unlabelled, names, temperature)

    @classmethod
    def load(cls, name: str, **options: Any) -> NoReturn:
        """A gallery has no name of a published model: its references are files of yours.

        Raises:
            SettingsError: always; the message says what to write.
        """
        raise SettingsError(
            f"a gallery cannot be loaded as {name!r}: make it of a module and references, fidokit.Gallery(module, "
            "references); on the command line, python:module:function names a function of yours that returns one"
        )

    def _fill(
        self,
        data: LabelledImages,
        rows: list[int],
        unusable: dict[int, str],
        names: list[str],
        temperature: float | None,
    ) -> None:
        """Embed the references and take them into the module."""
        import pandas as pd

        embeddings, pictures = self._embed(data.subset(rows), unusable, rows)
        kept = [row for row in rows if row in embeddings]
        table = data.table
        self.failures = pd.DataFrame(
            [(table["image_id"].iloc[row], table["label"].iloc[row], why) for row, why in sorted(unusable.items())],
            columns=["image_id", "label", "reason"],
        )
        labels = [str(table["label"].iloc[row]) for row in kept]
        self.class_names = [name for name in names if name in set(labels)]
        lost = [name for name in names if name not in set(labels)]
        _warn_of_failures(self.failures, lost)
        if len(self.class_names) < 2:
            one = f"only {shorten(self.class_names[0])!r} has" if self.class_names else "no individual has"
            raise ClassifierError(
                f"{one} a reference that can be used; a gallery tells individuals apart, so two are needed at least"
                + (
                    f" ({len(self.failures)} references failed, the first: {next(iter(unusable.values()))})"
                    if unusable
                    else ""
                )
            )
        self.references = data.subset(kept)
        number = {name: i for i, name in enumerate(self.class_names)}
        made = References(
            torch.stack([embeddings[row] for row in kept]),
            torch.tensor([number[label] for label in labels]),
            len(self.class_names),
            torch.stack([pictures[row] for row in kept]),
            rule=self.rule,
            temperature=_USUAL_TEMPERATURE if temperature is None else float(temperature),
            names=[str(image_id) for image_id in self.references.table["image_id"]],
            digest=_digest(self.references, self.preprocessing.use_boxes),
            scale=luminance_scale(self.preprocessing.std),
        )
        duplicates = _Duplicates(made, self.class_names)
        own = _each_left_out(made, duplicates)
        duplicates.warn()
        self.temperature_reason = "as given"
        if temperature is None:
            made.temperature, self.temperature_reason = _chosen_temperature(own, made)
        self.temperature = made.temperature
        how = f"{len(self.references)} references, rule {self.rule}, temperature {self.temperature:g}"
        self.notes = [f"{how}: {self.temperature_reason}" if note == Similarities.note else note for note in self.notes]
        similar = similarities_in(self.module)
        similar.references, similar.count = made, made.count
        # What the references took is nobody's mask.
        self.counter = EvaluationCounter()

    def _embed(
        self, data: LabelledImages, unusable: dict[int, str], rows: list[int]
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Row -> embedding and picture of each reference; what has none goes to `unusable`."""
        embeddings: dict[int, Tensor] = {}
        pictures: dict[int, Tensor] = {}
        with (
            self.session(exact=True) as session,
            closing(self._read(data, session.micro_batch)) as reading,
            tqdm(total=len(data), unit="image", desc="references", disable=None if len(data) > _MANY else True) as bar,
        ):
            for chunk in reading:
                unusable |= {rows[position]: reason for position, reason in chunk.unread.items()}
                found, seen = _embedded(session, chunk.images)
                for position, embedding, picture in zip(chunk.positions, found, seen, strict=True):
                    if not bool(torch.isfinite(embedding).all()) or not bool(embedding.any()):
                        unusable[rows[position]] = "its embedding is 0 or holds NaN or infinite values"
                        continue
                    embeddings[rows[position]], pictures[rows[position]] = embedding, picture
                bar.update(len(chunk.positions) + len(chunk.unread))
        return embeddings, pictures

    @contextmanager
    def session(self, *, exact: bool = False) -> Iterator[Session]:
        """As `Classifier.session`; at its end it is said if photographs were asked about that are references."""
        with super().session(exact=exact) as session:
            yield session
        made = similarities_in(self.module).references
        if made is not None:
            made.tell()

    def __repr__(self) -> str:
        own = f"{len(self.references)} references, "
        notes = "".join(f"; {note}" for note in self.notes if not note.startswith(own))
        failed = f" ({len(self.failures)} could not be used)" if len(self.failures) else ""
        return (
            f"Gallery({type(plain_module(self.module)).__name__}, {len(self.class_names)} individuals, "
            f"{len(self.references)} references{failed}, rule={self.rule}, temperature={self.temperature:g} "
            f"({self.temperature_reason}), size={self.size}, device={self.device_text()}, precision={self.precision} "
            f"({self.precision_reason}){notes})"
        )

    def similarities(self, images: Images) -> Tensor:
        """(B, R) float32 cosines of images to the `references`, NaN where a reference is the image itself.

        Args:
            images: as for `logits`.

        Raises:
            ImageError: one cannot be read, or is of the wrong shape, size or range.
        """
        tensor = as_tensor(images)
        parts = [torch.empty(0, len(self.references))]
        with self.session() as session:
            if tensor is not None:
                return self._similarities(session, self.check_images(tensor))
            data = given_images(images, self.check_images)
            with closing(self._read(data, session.micro_batch)) as reading:
                for chunk in reading:
                    if chunk.unread:
                        position, reason = next(iter(chunk.unread.items()))
                        raise ImageError(f"image {position} has no similarities: {reason}")
                    parts.append(self._similarities(session, chunk.images))
        return torch.cat(parts)

    def _similarities(self, session: Session, images: Tensor) -> Tensor:
        embeddings, pictures = _embedded(session, images)
        made = self._made
        return made.cosines(embeddings.to(made.embeddings.device)).masked_fill(made.same(pictures), torch.nan).cpu()

    @property
    def _made(self) -> References:
        made = similarities_in(self.module).references
        assert made is not None
        return made

    def left_out(self, images: Tensor) -> list[tuple[int, ...]]:
        """Positions of the references that each of (B, 3, H, W) images in [0, 1] is itself; see `leaving_out`."""
        mean, std = (
            torch.tensor(values).view(1, 3, 1, 1) for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        found: list[tuple[int, ...]] = []
        for start in range(0, len(images), _ROWS):
            part = images[start : start + _ROWS].cpu()
            same = self._made.same(picture_of((part - mean) / std))
            found += [tuple(row.nonzero().flatten().tolist()) for row in same.cpu()]
        own = next((positions[0] for positions in found if positions), None)
        if own is not None:
            self._made.meet(own)
            self._made.tell()
        return found

    def leaving_out(self, positions: tuple[int, ...]) -> AbstractContextManager[None]:
        """Inside, in this thread, these references are left out for whatever is sent through, and no others.

        A changed photograph is not recognised as the reference that it was. All of fidokit's own methods and metrics
        change images inside this context; code of your own that does, too, should::

            with gallery.leaving_out(*gallery.left_out(image[None])):
                gallery.logits(changed)
        """
        return leaving_out(self._made.digest, tuple(positions))

    def reversed(self, queries: Tensor, runners_up: Tensor) -> Classifier:
        """A classifier that asks of a reference's photograph how similar it is to a query.

        Its logit i is the cosine to the i-th query over the temperature, and its logit N + i the i-th constant, so that
        ``targets=i, against=N + i`` is the decision for the pair, seen from the reference.

        Args:
            queries: (N, 3, H, W) in [0, 1].
            runners_up: (N,) logits of the individuals that came next.
        """
        with self.session() as session:
            embeddings, _ = _embedded(session, self.check_images(queries))
        contrasts = Contrasts(embeddings, runners_up, self._made).to(self._made.embeddings.device)
        n = len(queries)
        names = [f"{what} {i}" for what in ("query", "runner-up of query") for i in range(n)]
        return plain_twin(self, with_references(self.module, contrasts), names)


def _individuals(data: LabelledImages, asked: Sequence[str] | None) -> tuple[list[str], dict[int, str], list[int]]:
    """The individuals, why rows are no reference, and the rows that may be.

    Raises:
        SettingsError: an individual that was asked for has no reference, or stands there twice.
        ClassifierError: there is no reference, or only one individual.
    """
    labels = data.table["label"].tolist()
    unlabelled = {
        i: "it has no label, so nobody knows whom it shows" for i, label in enumerate(labels) if label is None
    }
    known = sorted({label for label in labels if label is not None})
    names = known if asked is None else [asked] if isinstance(asked, str) else list(asked)
    missing = [name for name in names if name not in known]
    if missing:
        raise SettingsError(
            f"the individual {shorten(str(missing[0]))!r} has no reference; leave it out, or add a photograph of it"
        )
    if len(set(names)) < len(names):
        raise SettingsError("an individual is named twice in `individuals`; name each once")
    if len(names) < 2:
        what = f"only one individual, {shorten(names[0])!r}" if names else "no labelled photograph"
        raise ClassifierError(
            f"the references show {what}; a gallery tells individuals apart, so two are needed at least. The labels of "
            "the references are the individuals"
        )
    chosen = set(names)
    return names, unlabelled, [i for i, label in enumerate(labels) if label in chosen]


@torch.no_grad()
def _embedded(session: Session, images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, D) embeddings and (B, P) pictures of images in [0, 1], on the CPU."""

    def run(rows: slice) -> tuple[Tensor, Tensor]:
        with similarities_in(session.module).recording() as seen:
            session.forward(session.normalise(images[rows]))
        return seen[0][0].cpu(), seen[0][1].cpu()

    found = [pair for _, pair in session.in_micro_batches(len(images), run)]
    if not found:
        return torch.empty(0, 1), torch.empty(0, 1)
    embeddings, pictures = (torch.cat(parts) for parts in zip(*found, strict=True))
    return embeddings, pictures


class _Duplicates:
    """Photographs that are references of two individuals."""

    def __init__(self, references: References, names: Sequence[str]) -> None:
        self.references, self.class_names = references, names
        self.pairs: list[tuple[int, int]] = []

    def look(self, start: int, same: Tensor) -> None:
        """Look at (b, R) of what is the same picture as the references from `start` on."""
        own = self.references.individual
        for row, other in same.nonzero().tolist():
            if start + row < other and own[start + row] != own[other]:
                self.pairs.append((start + row, other))

    def warn(self) -> None:
        if not self.pairs:
            return
        one, other = self.pairs[0]
        (first, of), (second, too) = (
            (self.references.names[i], self.class_names[int(self.references.individual[i])]) for i in (one, other)
        )
        warn(
            f"{len(self.pairs)} photographs are references of two individuals, such as {shorten(first)!r} of "
            f"{shorten(of)!r} and {shorten(second)!r} of {shorten(too)!r}: one of these labels is wrong"
        )


def _each_left_out(references: References, duplicates: _Duplicates) -> tuple[Tensor, Tensor]:
    """(R, K) cosines of each reference to the individuals, without itself, and (R,) whether its own has another."""
    scores, told = [], []
    for start in range(0, len(references.individual), _ROWS):
        rows = slice(start, start + _ROWS)
        same = references.same(references.pictures[rows].float() / 1024)
        duplicates.look(start, same)
        cosines = references.embeddings[rows] @ references.embeddings.T
        scores.append(references.scores(cosines, same))
        others = (references.individual == references.individual[rows, None]) & ~same
        told.append(others.any(1))
    return torch.cat(scores), torch.cat(told)


def _chosen_temperature(left_out: tuple[Tensor, Tensor], references: References) -> tuple[float, str]:
    """The temperature of `_TEMPERATURES` with the least cross-entropy to Platt's targets, and why that one."""
    scores, told = left_out
    n = int(told.sum())
    if not n:
        return _USUAL_TEMPERATURE, "no individual has two references to choose by"
    scores, own = scores[told].double(), references.individual[told]
    right = (n + 1) / (n + 2)
    wrong = (1 - right) / (references.count - 1)
    targets = torch.full_like(scores, wrong).scatter_(1, own[:, None], right)
    losses = [float(-(targets * (scores / t).log_softmax(1)).sum(1).mean()) for t in _TEMPERATURES]
    best = _TEMPERATURES[losses.index(min(losses))]
    correct = int((scores.argmax(1) == own).sum())
    return best, f"chosen by the references: each left out in turn, {correct} of {n} are told right"


def _digest(data: LabelledImages, boxes: bool) -> str:
    """Hexadecimal digits over the files' bytes, individuals and boxes of the references, in order."""
    digest = hashlib.sha256()
    for i in range(len(data)):
        label, path = str(data.table["label"].iloc[i]), data.table["path"].iloc[i]
        with file_of(path).open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        box = data.box(i) if boxes else None
        digest.update(f"{label}\0{content}\0{box}\n".encode())
    return digest.hexdigest()[:16]


def _warn_of_failures(failures: pd.DataFrame, lost: Sequence[str]) -> None:
    if not len(failures):
        return
    message = (
        f"{len(failures)} references cannot be used, the first: {failures['image_id'].iloc[0]!r} "
        f"({failures['reason'].iloc[0]}); `failures` of the gallery lists them"
    )
    if lost:
        named = ", ".join(repr(shorten(name)) for name in lost[:5]) + (", ..." if len(lost) > 5 else "")
        message += f". {len(lost)} individuals have no other and are no answer of the gallery: {named}"
    warn(message)


def _warn_of_head(module: nn.Module) -> None:
    """Warn where scores of classes seem to be taken for embeddings."""
    classes = getattr(module, "num_classes", 0)
    if isinstance(classes, int) and classes > 0 and hasattr(module, "get_classifier"):
        warn(
            f"{type(module).__name__} has a head of {classes} classes, whose scores are compared as if they were "
            "embeddings; timm's num_classes=0 gives the embeddings themselves",
            UserWarning,
        )
