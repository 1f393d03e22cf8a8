"""Individuals: birds of one species that differ in one mark each, which stays with them through all poses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

from fidokit._util.checks import Number, check_number
from fidokit.testbed.raster import Colour, Point, Stream
from fidokit.testbed.scene import Scene, compose
from fidokit.testbed.species import HABITATS, OWN_MARK

#: Whose individuals they are: the plumpest of the birds, with the most room for a mark.
_SPECIES = "marl tit"
#: Middles of marks in units of half the body's length, from the middle of the body, looking right, y pointing down.
_PLACES: dict[str, Point] = {
    "breast": (0.72, 0.14),
    "belly": (0.08, 0.44),
    "shoulder": (0.16, -0.22),
    "rump": (-0.74, -0.04),
}
_COLOURS: dict[str, Colour] = {
    "red": (0.78, 0.10, 0.12),
    "blue": (0.12, 0.26, 0.80),
    "white": (0.95, 0.95, 0.93),
    "black": (0.07, 0.06, 0.08),
    "violet": (0.58, 0.16, 0.62),
    "orange": (0.95, 0.52, 0.08),
    "green": (0.10, 0.55, 0.20),
    "turquoise": (0.15, 0.72, 0.72),
    "pink": (0.96, 0.55, 0.70),
}
#: Radius of the whole mark and of its core, in the same units.
RADIUS, CORE = 0.40, 0.21
#: As many of them come first that the embedding which ships has never seen.
FIRST = 24
#: No two individuals have the same ring and core: were place alone to tell two apart, what tells them would be the
#: parts around the mark as much as the mark.
MOST = len(_COLOURS) * (len(_COLOURS) - 1)


@dataclass(frozen=True)
class OwnMark:
    """A patch with a ring of one colour around a core of another.

    Attributes:
        middle: in units of half the body's length, see `_PLACES`.
        ring, core: colours.
        key: of the noise that gives its outline a shape of its own.
    """

    middle: Point
    ring: Colour
    core: Colour
    key: int


@cache
def own_mark(individual: int) -> OwnMark:
    """The mark of one individual, the same in every picture, and of no other."""
    colours = Stream("individuals").shuffled([pair for pair in product(_COLOURS, repeat=2) if pair[0] != pair[1]])
    ring, core = colours[individual]
    own = Stream("individual", individual)
    return OwnMark(_PLACES[own.pick(list(_PLACES))], _COLOURS[ring], _COLOURS[core], own.key())


def individual_name(individual: int) -> str:
    """The label of an individual: "bird 01" is the first."""
    return f"bird {individual + 1:02d}"


def plan_individuals(n: int, seed: Any, count: Any, size: Any, clutter: Any) -> list[Scene]:
    """The scenes of `fidokit.testbed.individuals`, undrawn; arguments and errors as there."""
    for what, value, least, most in (
        ("n", n, 1, None),
        ("seed", seed, 0, None),
        ("count", count, 2, MOST),
        ("size", size, 64, None),
    ):
        check_number(what, value, Number(least=least, most=most, whole=True))
    check_number("clutter", clutter, Number(least=0, most=4))
    order: list[int] = []
    while len(order) < n:
        order += Stream(int(seed), len(order), "individuals").shuffled(list(range(int(count))))
    return [
        encounter(int(seed), index, individual, size=int(size), clutter=float(clutter))
        for index, individual in enumerate(order[: int(n)])
    ]


def encounter(seed: int, index: int, individual: int, *, size: int = 256, clutter: float = 0.4) -> Scene:
    """One individual in a pose, a light and a habitat drawn from the seed and the index, as a crop to its box."""
    scene, stream = compose(seed, index, _SPECIES, size=size, clutter=clutter), Stream(seed, index, "encounter")
    return replace(
        scene,
        individual=individual,
        parts=scene.parts | {OWN_MARK: scene.species},
        habitat=stream.pick(HABITATS),
        length=stream.between(0.70, 0.86),
        tilt=stream.between(-0.14, 0.14),
    )
