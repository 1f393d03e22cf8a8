"""Where images lie on a map: near to those in which the classifier sees the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fidokit.errors.features import Features
from fidokit.errors.space import PrincipalSpace, nearest

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

#: Images that are laid out by each other; the rest stand beside the nearest of them.
LANDMARKS = 1000
_BLOCK = "whole"
_FEWEST = 12


@dataclass(frozen=True)
class Layout:
    """Positions of images on a map.

    Attributes:
        space: of the classifier's pooled features.
        points: (M, d) landmarks in it.
        map: (M, 2) on the map.
        places: (N, 2) of all images.
    """

    space: PrincipalSpace
    points: Floats
    map: Singles
    places: Singles

    @classmethod
    def fit(cls, features: Features, seed: int) -> Layout:
        """Lay out N images by t-SNE (van der Maaten and Hinton 2008) of at most `LANDMARKS` of them.

        Of a few images, and of such that are all the same, the principal components are shown.
        """
        values = features.blocks.get(_BLOCK, np.zeros((len(features), 1), np.float32))
        if not len(values):
            nothing = np.zeros((0, 2), np.float32)
            return cls(PrincipalSpace.fit(np.zeros((1, max(1, values.shape[1])))), np.zeros((0, 1)), nothing, nothing)
        chosen = np.arange(len(values))
        if len(chosen) > LANDMARKS:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, LANDMARKS, replace=False))
        space = PrincipalSpace.fit(values[chosen])
        points = space.place(values[chosen])
        flat = np.zeros((len(points), 2), np.float32)
        flat[:, : min(2, points.shape[1])] = points[:, :2]
        if len(points) >= _FEWEST and np.ptp(points) > 1e-9:
            from sklearn.manifold import TSNE

            spread = flat / max(1e-9, float(flat[:, 0].std())) * 1e-4
            perplexity = min(30.0, (len(points) - 1) / 3)
            flat = TSNE(perplexity=perplexity, init=spread, max_iter=500, random_state=seed).fit_transform(points)
        layout = cls(space, points, flat.astype(np.float32), np.zeros((0, 2), np.float32))
        return cls(space, points, layout.map, layout.look_up(features))

    def look_up(self, features: Features) -> Singles:
        """(N, 2) places of other images: that of the nearest landmark."""
        values = features.blocks.get(_BLOCK)
        if values is None or not len(self.points) or values.shape[1] != len(self.space.mean):
            return np.zeros((len(features), 2), np.float32)
        return self.map[nearest(self.space.place(values), self.points)] if len(values) else np.zeros((0, 2), np.float32)
