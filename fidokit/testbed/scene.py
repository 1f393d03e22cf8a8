"""What a picture shows, as plain values: equal scenes give equal pixels, and one field can change alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from fidokit.exceptions import SettingsError
from fidokit.testbed.raster import Stream
from fidokit.testbed.species import GENUS_OF, HABITATS, HOMES, PARTS, SPECIES

DRAWING = 1
"""Version of the drawing; it changes whenever a pixel of any picture does."""

CAUSES = ["habitat", "hidden_part", "watermark", "night", "tiny"]
"""The causes of error that can be planted."""


@dataclass(frozen=True)
class Scene:
    """Everything about one picture.

    Attributes:
        seed, index: name the random streams of textures, clutter and noise.
        size: side of the square picture in pixels.
        species: the label.
        parts: part -> the species whose version of it is drawn, None for a part taken away; individuals have `OWN_MARK`
            among them.
        habitat: one of `HABITATS`.
        x, y: middle of the body, as shares of the picture.
        length: from bill to tail, as a share of the picture.
        facing: 1 looks right, -1 left.
        tilt, head_turn, leg_swing: tangents of half the angles of body (against the genus' posture), head and legs.
        light: direction in the picture (x, y; each -1..1), brightness and warmth as factors around 1 and 0.
        clutter: 0 nothing stands in front of the bird, 1 much.
        cause: what was planted, or "none".
        mark: one of `MARKS`, or None.
        individual: number of the bird whose own mark is drawn, see `fidokit.testbed.individuals`; None for a bird
            without one.
        site: number of the camera, whose frame is the same in all its pictures; None for a frame of its own.
        decoy: species of the carved bird that stands on a stump at a fixed place of the site's frame; None for none.
    """

    seed: int
    index: int
    size: int
    species: str
    parts: dict[str, str | None]
    habitat: str
    x: float
    y: float
    length: float
    facing: float
    tilt: float
    head_turn: float
    leg_swing: float
    light: tuple[float, float, float, float]
    clutter: float
    cause: str = "none"
    mark: str | None = None
    individual: int | None = None
    site: int | None = None
    decoy: str | None = None

    def stream(self, name: str) -> Stream:
        """The random stream of one aspect of this picture."""
        return Stream(self.seed, self.index, name)

    def surroundings(self, name: str) -> Stream:
        """The random stream of one aspect of what stays where it is: the same in all pictures of a site."""
        return self.stream(name) if self.site is None else Stream(self.seed, "site", self.site, name)

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back without loss."""
        values = asdict(self)
        # Pictures are named by this text, those of before there were individuals and sites included.
        return json.dumps(
            {k: v for k, v in values.items() if v is not None or k not in ("individual", "site", "decoy")}
        )

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """The scene in a cell of `planted_scene`."""
        values = json.loads(text)
        return cls(**(values | {"light": tuple(values["light"])}))

    def without(self, part: str) -> Scene:
        """The same picture with one part taken away, or the bird's own mark."""
        return replace(self, parts=self.parts | {_one_of("part", part, list(self.parts)): None})

    def exchanged(self, part: str, species: str) -> Scene:
        """The same picture with one part as another species has it."""
        return replace(self, parts=self.parts | {_one_of("part", part, PARTS): _one_of("species", species, SPECIES)})

    def in_habitat(self, habitat: str) -> Scene:
        """The same picture in another habitat."""
        return replace(self, habitat=_one_of("habitat", habitat, HABITATS))


def compose(seed: int, index: int, species: str, *, size: int = 256, clutter: float = 0.4) -> Scene:
    """The scene of a species in its home habitat, its pose, place and light drawn from the seed and the index."""
    pose = Stream(seed, index, "pose")
    light = Stream(seed, index, "light")
    genus = GENUS_OF[species]
    length = pose.between(0.56, 0.70)
    return Scene(
        seed=seed,
        index=index,
        size=size,
        species=species,
        parts=dict.fromkeys(PARTS, species),
        habitat=HOMES[species],
        x=pose.between(0.46, 0.54),
        y=pose.between(0.50, 0.56) - 0.06 * (genus.leg_length - 0.6),
        length=length,
        facing=pose.sign(),
        tilt=pose.between(-0.08, 0.08),
        head_turn=pose.between(-0.12, 0.12),
        leg_swing=pose.between(-0.12, 0.12),
        light=(light.between(-0.8, 0.8), -light.between(0.5, 1.0), light.between(0.88, 1.08), light.between(-1.0, 1.0)),
        clutter=clutter,
    )


def ground(seed: int, site: int) -> float:
    """Where the birds of a site stand, as a share of the height."""
    return Stream(seed, "site", site, "ground").between(0.75, 0.80)


def decoy_side(seed: int, site: int) -> float:
    """-1.0 if the site's decoy stands on the left of the frame, 1.0 on the right."""
    return Stream(seed, "site", site, "decoy").sign()


def shrunk(scene: Scene) -> Scene:
    """The same bird at a quarter of its length, anywhere in the picture."""
    stream = scene.stream("tiny")
    return replace(
        scene, length=scene.length * 0.25, x=stream.between(0.15, 0.85), y=stream.between(0.45, 0.88), cause="tiny"
    )


def _one_of(what: str, value: Any, known: list[str]) -> str:
    if value not in known:
        raise SettingsError(f"unknown {what} {value!r}; there are: {', '.join(known)}")
    return str(value)
