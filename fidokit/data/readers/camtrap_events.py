"""Which observations of a Camtrap DP are about which photographs.

Source: Camtrap DP 1.0.1 (https://camtrap-dp.tdwg.org/data). `observationLevel` says what an observation is about: the
medium with its mediaID, or an event, which is all media of its deployment from eventStart to eventEnd. A mediaID means
nothing in an observation of an event. Packages from before 1.0 have no `observationLevel`, and name the event or
sequence of a medium in the medium's own record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.data.readers.data_package import Table
from fidokit.data.readers.reading import Notes

#: Columns that name the event, now and before 1.0.
EVENT_COLUMNS = ("eventID", "sequenceID")

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """Pairs of medium and observation.

    Attributes:
        media: (P,) positions.
        observations: (P,) positions.
        of_event: (P,) bool, whether the observation is one of an event.
    """

    media: npt.NDArray[np.int64]
    observations: npt.NDArray[np.int64]
    of_event: npt.NDArray[np.bool_]


def link(media: Table, observations: Table, notes: Notes) -> Links:
    """All pairs of a medium and an observation that is about it; what cannot be linked is noted."""
    ids = observations.column("mediaID")
    named = ids.notna().to_numpy()
    of_event = _of_event(observations, named, notes)
    lost = np.flatnonzero(~of_event & ~named)
    if len(lost):
        what = "observations of media have no mediaID and were left out"
        notes.add(what, observations.rows[int(lost[0])], len(lost))
    medium = pd.Index(media.frame["mediaID"]).get_indexer(pd.Index(ids)).astype(np.int64)
    own = np.flatnonzero(~of_event & named & (medium >= 0))
    own_media = medium[own]
    places, found = _of_events(media, observations, np.flatnonzero(of_event), medium, notes)
    keep = _own_events(media, observations, (own_media, own), (places, found))
    return Links(
        np.concatenate([own_media, places[keep]]),
        np.concatenate([own, found[keep]]),
        np.repeat([False, True], [len(own), int(keep.sum())]),
    )


def _of_event(observations: Table, named: npt.NDArray[np.bool_], notes: Notes) -> npt.NDArray[np.bool_]:
    """(N,) bool: which observations are about an event; where no level is given, those without a mediaID."""
    level = observations.column("observationLevel")
    odd = np.flatnonzero((level.notna() & ~level.isin(["media", "event"])).to_numpy())
    if len(odd):
        what = "observations have an observationLevel other than media and event, and count by their mediaID"
        notes.add(what, observations.rows[int(odd[0])], len(odd))
    told = level.isin(["media", "event"]).to_numpy()
    result: npt.NDArray[np.bool_] = np.where(told, (level == "event").to_numpy(), ~named)
    return result


def _of_events(
    media: Table, observations: Table, events: Places, medium: Places, notes: Notes
) -> tuple[Places, Places]:
    """(media, observations) of the observations of events: by the event that the media name, or else by their times.

    Where the times of the event or of the medium that it names are missing, it is about that medium, as far as one can
    tell.
    """
    keys = observations.column(*EVENT_COLUMNS).iloc[events]
    of_media = media.column(*EVENT_COLUMNS)
    deployments = observations.frame["deploymentID"].iloc[events]
    known = pd.DataFrame({"place": np.arange(len(of_media)), "key": of_media, "at": media.frame["deploymentID"]})
    asked = pd.DataFrame({"row": events, "key": keys.to_numpy(), "at": deployments.to_numpy()})
    pairs = asked.dropna(subset="key").merge(known.dropna(subset="key"), on=["key", "at"])
    places, found = pairs["place"].to_numpy(np.int64), pairs["row"].to_numpy(np.int64)
    rest = np.setdiff1d(events, found)
    start, end = (times(observations.column(name))[rest] for name in ("eventStart", "eventEnd"))
    during = _during(media, observations.frame["deploymentID"].to_numpy(dtype=object)[rest], start, end)
    timeless = np.isnan(start) | np.isnan(end)
    undated = np.append(np.isnan(times(media.column("timestamp"))), False)
    alone = rest[(medium[rest] >= 0) & (timeless | undated[medium[rest]])]
    bad = rest[timeless & (medium[rest] < 0)]
    if len(bad):
        what = "observations of events have no eventStart and eventEnd and were left out"
        notes.add(what, observations.rows[int(bad[0])], len(bad))
    return (
        np.concatenate([places, during[0], medium[alone]]),
        np.concatenate([found, rest[during[1]], alone]),
    )


def _own_events(
    media: Table, observations: Table, own: tuple[Places, Places], pairs: tuple[Places, Places]
) -> npt.NDArray[np.bool_]:
    """(P,) bool: which pairs of medium and observation of an event are of the medium's own event.

    Events may overlap in time: a camera takes a photograph every hour, also while an animal is before it. Where the
    medium's own observations name its event, other events are not its own. Of several events around a time-lapse
    photograph the shortest is its own, since a sequence that an animal set off says nothing about it.
    """
    places, found = pairs
    keep = np.ones(len(places), dtype=np.bool_)
    if not len(places):
        return keep
    keys = observations.column(*EVENT_COLUMNS).to_numpy(dtype=object)
    named = pd.DataFrame({"place": own[0], "key": keys[own[1]]}).dropna().drop_duplicates()
    named = named[~named["place"].duplicated(keep=False)]
    wanted = np.full(len(media.frame), np.nan, dtype=object)
    wanted[named["place"].to_numpy(np.int64)] = named["key"].to_numpy(dtype=object)
    fits = wanted[places] == keys[found]
    has_own = np.zeros(len(media.frame), dtype=np.bool_)
    has_own[places[fits]] = True
    keep &= fits | ~has_own[places]
    lapse = (media.column("captureMethod") == "timeLapse").to_numpy(dtype=np.bool_)
    length = times(observations.column("eventEnd"))[found] - times(observations.column("eventStart"))[found]
    length = np.where(np.isnan(length), np.inf, length)
    shortest = np.full(len(media.frame), np.inf)
    np.minimum.at(shortest, places[keep], length[keep])
    return keep & (~lapse[places] | (length <= shortest[places]))


def times(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Seconds since 1970, NaN where there is no ISO 8601 time; times without a zone count as UTC."""
    moments = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
    # In nanoseconds, which pandas may choose for the difference, time ends in 2262; a camera's clock may be anywhere.
    since = moments.dt.as_unit("us") - pd.Timestamp(0, tz="UTC").as_unit("us")
    return np.asarray(since.dt.total_seconds(), dtype=np.float64)


def _during(
    media: Table, deployments: npt.NDArray[np.object_], start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
) -> tuple[Places, Places]:
    """(media, events) of all pairs of the same deployment with start <= timestamp <= end."""
    codes, known = pd.factorize(media.frame["deploymentID"].to_numpy(dtype=object))
    stamps_of = times(media.column("timestamp"))
    timed = np.flatnonzero(~np.isnan(stamps_of))
    order = timed[np.lexsort((stamps_of[timed], codes[timed]))]
    low, high = np.zeros((2, len(start)), dtype=np.int64)
    code = pd.Index(known).get_indexer(pd.Index(deployments, dtype=object)) if len(known) else np.full(len(start), -1)
    for group in np.unique(code[code >= 0]):
        events = np.flatnonzero((code == group) & ~np.isnan(start) & ~np.isnan(end))
        first, last = np.searchsorted(codes[order], [group, group + 1])
        stamps = stamps_of[order[first:last]]
        low[events] = first + np.searchsorted(stamps, start[events], side="left")
        high[events] = first + np.searchsorted(stamps, end[events], side="right")
    lengths = np.maximum(high - low, 0)
    events = np.repeat(np.arange(len(start)), lengths)
    within = np.arange(len(events)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return order[low[events] + within], events
