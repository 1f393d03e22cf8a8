"""KernelShap over superpixels: what each of them adds to the class logit, on average over all orders of adding them.

Source: Lundberg, Lee, "A unified approach to interpreting model predictions", NeurIPS 2017 (arXiv 1705.07874).
Captum makes the images and weighs the coalitions; what it would draw from torch's global random numbers, the coalitions
and the order of the regression's data, is done here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fidokit._util.checks import WHOLE, Number, require_choice, require_numbers
from fidokit.methods.concrete import image_keys, uniform
from fidokit.methods.gradient import Work, attribution_method
from fidokit.methods.gradient_settings import BASELINES, Baseline
from fidokit.methods.superpixels import superpixels

_REGIONS = Number(least=2, whole=True)


@dataclass(frozen=True)
class KernelShapSettings:
    """Settings of KernelShap.

    Attributes:
        samples: evaluations of each image: random coalitions of superpixels, the full and the empty one among them. The
            authors' library takes 2048 more than twice the features, 2148 for 50; the noise falls with the root of
            their number.
        regions: superpixels, about: 50, so that parts of an animal are pieces of their own. At least a few samples
            for each are needed.
        baseline: what stands in for a superpixel that is left out, see `IntegratedGradientsSettings`.
        seed: of the coalitions, together with each image's identity.

    Raises:
        SettingsError: a value outside its range.
    """

    samples: int = 512
    regions: int = 50
    baseline: Baseline = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        require_numbers(self, samples=Number(least=4, whole=True), regions=_REGIONS, seed=WHOLE)
        require_choice(self, "baseline", BASELINES)

    @classmethod
    def published(cls, **overrides: Any) -> KernelShapSettings:
        """With as many samples as the authors' library takes for 50 features."""
        return cls(**({"samples": 2148} | overrides))


def coalitions(key: Tensor, features: int) -> Iterator[Tensor]:
    """(1, M) coalitions of M features, without end: all, none, then random ones, each followed by its complement.

    The number of members k has the probability of the Shapley kernel, ``(M - 1) / (k (M - k))`` up to a factor; which
    they are is uniform. Complements are what the authors' library pairs coalitions with; they lower the variance.

    Args:
        key: (1,) the image's random stream, on the CPU.
        features: M.
    """
    full = torch.ones(1, features, dtype=torch.int64)
    sizes = torch.arange(1, features)
    ends = (1 / (sizes * (features - sizes))).double().cumsum(0)
    draw = 0
    while True:
        if draw == 0 or features == 1:
            chosen = full
        else:
            u = uniform(key, draw, (features + 1,))[0]
            last = torch.searchsorted(ends, u[-1].double() * ends[-1]).clamp(max=features - 2)
            chosen = (u[:-1].argsort().argsort() < sizes[last]).long()[None]
        yield chosen
        yield 1 - chosen
        draw += 1


class _LeastSquares:
    """The regression: weighted least squares with an intercept, in double precision; a model as Captum wants it."""

    def fit(self, train_data: Any, **_options: Any) -> dict[str, float]:
        """Of the (n, M) coalitions, (n, 1) values and (n,) weights of a DataLoader's dataset."""
        coalition, value, weight = (tensor.detach().cpu().double() for tensor in train_data.dataset.tensors)
        root = weight.flatten().sqrt()[:, None]
        design = torch.cat([coalition, torch.ones_like(coalition[:, :1])], 1)
        # With fewer samples than superpixels the smallest solution.
        solution: Tensor = torch.linalg.lstsq(root * design, root * value.view(-1, 1), driver="gelsd").solution
        self._coefficients: Tensor = solution[:-1, 0].float()
        return {}

    def representation(self) -> Tensor:
        """(M,) coefficients."""
        return self._coefficients


def _attribute(work: Work, settings: KernelShapSettings) -> Tensor:
    from captum.attr import KernelShap

    keys = image_keys(settings.seed, work.image_ids)
    baseline = work.baseline(settings.baseline).expand_as(work.images)
    whole = work.session.denormalise(work.images)

    class Coalitions(KernelShap):  # type: ignore[misc]
        """Captum's own coalitions come from torch's global random numbers."""

        def __init__(self, row: int) -> None:
            super().__init__(self.values)
            self.row = row
            self.interpretable_model = _LeastSquares()

        def values(self, images: Tensor) -> Tensor:
            rows = torch.full((len(images),), self.row, device=images.device)
            # The regression refuses NaN; `work` remembers it, so that the image has no mask.
            return work.values(images, rows).nan_to_num()

        def kernel_shap_perturb_generator(self, original_inp: Tensor, **kwargs: Any) -> Iterator[Tensor]:
            for chosen in coalitions(keys[self.row : self.row + 1], kwargs["num_interp_features"]):
                yield chosen.to(original_inp.device)

    maps = []
    for i in range(len(work.images)):
        labels = superpixels(whole[i], settings.regions).to(work.images.device)
        attribution: Tensor = Coalitions(i).attribute(
            work.images[i : i + 1],
            baselines=baseline[i : i + 1],
            feature_mask=labels[None, None],
            n_samples=settings.samples,
            perturbations_per_eval=min(work.session.micro_batch, settings.samples),
        )
        maps.append(attribution[:, :1])  # a superpixel covers all channels, so they are equal
    return torch.cat(maps)


METHOD = attribution_method(
    _attribute, KernelShapSettings, "Shapley values of superpixels, by regression on random coalitions of them"
)
