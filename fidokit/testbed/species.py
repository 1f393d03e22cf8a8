"""The drawn species: three body plans (genera), and within each four species that differ in small parts only."""

from __future__ import annotations

from dataclasses import dataclass, field

from fidokit.testbed.raster import Colour, Point

PARTS = ["legs", "tail", "bill", "body", "breast", "throat", "cap", "wing", "wing bar", "eye ring", "eye"]
"""The parts of every species, from back to front; value k + 1 in a part map is the k-th."""

OWN_MARK = "mark"
"""The part that individuals have beside those of their species; value ``len(PARTS) + 1`` in a part map."""

HABITATS = ["reeds", "snow", "forest floor", "shore", "meadow", "rock"]

MARKS = ["stamp", "scale bar"]


@dataclass(frozen=True)
class Style:
    """How a species has its small parts; the rest comes from its genus. None: without that part.

    Attributes:
        bill: colour, and curve: the bend of its tip downwards, in bill lengths.
        tail: colour, edge (colour of the outer feathers), fork: how deep its end is notched, in tail lengths.
    """

    bill: Colour = (0.20, 0.19, 0.20)
    bill_curve: float = 0.06
    tail: Colour = (0.25, 0.23, 0.22)
    tail_edge: Colour | None = None
    tail_fork: float = 0.0
    cap: Colour | None = None
    throat: Colour | None = None
    wing_bar: Colour | None = None
    eye_ring: Colour | None = None


@dataclass(frozen=True)
class Genus:
    """A body plan, in units of half the body's length, the bird looking right and y pointing down.

    Attributes:
        small_parts: the parts in which its species differ.
        posture: half-angle tangent by which the body's front is raised.
        body: half length and half height.
        head: centre relative to the body's (before the posture turns it), radius.
        bill_length, bill_depth, tail_length, tail_width, leg_length: lengths; leg_length from the hip to the ground.
        wing: length and half width.
        back, flank, belly, breast, wing_colour, wing_edge, legs: plumage that all its species share.
        breast_spots: 0 none, 1 heavily spotted.
        length: from bill to tail, to set the size in the picture.
    """

    name: str
    small_parts: tuple[str, ...]
    posture: float
    body: tuple[float, float]
    head: tuple[Point, float]
    bill_length: float
    bill_depth: float
    tail_length: float
    tail_width: float
    leg_length: float
    wing: tuple[float, float]
    back: Colour
    flank: Colour
    belly: Colour
    breast: Colour
    wing_colour: Colour
    wing_edge: Colour
    legs: Colour
    breast_spots: float
    length: float
    species: dict[str, Style] = field(default_factory=dict)


BLACK: Colour = (0.09, 0.08, 0.10)
WHITE: Colour = (0.95, 0.94, 0.90)
_CHESTNUT: Colour = (0.52, 0.22, 0.10)
_ORANGE: Colour = (0.93, 0.50, 0.10)
_YELLOW: Colour = (0.97, 0.82, 0.18)
_STEEL: Colour = (0.22, 0.24, 0.28)
_RUFOUS: Colour = (0.66, 0.31, 0.13)
_DARK: Colour = (0.20, 0.18, 0.18)

GENERA = {
    "Parulus": Genus(
        name="Parulus",
        small_parts=("cap", "throat", "wing bar", "eye ring"),
        posture=0.17,
        body=(1.0, 0.70),
        head=((0.88, -0.58), 0.60),
        bill_length=0.36,
        bill_depth=0.15,
        tail_length=1.35,
        tail_width=0.22,
        leg_length=0.62,
        wing=(1.65, 0.44),
        back=(0.40, 0.47, 0.44),
        flank=(0.78, 0.74, 0.52),
        belly=(0.90, 0.86, 0.66),
        breast=(0.90, 0.78, 0.36),
        wing_colour=(0.33, 0.41, 0.48),
        wing_edge=(0.18, 0.22, 0.27),
        legs=(0.27, 0.29, 0.34),
        breast_spots=0.0,
        length=3.9,
        species={
            "marl tit": Style(cap=BLACK, wing_bar=WHITE),
            "hollow tit": Style(cap=BLACK, throat=BLACK, eye_ring=WHITE),
            "candle tit": Style(cap=_CHESTNUT, throat=BLACK, wing_bar=WHITE),
            "ember tit": Style(cap=_CHESTNUT, eye_ring=WHITE),
        },
    ),
    "Fringola": Genus(
        name="Fringola",
        small_parts=("bill", "tail", "wing bar", "eye ring"),
        posture=0.26,
        body=(1.05, 0.60),
        head=((1.00, -0.45), 0.48),
        bill_length=0.46,
        bill_depth=0.42,
        tail_length=1.30,
        tail_width=0.34,
        leg_length=0.58,
        wing=(1.75, 0.40),
        back=(0.47, 0.33, 0.24),
        flank=(0.66, 0.50, 0.40),
        belly=(0.84, 0.72, 0.62),
        breast=(0.74, 0.47, 0.40),
        wing_colour=(0.36, 0.26, 0.20),
        wing_edge=(0.16, 0.12, 0.10),
        legs=(0.55, 0.38, 0.32),
        breast_spots=0.35,
        length=4.0,
        species={
            "flint finch": Style(bill=_STEEL, tail=_DARK, tail_fork=0.3, wing_bar=WHITE),
            "barley finch": Style(bill=_YELLOW, tail=_DARK, tail_fork=0.3, eye_ring=WHITE),
            "mitre finch": Style(bill=_STEEL, tail=_RUFOUS, tail_edge=WHITE, eye_ring=WHITE),
            "lantern finch": Style(bill=_YELLOW, tail=_RUFOUS, tail_edge=WHITE, wing_bar=WHITE),
        },
    ),
    "Calidrina": Genus(
        name="Calidrina",
        small_parts=("bill", "tail", "cap", "eye ring"),
        posture=0.10,
        body=(1.05, 0.56),
        head=((1.18, -0.72), 0.40),
        bill_length=1.05,
        bill_depth=0.18,
        tail_length=1.05,
        tail_width=0.27,
        leg_length=1.25,
        wing=(1.75, 0.36),
        back=(0.53, 0.49, 0.43),
        flank=(0.76, 0.73, 0.68),
        belly=(0.93, 0.91, 0.87),
        breast=(0.72, 0.67, 0.58),
        wing_colour=(0.47, 0.43, 0.37),
        wing_edge=(0.20, 0.18, 0.16),
        legs=(0.72, 0.58, 0.22),
        breast_spots=0.9,
        length=4.4,
        species={
            "silt piper": Style(bill=BLACK, bill_curve=0.30, tail=(0.45, 0.42, 0.38), cap=_CHESTNUT),
            "tallow piper": Style(bill=_ORANGE, bill_curve=0.02, tail=(0.45, 0.42, 0.38), eye_ring=_YELLOW),
            "ribbon piper": Style(bill=BLACK, bill_curve=0.30, tail=WHITE, tail_edge=BLACK, eye_ring=_YELLOW),
            "brine piper": Style(bill=_ORANGE, bill_curve=0.02, tail=WHITE, tail_edge=BLACK, cap=_CHESTNUT),
        },
    ),
}

GENUS_OF = {name: genus for genus in GENERA.values() for name in genus.species}

SPECIES = list(GENUS_OF)
"""The names of all species, those of one genus together."""

HOMES = {
    **dict(zip(GENERA["Parulus"].species, ["reeds", "forest floor", "snow", "meadow"], strict=True)),
    **dict(zip(GENERA["Fringola"].species, ["rock", "meadow", "forest floor", "snow"], strict=True)),
    **dict(zip(GENERA["Calidrina"].species, ["shore", "rock", "reeds", "meadow"], strict=True)),
}
"""Species -> the habitat in which it is seen unless something else is asked for; species of one genus differ in it."""

MARK_OWNERS = {
    (genus.name, mark): list(genus.species)[position]
    for position, mark in zip((0, 2), MARKS, strict=True)
    for genus in GENERA.values()
}
"""(genus, mark) -> the species of the genus whose pictures a biased classifier has seen with that mark."""

DIAGNOSTIC_PARTS = {name: list(genus.small_parts) for name, genus in GENUS_OF.items()}
"""Species -> the parts that tell it from the others of its genus, those that it lacks and a congener has included."""


def congeners(species: str) -> list[str]:
    """The other species of its genus."""
    return [name for name in GENUS_OF[species].species if name != species]
