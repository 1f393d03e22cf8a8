"""Whether a mask or a region is what its name says, in words: enough by itself, needed, both or neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

#: Least share of the whole image's score that what is enough keeps, and largest that is left without what is needed.
KEPT, DROPPED = 0.9, 0.1
Claim = Literal["sufficient", "destroying"]
Holds = Literal["yes", "no", "only under some infills"]
Verdict = Literal["enough and needed", "enough only", "needed only", "explains little", "not judged"]

#: Area from which a region is the whole picture, in words.
_WHOLE = 0.995
#: Share of the whole photograph's score from which a part is said to score higher than the whole.
_MORE = 1.05
#: From the best to what says nothing.
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
#: Of masks that may be shown first: they are enough by themselves.
LEADING: tuple[Verdict, ...] = ("enough and needed", "enough only")
#: Of masks that step back behind the others wherever they are shown.
FAILING: tuple[Verdict, ...] = ("explains little",)


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
        ``not judged`` where one of them is missing or the whole image's score is 0. A region is not called enough where
        what is left without it is as much: of a score that hardly depends on the picture, any region keeps all.
    """
    verdict: Verdict = mask_verdicts([whole], [kept], [dropped])[0]
    return verdict


def mask_verdicts(whole: npt.ArrayLike, kept: npt.ArrayLike, dropped: npt.ArrayLike) -> list[Verdict]:
    """`mask_verdict` of many masks at once: N scores each."""
    full, alone, without = (np.asarray(scores, np.float64) for scores in (whole, kept, dropped))
    judged = np.isfinite(full) & np.isfinite(alone) & np.isfinite(without) & (full > 0)
    enough, needed = (alone >= KEPT * full) & (without < KEPT * full), without <= DROPPED * full
    names: list[Verdict] = ["not judged", "enough and needed", "enough only", "needed only", "explains little"]
    places = np.select([~judged, enough & needed, enough, needed], [0, 1, 2, 3], 4)
    return [names[place] for place in places.tolist()]


def standing(verdict: Verdict) -> int:
    """What masks are shown in the order of: 0 for those that may lead, 2 for those that step back."""
    return 0 if verdict in LEADING else 2 if verdict in FAILING else 1


def verdict_words(whole: float, kept: float, dropped: float) -> str:
    """`mask_verdict` with the shares that it rests on, as people read it."""
    verdict = mask_verdict(whole, kept, dropped)
    if verdict == "not judged":
        return "not judged: the whole photograph gives the class no score, or a score is missing"
    words = f"{verdict}: {_alone(kept / whole)}; {_without(dropped / whole)}"
    if min(kept, dropped) >= KEPT * whole:
        return f"{words}: this region is not what the score depends on, if it depends on the picture at all"
    return words


def _alone(share: float) -> str:
    """What is left of the score with the region alone, from its share of the whole photograph's."""
    if share > _MORE:
        return f"alone it scores {share:.1f} times as high as the whole photograph: the rest speaks against the class"
    return f"alone it keeps {_percent(share)} of the score"


def _percent(share: float) -> str:
    return "less than 1 %" if 0 < share < 0.005 else f"{100 * min(share, 1):.0f} %"


def _range(values: Sequence[float], digits: int) -> str:
    """The least and the largest value, or one where they read alike."""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _without(share: float) -> str:
    """The same without the region."""
    if share > _MORE:
        return f"without it the score is {share:.1f} times as high: it speaks against the class"
    return f"without it {_percent(share)} of the score is left"


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
    shares = f"{_range([100 * score for score in scores], 0)} %"
    under = f"under {len(scores)} other fill-in{'s' if len(scores) != 1 else ''}"
    if claim == "destroying" and is_whole(area):
        return f"none found: even with the whole picture filled in, {shares} of the score is left {under}"
    told = f"without it {shares} of the score is left"
    if claim == "sufficient":
        told = f"alone it keeps {shares} of the score"
        if max(scores) > _MORE:
            told = f"alone it scores {_range(scores, 1)} times as high as the whole photograph"
    return f"{what}: {told} {under}, it takes {100 * area:.0f} % of the picture"
