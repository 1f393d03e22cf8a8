"""Expected gradients: integrated gradients, averaged over the references that they begin at.

Source: Erion, Janizek, Sturmfels, Lundberg, Lee, "Improving performance of deep learning models with axiomatic
attribution priors and expected gradients", Nature Machine Intelligence 2021 (arXiv 1906.10670).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fidokit._util.checks import COUNT, WHOLE, require, require_numbers
from fidokit.data.inputs import GivenImages
from fidokit.exceptions import ImageError
from fidokit.methods.concrete import image_keys, uniform
from fidokit.methods.gradient import Work, attribution_method, input_gradient
from fidokit.methods.infill import KEPT, Mixture, fill
from fidokit.methods.layers import needs_gradient

#: Draws of the references' own noise lie above those of places on the way and of which reference is taken.
_REFERENCE_DRAWS = 1 << 32


@dataclass(frozen=True)
class ExpectedGradientsSettings:
    """Settings of expected gradients.

    Attributes:
        samples: evaluations of each image, each with a reference and a place on the way of its own. 50 costs as much as
            integrated gradients; the authors' library takes 200.
        references: what the ways begin at: names or (name, weight) pairs of `fidokit.methods.infill.INFILLS` (but for
            those that depend on a mask), made of the image itself. By default its own patches in random order and
            low-frequency noise around its mean colour: nothing recognisable, but not out of this world.
        photographs: paths of photographs to begin at instead, as in the paper, which draws training images.
        seed: of the draws, together with each image's identity.

    Raises:
        SettingsError: a value outside its range, or an unknown infill.
    """

    samples: int = 50
    references: str | tuple[str | tuple[str, float], ...] = ("shuffle", "noise")
    photographs: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        photographs: Any = self.photographs
        if isinstance(photographs, list):
            photographs = tuple(photographs)
        if isinstance(photographs, tuple):
            photographs = tuple(str(path) if isinstance(path, Path) else path for path in photographs)
            object.__setattr__(self, "photographs", photographs)
        paths = isinstance(photographs, tuple) and all(isinstance(path, str) for path in photographs)
        require(self, "photographs", paths, "paths of photographs in a list, or () for none")
        require_numbers(self, samples=COUNT, seed=WHOLE)
        mixture = Mixture.parse(self.references)
        choice = f"infills that do not depend on a mask, not {', '.join(KEPT)}"
        require(self, "references", not mixture.depends_on_mask, choice)

    @classmethod
    def published(cls, **overrides: Any) -> ExpectedGradientsSettings:
        """With the 200 samples of the authors' library; give ``photographs``, for it draws from training images."""
        return cls(**({"samples": 200} | overrides))


def _made(work: Work, settings: ExpectedGradientsSettings) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """References from the images themselves."""
    mixture = Mixture.parse(settings.references)
    ends = torch.tensor(mixture.cumulative(1), device=work.images.device)
    whole = work.session.denormalise(work.images)

    def references(keys: Tensor, rows: Tensor, draws: Tensor) -> Tensor:
        which = torch.searchsorted(ends, uniform(keys, draws, (3,))[:, 1].contiguous())
        images, made = whole[rows], torch.empty_like(whole[rows])
        nothing = torch.zeros_like(images[:1, :1])
        for entry in range(len(mixture.names)):
            chosen = which == entry
            drawn: Any = _REFERENCE_DRAWS + draws[chosen]
            made[chosen] = fill(mixture.names[entry], images[chosen], nothing, keys[chosen], drawn)
        return work.session.normalise(made)

    return references


def _read(work: Work, settings: ExpectedGradientsSettings) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """References from photographs."""
    given = GivenImages([Path(path) for path in settings.photographs])
    read: dict[int, Tensor] = {}

    def one(i: int) -> Tensor:
        if i not in read:
            try:
                read[i] = given.load(i, work.preprocessing)[0]
            except ImageError as error:
                raise ImageError(f"a reference of expected-gradients cannot be read: {error}") from error
        return read[i]

    def references(keys: Tensor, _rows: Tensor, draws: Tensor) -> Tensor:
        u = uniform(keys, draws, (3,))[:, 1]
        which = (u * len(settings.photographs)).long().clamp(max=len(settings.photographs) - 1)
        return work.session.normalise(torch.stack([one(i) for i in which.tolist()]))

    return references


def _attribute(work: Work, settings: ExpectedGradientsSettings) -> Tensor:
    # Captum's GradientShap draws references and places of a whole batch from the global streams of torch and numpy, so
    # that an image's map would depend on its neighbours.
    b, *shape = work.images.shape
    keys = image_keys(settings.seed, work.image_ids).to(work.images.device)
    references = (_read if settings.photographs else _made)(work, settings)
    at_once = max(1, work.session.micro_batch // b)
    total = torch.zeros_like(work.images)
    for first in range(0, settings.samples, at_once):
        draws = torch.arange(first, min(first + at_once, settings.samples), device=keys.device)
        rows, counter = work.rows().repeat_interleave(len(draws)), draws.repeat(b)
        begin = references(keys[rows], rows, counter)
        # One place in each of as many equal parts of the way: their mean has the same expectation as that of places
        # anywhere, and less noise.
        place = (counter + uniform(keys[rows], counter, (3,))[:, 0]) / settings.samples
        way = work.images[rows] - begin
        gradient = input_gradient(work, begin + place.view(-1, 1, 1, 1) * way, rows)
        total += (way * gradient).view(b, len(draws), *shape).sum(1)
    return total / settings.samples


METHOD = attribution_method(
    _attribute,
    ExpectedGradientsSettings,
    "gradients on the way from many references to the image, times the way",
    check=needs_gradient,
)
