"""Proof of marks on photographs that no mark was found with: what filling one in does, beside as much elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from fidokit.errors.interventions import Infills
from fidokit.errors.marks.candidates import Candidate
from fidokit.errors.marks.sights import Bools, Sight, sights
from fidokit.methods.concrete import image_keys
from fidokit.study.compare import holm, sign_flip_p
from fidokit.study.metrics.ranks import soften
from fidokit.study.summary import mean_and_interval

if TYPE_CHECKING:
    from fidokit.errors.features import MapReader
    from fidokit.models.session import Session
    from fidokit.study.study import Study

#: Regions elsewhere on the animal that a mark is compared with, in each photograph.
CONTROLS = 2
#: Photographs of the held-out half in which a mark must be in sight; with fewer, no effect can be significant.
LEAST = 6
ALPHA = 0.05
#: Share of the log-odds between the two classes that a mark must bear, so that it is worth looking for.
LEAST_SHARE = 0.05
#: Standard deviation of a mark's place across the box, up to which it is on one side.
_SAME_SIDE = 0.15
# Shifts that count as equally good, as a share of the region.
_SLACK = 0.02


def elsewhere(region: Bools, animal: Bools, generator: np.random.Generator) -> Bools:
    """(H, W) as many pixels, of the same shapes, elsewhere on the animal: the region shifted around the edges.

    Of all shifts one of those is drawn that lie most on what the region leaves of the animal, within 2 % of its size.
    """
    left = np.fft.rfft2((animal & ~region).astype(np.float64))
    shared = np.fft.irfft2(np.conj(np.fft.rfft2(region.astype(np.float64))) * left, s=region.shape)
    best = np.flatnonzero(shared.ravel() >= shared.max() - _SLACK * region.sum() - 0.5)
    down, across = divmod(int(generator.choice(best)), region.shape[1])
    return np.roll(region, (down, across), (0, 1))


class Proof:
    """Fills in the marks of a pair of classes, photograph by photograph.

    Args:
        study: whose photographs they are.
        session: an open session of its classifier.
        pair: indices of the two classes.
        classes: image_id -> 0 or 1, which of the pair the photograph shows.
        infills: of each photograph.
        bar: a progress bar that counts evaluations.
    """

    def __init__(
        self,
        study: Study,
        session: Session,
        pair: tuple[int, int],
        classes: Mapping[str, int],
        infills: Infills,
        bar: Any,
    ) -> None:
        self.study, self.session, self.pair, self.classes = study, session, pair, classes
        self.infills, self.bar = infills, bar

    def measure(
        self, image_ids: Sequence[str], reader: MapReader | None, candidates: Sequence[Candidate]
    ) -> pd.DataFrame:
        """A row for each photograph and candidate that is in sight there.

        Returns:
            candidate (its position), image_id, own (0 or 1, see `classes`); whole, filled and control: the log-odds of
            the photograph's class against the other as it is, with the mark filled in, and with as much elsewhere on
            the animal, means over the infills; x, y: of the mark's middle, in shares of the animal's box; and x0, y0,
            x1, y1, around it, in shares of the photograph.
        """
        rows: list[dict[str, Any]] = []
        for sight in sights(self.study, image_ids, reader):
            found = [(i, one.find(sight)) for i, one in enumerate(candidates)]
            rows += self._photograph(sight, [(i, region) for i, region in found if region is not None])
        return pd.DataFrame(rows, columns=_MEASURED)

    def _photograph(self, sight: Sight, found: Sequence[tuple[int, Bools]]) -> list[dict[str, Any]]:
        if not found:
            return []
        own = self.classes[sight.image_id]
        key = int(image_keys(self.infills.seed, [sight.image_id])[0]) & (2**63 - 1)
        generator = np.random.default_rng(key)
        regions = [
            each
            for _, region in found
            for each in (region, *(elsewhere(region, sight.animal, generator) for _ in range(CONTROLS)))
        ]
        bank = self.infills.bank(sight.image, sight.image_id, self._shown(own))
        soft = soften(torch.from_numpy(np.stack(regions)))[:, None]
        images = [sight.image[None], *(torch.lerp(sight.image[None], bank, one) for one in soft)]
        classifier = self.study.classifier
        with classifier.leaving_out(classifier.left_out(sight.image[None])[0]):
            logits = self.session.logits(torch.cat(images)).double()
        odds = logits[:, self.pair[own]] - logits[:, self.pair[1 - own]]
        self.bar.update(len(odds))
        filled = odds[1:].view(len(found), 1 + CONTROLS, len(bank)).mean(2).numpy()
        return [
            {
                "candidate": i,
                "image_id": sight.image_id,
                "own": own,
                "whole": float(odds[0]),
                "filled": float(values[0]),
                "control": float(values[1:].mean()),
                **dict(zip(("x", "y"), sight.in_box(region), strict=True)),
                **dict(zip(("x0", "y0", "x1", "y1"), sight.in_photograph(region), strict=True)),
            }
            for (i, region), values in zip(found, filled, strict=True)
        ]

    def _shown(self, own: int) -> tuple[object, object]:
        """What no photograph that stands in may show: both classes."""
        names = self.study.classifier.class_names
        return names[self.pair[own]], names[self.pair[1 - own]]


_MEASURED = ["candidate", "image_id", "own", "whole", "filled", "control", "x", "y", "x0", "y0", "x1", "y1"]


def judged(measured: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    """What the photographs say of each candidate, the largest effect first.

    The effect of a mark is the log-odds with as much filled in elsewhere less those with the mark filled in: of A
    against B in photographs of A, of B against A in those of B, so that what speaks for one in both cancels.

    Args:
        measured: by `Proof.measure`.
        units: image_id -> what is independent, such as the burst.

    Returns:
        candidate, n, n_a, n_b, effect, effect_low, effect_high, effect_a, effect_b, share (of the mean log-odds of
        these photographs), p_value (one-sided, sign flips of the units, Holm's correction over the candidates), where
        (in words), shown.
    """
    rows = []
    for candidate, own in measured.groupby("candidate"):
        effects = own["control"] - own["filled"]
        by_unit = effects.groupby(own["image_id"].map(units).to_numpy()).mean().to_numpy()
        mean, low, high = (float(value[0]) for value in mean_and_interval(by_unit[None]))
        p_value = sign_flip_p(by_unit) / 2 if len(by_unit) >= LEAST else np.nan
        a, b = (effects[own["own"] == side] for side in (0, 1))
        whole = float(own["whole"].mean())
        rows.append(
            {
                "candidate": candidate,
                "n": len(own),
                "n_a": len(a),
                "n_b": len(b),
                "effect": mean,
                "effect_low": low,
                "effect_high": high,
                "effect_a": float(a.mean()),
                "effect_b": float(b.mean()),
                "share": mean / whole if whole > 0 else np.nan,
                "p_value": p_value if mean > 0 else 1 - p_value,
                "where": _where(own["x"], own["y"]),
            }
        )
    table = pd.DataFrame(rows, columns=_JUDGED)
    table["p_value"] = holm(table["p_value"].to_numpy(np.float64))
    table["shown"] = (table["p_value"] <= ALPHA) & (table["share"] >= LEAST_SHARE)
    return table.sort_values(["shown", "effect"], ascending=False, kind="stable", ignore_index=True)


_JUDGED = [
    *("candidate", "n", "n_a", "n_b", "effect", "effect_low", "effect_high", "effect_a", "effect_b", "share"),
    *("p_value", "where"),
]


def _where(x: pd.Series[float], y: pd.Series[float]) -> str:
    """The place of a mark in the animal's box, in words; animals that look to either side have it at either end."""
    height = ("upper", "middle", "lower")[min(2, int(3 * float(np.clip(y.mean(), 0, 1))))]
    if float(x.std(ddof=0)) <= _SAME_SIDE:
        side = ("left", "middle", "right")[min(2, int(3 * float(np.clip(x.mean(), 0, 1))))]
    else:
        side = "one end" if float((x - 0.5).abs().mean()) > 1 / 6 else "middle"
    return f"{height} third, {side}"


def evaluations(n: int, candidates: int, infills: int) -> int:
    """How many n photographs take, where every candidate is in sight."""
    return n * (1 + candidates * (1 + CONTROLS) * infills)
