"""`compare_sites`: which camera to mistrust: what its background decides, and how many of its answers are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from fidokit._util.checks import COUNT, check_number
from fidokit._util.shares import wilson
from fidokit._util.wording import given
from fidokit.data.names import shorten
from fidokit.data.readers.table import SECRET_PREFIX
from fidokit.errors import survey
from fidokit.errors.answer import CORNERS, EXAMPLE, Answer
from fidokit.errors.background import Contributions, contributions
from fidokit.errors.forecast import LEAST_LABELS, LEAST_SITES, Photographs, forecast
from fidokit.errors.interventions import DEFAULT_INFILLS, check_infills
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study
from fidokit.study.summary import bootstrap_means, percentile_interval

Floats = npt.NDArray[np.float64]
By = str | Callable[[pd.DataFrame], "Sequence[Any] | npt.NDArray[Any] | pd.Series[Any]"] | None
#: Parts of `datetime` that photographs can be compared by. Seasons are named by their months, which are the same ones
#: on both hemispheres.
_SEASONS = {12: "Dec-Feb", 3: "Mar-May", 6: "Jun-Aug", 9: "Sep-Nov"}
PERIODS: dict[str, Callable[[pd.Series[Any]], pd.Series[Any]]] = {
    "year": lambda time: time.dt.strftime("%Y"),
    "season": lambda time: (time.dt.month % 12 // 3 * 3).replace(0, 12).map(_SEASONS),
    "month": lambda time: time.dt.strftime("%Y-%m"),
    "hour": lambda time: time.dt.strftime("%H h"),
}
#: Largest share of false ones among the sites that are to be mistrusted (Benjamini, Hochberg 1995).
FALSE_DISCOVERIES = 0.1
#: Photographs that must have been changed at a site, and other sites to compare it with.
LEAST_CHANGED, LEAST_OTHERS = 5, 4
#: Sites are thought to differ by this much of their own, whatever the few that there are look like.
_SPREAD = 0.03
#: A median absolute deviation times this is the standard deviation of a normal distribution.
_OF_NORMAL = 1.4826
_RESAMPLES = 2000
#: Photographs shown of a site, sites of which some are shown, and sites that the headline names.
_EXAMPLES, _SHOWN, _NAMED = 4, 12, 5
QUESTION = "Which site to mistrust"
_MEANINGS = {
    "mistrust": "background decides more here",
    "background": "share of answers it decides",
    "accuracy": "of labelled answers",
    "forecast": "of accuracy, from other sites",
    "n": "answers",
    "labelled": "right or wrong is known",
    "changed": "filled in",
    "lost": "log-odds, without background",
    "lost_animal": "log-odds, without animal",
    "p_value": "against the other sites",
    "q_value": "corrected for their number",
    "instead": "what it most often makes of what",
}
_ORDER = [
    *("mistrust", "background", "background_low", "background_high", "accuracy", "accuracy_low", "accuracy_high"),
    *("forecast", "forecast_low", "forecast_high", "n", "labelled", "changed", "lost", "lost_animal"),
    *("p_value", "q_value", "instead"),
]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SiteComparison(Answer):
    """Which site to mistrust; made by `compare_sites`.

    Attributes:
        photographs: one row for each photograph that was changed: its site, and what is told in
            `fidokit.errors.background.Contributions`.
        forecasts: how well accuracy is foretold, see `fidokit.errors.forecast.forecast`: each labelled site from the
            others, beside average confidence and average thresholded confidence.

    Example:
        >>> fk.compare_sites(study, by="habitat", interventions=False).mistrusted
        []
    """

    photographs: pd.DataFrame = field(default_factory=pd.DataFrame)
    forecasts: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def mistrusted(self) -> list[str]:
        """The names of the sites to mistrust, the clearest first."""
        return [str(name) for name in self.table.loc[self.table["mistrust"], self.table.columns[0]]]


def compare_sites(
    study: Study,
    by: By = None,
    *,
    sequence: str | None = None,
    interventions: bool = True,
    photographs: int = 60,
    infills: Sequence[str] = DEFAULT_INFILLS,
    seed: int = 0,
    progress: bool = True,
) -> SiteComparison:
    """Compare cameras, seasons or other sources of photographs: how much is decided by what is behind the animal?

    In some photographs of each site the background is filled in, everything outside the box (the object mask; where
    there is neither, the region of the study's mask), and then the animal instead. Where the animal by itself speaks
    for another class, and the background for the answer, the background decides. The share of such answers is tested
    against those of the other sites: by how many standard errors, the differences among the other sites included (their
    median and median absolute deviation, which a few bad sites do not move), it lies above them. Without labels the
    accuracy is foretold, see `fidokit.errors.forecast`. After Ctrl-C the answer is that of the photographs that were
    changed by then, of all sites about as many.

    Args:
        study: with predictions; masks say what to look at in the background, and where the animal is without a box.
        by: a column of the user's table; or ``year``, ``season``, ``month`` or ``hour`` of the photographs' datetime,
            where no column is called so; or a function of the table (one row a photograph) that gives a name for each.
            None: the camera, the column location, site or deployment.
        sequence: the column that names bursts, whose photographs are no independent witnesses. None: sequence, if there
            is such a column.
        interventions: whether to change photographs. Without, the classifier is not run: there is the accuracy where
            there are labels, and a forecast from scores alone elsewhere.
        photographs: to change of each site, those of different bursts first. Default 60, with which a share is known
            within 13 points.
        infills: what to fill in with, see `fidokit.errors.verify.verify`. Default: up to 3 blurred photographs of other
            classes and two flat colours: 11 evaluations a photograph.
        seed: of which photographs are changed, of random infills and of resampling.
        progress: whether to print the number of evaluations before they begin, and to show a progress bar.

    Returns:
        The answer. Its table has one row a site, those to mistrust first: the name of the site in a column called as
        `by` or the column is; n; labelled; accuracy (NaN below 5 labels) and forecast, from all other sites' labels;
        changed; background, lost, lost_animal; p_value, q_value (Benjamini-Hochberg over the sites), mistrust
        (q_value at most 0.1); instead: the answer that the background most often decides, what the animal speaks for,
        and how often. Intervals (95 %) of accuracy and background resample bursts.

    Raises:
        SettingsError: not a study, a column or infill that there is not, or fewer than two sites.
        StoreError: classifier or photographs are needed and cannot be found; the message says how to give them.

    Example:
        >>> comparison = fk.compare_sites(study, by="genus", progress=False)
        >>> comparison.table["genus"].nunique(), len(comparison.photographs)
        (3, 8)
    """
    if not isinstance(study, Study):
        raise SettingsError(
            f"`study` must be a study, not {type(study).__name__}; fidokit.run_study or fidokit.open_study give one"
        )
    check_number("photographs", photographs, COUNT)
    names = check_infills(infills)
    table, title, notes = _answers(study, by, sequence)
    changed = Contributions.none()
    if interventions:
        order = _drawn(table, photographs, seed)
        changed = contributions(study, order, names, seed, progress=progress)
        notes += changed.notes
    table = table.merge(changed.table, on="image_id", how="left")
    forecasts = _forecasts(study, table, changed if interventions else None)
    rows = _tested([_row(str(site), own, seed) for site, own in table.groupby("site")])
    rows = rows.merge(forecasts[["site", "forecast", "forecast_low", "forecast_high"]], on="site")
    notes += _reservations(rows, forecasts, interventions)
    order_of = ["mistrust", "q_value", "background", "forecast"]
    rows = rows.sort_values(order_of, ascending=[False, True, False, True], kind="stable").reset_index(drop=True)
    shown = rows[["site", *_ORDER]]
    return SiteComparison(
        study=study,
        question=QUESTION,
        headline=_headline(rows),
        table=shown.rename(columns={"site": title}),
        columns=_MEANINGS,
        examples=_examples(table, rows),
        notes=tuple(notes),
        photographs=table.loc[table["decided"].notna(), ["site", *changed.table.columns]].reset_index(drop=True),
        forecasts=forecasts,
    )


def above_others(share: Floats, variance: Floats) -> Floats:
    """(S,) one-sided p-values of shares against those of the other sites; NaN where there are fewer than 4 of them.

    The other sites' middle is their median, and how much they differ is told by their median absolute deviation, both
    of which hold while fewer than half of the sites stand out. t distribution, a degree of freedom for each other site
    but one.

    Args:
        share: (S,) of the sites, NaN for those that are not compared.
        variance: (S,) of each share, for so few photographs.
    """
    result = np.full(len(share), np.nan)
    for site in np.flatnonzero(np.isfinite(share)):
        others = np.delete(share, site)
        others = others[np.isfinite(others)]
        if len(others) >= LEAST_OTHERS:
            middle = float(np.median(others))
            spread = max(_SPREAD, _OF_NORMAL * float(np.median(np.abs(others - middle))))
            far = (share[site] - middle) / np.sqrt(variance[site] + spread**2)
            result[site] = stats.t.sf(far, len(others) - 1)
    return result


def _answers(study: Study, by: By, sequence: str | None) -> tuple[pd.DataFrame, str, list[str]]:
    """The photographs that have an answer and a site: position, image_id, site, burst, predicted, right and score; what
    the sites are called; and notes."""
    own = study.images[[name for name in study.images if not str(name).startswith(SECRET_PREFIX)]]
    sites, title = _sites(own, by)
    predictions, notes = study.predictions(), []
    table = predictions[["image_id", "predicted", "score"]].assign(
        position=np.arange(len(predictions)),
        site=np.asarray([_text(value) for value in sites], dtype=object),
        right=predictions["correct"].astype("Float64").to_numpy(np.float64, na_value=np.nan),
    )
    column = survey.sequence_column(own, sequence)
    if column is None:
        notes.append(
            "No column tells bursts apart, so that each photograph counts as independent, and intervals are too narrow "
            f"if it is not; name the column with {given(sequence=...)}."
        )
    bursts = own["image_id"] if column is None else own[column].where(own[column].notna(), own["image_id"])
    table["burst"] = bursts.astype(str).to_numpy(object)
    without = int((table["predicted"].notna() & table["site"].isna()).sum())
    if without:
        notes.append(f"{without} photographs have no {title} and are left out.")
    table = table[table["predicted"].notna() & table["site"].notna()].reset_index(drop=True)
    if table["site"].nunique() < 2:
        found = ", ".join(map(shorten, table["site"].unique())) or "none"
        raise SettingsError(f"there is nothing to compare: all photographs with an answer have one {title} ({found})")
    return table, title, notes


def _sites(table: pd.DataFrame, by: By) -> tuple[list[Any], str]:
    """What each photograph is compared by, and what that is called."""
    if callable(by):
        values = by(table.copy())
        if not hasattr(values, "__len__") or isinstance(values, str) or len(values) != len(table):
            raise SettingsError(f"the function `by` must give a name for each of the {len(table)} rows of its table")
        return list(values), "site"
    if by in PERIODS and by not in table.columns:
        column = survey.time_column(table)
        if column is None:
            raise SettingsError(f"no column datetime says when the photographs were taken, so there is no {by}")
        time = _local_time(table[column])
        if time.isna().all():
            raise SettingsError(
                f"no value of the column {column!r} can be read as a time, so there is no {by}; write them as "
                "2024-05-31T13:00:00"
            )
        return PERIODS[by](time).where(time.notna(), None).tolist(), by
    column = survey.site_column(table, by)
    # The answer's table has columns of its own beside this one.
    return table[column].tolist(), str(column) if column not in _ORDER else "site"


def _local_time(column: pd.Series[Any]) -> pd.Series[Any]:
    """The times that stand in a column, ISO 8601 or as cameras write them; NaT for what is none.

    Without the offset from UTC, which may change within the year: the hour of the day is that of the place.
    """
    text = column.astype(str).str.strip()
    text = text.str.replace(r"^(\d{4}):(\d\d):(\d\d)", r"\1-\2-\3", regex=True)
    text = text.str.replace(r"(?<=\d)(Z|[+-]\d\d(:?\d\d)?)$", "", regex=True).where(text.str.contains(":"), text)
    return pd.to_datetime(text, format="ISO8601", errors="coerce")


def _text(value: Any) -> str | None:
    """A value as text, None where there is none; whole numbers without the decimal point that gaps give a column."""
    if pd.isna(value) or not str(value).strip():
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _drawn(table: pd.DataFrame, most: int, seed: int) -> list[int]:
    """Positions of the photographs to change: of each site one burst after the other.

    The sites take turns, so that what is there after Ctrl-C is of all of them.
    """
    mixed = table.sample(frac=1, random_state=seed)
    turn = mixed.groupby(["site", "burst"]).cumcount()
    mixed = mixed.assign(turn=turn).sort_values("turn", kind="stable")
    place = mixed.groupby("site").cumcount()
    chosen = mixed.assign(place=place)[place < most].sort_values("place", kind="stable")
    return [int(position) for position in chosen["position"]]


def _forecasts(study: Study, table: pd.DataFrame, changed: Contributions | None) -> pd.DataFrame:
    index = {name: i for i, name in enumerate(study.manifest["classifier"]["class_names"])}
    animal = None
    if changed is not None:
        animal = np.full((len(table), changed.animal.shape[1]), np.nan, np.float32)
        places = pd.Series(table.index, table["image_id"])
        animal[places[changed.table["image_id"]].to_numpy()] = changed.animal
    return forecast(
        Photographs(
            table["site"].to_numpy(object),
            table["right"].to_numpy(np.float64),
            table["score"].to_numpy(np.float64),
            table["predicted"].map(index).to_numpy(np.int64),
            animal,
            np.asarray(table["decided"].astype(float), np.float64),
        )
    )


def _row(site: str, own: pd.DataFrame, seed: int) -> dict[str, Any]:
    """What is counted at one site, with intervals."""
    judged, changed = own[own["right"].notna()], own[own["decided"].notna()]
    row: dict[str, Any] = {"site": site, "n": len(own), "labelled": len(judged), "changed": len(changed)}
    for name, part, values in (
        ("accuracy", judged, judged["right"]),
        ("background", changed, changed["decided"]),
    ):
        known = len(part) >= (LEAST_LABELS if name == "accuracy" else 1)
        low, high, variance = _by_bursts(values.astype(float), part["burst"], seed) if known else (np.nan,) * 3
        share = float(values.astype(float).mean()) if known else np.nan
        row |= {name: share, f"{name}_low": low, f"{name}_high": high, f"{name}_variance": variance}
    decided = changed[changed["decided"].astype(bool)]
    return row | {
        "lost": float(changed["lost"].astype(float).mean()) if len(changed) else np.nan,
        "lost_animal": float(changed["lost_animal"].astype(float).mean()) if len(changed) else np.nan,
        "instead": _most_frequent(decided),
    }


def _most_frequent(decided: pd.DataFrame) -> str | None:
    """What the background makes of what, most often."""
    if decided.empty:
        return None
    pairs = decided.groupby(["answer", "rival"]).size().sort_values(ascending=False, kind="stable")
    (answer, rival), n = pairs.index[0], int(pairs.iloc[0])
    return f"{shorten(str(answer))} instead of {shorten(str(rival))} ({n})"


def _by_bursts(values: pd.Series[Any], bursts: pd.Series[Any], seed: int) -> tuple[float, float, float]:
    """95 % interval of a share, whole bursts resampled, and its variance; of 0 and 1, Wilson's for so many bursts."""
    found, n = (values.groupby(bursts.to_numpy()).agg(what).to_numpy(np.float64) for what in ("sum", "size"))
    share, total = found.sum() / n.sum(), n.sum()
    smoothed = (found.sum() + 0.5) / (total + 1)
    variance = float(((found - share * n) ** 2).sum() / total**2 * len(n) / max(1, len(n) - 1))
    variance = max(variance, float(smoothed * (1 - smoothed) / (total + 1)))
    if share in (0.0, 1.0) or len(n) == 1:
        low, high = wilson(share * len(n), len(n), 1.96)
        return float(low), float(high), variance
    means = bootstrap_means(np.stack([found, n]), _RESAMPLES, seed)
    low, high = percentile_interval(means[:, :1] / means[:, 1:])
    return float(low[0]), float(high[0]), variance


def _tested(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    share = table["background"].where(table["changed"] >= LEAST_CHANGED).to_numpy(np.float64)
    p = above_others(share, table["background_variance"].to_numpy(np.float64))
    q, known = np.full(len(p), np.nan), np.isfinite(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return table.assign(p_value=p, q_value=q, mistrust=q <= FALSE_DISCOVERIES)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _headline(rows: pd.DataFrame) -> str:
    found, shares = rows["mistrust"].to_numpy(bool), rows["background"]
    said = []
    if found.any():
        names = [shorten(str(name)) for name in rows["site"][found]]
        listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        said.append(
            f"Mistrust {len(names)} of {len(rows)} sites: {listed}. The background decides {_range(shares[found])} of "
            f"the answers there, and {_range(shares[~found])} at the others: check them by hand before they count, or "
            "classify crops to the animal."
        )
    elif rows["p_value"].notna().any():
        said.append(
            f"At none of {len(rows)} sites does the background decide more answers than at the others "
            f"({_range(shares)})."
        )
    else:
        said.append("Whether the background decides could not be tested at any site, see the notes.")
    labelled, foretold = (rows[rows[name].notna()] for name in ("accuracy", "forecast"))
    foretold = foretold[foretold["accuracy"].isna()]
    if len(labelled):
        said.append(
            f"Where there are labels, {_range(labelled['accuracy'])} of the answers are right, "
            f"{_fewest(labelled, 'accuracy')}."
        )
    if len(foretold):
        said.append(
            f"Where there are none, {_range(foretold['forecast'])} should be by forecast, "
            f"{_fewest(foretold, 'forecast')}."
        )
    return " ".join(said) or f"Of {len(rows)} sites nothing can be said, see the notes."


def _fewest(rows: pd.DataFrame, name: str) -> str:
    shares = rows[name]
    worst = shorten(str(rows["site"].iloc[int(shares.to_numpy().argmin())]))
    if len(rows) == 1:
        return f"at {worst}"
    return "at each of them" if _percent(float(shares.min())) == _percent(float(shares.max())) else f"fewest at {worst}"


def _range(shares: pd.Series[Any]) -> str:
    low, high = float(shares.min()), float(shares.max())
    return _percent(low) if _percent(low) == _percent(high) else f"{100 * low:.0f} to {_percent(high)}"


def _reservations(rows: pd.DataFrame, forecasts: pd.DataFrame, interventions: bool) -> list[str]:
    """What was assumed and what could not be said."""
    notes = []
    if not interventions:
        notes.append(
            "No photograph was changed: what lies on the background is not known, and accuracy is foretold from scores "
            "alone (average thresholded confidence)."
        )
    elif untested := int(rows["p_value"].isna().sum()):
        notes.append(
            f"{untested} sites were not tested: a test takes {LEAST_CHANGED} changed photographs at the site and at "
            f"{LEAST_OTHERS} others."
        )
    known = forecasts[forecasts["accuracy"].notna() & forecasts["forecast"].notna()]
    if len(known) < LEAST_SITES:
        notes.append(
            f"{len(known)} sites have {LEAST_LABELS} labels or more: too few to say how far a forecast is off, so that "
            "it has no interval."
        )
        if not interventions and known.empty:
            notes.append("Without any labels nothing is foretold from scores.")
    else:
        off = {
            name: 100 * float((known[name] - known["accuracy"]).abs().mean())
            for name in ("forecast", "average_confidence", "atc")
        }
        notes.append(
            f"Foretold from all others, the {len(known)} sites with labels are off by {off['forecast']:.1f} points on "
            f"average (average confidence: {off['average_confidence']:.1f}, average thresholded confidence: "
            f"{off['atc']:.1f})."
            + (
                " A simpler forecast was closer here: do not rely on this one."
                if off["forecast"] > min(off.values())
                else ""
            )
        )
    return notes


def _examples(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The photographs in which the background is strongest, one of a burst; those of the sites to mistrust first."""
    decided = table[table["decided"].eq(True)].sort_values("strength", ascending=False, kind="stable")
    found = []
    for site in rows["site"].head(max(_SHOWN, int(rows["mistrust"].sum()))):
        own = decided[decided["site"] == site].drop_duplicates("burst").head(_EXAMPLES)
        found += [
            {
                "group": site,
                "image_id": row["image_id"],
                "caption": _caption(row),
                **{name: row[name] for name in CORNERS},
            }
            for row in own.to_dict("records")
        ]
    return pd.DataFrame(found, columns=[*EXAMPLE, *CORNERS])


def _caption(row: dict[Any, Any]) -> str:
    answer, rival = shorten(row["answer"]), shorten(row["rival"])
    return f"called {answer} ({row['score']:.2f}) by its background; the animal by itself speaks for {rival}"
