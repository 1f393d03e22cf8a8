"""Settings of the gradient baselines and of occlusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fidokit._util.checks import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    WHOLE,
    Number,
    require,
    require_choice,
    require_numbers,
)

Baseline = Literal["mean", "black", "white", "blur"]
BASELINES: tuple[Baseline, ...] = ("mean", "black", "white", "blur")
_INTEGRALS = ("gausslegendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid")


@dataclass(frozen=True)
class CamSettings:
    """Settings of the class activation maps.

    Attributes:
        layer: dotted name of the layer they read. None takes the classifier's ``layer``, else finds one with
            `fidokit.methods.layers.find_layer`.

    Raises:
        SettingsError: no name.

    Example:
        >>> settings = fk.CamSettings(layer="features")
        >>> fk.explain(clf, data, "grad-cam", settings=settings).attribution.shape
        torch.Size([8, 16, 16])
    """

    layer: str | None = None

    def __post_init__(self) -> None:
        require(self, "layer", self.layer is None or isinstance(self.layer, str), "the name of a layer, or None")


@dataclass(frozen=True)
class IntegratedGradientsSettings:
    """Settings of integrated gradients.

    Attributes:
        n_steps: evaluations per image. 50, as in Captum: the authors find 20 to 300 enough.
        baseline: where the path begins: ``mean`` (the classifier's mean colour, zero for its first layer, and hence the
            input it was trained to find uninformative), ``black``, ``white``, or ``blur`` (the image itself, blurred).
        method: how the integral is approximated, a name of Captum's; Gauss-Legendre is exact for polynomials of a
            degree up to ``2 * n_steps - 1``.

    Raises:
        SettingsError: a value outside its range.

    Example:
        >>> settings = fk.IntegratedGradientsSettings(n_steps=10, baseline="blur")
        >>> fk.explain(clf, data, "integrated-gradients", settings=settings)
        Masks(integrated-gradients: attribution (8, 128, 128))
    """

    n_steps: int = 50
    baseline: Baseline = "mean"
    method: str = "gausslegendre"

    def __post_init__(self) -> None:
        require_numbers(self, n_steps=Number(least=2, whole=True))
        require_choice(self, "baseline", BASELINES)
        require_choice(self, "method", _INTEGRALS)


@dataclass(frozen=True)
class SmoothGradSettings:
    """Settings of SmoothGrad.

    Attributes:
        samples: noisy copies of each image. The authors see no gain beyond 50; 16 cost a third of that and are noisier.
        noise: standard deviation of the noise, as a share of the range of the image's values; the authors use 0.1 to
            0.2.
        seed: of the noise, together with each image's identity.

    Raises:
        SettingsError: a value outside its range.

    Example:
        >>> fk.explain(clf, data, "smoothgrad", settings=fk.SmoothGradSettings(samples=4, noise=0.1))
        Masks(smoothgrad: attribution (8, 128, 128))
    """

    samples: int = 16
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        require_numbers(self, samples=COUNT, noise=NOT_NEGATIVE, seed=WHOLE)


@dataclass(frozen=True)
class OcclusionSettings:
    """Settings of occlusion.

    Attributes:
        window: side of the occluded square as a share of the image's side, 28 pixels of 224: about the size of a part
            that tells one species from another.
        stride: step of the square, likewise. Half a window, so that each pixel is covered four times; the defaults
            cost 226 evaluations an image, and halving both costs about four times as many.
        baseline: what the square is filled with, see `IntegratedGradientsSettings`.

    Raises:
        SettingsError: a value outside its range.

    Example:
        >>> settings = fk.OcclusionSettings(window=0.5, stride=0.25)
        >>> fk.explain(clf, data, "occlusion", settings=settings)
        Masks(occlusion: attribution (8, 128, 128))
    """

    window: float = 1 / 8
    stride: float = 1 / 16
    baseline: Baseline = "mean"

    def __post_init__(self) -> None:
        require_numbers(self, window=SHARE, stride=POSITIVE)
        require(self, "stride", self.stride <= self.window, "at most the window, or pixels would be left out")
        require_choice(self, "baseline", BASELINES)
