"""Mask-guided classification: a second look where the masks point, and whether it helped.

`MaskGuidedClassifier` predicts like a classifier; `classify_with_masks` says what it gained on labelled photographs.
The public names are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fidokit._util.lazy import lazy_names

if TYPE_CHECKING:
    from fidokit.enhance.guided import MaskGuidedClassifier as MaskGuidedClassifier
    from fidokit.enhance.improve import Improvement as Improvement
    from fidokit.enhance.improve import classify_with_masks as classify_with_masks
    from fidokit.enhance.improve import judge as judge
    from fidokit.enhance.settings import GuidedGrid as GuidedGrid
    from fidokit.enhance.settings import GuidedSettings as GuidedSettings

_HOMES = {
    "GuidedGrid": "settings",
    "GuidedSettings": "settings",
    "Improvement": "improve",
    "MaskGuidedClassifier": "guided",
    "classify_with_masks": "improve",
    "judge": "improve",
}

__all__ = [
    "GuidedGrid",
    "GuidedSettings",
    "Improvement",
    "MaskGuidedClassifier",
    "classify_with_masks",
    "judge",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
