"""Gradient baselines and occlusion: class activation maps, and what Captum offers for any network.

All of them explain the class logit, as they were published (the difference of two logits with ``against``), on an
exact float32 copy of the network, and give one kind, ``attribution``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fidokit.exceptions import MethodNotApplicable
from fidokit.methods.base import Batch, Computed, Method, NoSettings, OnProgress, Snapshot, resize_masks
from fidokit.methods.concrete import image_keys, normal, uniform
from fidokit.methods.gradient_settings import Baseline as Baseline
from fidokit.methods.gradient_settings import CamSettings as CamSettings
from fidokit.methods.gradient_settings import IntegratedGradientsSettings as IntegratedGradientsSettings
from fidokit.methods.gradient_settings import OcclusionSettings as OcclusionSettings
from fidokit.methods.gradient_settings import SmoothGradSettings as SmoothGradSettings
from fidokit.methods.infill import blur
from fidokit.methods.layers import (
    check_layer,
    class_values,
    count_relus,
    find_layer,
    grad_cam,
    hires_cam,
    layer_cam,
    layer_maps,
    needs_gradient,
)
from fidokit.models.goals import Goal

if TYPE_CHECKING:
    from fidokit.data.geometry import Preprocessing
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session


#: Of the positive values of an attribution, this share counts as outliers, which get the mask's top end.
_OUTLIERS = 0.005
_KNEE = 0.9


def attribution_to_mask(raw: Tensor) -> Tensor:
    """A signed attribution as masks: channels summed, negative values cut off, scaled per image.

    The sum over channels is what the pixel adds to the logit. What speaks against the class is no part of the region
    that speaks for it, hence zero.

    Args:
        raw: (B, C, h, w).

    Returns:
        (B, h, w) in [0, 1], from `scale_to_mask`.
    """
    return scale_to_mask(raw.sum(1).relu())


def sensitivity_to_mask(raw: Tensor) -> Tensor:
    """A gradient as masks: largest magnitude over the channels (Simonyan et al., arXiv 1312.6034), scaled per image.

    The sign of a bare gradient says whether the pixel should be brighter or darker, not whether it matters.

    Args:
        raw: (B, C, h, w).

    Returns:
        (B, h, w) in [0, 1], from `scale_to_mask`.
    """
    return scale_to_mask(raw.abs().amax(1))


def scale_to_mask(values: Tensor) -> Tensor:
    """(B, h, w) importances >= 0 scaled to [0, 1] per image, their order kept.

    Dividing by the maximum lets a few outlying pixels darken a whole map of pixel gradients, and clipping at a
    percentile makes the most important pixels indistinguishable, which spoils every measure by rank. So the scale is
    linear in two pieces: up to the 99.5th percentile of the positive values, which becomes 0.9, and from there to the
    maximum, which becomes 1. A map with fewer than 200 positive cells, such as a class activation map, has no outliers
    and is divided by its maximum.

    Returns:
        (B, h, w) in [0, 1]; zero where an image has no positive value, NaN only where `values` are not finite.
    """
    flat = values.flatten(1)
    descending = flat.sort(dim=1, descending=True).values
    outliers = ((flat > 0).sum(1) * _OUTLIERS).long()
    largest = descending[:, :1]
    bulk = descending.gather(1, outliers[:, None])
    tiny = torch.finfo(flat.dtype).tiny
    knee = torch.where(bulk < largest, _KNEE, 1.0)
    lower = knee * (flat / bulk.clamp_min(tiny))
    upper = knee + (1 - knee) * ((flat - bulk) / (largest - bulk).clamp_min(tiny))
    return torch.where(flat <= bulk, lower, upper).view_as(values)


@dataclass(frozen=True)
class Work:
    """Part of a batch, ready to be explained: at most a micro-batch of images. What an `attribution_method` is given.

    Attributes:
        session: an exact session.
        images: (B, 3, H, W), normalised.
        goal: what to explain, on the session's device.
        image_ids: B names.
        layer: the classifier's own choice of a layer, or None.
        preprocessing: how a photograph becomes the classifier's input.
        nan: (B,) how many explained values of each image were NaN so far.
    """

    session: Session
    images: Tensor
    goal: Goal
    image_ids: Sequence[str]
    layer: str | None
    preprocessing: Preprocessing
    nan: Tensor

    def watched(self, values: Tensor, rows: Tensor) -> Tensor:
        """Explained values (E,) as they are. A NaN may have a gradient that is none; the mask must not hide it."""
        self.nan.index_add_(0, rows, values.isnan().float())
        return values

    def values(self, images: Tensor, rows: Tensor) -> Tensor:
        """Explained values (E,) of images (E, 3, H, W), where `rows` (E,) says whose goal each has.

        Captum multiplies the images; handed to it as an additional argument, the rows are multiplied alike.
        """
        return self.watched(class_values(self.goal[rows], self.session.evaluate(images)), rows)

    def rows(self) -> Tensor:
        """(B,) 0, 1, 2, …"""
        return torch.arange(len(self.images), device=self.images.device)

    def baseline(self, name: Baseline) -> Tensor:
        """The normalised baseline, (1, 3, H, W) or (B, 3, H, W)."""
        if name == "blur":
            return blur(self.images)
        if name == "mean":
            return torch.zeros_like(self.images[:1])
        return self.session.normalise(torch.full(self.images[:1].shape, float(name == "white")))


def _cam(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Work, CamSettings], Tensor]:
    def attribute(work: Work, settings: CamSettings) -> Tensor:
        layer = settings.layer or work.layer or find_layer(work.session, work.images)
        activations, gradients, logits = layer_maps(work.session, work.images, work.goal, layer)
        work.watched(work.goal.class_logit(logits), work.rows())
        return combine(activations, gradients)[:, None]

    return attribute


def _integrated_gradients(work: Work, settings: IntegratedGradientsSettings) -> Tensor:
    from captum.attr import IntegratedGradients

    attribution: Tensor = IntegratedGradients(work.values).attribute(
        work.images,
        baselines=work.baseline(settings.baseline),
        additional_forward_args=work.rows(),
        n_steps=settings.n_steps,
        method=settings.method,
        internal_batch_size=work.session.micro_batch,
    )
    return attribution


def input_gradient(work: Work, images: Tensor, rows: Tensor) -> Tensor:
    """(E, 3, H, W) gradients of the explained values in normalised images; `rows` as in `Work.values`."""
    from captum.attr import Saliency

    images = images.detach().requires_grad_(True)
    gradient: Tensor = Saliency(work.values).attribute(images, abs=False, additional_forward_args=rows)
    return gradient


def _saliency(work: Work, _settings: NoSettings) -> Tensor:
    return input_gradient(work, work.images, work.rows())


def _smoothgrad(work: Work, settings: SmoothGradSettings) -> Tensor:
    # Captum's NoiseTunnel draws the noise of a whole batch from torch's global stream, so that an image's map would
    # depend on its neighbours; the mean over noisy copies is taken here instead.
    b, *shape = work.images.shape
    keys = image_keys(settings.seed, work.image_ids).to(work.images.device)
    spread = settings.noise * (work.images.amax(dim=(1, 2, 3)) - work.images.amin(dim=(1, 2, 3)))
    at_once = max(1, work.session.micro_batch // b)
    total = torch.zeros_like(work.images)
    for first in range(0, settings.samples, at_once):
        draws = torch.arange(first, min(first + at_once, settings.samples), device=keys.device)
        rows = work.rows().repeat_interleave(len(draws))
        noise = normal(uniform(keys[rows], draws.repeat(b), tuple(shape)))
        noisy = work.images[rows] + spread[rows].view(-1, 1, 1, 1) * noise
        total += input_gradient(work, noisy, rows).view(b, len(draws), *shape).sum(1)
    return total / settings.samples


def _occlusion(work: Work, settings: OcclusionSettings) -> Tensor:
    from captum.attr import Occlusion

    b, channels, *size = work.images.shape
    window = [max(1, round(settings.window * side)) for side in size]
    stride = [min(w, max(1, round(settings.stride * side))) for w, side in zip(window, size, strict=True)]
    attribution: Tensor = Occlusion(work.values).attribute(
        work.images,
        sliding_window_shapes=(channels, *window),
        strides=(channels, *stride),
        baselines=work.baseline(settings.baseline),
        additional_forward_args=work.rows(),
        perturbations_per_eval=max(1, work.session.micro_batch // b),
    )
    return attribution[:, :1]  # a window covers all channels, so they are equal


class _Scored(nn.Module):
    """A session's module that returns the explained values: Captum's guided backpropagation wants a module to hook."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.module = work.session.module
        self._values = work.values

    def forward(self, images: Tensor, rows: Tensor) -> Tensor:
        return self._values(images, rows)


def _guided_grad_cam(work: Work, settings: CamSettings) -> Tensor:
    from captum.attr import GuidedBackprop

    guided, relus = count_relus(work.session, work.images)
    if guided == 0:
        raise _no_relu(work.session.module)
    if guided < relus:
        raise MethodNotApplicable(
            f"guided Grad-CAM changes the gradient of nn.ReLU modules, but {relus - guided} of {relus} ReLUs of this "
            "classifier are functional; use grad-cam, or replace them by nn.ReLU modules"
        )
    cam = _cam(grad_cam)(work, settings).relu()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")  # on our copy, and removed again
        backpropagated: Tensor = GuidedBackprop(_Scored(work)).attribute(
            work.images.detach().requires_grad_(True), additional_forward_args=work.rows()
        )
    return backpropagated * resize_masks(cam, (work.images.shape[2], work.images.shape[3]))


def _no_relu(module: nn.Module) -> MethodNotApplicable:
    return MethodNotApplicable(
        f"guided Grad-CAM changes the gradient of nn.ReLU modules, and {type(module).__name__} has none between image "
        "and logits (ReLU6, GELU and functional ReLUs do not count); use grad-cam instead"
    )


def _has_relu(classifier: Classifier, settings: CamSettings) -> None:
    needs_gradient(classifier)
    if not any(isinstance(module, nn.ReLU) for module in classifier.module.modules()):
        raise _no_relu(classifier.module)
    has_layer(classifier, settings)


def has_layer(classifier: Classifier, settings: CamSettings) -> None:
    """A `Method.check`: whether class activation maps can be made, of the layer that the settings name.

    Raises:
        MethodNotApplicable: the logits have no gradient, or no layer keeps a map.
        SettingsError: no such layer, or one whose output is no map.
    """
    needs_gradient(classifier)
    session = classifier.any_session()
    grey = session.normalise(torch.full((1, 3, *classifier.size), 0.5))
    layer = settings.layer or classifier.layer
    if layer is None:
        find_layer(session, grey)
    else:
        check_layer(session, grey, layer)


Attribute = Callable[[Work, Any], Tensor]


def _compute(
    attribute: Attribute,
    to_mask: Callable[[Tensor], Tensor],
    classifier: Classifier,
    batch: Batch,
    settings: Any,
    on_progress: OnProgress | None,
) -> Computed:
    """Masks of a batch, a micro-batch at a time; after Ctrl-C or a stop, those of the images that were finished."""
    n, done, interrupted = len(batch), 0, False
    raws: list[Tensor] = []
    masks: list[Tensor] = []
    with classifier.session(exact=True) as session:
        before = session.counter.evaluations

        def run(rows: slice) -> Tensor:
            part = batch[rows]
            goal = part.goal.to(session.device)
            nan = torch.zeros(len(part), device=session.device)
            images, layer = session.normalise(part.images), classifier.layer
            work = Work(session, images, goal, part.image_ids, layer, classifier.preprocessing, nan)
            raw = attribute(work, settings).detach()
            return torch.where(nan.view(-1, 1, 1, 1) > 0, torch.nan, raw)

        try:
            for rows, raw in session.in_micro_batches(n, run):
                raws.append(raw.cpu())
                masks.append(to_mask(raw).cpu())
                done = rows.stop
                spent = session.counter.evaluations - before
                if on_progress is not None and on_progress(_snapshot(batch[rows], masks[-1], spent, done, n)):
                    break
        except KeyboardInterrupt:
            interrupted = True
    return Computed(
        {"attribution": _padded(masks, n)},
        finished=torch.arange(n) < done,
        raw=_padded(raws, n) if raws else None,
        interrupted=interrupted,
    )


def _snapshot(part: Batch, mask: Tensor, spent: int, done: int, n: int) -> Snapshot:
    nothing = torch.full((len(part),), torch.nan)
    total = spent + -(-spent // done) * (n - done)
    return Snapshot(list(part.image_ids), {"attribution": mask}, nothing, nothing, spent, total, done)


def _padded(parts: list[Tensor], n: int) -> Tensor:
    """The parts in one tensor of length n, NaN where images are missing."""
    if not parts:
        return torch.full((n, 1, 1), torch.nan)
    done = sum(len(part) for part in parts)
    return torch.cat([*parts, torch.full((n - done, *parts[0].shape[1:]), torch.nan)])


def attribution_method(
    attribute: Attribute,
    settings: type[Any],
    summary: str,
    to_mask: Callable[[Tensor], Tensor] = attribution_to_mask,
    check: Callable[[Classifier, Any], None] | None = None,
) -> Method:
    """A method that attributes a micro-batch of images at once, and stops or runs short of memory between them.

    Args:
        attribute: (B, C, h, w) signed attributions of the images of a `Work`.
        settings: class of its settings.
        summary: one line for listings.
        to_mask: makes (B, h, w) masks of the attributions.
        check: see `Method`.
    """

    def compute(classifier: Classifier, batch: Batch, chosen: Any, on_progress: OnProgress | None) -> Computed:
        return _compute(attribute, to_mask, classifier, batch, chosen, on_progress)

    return Method(compute, settings, ("attribution",), summary, check)


METHODS: dict[str, Method] = {
    "grad-cam": attribution_method(
        _cam(grad_cam), CamSettings, "channels of a late layer, weighted by their mean gradient", check=has_layer
    ),
    "layer-cam": attribution_method(
        _cam(layer_cam), CamSettings, "positive gradient times activation of a late layer", check=has_layer
    ),
    "hires-cam": attribution_method(
        _cam(hires_cam), CamSettings, "gradient times activation of a late layer", check=has_layer
    ),
    "integrated-gradients": attribution_method(
        _integrated_gradients,
        IntegratedGradientsSettings,
        "gradients summed on the way from a baseline to the image",
        check=needs_gradient,
    ),
    "saliency": attribution_method(
        _saliency, NoSettings, "magnitude of the gradient at each pixel", sensitivity_to_mask, needs_gradient
    ),
    "smoothgrad": attribution_method(
        _smoothgrad,
        SmoothGradSettings,
        "magnitude of the mean gradient of noisy copies",
        sensitivity_to_mask,
        needs_gradient,
    ),
    "guided-grad-cam": attribution_method(
        _guided_grad_cam, CamSettings, "Grad-CAM times guided backpropagation", attribution_to_mask, _has_relu
    ),
    "occlusion": attribution_method(
        _occlusion, OcclusionSettings, "loss of the logit when a sliding square is filled in"
    ),
}
