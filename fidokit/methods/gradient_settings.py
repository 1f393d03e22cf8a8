"""Settings of the gradient baselines and of occlusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fidokit.exceptions import SettingsError

Baseline = Literal["mean", "black", "white", "blur"]
BASELINES: tuple[Baseline, ...] = ("mean", "black", "white", "blur")
INTEGRALS = ("gausslegendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_baseline(baseline: object) -> None:
    _require(baseline in BASELINES, f"unknown baseline {baseline!r}; choose one of {', '.join(BASELINES)}")


@dataclass(frozen=True)
class CamSettings:
    """Settings of the class activation maps.

    Attributes:
        layer: dotted name of the layer they read. None takes the classifier's ``layer``, else finds one with
            `fidokit.methods.layers.find_layer`.

    Raises:
        SettingsError: no name.
    """

    layer: str | None = None

    def __post_init__(self) -> None:
        _require(self.layer is None or isinstance(self.layer, str), f"layer must be a name, not {self.layer!r}")


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
    """

    n_steps: int = 50
    baseline: Baseline = "mean"
    method: str = "gausslegendre"

    def __post_init__(self) -> None:
        _require(_is_count(self.n_steps, 2), f"n_steps must be a whole number of at least 2, not {self.n_steps!r}")
        _check_baseline(self.baseline)
        _require(self.method in INTEGRALS, f"unknown method {self.method!r}; choose one of {', '.join(INTEGRALS)}")


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
    """

    samples: int = 16
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        _require(_is_count(self.samples, 1), f"samples must be a whole number of at least 1, not {self.samples!r}")
        _require(_is_number(self.noise) and 0 <= self.noise < float("inf"), f"noise must be >= 0, not {self.noise!r}")
        _require(
            isinstance(self.seed, int) and not isinstance(self.seed, bool),
            f"seed must be a whole number, not {self.seed!r}",
        )


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
    """

    window: float = 1 / 8
    stride: float = 1 / 16
    baseline: Baseline = "mean"

    def __post_init__(self) -> None:
        _require(_is_number(self.window) and 0 < self.window <= 1, f"window must be in (0, 1], not {self.window!r}")
        fits = _is_number(self.stride) and 0 < self.stride <= self.window
        _require(fits, f"stride must be positive and at most the window, not {self.stride!r}: pixels would be left out")
        _check_baseline(self.baseline)
