"""Finer-CAM: the class activation map of what tells a class from those like it.

Source: Zhang, Gu, Chowdhury, Mai, Carlyn, Berger-Wolf, Su, Chao, "Finer-CAM: spotting the difference reveals finer
details for visual explanation", CVPR 2025 (arXiv 2501.11309).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from fidokit._util.checks import COUNT, NOT_NEGATIVE, require_choice, require_numbers
from fidokit.exceptions import SettingsError
from fidokit.methods.gradient import Work, attribution_method, has_layer
from fidokit.methods.gradient_settings import CamSettings
from fidokit.methods.layers import find_layer, grad_cam, hires_cam, layer_cam, layer_maps
from fidokit.models.goals import Goal

Cam = Literal["grad-cam", "layer-cam", "hires-cam"]
_CAMS: dict[Cam, Callable[[Tensor, Tensor], Tensor]] = {
    "grad-cam": grad_cam,
    "layer-cam": layer_cam,
    "hires-cam": hires_cam,
}


@dataclass(frozen=True)
class FinerCamSettings(CamSettings):
    """Settings of Finer-CAM.

    Attributes:
        layer: see `CamSettings`.
        references: similar classes that the target is compared with, 3 as in the paper; fewer where the classifier has
            fewer. They are those whose logits are nearest to the target's in the photograph itself. With ``against``,
            that class is the only one.
        strength: of the comparison: 0 is the plain map, 1 the map of a difference of logits. 0.6 is the paper's, which
            keeps some of what the classes share; the authors' code has 1.
        cam: which map of the layer.

    Raises:
        SettingsError: a value outside its range.
    """

    references: int = 3
    strength: float = 0.6
    cam: Cam = "grad-cam"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers(self, references=COUNT, strength=NOT_NEGATIVE)
        require_choice(self, "cam", list(_CAMS))


def difference(logits: Tensor, goal: Goal, references: int, strength: float) -> Tensor:
    """(B,) the targets' logits less ``strength`` times the mean logit of similar classes; differentiable.

    Each of the similar classes weighs by its probability among them (the more it is a rival, the more it counts); the
    weights themselves are taken as constant.

    Args:
        logits: (B, K).
        goal: of these images; a class. A taxon's log-odds compare it with all others by themselves.
        references: how many similar classes.
        strength: of the comparison.
    """
    assert goal.target is not None
    logits = logits.float()
    target = goal.target.clamp_max(logits.shape[1] - 1)[:, None]
    own = logits.gather(1, target)
    if goal.against is not None and goal.groups is None:
        others = goal.against[:, None]
    else:
        distance = (logits.detach() - own.detach()).abs().scatter(1, target, torch.inf)
        others = distance.topk(min(references, logits.shape[1] - 1), dim=1, largest=False).indices
    similar = logits.gather(1, others)
    compared = own[:, 0] - strength * (similar.detach().softmax(1) * similar).sum(1)
    return compared if goal.groups is None else torch.where(goal.alone(logits), compared, goal.log_odds(logits))


def _attribute(work: Work, settings: FinerCamSettings) -> Tensor:
    goal = work.goal
    if goal.target is None:
        raise SettingsError("finer-cam compares a class with similar ones; explain a class, or use grad-cam")
    layer = settings.layer or work.layer or find_layer(work.session, work.images)

    def explained(logits: Tensor) -> Tensor:
        return difference(logits, goal, settings.references, settings.strength)

    compared = replace(goal, target=None, against=None, function=explained)
    activations, gradients, logits = layer_maps(work.session, work.images, compared, layer)
    work.watched(explained(logits), work.rows())
    return _CAMS[settings.cam](activations, gradients)[:, None]


METHOD = attribution_method(
    _attribute,
    FinerCamSettings,
    "class activation map of the class logit less those of the most similar classes",
    check=has_layer,
)
