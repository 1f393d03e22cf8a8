"""The scores of views, and of the controls' views, as they were measured; what is made of them is chosen elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fidokit.enhance.views import View
from fidokit.study.summary import Floats

#: Name of the views that masks guide, beside those of the controls.
MASKS = "masks"
#: Name of the views before the masks, see `GuidedSettings.first`: part of what masks answer, and no control.
FIRST = "first look"
#: Way, share and padding of a view; None where it has no such thing.
ViewKey = tuple[str | None, float | None, float | None]
#: Key of a view that is the only one of its kind, such as the mean over all crops that the masks' price allows.
FULL: ViewKey = (None, None, None)
#: The views of one image behind each key; their scores are averaged.
Views = dict[ViewKey, list[View]]


@dataclass(eq=False)
class ViewScores:
    """Scores of further looks at N images.

    Attributes:
        keys: way, share and padding of each of V looks.
        scores: (N, V, K) mean scores of the views of each look; NaN where an image has none. Of 1000 classes and the
            default grid, masks and all controls together hold 0.2 MB an image.
        evaluations: (N,) evaluations spent before any look: on the masks.
        views: of each look, one number for all images or (N,) numbers.
        seconds: that one view took, on average.
    """

    keys: list[ViewKey]
    scores: Tensor
    evaluations: Tensor
    views: Sequence[int | Tensor]
    seconds: float = 0.0

    def mean(self, keys: Sequence[ViewKey]) -> Tensor:
        """(N, K) mean scores of some looks, all views counting alike."""
        columns = [self.keys.index(key) for key in keys]
        if len(columns) == 1:
            return self.scores[:, columns[0]]
        return self.scores[:, columns].mean(1)

    def cost(self, keys: Sequence[ViewKey]) -> Tensor:
        """(N,) evaluations of some looks, those on the masks among them."""
        return self.evaluations + self.count(keys)

    def count(self, keys: Sequence[ViewKey]) -> Tensor:
        """(N,) views of some looks."""
        spent = torch.zeros(len(self.scores), dtype=torch.long)
        for key in keys:
            spent = spent + torch.as_tensor(self.views[self.keys.index(key)], dtype=torch.long)
        return spent


@dataclass(eq=False)
class Measured:
    """What `measure` found: scores, not answers.

    Attributes:
        image_ids: N of them.
        whole: (N, K) scores of the whole images.
        looks: `MASKS`, `FIRST` where there is one, or the name of a control -> its looks.
        seconds: (N,) that each image's masks took, without the looks.
        crops: key -> (N, 2) width and height in pixels of the file of the crop by the first candidate's mask.
        failures: image_id -> why nothing was measured.
        notes: what else there is to know.
    """

    image_ids: list[str]
    whole: Tensor
    looks: dict[str, ViewScores]
    seconds: Tensor
    crops: dict[ViewKey, Floats]
    failures: dict[str, str]
    notes: list[str] = field(default_factory=list)
