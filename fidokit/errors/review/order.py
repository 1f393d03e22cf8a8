"""`review_order`: which photographs to look at first, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from fidokit._util.ambient import unaffected
from fidokit._util.checks import UNIT, Number, check_number
from fidokit.errors.answer import CORNERS, EXAMPLE, Answer
from fidokit.errors.review.filling import fill_in, masks_to_keep
from fidokit.errors.review.reading import Look, look
from fidokit.errors.review.signals import SIGNS, measure, outside_share, reasons
from fidokit.errors.review.stopping import Batches, errors_left
from fidokit.errors.review.weights import LEAST, Weights, learn
from fidokit.errors.survey import sequence_column, site_column
from fidokit.exceptions import SettingsError
from fidokit.study.exports.results import CONFIRMED, CORRECTED, REVIEWS, UNSURE
from fidokit.study.exports.timelapse import to_timelapse
from fidokit.study.study import Study

Floats = npt.NDArray[np.float64]
#: A sign is named where it raises the log-odds of an error by so much; at most so many are.
_NAMED, _MOST_NAMED = 0.7, 3
_EXAMPLES = 12
_COLUMNS = {
    "expected_error": "probability of an error",
    "why": "the signs that speak for an error, the strongest first",
    "batch": "looked at together",
    "drawn": "in its batch by chance, for the stopping rule",
}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ReviewOrder(Answer):
    """Photographs in the order in which to look at them; made by `review_order`.

    Attributes:
        weights: how much each sign counts.
        batches: which photographs are looked at together.

    Example:
        >>> order = fk.review_order(study)
        >>> order.table[["image_id", "expected_error", "why"]].shape
        (8, 3)
        >>> order.to_timelapse("review.csv").name
        'review.csv'
    """

    weights: Weights
    batches: Batches

    def batch(self, number: int) -> pd.DataFrame:
        """The rows of one batch, the first is 1; empty where there is none of that number."""
        return self.table[self.table["batch"] == number].reset_index(drop=True)

    def errors_left(self, review: pd.DataFrame) -> pd.DataFrame:
        """How many errors are probably left among the photographs that nobody has looked at.

        The photographs that each batch holds because they were drawn at random tell it, whatever the order is worth.
        Stop where ``at_most`` is a number of errors that you can live with.

        Args:
            review: what people found: image_id, and review as in `Study.results`: ``confirmed``, ``corrected``, or
                ``unsure``, which counts as an error; other rows are still to be looked at.

        Returns:
            One row a batch, as far as they were looked at whole: batch, looked_at, errors_found, not_looked_at,
            errors_left with its 95 % interval errors_left_low and errors_left_high, and at_most, an upper bound that
            holds with 95 % however often one asks; see `fidokit.errors.review.stopping.errors_left`.

        Raises:
            SettingsError: a column is missing, a photograph is none of the study's, or is there twice.

        Example:
            >>> order = fk.review_order(study)
            >>> found = order.errors_left(order.batch(1).assign(review="confirmed"))
            >>> found["errors_found"].tolist()
            [0]
        """
        if missing := [name for name in ("image_id", "review") if name not in review]:
            raise SettingsError(
                f"the review has no column {missing[0]!r}; it has {', '.join(map(str, review.columns))}"
            )
        self.study.known_images(review["image_id"])
        if len(twice := review["image_id"][review["image_id"].duplicated()]):
            raise SettingsError(f"the review has {twice.iloc[0]!r} twice; keep the row that counts")
        meaning = {CONFIRMED: 0.0, CORRECTED: 1.0, UNSURE: 1.0}
        if unknown := sorted(set(review["review"].dropna().astype(str)) - {*REVIEWS, ""}):
            raise SettingsError(
                f"the review says {unknown[0]!r} of a photograph; it must say {', '.join(REVIEWS)}, or nothing"
            )
        verdicts = review.set_index("image_id")["review"].map(meaning)
        return errors_left(self.batches, np.asarray(verdicts.reindex(self.table["image_id"]), np.float64))

    def to_timelapse(
        self,
        file: str | Path,
        *,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        root: str | Path | None = None,
        overwrite: bool = False,
    ) -> Path:
        """`Study.to_timelapse` of the photographs of the table, in its order, with the fields ``rank`` and ``why``."""
        ranks = pd.DataFrame(
            {"image_id": self.table["image_id"], "rank": self.table.index + 1, "why": self.table["why"]}
        )
        results = self.study.results().merge(ranks, on="image_id", how="left")
        return to_timelapse(self.study, Path(file), results, root=root, columns=columns, overwrite=overwrite)


@unaffected()
def review_order(
    study: Study,
    *,
    by: str | None = None,
    burst: str | None = None,
    learn_from_labels: bool = True,
    interventions: int = 0,
    batch: int = 50,
    sample: float = 0.2,
    seed: int = 0,
    progress: bool = False,
) -> ReviewOrder:
    """Rank photographs by how likely the prediction is wrong, without needing a label, and say why.

    Every photograph is looked at once: one evaluation, with a backward pass to a late layer. The signs are in
    `fidokit.errors.review.signals.SIGNS`. Where labels judge at least 8 errors and 8 right answers, the weights of the
    signs are learnt from them, drawn to the fixed ones, and how far is chosen by cross-validation over the cameras.

    Photographs whose label judges them already are left out of the order; where all are judged, all are ranked, each by
    weights learnt at other cameras, so that the order can be checked.

    Args:
        study: with predictions; its masks are only needed for `interventions`.
        by: column that names the camera; default location, site or deployment.
        burst: column that names the burst; default sequence.
        learn_from_labels: whether labels set the weights.
        interventions: of so many photographs, the first by the other signs, what lies outside the mask is filled in
            twice, to see whether the answer stays: two evaluations each, said by the progress bar before it starts.
            Ctrl-C then keeps those that are done. Default 0.
        batch: photographs in a batch.
        sample: share of a batch that is drawn at random, for the stopping rule; 0 gives no bound.
        seed: of that draw.
        progress: whether to show progress bars.

    Returns:
        Its table: image_id, predicted, why, expected_error, batch, drawn, score, runner_up, the signs, and path.
        Without labels expected_error is right in its order alone.

    Raises:
        SettingsError: a column or number that cannot be used, or a study without predictions.
        StoreError: classifier or photographs cannot be found; the message says how to give them.

    Example:
        >>> order = fk.review_order(study, batch=4)
        >>> len(order.batch(1)) <= 4
        True
    """
    check_number("batch", batch, Number(least=2, whole=True))
    check_number("interventions", interventions, Number(least=0, whole=True))
    check_number("sample", sample, UNIT)
    predictions = study.predictions()
    positions = np.flatnonzero(predictions["predicted"].notna().to_numpy())
    if not len(positions):
        raise SettingsError(f"no photograph of {study.path} has a prediction; run the study first")
    masks = masks_to_keep(study) if interventions else None
    looked = look(study, positions, progress=progress)
    notes = [f"the evidence is not known: {looked.missing}"] if looked.missing is not None else []
    if lost := len(predictions) - len(looked):
        notes.append(f"{lost} photographs have no prediction or cannot be read, and are not in the order")
    own = predictions.iloc[looked.positions].reset_index(drop=True)
    images = study.images.iloc[looked.positions].reset_index(drop=True)
    site, bursts = _surveyed(images, by, burst, notes)
    crops = bool(study.classifier.preprocessing.use_boxes)
    if site is not None and crops:
        notes.append("the classifier sees crops, so the same place in the frame cannot be compared from night to night")
    signs = measure(looked, site, bursts, images["path"], whole_frame=not crops)
    signs["filled_in"] = np.nan
    if not np.isfinite(looked.animal).any():
        notes.append("no photograph has a box, so it is not known what lies outside the animal")
    judged = own["correct"].notna().to_numpy()
    wrong = own["correct"].eq(False).fillna(False).to_numpy(bool)
    listed = np.ones(len(own), bool) if judged.all() else ~judged
    if masks is not None:
        first = np.flatnonzero(listed)[np.argsort(-Weights().log_odds(signs)[listed], kind="stable")][:interventions]
        signs.loc[first, "filled_in"] = fill_in(study, masks, looked.positions[first], notes, progress=progress)
    learnt = learn_from_labels and min(wrong[judged].sum(), (~wrong[judged]).sum()) >= LEAST
    if learnt:
        groups = pd.factorize(bursts if site is None else site)[0]
        weights, out_of_fold = learn(signs[judged], wrong[judged], groups[judged])
        odds = weights.log_odds(signs)
        odds[judged] = out_of_fold
        told = f"{int(judged.sum())} judged photographs"
        notes.append(
            f"{told} gave no reason to move the weights from the fixed ones: the order counts, not expected_error"
            if np.isinf(weights.hold)
            else f"weights were learnt from {told}"
        )
    else:
        weights = Weights()
        odds = weights.log_odds(signs)
        why_fixed = "as too few labels judge the predictions" if learn_from_labels else "as asked for"
        notes.append(f"weights are fixed, {why_fixed}: the order counts, not expected_error")
    if not listed.all():
        notes.append(f"{int(judged.sum())} photographs are judged by their label and left out of the order")
    said = _words(looked, own, site, bursts, signs)
    why = reasons(weights.contributions(signs), said, _NAMED, _MOST_NAMED)
    chosen = np.flatnonzero(listed)[np.argsort(-odds[listed], kind="stable")]
    batches = Batches.make(len(chosen), int(batch), float(sample), int(seed))
    table = own[["image_id", "predicted"]].assign(why=why, expected_error=expit(odds), batch=0, drawn=False)
    table = pd.concat([table, own[["score", "runner_up"]], signs, own["path"]], axis=1).iloc[chosen]
    table = table.assign(batch=batches.number, drawn=batches.drawn).reset_index(drop=True)
    return ReviewOrder(
        study=study,
        question="Where to look first",
        headline=_headline(table, batches, learnt),
        table=table,
        columns=_COLUMNS | SIGNS,
        examples=_examples(table, looked, dict(zip(own["image_id"], range(len(own)), strict=True))),
        notes=tuple(notes),
        weights=weights,
        batches=batches,
    )


def _surveyed(
    images: pd.DataFrame, by: str | None, burst: str | None, notes: list[str]
) -> tuple[pd.Series[Any] | None, pd.Series[Any]]:
    """Camera of each photograph, None where no column tells it, and burst; a photograph of none is one of its own."""
    site: pd.Series[Any] | None = None
    try:
        site = images[site_column(images, by)]
    except SettingsError as error:
        if by is not None:
            raise
        notes.append(f"what is in the frame every night is not known: {error}")
    column = sequence_column(images, burst)
    if column is None:
        notes.append("no column tells the bursts apart, so each photograph is one of its own; name one with burst=")
        return site, images["image_id"]
    # Cameras may number their bursts alike.
    named = images[column].astype(str) if site is None else site.astype(str) + "\0" + images[column].astype(str)
    return site, named.where(images[column].notna(), "\0" + images["image_id"].astype(str))


def _words(
    looked: Look, own: pd.DataFrame, site: pd.Series[Any] | None, bursts: pd.Series[Any], signs: pd.DataFrame
) -> dict[str, npt.NDArray[np.object_]]:
    """Sign -> (N,) what it says of each photograph; None where it says nothing that can be put in words."""
    outside = outside_share(looked)
    cameras = pd.Series(index=own.index, dtype=object) if site is None else site
    called = own.groupby([own["predicted"], cameras], dropna=False)["image_id"].transform("size")
    said = {burst: Counter(names) for burst, names in own["predicted"].groupby(bursts)}
    rows = zip(
        *(own[name] for name in ("predicted", "runner_up", "score", "margin")),
        outside,
        called,
        cameras,
        signs["outside"],
        bursts,
        strict=True,
    )
    words: dict[str, list[str | None]] = {name: [] for name in SIGNS}
    for predicted, runner_up, score, margin, share, times, camera, against, burst in rows:
        rival = isinstance(runner_up, str)
        words["doubt"].append(
            f"the scores are close: {predicted} {score:.2f}, {runner_up} {score - margin:.2f}"
            if rival and margin < 0.5
            else f"a weaker score than most: {score:.2f}"
        )
        words["outside"].append(
            f"{share:.0%} of the evidence lies outside the animal's box"
            if share >= 0.5
            else f"what is inside the animal's box speaks for {runner_up}"
            if rival and against > 0
            else None
        )
        words["two_regions"].append(
            f"two regions argue for two classes: {predicted} and {runner_up}" if rival else None
        )
        others = [name for name, _ in said[burst].most_common() if name != predicted]
        words["burst"].append(f"its burst is called {' and '.join(others[:2])} as well" if others else None)
        often = "once" if times == 1 else f"{times} times"
        words["same_place"].append(
            f"the evidence lies on what {camera} sees every night ({often} called {predicted} there)"
        )
        words["few_neighbours"].append(f"few photographs called {predicted} are like it in the classifier's features")
        words["filled_in"].append("the answer changes when what lies outside the mask is filled in")
    return {name: np.asarray(texts, dtype=object) for name, texts in words.items()}


def _headline(table: pd.DataFrame, batches: Batches, learnt: bool) -> str:
    first = table[table["batch"] == 1]
    said = f"{len(table)} photographs in the order in which their predictions are most likely wrong."
    if learnt:
        front = table["expected_error"].iloc[: max(1, round(0.2 * len(table)))].sum()
        wrong = table["expected_error"].sum()
        said += f" About {wrong:.0f} are expected to be wrong, {front:.0f} of them in the first fifth."
    drawn = f", {int(first['drawn'].sum())} of them drawn at random" if first["drawn"].any() else ""
    stop = "errors_left, or fidokit review --reviewed, tells when to stop."
    return f"{said} Begin with batch 1 ({len(first)} photographs{drawn}); {stop}"


def _examples(table: pd.DataFrame, looked: Look, rows: Mapping[str, int]) -> pd.DataFrame:
    """The first photographs, with a box around the evidence."""
    made = []
    for image_id, predicted, why in table[["image_id", "predicted", "why"]].head(_EXAMPLES).itertuples(index=False):
        corners: Sequence[float] = [np.nan] * 4
        geometry = looked.geometries[rows[image_id]]
        box = geometry.mask_box(np.maximum(looked.evidence[rows[image_id]], 0))
        if box is not None:
            corners = geometry.in_shares(box)
        made.append(["The first to look at", image_id, f"{predicted}: {why or 'no single sign stands out'}", *corners])
    return pd.DataFrame(made, columns=[*EXAMPLE, *CORNERS])
