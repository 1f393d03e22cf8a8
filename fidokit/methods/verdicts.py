"""Whether a mask or a region is what its name says, in words: enough by itself, needed, both or neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from fidokit._util.numbers import number

#: Least share of the whole image's score that what is enough keeps, and largest that is left without what is needed.
KEPT, DROPPED = 0.9, 0.1
Claim = Literal["sufficient", "destroying"]
Holds = Literal["yes", "no", "only under some infills"]
Verdict = Literal["enough and needed", "enough only", "needed only", "explains little", "not judged"]

#: Area from which a region is the whole picture, in words.
_WHOLE = 0.995
#: Of masks that may be shown first: they are enough by themselves.
LEADING: tuple[Verdict, ...] = ("enough and needed", "enough only")


def is_whole(area: float) -> bool:
    """Whether a region is all of the picture: its claim is true of every picture, and so no finding."""
    return area >= _WHOLE


def mask_verdict(whole: float, kept: float, dropped: float) -> Verdict:
    """What a mask's scores say of it: whether its region is enough by itself, and whether it is needed.

    Args:
        whole: score of the whole image.
        kept: score with the mask's region kept, the rest filled in.
        dropped: score with the region filled in.

    Returns:
        ``not judged`` where one of them is missing or the whole image's score is 0.
    """
    verdict: Verdict = mask_verdicts([whole], [kept], [dropped])[0]
    return verdict


def mask_verdicts(whole: npt.ArrayLike, kept: npt.ArrayLike, dropped: npt.ArrayLike) -> list[Verdict]:
    """`mask_verdict` of many masks at once: N scores each."""
    full, alone, without = (np.asarray(scores, np.float64) for scores in (whole, kept, dropped))
    judged = np.isfinite(full) & np.isfinite(alone) & np.isfinite(without) & (full > 0)
    enough, needed = alone >= KEPT * full, without <= DROPPED * full
    names: list[Verdict] = ["not judged", "enough and needed", "enough only", "needed only", "explains little"]
    places = np.select([~judged, enough & needed, enough, needed], [0, 1, 2, 3], 4)
    return [names[place] for place in places.tolist()]


def verdict_words(whole: float, kept: float, dropped: float) -> str:
    """`mask_verdict` with the shares that it rests on, as people read it."""
    verdict = mask_verdict(whole, kept, dropped)
    if verdict == "not judged":
        return verdict
    return f"{verdict}: kept {number(kept / whole)} of the score, {number(dropped / whole)} left without it"


def region_words(claim: Claim, holds: Holds, scores: Sequence[float], area: float) -> str:
    """What was found of a region, as people read it: whether its claim holds, and the scores that say so.

    Args:
        claim: what was asked of it.
        holds: whether that is true.
        scores: under each infill of the check, as shares of the whole image's score.
        area: share of the image.
    """
    word = "enough" if claim == "sufficient" else "needed"
    if holds == "yes" and is_whole(area):
        return f"no cut of the mask is {word} under other fill-ins, only the whole picture"
    what = {"yes": "enough by itself" if claim == "sufficient" else "needed", "no": f"not {word}"}.get(
        holds, f"{word} only under some fill-ins"
    )
    low, high = min(scores), max(scores)
    shares = " to ".join(dict.fromkeys([number(low), number(high)]))
    under = f"under {len(scores)} other fill-in{'s' if len(scores) != 1 else ''}"
    if claim == "destroying" and is_whole(area):
        return f"none found: even with the whole picture filled in, {shares} of the score is left {under}"
    told = f"kept {shares} of the score" if claim == "sufficient" else f"{shares} of the score left without it"
    return f"{what}: {told} {under}, {100 * area:.0f} % of the picture"
