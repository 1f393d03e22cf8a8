"""Which picture shows which species, and which causes of error are planted in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from fidokit._util.checks import UNIT, Number, check_number
from fidokit.exceptions import SettingsError
from fidokit.testbed.raster import Stream
from fidokit.testbed.scene import CAUSES, Scene, compose, shrunk
from fidokit.testbed.species import GENUS_OF, HOMES, MARK_OWNERS, MARKS, SPECIES, congeners

Rates: TypeAlias = Mapping[str, float | Mapping[str, float]]
"""Cause -> the share of the pictures that show it, or species -> the share of its pictures."""


def plan(
    n: int,
    seed: int = 0,
    causes: Rates | None = None,
    *,
    species: Sequence[str] | None = None,
    size: int = 256,
    clutter: float = 0.4,
) -> list[Scene]:
    """The scenes of `fidokit.testbed.load`, undrawn; arguments and errors as there."""
    chosen = check_species(species)
    check_numbers(n, seed, size, clutter)
    n, seed, size = int(n), int(seed), int(size)  # of numpy they would not go into JSON
    rates = rates_by_species(causes or {}, chosen)
    named = _balanced(n, seed, chosen)
    planted = assign(named, seed, chosen, rates)
    scenes = []
    for index, (name, cause) in enumerate(zip(named, planted, strict=True)):
        scenes.append(plant(compose(seed, index, name, size=size, clutter=float(clutter)), cause))
    return scenes


def plant(scene: Scene, cause: str) -> Scene:
    """The scene with one cause of error, or as it is for "none"."""
    if cause == "none":
        return scene
    stream = scene.stream("cause")
    if cause == "tiny":
        return shrunk(scene)
    if cause == "habitat":
        return replace(scene, habitat=HOMES[stream.pick(congeners(scene.species))], cause=cause)
    if cause == "watermark":
        genus = GENUS_OF[scene.species].name
        wrong = [mark for mark in MARKS if MARK_OWNERS[genus, mark] != scene.species]
        return replace(scene, mark=stream.pick(wrong), cause=cause)
    return replace(scene, cause=cause)


def _balanced(n: int, seed: int, chosen: list[str]) -> list[str]:
    """n names; every species comes once, in random order, before any comes again."""
    named: list[str] = []
    block = 0
    while len(named) < n:
        named += Stream(seed, "block", block).shuffled(chosen)
        block += 1
    return named[:n]


def assign(named: list[str], seed: int, chosen: list[str], rates: dict[str, dict[str, float]]) -> list[str]:
    """A cause, or "none", for every picture, as near to the rates as whole numbers can be: by species, and over all."""
    planted = ["none"] * len(named)
    ranks = Stream(seed, "ranks").shuffled(range(len(chosen)))
    for name, rank in zip(chosen, ranks, strict=True):
        places = Stream(seed, "places", name).shuffled([i for i, other in enumerate(named) if other == name])
        # Systematic sampling; species round at different thresholds, so that their errors cancel.
        offset = (rank + 0.5) / len(chosen)
        total, taken = 0.0, 0
        for cause, rate in rates[name].items():
            total += rate * len(places)
            until = min(math.floor(total + offset), len(places))
            for i in places[taken:until]:
                planted[i] = cause
            taken = until
    return planted


def rates_by_species(causes: Rates, chosen: list[str]) -> dict[str, dict[str, float]]:
    if not isinstance(causes, Mapping):
        raise SettingsError(f'causes must be a mapping such as {{"habitat": 0.2}}, not {causes!r}')
    rates: dict[str, dict[str, float]] = {name: {} for name in chosen}
    for cause, given in causes.items():
        if cause not in CAUSES:
            raise SettingsError(f"unknown cause {cause!r}; there are: {', '.join(CAUSES)}")
        by_species = given if isinstance(given, Mapping) else dict.fromkeys(chosen, given)
        for name, rate in by_species.items():
            if name not in chosen:
                raise SettingsError(f"the cause {cause!r} names {name!r}; the species here are: {', '.join(chosen)}")
            check_number(f"the rate of {cause!r} for {name!r}", rate, UNIT)
            rates[name][cause] = float(rate)
    for name, own in rates.items():
        if sum(own.values()) > 1 + 1e-9:
            listed = ", ".join(f"{cause} {rate:g}" for cause, rate in own.items())
            raise SettingsError(f"a picture shows one cause at most, but the rates of {name!r} exceed 1: {listed}")
    return rates


def check_species(species: Any) -> list[str]:
    chosen = list(SPECIES) if species is None else [species] if isinstance(species, str) else list(species)
    unknown = [name for name in chosen if name not in SPECIES]
    if unknown or not chosen:
        what = f"unknown species {unknown[0]!r}" if unknown else "no species"
        raise SettingsError(f"{what}; there are: {', '.join(SPECIES)}")
    if len(set(chosen)) < len(chosen):
        raise SettingsError(f"a species is named twice in {', '.join(chosen)}; name each once")
    return chosen


def check_numbers(n: Any, seed: Any, size: Any, clutter: Any) -> None:
    for what, value, least in (("n", n, 1), ("seed", seed, 0), ("size", size, 64)):
        check_number(what, value, Number(least=least, whole=True))
    check_number("clutter", clutter, Number(least=0, most=4))
