"""Drawn birds before cameras that stay where they are: sites, bursts, nights, and what is wrong with some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import NamedTuple

from fidokit._util.checks import UNIT, Number, check_number
from fidokit.exceptions import SettingsError
from fidokit.testbed.causes import Rates, assign, check_numbers, check_species, plant, rates_by_species
from fidokit.testbed.raster import Stream
from fidokit.testbed.scene import Scene, compose, decoy_side, ground
from fidokit.testbed.species import GENUS_OF, HOMES, MARK_OWNERS, MARKS, congeners

#: Causes that all frames of a burst share; the others come and go within it.
_OF_BURSTS = ("habitat", "night")
_BEGIN = datetime(2024, 5, 1)


@dataclass(frozen=True)
class Faults:
    """What is wrong with a survey: numbers of sites, shares of photographs; see `fidokit.testbed.survey`."""

    shortcuts: int = 0
    stumps: int = 0
    blanks: float = 0.0
    wrong_labels: float = 0.0
    wrong_reasons: float = 0.0

    def check(self, sites: int) -> None:
        for name in ("shortcuts", "stumps"):
            check_number(name, getattr(self, name), Number(least=0, whole=True))
        if self.shortcuts + self.stumps > sites:
            raise SettingsError(
                f"shortcuts and stumps are {self.shortcuts + self.stumps} sites of {sites}; ask for fewer"
            )
        for name in ("blanks", "wrong_labels", "wrong_reasons"):
            check_number(name, getattr(self, name), UNIT)


class _Site(NamedTuple):
    """A camera: its number, its habitat, the species that come, what is wrong with it, and the species of its decoy."""

    number: int
    habitat: str
    visitors: list[str]
    fault: str
    decoy: str | None


class _Burst(NamedTuple):
    site: _Site
    species: str
    cause: str
    time: datetime
    name: str
    positions: range


def plan_survey(
    n: int,
    seed: int,
    causes: Rates | None,
    sites: int,
    bursts: int,
    faults: Faults,
    species: Sequence[str] | None,
    size: int,
    clutter: float,
) -> tuple[list[Scene], list[dict[str, str]]]:
    """The scenes of `fidokit.testbed.survey`, undrawn, and the columns that only surveys have."""
    chosen = check_species(species)
    check_numbers(n, seed, size, clutter)
    for what, value in (("sites", sites), ("bursts", bursts)):
        check_number(what, value, Number(least=1, whole=True))
    faults.check(sites)
    if isinstance((causes or {}).get("habitat"), Mapping):
        raise SettingsError(
            "who visits depends on the site, so that the rate of 'habitat' is one number for all species"
        )
    rates = rates_by_species(causes or {}, chosen)
    cameras = _sites(seed, int(sites), faults, chosen)
    series = _bursts(int(n), int(seed), cameras, int(bursts), rates, chosen)
    scenes = [_frame(burst, i, int(seed), int(size), float(clutter)) for burst in series for i in burst.positions]
    blank = _blanks(series, seed, faults.blanks)
    for i in blank:
        scenes[i] = replace(scenes[i], parts=dict.fromkeys(scenes[i].parts), cause="blank")
    scenes = _causes_of_frames(scenes, seed, rates, chosen)
    faulty = {i for burst in series if burst.site.fault != "none" for i in burst.positions}
    plain = [i for i, scene in enumerate(scenes) if scene.cause == "none" and i not in faulty]
    reasons = _some(seed, "wrong reasons", faults.wrong_reasons, len(scenes), plain)
    scenes = [_for_another_reason(scene) if i in reasons else scene for i, scene in enumerate(scenes)]
    shown = [i for i in range(len(scenes)) if i not in blank]
    mislabelled = _some(seed, "wrong labels", faults.wrong_labels, len(scenes), shown)
    rows = []
    for burst in series:
        for k, i in enumerate(burst.positions):
            scene = scenes[i]
            label = scene.stream("label").pick(congeners(scene.species)) if i in mislabelled else scene.species
            reason = "none" if i not in reasons else "background and stamp" if scene.mark else "background"
            rows.append(
                {
                    "label": label,
                    "site": f"site {burst.site.number + 1:02d}",
                    "sequence": burst.name,
                    "datetime": (burst.time + timedelta(seconds=k)).isoformat(),
                    "planted_label": "blank" if i in blank else scene.species,
                    "planted_site": burst.site.fault,
                    "planted_reason": reason,
                }
            )
    return scenes, rows


def _sites(seed: int, sites: int, faults: Faults, chosen: list[str]) -> list[_Site]:
    homes = {habitat: [name for name in chosen if HOMES[name] == habitat] for habitat in HOMES.values()}
    foreign = {habitat: [name for name in chosen if _deceives(habitat, name)] for habitat in homes}
    order = Stream(seed, "faults").shuffled(range(sites))
    shortcuts, stumps = set(order[: faults.shortcuts]), set(order[faults.shortcuts :][: faults.stumps])
    ordinary, deceiving = _in_turn(seed, "homes", homes), _in_turn(seed, "shortcuts", foreign)
    found = []
    for number in range(sites):
        if number in shortcuts:
            habitat = next(deceiving)
            found.append(_Site(number, habitat, foreign[habitat], "shortcut", None))
            continue
        habitat = next(ordinary)
        decoy = None
        if number in stumps:
            stream = Stream(seed, "decoy", number)
            decoy = stream.pick(congeners(stream.pick(homes[habitat])))
        found.append(_Site(number, habitat, homes[habitat], "none" if decoy is None else "stump", decoy))
    return found


def _deceives(habitat: str, species: str) -> bool:
    """Whether a habitat is the home of a congener, and not of the species."""
    return habitat != HOMES[species] and habitat in [HOMES[name] for name in congeners(species)]


def _in_turn(seed: int, name: str, species_of: Mapping[str, list[str]]) -> Iterator[str]:
    """The habitats to which species come, all of them before any comes again."""
    habitats = Stream(seed, name).shuffled([habitat for habitat, names in species_of.items() if names])
    for k in count():
        yield habitats[k % len(habitats)]


def _bursts(
    n: int, seed: int, sites: list[_Site], length: int, rates: dict[str, dict[str, float]], chosen: list[str]
) -> list[_Burst]:
    """Sites in turn; at each its species in turn, one burst a day."""
    starts = range(0, n, length)
    visits: list[tuple[_Site, str]] = []
    for b in range(len(starts)):
        site, turn = sites[b % len(sites)], b // len(sites)
        block, place = divmod(turn, len(site.visitors))
        visits.append((site, Stream(seed, "visits", site.number, block).shuffled(site.visitors)[place]))
    shared = {name: {cause: own[cause] for cause in _OF_BURSTS if cause in own} for name, own in rates.items()}
    planted = assign([name for _, name in visits], seed, chosen, shared)
    bursts = []
    for b, ((site, name), cause) in enumerate(zip(visits, planted, strict=True)):
        stream, turn = Stream(seed, "burst", b), b // len(sites)
        if cause == "habitat" and site.fault != "shortcut":
            strangers = [other for other in chosen if _deceives(site.habitat, other)]
            if not strangers:
                raise SettingsError(
                    f"none of these species has a congener at home in {site.habitat}, so the cause 'habitat' cannot be "
                    "planted there; name more species"
                )
            name = stream.pick(strangers)
        hour = (22 + stream.between(0, 6)) if cause == "night" else stream.between(6, 20)
        time = _BEGIN + timedelta(days=turn, seconds=round(3600 * hour))
        positions = range(starts[b], min(starts[b] + length, n))
        bursts.append(_Burst(site, name, cause, time, f"{site.number + 1:02d}-{turn:04d}", positions))
    return bursts


def _frame(burst: _Burst, index: int, seed: int, size: int, clutter: float) -> Scene:
    """One frame of a burst: the bird of its first frame, moved a little, where this camera's birds stand."""
    site, genus = burst.site, GENUS_OF[burst.species]
    scene = compose(seed, burst.positions[0], burst.species, size=size, clutter=clutter)
    pose, moved = Stream(seed, burst.name, "pose"), Stream(seed, index, "moved")
    length, x = pose.between(0.52, 0.66), pose.between(0.44, 0.56)
    if site.decoy is not None:
        # A decoy that is nearer to the camera than the birds are.
        length, x = pose.between(0.32, 0.44), 0.5 - 0.17 * decoy_side(seed, site.number) + pose.between(-0.03, 0.03)
    legs = (0.8 * genus.body[1] + genus.leg_length) * length / genus.length
    cause = burst.cause if burst.cause != "none" else {"shortcut": "habitat", "stump": "stump"}.get(site.fault, "none")
    return replace(
        scene,
        index=index,
        habitat=site.habitat,
        length=length,
        x=x + moved.between(-0.02, 0.02),
        y=ground(seed, site.number) - legs,
        head_turn=moved.between(-0.12, 0.12),
        leg_swing=moved.between(-0.12, 0.12),
        cause=cause,
        site=site.number,
        decoy=site.decoy,
    )


def _blanks(series: list[_Burst], seed: int, share: float) -> set[int]:
    """Positions of frames without a bird; one frame of every burst shows it."""
    free = []
    for burst in series:
        kept = Stream(seed, burst.name, "seen").pick(burst.positions)
        free += [i for i in burst.positions if i != kept]
    return _some(seed, "blanks", share, sum(len(burst.positions) for burst in series), free)


def _causes_of_frames(
    scenes: list[Scene], seed: int, rates: dict[str, dict[str, float]], chosen: list[str]
) -> list[Scene]:
    """Frames with what the whole burst does not share, at the rates asked for over all frames."""
    own = {name: {cause: rate for cause, rate in by.items() if cause not in _OF_BURSTS} for name, by in rates.items()}
    if not any(own.values()):
        return scenes
    free = [i for i, scene in enumerate(scenes) if scene.cause in ("none", "stump")]
    for name, by in own.items():
        everywhere = sum(scene.species == name for scene in scenes)
        there = sum(scenes[i].species == name for i in free)
        if sum(by.values()) * everywhere > there + 1:
            raise SettingsError(
                f"the causes of {name!r} leave too few photographs: a picture shows one at most, blanks and those of a "
                "whole burst (habitat, night) or site included; ask for fewer"
            )
        own[name] = {cause: min(1.0, rate * everywhere / max(there, 1)) for cause, rate in by.items()}
    changed = list(scenes)
    for i, cause in zip(free, assign([scenes[i].species for i in free], seed, chosen, own), strict=True):
        if cause != "none":
            changed[i] = plant(scenes[i], cause)
    return changed


def _for_another_reason(scene: Scene) -> Scene:
    """Its small parts hidden, at home as it is, and with the mark that belongs to the species, if one does."""
    genus = GENUS_OF[scene.species].name
    own = next((mark for mark in MARKS if MARK_OWNERS[genus, mark] == scene.species), None)
    return replace(scene, cause="hidden_part", mark=own)


def _some(seed: int, name: str, share: float, n: int, free: list[int]) -> set[int]:
    """Positions of a share of n photographs, among those that are free for it."""
    wanted = round(share * n)
    if wanted > len(free):
        raise SettingsError(
            f"{name} at {share:g} are {wanted} of {n} photographs, but only {len(free)} can have them; ask for fewer"
        )
    return set(Stream(seed, name).shuffled(free)[:wanted])
