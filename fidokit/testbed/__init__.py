"""Drawn species with known causes of error: the ground truth of the tests, and the demo's material.

Birds of three genera; the species within a genus differ in small parts alone. Of every picture the mask of every part
is known, each part can be taken away or exchanged with everything else equal to the pixel, and causes of error can be
planted at chosen rates. Nothing is downloaded.

Example:
    >>> data = fk.testbed.load(8, causes={"habitat": 0.5}, folder="drawn")
    >>> sorted(data.table["planted_cause"].unique())
    ['habitat', 'none']
    >>> clf = fk.testbed.classifier()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fidokit._util.lazy import lazy_names

if TYPE_CHECKING:
    from fidokit.testbed.dataset import individuals as individuals
    from fidokit.testbed.dataset import intervene as intervene
    from fidokit.testbed.dataset import load as load
    from fidokit.testbed.dataset import scene_of as scene_of
    from fidokit.testbed.dataset import survey as survey
    from fidokit.testbed.dataset import without_part as without_part
    from fidokit.testbed.drawing import render as render
    from fidokit.testbed.network import EMBEDDER_INPUT as EMBEDDER_INPUT
    from fidokit.testbed.network import classifier as classifier
    from fidokit.testbed.network import embedder as embedder
    from fidokit.testbed.network import habitat_biased as habitat_biased
    from fidokit.testbed.network import watermark_biased as watermark_biased
    from fidokit.testbed.scene import CAUSES as CAUSES
    from fidokit.testbed.scene import Scene as Scene
    from fidokit.testbed.species import DIAGNOSTIC_PARTS as DIAGNOSTIC_PARTS
    from fidokit.testbed.species import HABITATS as HABITATS
    from fidokit.testbed.species import HOMES as HOMES
    from fidokit.testbed.species import PARTS as PARTS
    from fidokit.testbed.species import SPECIES as SPECIES

_HOMES = {
    "CAUSES": "scene",
    "DIAGNOSTIC_PARTS": "species",
    "EMBEDDER_INPUT": "network",
    "HABITATS": "species",
    "HOMES": "species",
    "PARTS": "species",
    "SPECIES": "species",
    "Scene": "scene",
    "classifier": "network",
    "embedder": "network",
    "habitat_biased": "network",
    "individuals": "dataset",
    "intervene": "dataset",
    "load": "dataset",
    "render": "drawing",
    "scene_of": "dataset",
    "survey": "dataset",
    "watermark_biased": "network",
    "without_part": "dataset",
}

__all__ = [*_HOMES]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
