"""Embeddings compared with those of references: what gives a `Gallery` its logits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from fidokit._util.warning import warn
from fidokit.exceptions import ClassifierError
from fidokit.models.adapting import InputAdapter

Rule = Literal["nearest", "mean"]
RULES: tuple[str, ...] = get_args(Rule)

#: The cosine of an individual none of whose references is left for a query: as far away as can be.
_FARTHEST = -1.0
#: Where models keep their embeddings, the pooled ones first.
_KEPT = ("image_embeds", "embeddings", "pooler_output", "last_hidden_state")
_NUM_CLASSES_0 = "give the network without its head (timm: num_classes=0; transformers: AutoModel)"
#: Two inputs are one photograph where their luminance, averaged over 32 x 32 places, differs by less than this root
#: mean square (in [0, 1]) and by less than this share of its standard deviation: copies that were saved as JPEG again,
#: or opened by another decoder, stay below it, and two frames of a burst in which something moved do not.
_SIDE = 32
_SAME = 2 / 255
_SAME_SHARE = 0.1
_LUMINANCE = (0.299, 0.587, 0.114)
#: Steps of the stored luminance, in normalised units: whole numbers stay as they are in every precision.
_STEP = 1 / 1024
#: By how much a distance may be wrong that a matrix product gave, in these units.
_ROUGH = 0.02

#: The digest of a gallery and the positions of those of its references that are left out for all images sent through.
_left_out: ContextVar[tuple[str, tuple[int, ...]] | None] = ContextVar("fidokit_left_out", default=None)


def embeddings_of(output: object, module: nn.Module) -> Tensor:
    """The (B, D) embeddings in what a module returned.

    A tensor of that shape; the mean over the places of a (B, D, h, w) map; of transformers' outputs ``image_embeds`` or
    ``pooler_output``, else of ``last_hidden_state`` the class token, or the mean over the tokens where there is none.

    Raises:
        ClassifierError: there are none; the message says what to give instead.
    """
    name = type(module).__name__
    parts: Mapping[str, Any] = output if isinstance(output, Mapping) else {}
    if isinstance(output, Tensor):
        found: Tensor | None = output
    else:
        kept = (parts.get(key, getattr(output, key, None)) for key in _KEPT)
        found = next((part for part in kept if isinstance(part, Tensor)), None)
    if found is None:
        if "logits" in parts or hasattr(output, "logits"):
            raise ClassifierError(f"{name} gives scores of classes, not embeddings; {_NUM_CLASSES_0}")
        what = f"a dict with {', '.join(map(repr, parts))}" if parts else type(output).__name__
        raise ClassifierError(
            f"{name} returned {what}; a gallery needs (B, D) embeddings: a tensor, or an output with one of "
            f"{', '.join(_KEPT)}. Wrap it in a module whose forward(self, x) returns them"
        )
    if found.ndim == 4:
        found = found.mean((2, 3))
    elif found.ndim == 3:
        has_token = any(
            key.rpartition(".")[2] in ("cls_token", "class_embedding") for key, _ in module.named_parameters()
        )
        found = found[:, 0] if has_token else found.mean(1)
    if found.ndim != 2 or not found.is_floating_point():
        raise ClassifierError(
            f"{name} gives {str(found.dtype).removeprefix('torch.')} values of shape {tuple(found.shape)}; a gallery "
            "needs (B, D) embeddings, one row of numbers an image"
        )
    return found


class _Met:
    """The first query that was itself a reference; copies of a module, such as sessions make, share it."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.told = False

    def __deepcopy__(self, memo: object) -> _Met:
        return self


class References(nn.Module):
    """(B, D) embeddings to (B, K) logits: the cosine to the nearest of each individual's references, or its mean, over
    the temperature.

    Args:
        embeddings: (R, D) of the references, normalised here.
        individual: (R,) numbers of the individuals 0..K-1 whose references they are.
        count: number of individuals K.
        pictures: (R, P) of `picture_of`; (0, P) where no query can be a reference.
        rule: one of `RULES`.
        temperature: what the cosines are divided by.
        names: of the references, to say which one was left out.
        digest: of all that the references are made of. It stands in ``repr``, and so counts in the fingerprint.
        scale: normalised units of a luminance in [0, 1].
    """

    embeddings: Tensor
    individual: Tensor
    pictures: Tensor

    def __init__(
        self,
        embeddings: Tensor,
        individual: Tensor,
        count: int,
        pictures: Tensor,
        *,
        rule: Rule,
        temperature: float,
        names: Sequence[str],
        digest: str,
        scale: float,
    ) -> None:
        super().__init__()
        # Not in the state_dict, whose bytes name a classifier: embeddings differ in their last bits between machines.
        self.register_buffer("embeddings", functional.normalize(embeddings.float(), dim=1), persistent=False)
        self.register_buffer("individual", individual, persistent=False)
        self.register_buffer("pictures", (pictures / _STEP).round().to(torch.int16), persistent=False)
        self.count, self.rule, self.temperature = count, rule, temperature
        self.names, self.digest, self.scale = list(names), digest, scale
        self._met = _Met()

    def extra_repr(self) -> str:
        return (
            f"{len(self.individual)} references of {self.count}, rule={self.rule}, temperature={self.temperature:g}, "
            f"digest={self.digest}"
        )

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> References:
        """To another device, but not to another precision: 8 bits of a cosine are too few to tell individuals by."""
        for name, buffer in self._buffers.items():
            assert buffer is not None
            self._buffers[name] = buffer.to(fn(torch.empty(0, device=buffer.device)).device)
        return self

    def forward(self, embeddings: Tensor, left_out: Tensor | None = None) -> Tensor:
        """(B, K) float32 logits of (B, D) embeddings, without the references in a (B or 1, R) bool mask."""
        return self.scores(self.cosines(embeddings), left_out) / self.temperature

    def cosines(self, embeddings: Tensor) -> Tensor:
        """(B, R) float32 cosines of (B, D) embeddings to the references."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines: Tensor = functional.normalize(embeddings.float(), dim=1) @ self.embeddings.T
        return cosines

    def scores(self, cosines: Tensor, left_out: Tensor | None = None) -> Tensor:
        """(B, K) cosines to individuals from (B, R) cosines to references."""
        n = len(cosines)
        farthest = cosines.new_full((n, self.count), _FARTHEST)
        if self.rule == "nearest":
            if left_out is not None:
                cosines = cosines.masked_fill(left_out, _FARTHEST)
            return farthest.scatter_reduce(1, self.individual.expand(n, -1), cosines, "amax")
        kept = torch.ones_like(cosines) if left_out is None else (~left_out).expand(n, -1).to(cosines)
        nothing = torch.zeros_like(farthest)
        total = nothing.index_add(1, self.individual, cosines * kept)
        number = nothing.index_add(1, self.individual, kept)
        return torch.where(number > 0, total / number.clamp(min=1), farthest)

    def left_out_of(self, images: Tensor) -> Tensor | None:
        """Which references are left out for normalised images: those that were said, else those that they are.

        Returns:
            (B or 1, R) bool, or None for none.
        """
        said = _left_out.get()
        if said is not None and said[0] == self.digest:
            mask = torch.zeros(1, len(self.individual), dtype=torch.bool)
            mask[0, list(said[1])] = True
            return mask.to(self.individual.device) if said[1] else None
        if not len(self.pictures):
            return None
        same = self.same(picture_of(images))
        if not bool(same.any()):
            return None
        self.meet(int(same.any(0).nonzero()[0]))
        return same

    def same(self, pictures: Tensor) -> Tensor:
        """(B, R) bool: whether each of (B, P) pictures is that of each reference."""
        own = self.pictures.to(pictures.device).float() * _STEP
        # A step of the stored luminance is no difference.
        limit = (pictures.std(1, correction=0) * _SAME_SHARE).clamp(max=_SAME * self.scale) + _STEP
        # A matrix product is fast with thousands of references, but the squares of equal pictures cancel in it.
        near: Tensor = torch.cdist(pictures, own) / pictures.shape[1] ** 0.5 <= limit[:, None] + _ROUGH
        row, other = near.nonzero(as_tuple=True)
        near[row, other] = (pictures[row] - own[other]).square().mean(1).sqrt() <= limit[row]
        return near

    def meet(self, position: int) -> None:
        """Remember that a query is itself the reference at this position."""
        if self._met.first is None:
            self._met.first = position

    def tell(self) -> None:
        """Warn, once a gallery, if a query was itself a reference."""
        if self._met.first is not None and not self._met.told:
            self._met.told = True
            warn(
                f"photographs that the gallery is asked about are among its own references (the first one is "
                f"{self.names[self._met.first]!r}); each reference is left out for the query that it is"
            )


class Contrasts(References):
    """`References` of one embedding each, followed by as many logits that do not depend on the image.

    Args:
        embeddings: (N, D).
        constants: (N,) logits.
        like: whose temperature is meant.
    """

    constants: Tensor

    def __init__(self, embeddings: Tensor, constants: Tensor, like: References) -> None:
        n = len(embeddings)
        super().__init__(
            embeddings,
            torch.arange(n),
            n,
            torch.empty(0, _SIDE * _SIDE),
            rule="nearest",
            temperature=like.temperature,
            names=[],
            digest="",
            scale=like.scale,
        )
        self.register_buffer("constants", constants.float(), persistent=False)

    def forward(self, embeddings: Tensor, left_out: Tensor | None = None) -> Tensor:
        logits = super().forward(embeddings)
        return torch.cat([logits, self.constants.expand(len(logits), -1)], dim=1)


class Similarities(InputAdapter):
    """An embedding network and the references with which its embeddings are compared: normalised images to logits.

    Args:
        module: the network.
        count: number of individuals.
    """

    note = "an embedding: its similarities to references are the scores"

    def __init__(self, module: nn.Module, count: int) -> None:
        super().__init__(module)
        self.count = count
        self.references: References | None = None
        self._recorded: list[tuple[Tensor, Tensor]] | None = None

    def forward(self, images: Tensor) -> Tensor:
        embeddings = embeddings_of(self.module(images), self.module)
        if self._recorded is not None:
            self._recorded.append((embeddings.detach().float(), picture_of(images)))
        if self.references is None:
            return embeddings @ _directions(embeddings.shape[1], self.count).to(embeddings)
        logits: Tensor = self.references(embeddings, self.references.left_out_of(images))
        return logits

    @contextmanager
    def recording(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Inside, embeddings and pictures of the images that are sent through are listed, a pair a batch."""
        self._recorded = []
        try:
            yield self._recorded
        finally:
            self._recorded = None


def similarities_in(module: nn.Module) -> Similarities:
    """The `Similarities` in a gallery's module, behind whatever adapts its input."""
    while not isinstance(module, Similarities):
        assert isinstance(module, InputAdapter)
        module = module.module
    return module


def with_references(module: nn.Module, references: References) -> nn.Module:
    """A gallery's module that shares its weights and compares with other references."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    if isinstance(twin, Similarities):
        twin.references, twin.count = references, references.count
    else:
        assert isinstance(module, InputAdapter)
        twin.module = with_references(module.module, references)
    return twin


@contextmanager
def leaving_out(digest: str, positions: tuple[int, ...]) -> Iterator[None]:
    """Inside, in this thread, these references of the gallery with this digest are left out, and no others."""
    token = _left_out.set((digest, positions))
    try:
        yield
    finally:
        _left_out.reset(token)


@torch.no_grad()
def picture_of(images: Tensor) -> Tensor:
    """(B, P) small luminance of normalised images in any layout that a module may take: what tells photographs apart.

    It is linear in the image, so that normalising and adapting an image commute with it.
    """
    images = images.detach().float()
    if images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.shape[1] == 3:
        images = (images * images.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return functional.adaptive_avg_pool2d(images, _SIDE).flatten(1)


def luminance_scale(std: Sequence[float]) -> float:
    """What a luminance difference of 1 becomes by dividing the channels by these."""
    return sum(weight / float(value) for weight, value in zip(_LUMINANCE, std, strict=True))


def _directions(width: int, count: int) -> Tensor:
    """(D, K) directions in pairs of opposites: what embeddings are compared with until the references are known.

    Opposites give logits of both signs, which nobody takes for probabilities.
    """
    generator = torch.Generator().manual_seed(0)
    half = functional.normalize(torch.randn(width, (count + 1) // 2, generator=generator), dim=0)
    return torch.stack([half, -half], dim=2).flatten(1)[:, :count]
