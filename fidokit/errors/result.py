"""`ErrorClusters`: the groups of a study's images, their tables, and what can be asked about them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.errors import words
from fidokit.errors.clusters import FEWEST, look_up
from fidokit.errors.features import Features, extract
from fidokit.errors.find import ALPHA, Found, Outcome, find
from fidokit.errors.layout import Layout
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study

if TYPE_CHECKING:
    from fidokit.errors.verify import Verification

Bools = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]

#: Columns that `ErrorClusters.verify` fills.
VERIFY_COLUMNS = ["effect", "effect_low", "effect_high", "effect_p", "verdict"]
#: Columns of `ErrorClusters.clusters`.
CLUSTER_COLUMNS = [
    *("cluster", "size", "n_errors", "error_rate", "expected_rate", "p_value", "q_value", "holdout_size"),
    *("holdout_error_rate", "holdout_p", "stability", "systematic", "true_class", "predicted_class", "sentence"),
    *VERIFY_COLUMNS,
    *("holdout_n_errors", "expected_rate_score", "p_value_score", "words", "pairs", "properties", "clearer"),
]
#: Columns of `ErrorClusters.members` and `ErrorClusters.assign`.
MEMBER_COLUMNS = ["image_id", "cluster", "half", "rank", "correct", "x", "y"]


class ErrorClusters:
    """Groups of images alike in what the classifier used, with their error rates; made by `find_error_clusters`.

    Groups are found on one half of the images (discovery) without any label and looked up on the other (holdout).

    Attributes:
        study: whose images they are.
        features: what describes them, N images.
        outcome: what became of each.
        found: the groups, their members, and what speaks for each.
        seed: of everything random.
        verification: what `verify` has found, or None.
    """

    def __init__(
        self,
        study: Study,
        features: Features,
        *,
        burst: str | None = None,
        seed: int = 0,
        masks: tuple[str | None, str | None] = (None, None),
    ) -> None:
        """Use `find_error_clusters`, or this with features that are at hand.

        Args:
            study: whose images they are.
            features: from `fidokit.errors.features.extract`, or a part of them.
            burst, seed: as in `find_error_clusters`.
            masks: the method and kind with which the features were extracted, so that `assign` asks for the same.
        """
        self.study, self.features, self.seed, self.masks = study, features, seed, masks
        self._predictions = study.predictions().set_index("image_id").loc[features.image_ids]
        self.outcome = Outcome.read(self._predictions.reset_index(), features.image_ids)
        self.found: Found = find(features, self.outcome, seed=seed, bursts=self._bursts(burst))
        self.verification: Verification | None = None

    def __len__(self) -> int:
        """Number of clusters."""
        return len(self.found.groups)

    def _repr_html_(self) -> str:
        from fidokit.display import clusters_html

        return clusters_html(self)

    def __repr__(self) -> str:
        k = int(self.found.table["systematic"].sum())
        return f"ErrorClusters({len(self.features)} images, {len(self)} clusters, {k} systematic)"

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that can be predicted."""
        return list(self.study.manifest["classifier"]["class_names"])

    @property
    def clusters(self) -> pd.DataFrame:
        """One row a cluster, the systematic ones first, then by p-value; columns `CLUSTER_COLUMNS`.

        Counts, rates and the first tests are those of the discovery half, as far as labels are known:

        - cluster: its number, by which everything else names it; size, n_errors, error_rate.
        - expected_rate: from the true classes alone; p_value: exact, errors might fall on any image of the same class
          (see `fidokit.errors.evidence.p_values`); q_value: corrected over all clusters (Benjamini-Hochberg).
        - expected_rate_score, p_value_score: from class and score. A cause that lowers the score, such as night, is
          partly told by it.
        - holdout_size, holdout_n_errors, holdout_error_rate, holdout_p: the same on the held-out half, corrected by
          Holm over the clusters with a q_value of at most 0.05; missing for all others, which are not asked.
        - stability: mean best Jaccard index when images are drawn anew.
        - systematic: q_value and holdout_p at most 0.05, stability at least 0.5, at least 3 errors in each half, and
          not told already by a clearer cluster, which `clearer` names.
        - true_class, predicted_class: of the most frequent confusion; pairs: the most frequent ones.
        - words: what the images are; properties: what the errors have and others of their classes have not;
          sentence: all of it.
        - effect, effect_low, effect_high, effect_p, verdict: from `verify`, missing before.
        """
        table = self._described.copy()
        if self.verification is not None and len(self.verification.table):
            verified = self.verification.table.set_index("cluster")
            for name in VERIFY_COLUMNS:
                values = table["cluster"].map(verified[name])
                table[name] = values.astype(object).where(values.notna(), None) if name == "verdict" else values
        return table

    @cached_property
    def _described(self) -> pd.DataFrame:
        outcome, found, rows = self.outcome, self.found, np.flatnonzero(~self.found.holdout & self.outcome.judged)
        describer = words.Describer(self.features, outcome.codes()[0], np.flatnonzero(outcome.judged))
        clearer = {g: owner for owner, others in found.absorbed.items() for g in others}
        counts = [{str(k): v for k, v in row.items()} for row in found.table.to_dict("records")]
        texts = []
        for g, (group, row) in enumerate(zip(found.groups, counts, strict=True)):
            errors = rows[(found.members[g] & outcome.wrong)[rows]]
            pairs = words.pairs(outcome.label[errors], outcome.predicted[errors])
            # What more than chance explains is described; anything can be found in common in the rest.
            told = row["q_value"] <= ALPHA and row["n_errors"] > 0
            properties = describer.properties(found.members[g], outcome.wrong) if told else []
            texts.append(
                {
                    "true_class": pairs[0][0] if pairs else None,
                    "predicted_class": pairs[0][1] if pairs else None,
                    "sentence": words.sentence(group, self.class_names, row, pairs, properties),
                    "words": words.own_words(group, self.class_names),
                    "pairs": words.pairs_words(pairs),
                    "properties": "; ".join(p.words for p in properties),
                    "clearer": clearer.get(g, -1),
                }
            )
        described = pd.DataFrame(texts, index=found.table.index, columns=_TEXTS)
        table = pd.concat([found.table, described], axis=1).assign(
            cluster=np.arange(len(found.groups), dtype=np.int64),
            **{name: None if name == "verdict" else np.nan for name in VERIFY_COLUMNS},
        )
        table["verdict"] = table["verdict"].astype(object)
        table["clearer"] = table["clearer"].astype(np.int64)
        order = np.lexsort([table["cluster"], table["p_value"], ~table["systematic"].astype(bool)])
        return table.iloc[order].reset_index(drop=True)[CLUSTER_COLUMNS]

    @property
    def members(self) -> pd.DataFrame:
        """One row an image and cluster that holds it: image_id, cluster, half (``discovery`` or ``holdout``), rank
        (1 is the most typical), correct (missing where the label is not known), and x, y: its place on the map."""
        halves = np.where(self.found.holdout, "holdout", "discovery").astype(object)
        return self._member_table(
            self.features.image_ids, self.found.members, self.found.typical, halves, self._correct, self._layout.places
        )

    @property
    def map(self) -> pd.DataFrame:
        """One row an image: image_id, path, label, predicted, correct, score, half, cluster (the clearest systematic
        one that holds it, -1 for none), and x, y: near to images in which the classifier sees the same."""
        cluster = np.full(len(self.features), -1, np.int64)
        for g in self._systematic()[::-1]:
            cluster[self.found.members[g]] = g
        own = self._predictions.reset_index()
        return own[["image_id", "path", "label", "predicted"]].assign(
            correct=self._correct,
            score=self.outcome.score,
            half=np.where(self.found.holdout, "holdout", "discovery").astype(object),
            cluster=cluster,
            x=self._layout.places[:, 0],
            y=self._layout.places[:, 1],
        )

    def images(self, cluster: int) -> pd.DataFrame:
        """The images of a cluster, the most typical first: image_id, path, label, predicted, correct, score, half and
        rank.

        Raises:
            SettingsError: there is no such cluster.
        """
        (number,) = self.check_clusters([cluster])
        order = _by_rank(self.found.members[number], self.found.typical[number])
        halves = np.where(self.found.holdout[order], "holdout", "discovery").astype(object)
        own = self._predictions.reset_index().iloc[order].reset_index(drop=True)
        return own[["image_id", "path", "label", "predicted", "correct", "score"]].assign(
            half=halves, rank=np.arange(1, len(order) + 1)
        )

    def check_clusters(self, numbers: Sequence[int]) -> list[int]:
        """The numbers of clusters, as they are.

        Raises:
            SettingsError: there is no such cluster.
        """
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < len(self):
                raise SettingsError(
                    f"there is no cluster {number!r}; the {len(self)} clusters are numbered from 0, see the column "
                    "`cluster` of `clusters`"
                )
        return [int(number) for number in numbers]

    def verify(self, clusters: Sequence[int] | None = None, **options: Any) -> pd.DataFrame:
        """Change the pixels that the errors of a cluster rest on, and count how many turn right.

        Fills effect, effect_low, effect_high, effect_p and verdict of `clusters`, and `verification`. What earlier
        calls found with the same infills and seed stays, and p-values are corrected for all clusters verified so far.

        Args:
            clusters: their numbers; None for all systematic ones.
            **options: of `fidokit.errors.verify.verify`.

        Returns:
            One row for each of these clusters; see `fidokit.errors.verify.verify`.

        Raises:
            SettingsError: an option or a cluster that there is not.
        """
        from fidokit.errors.verify import verify

        chosen = None if clusters is None else self.check_clusters(clusters)
        self.verification = verify(self, clusters=chosen, **{"before": self.verification} | options)
        table = self.verification.table
        systematic = self.clusters.loc[self.clusters["systematic"], "cluster"]
        return table[table["cluster"].isin(systematic if chosen is None else chosen)].reset_index(drop=True)

    def assign(self, study: Study) -> pd.DataFrame:
        """The same clusters in new images; a table like `members`, with half ``new``.

        Args:
            study: of the same classifier. Metadata columns, boxes and masks are used as far as it has the same.

        Raises:
            SettingsError: its classifier knows other classes.
        """
        if list(study.manifest["classifier"]["class_names"]) != self.class_names:
            raise SettingsError(
                "the classifier of this study knows other classes, so its images cannot be in the same clusters; run "
                "a study of the same classifier"
            )
        features = extract(study, *self.masks)
        outcome = Outcome.read(study.predictions(), features.image_ids)
        members, typical = look_up(self.found.sources, features)
        halves = np.full(len(features), "new", dtype=object)
        return self._member_table(
            features.image_ids, members, typical, halves, _correct(outcome), self._layout.look_up(features)
        )

    def wrong_labels(self) -> pd.DataFrame:
        """Photographs whose label is likely wrong, the likeliest first; see `fidokit.errors.wrong_labels`.

        Raises:
            MissingExtra: cleanlab is not installed.
        """
        from fidokit.errors.wrong_labels import likely_wrong_labels

        return likely_wrong_labels(self.study)

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write the tables into a folder; see `fidokit.errors.export.to_csv`.

        Raises:
            StoreError: the folder cannot be written.
        """
        from fidokit.errors.export import to_csv

        return to_csv(self, folder)

    def to_fiftyone(self, name: str | None = None) -> Any:
        """A FiftyOne dataset with samples, clusters and masks; see `fidokit.errors.export.to_fiftyone`.

        Raises:
            MissingExtra: FiftyOne is not installed.
        """
        from fidokit.errors.export import to_fiftyone

        return to_fiftyone(self, name)

    def summary(self) -> str:
        """What was found, in a few lines: how many errors, how many systematic clusters, and what each is."""
        n, judged, wrong = len(self.features), int(self.outcome.judged.sum()), int(self.outcome.wrong.sum())
        lines = [self._counts(n, judged, wrong)]
        if wrong > 0:
            k = len(self._systematic())
            few = int((~self.found.holdout).sum()) < FEWEST
            lines.append(
                f"There are too few images to group: {n}, of which half are held out; {2 * FEWEST} are the least."
                if few
                else f"{k} of {len(self)} groups of images {'is' if k == 1 else 'are'} systematic."
            )
        table = self.clusters
        lines += [f"- {text}." for text in table.loc[table["systematic"], "sentence"]]
        if self.features.failures:
            lines.append(f"{len(self.features.failures)} photographs could not be described, see features.failures.")
        lines += [f"Note: {note}." for note in self.features.notes]
        return "\n".join(lines)

    def _counts(self, n: int, judged: int, wrong: int) -> str:
        if not judged:
            return f"All {n} images are without labels that the classifier knows, so that none is right or wrong."
        without = "" if judged == n else f" ({n - judged} without labels that the classifier knows)"
        if not wrong:
            return f"None of {n} images{without} is classified wrongly: there are no errors to group."
        if wrong == judged:
            return f"{wrong} of {n} images{without}: every image is wrong, so that no group can stand out."
        return f"{wrong} of {n} images{without} are classified wrongly."

    def _systematic(self) -> list[int]:
        """The numbers of the systematic clusters, in the order of `clusters`."""
        table = self.found.table
        chosen = np.flatnonzero(table["systematic"].to_numpy(bool))
        return [int(g) for g in chosen[np.argsort(table["p_value"].to_numpy()[chosen], kind="stable")]]

    @cached_property
    def _layout(self) -> Layout:
        return Layout.fit(self.features, self.seed)

    @cached_property
    def _correct(self) -> Any:
        return _correct(self.outcome)

    def _member_table(
        self, ids: list[str], members: Bools, typical: Singles, halves: Any, correct: Any, places: Singles
    ) -> pd.DataFrame:
        orders = [_by_rank(members[g], typical[g]) for g in range(len(members))]
        rows = np.concatenate(orders) if orders else np.zeros(0, np.int64)
        sizes = [len(order) for order in orders]
        ranks = [np.arange(1, size + 1) for size in sizes]
        return pd.DataFrame(
            {
                "image_id": np.asarray(ids, dtype=object)[rows],
                "cluster": np.repeat(np.arange(len(members), dtype=np.int64), sizes),
                "half": halves[rows],
                "rank": np.concatenate(ranks).astype(np.int64) if ranks else np.zeros(0, np.int64),
                "correct": correct[rows],
                "x": places[rows, 0],
                "y": places[rows, 1],
            },
            columns=MEMBER_COLUMNS,
        )

    def _bursts(self, column: str | None) -> list[str | None] | None:
        """The burst of each image, from a column of the user's table."""
        if column is None:
            return None
        table = self.study.data.metadata().set_index("image_id")
        if column not in table.columns:
            there = ", ".join(map(str, table.columns)) or "no columns beside paths and labels"
            raise SettingsError(f"there is no column {column!r} that tells bursts apart; there are {there}")
        values = table[column].loc[self.features.image_ids]
        return [None if missing else str(v) for v, missing in zip(values, values.isna(), strict=True)]


_TEXTS = ["true_class", "predicted_class", "sentence", "words", "pairs", "properties", "clearer"]


def find_error_clusters(
    study: Study,
    method: str | None = None,
    kind: str | None = None,
    *,
    burst: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> ErrorClusters:
    """Group the images of a study by what the classifier used, and test which groups are wrong more often than chance.

    Every photograph is read and sent through the classifier once. No label is read before the groups are there: a group
    has an error rate, and the labels only count.

    Args:
        study: with predictions and masks of the predicted classes.
        method: whose masks to read; None: the first with the preferred kind.
        kind: of these masks; None: joint, or else sdr, ssr, attribution.
        burst: a column of the user's table that names what belongs together, such as a burst of photographs or a night
            at a trap: it stays in one half, since copies of one photograph would confirm each other.
        seed: of the halves, of the stability and of the images that large trees are grown from.
        progress: whether to show a progress bar while photographs are read.

    Raises:
        SettingsError: not a study, or a method, kind or column that there is not.
        StoreError: classifier or photographs are needed and cannot be found; the message says how to give them.
    """
    if not isinstance(study, Study):
        raise SettingsError(
            f"`study` must be a study, not {type(study).__name__}; fidokit.run_study or fidokit.open_study give one"
        )
    return ErrorClusters(
        study, extract(study, method, kind, progress=progress), burst=burst, seed=seed, masks=(method, kind)
    )


def _by_rank(members: Bools, typical: Singles) -> npt.NDArray[np.int64]:
    """Positions of the members, the most typical first."""
    inside = np.flatnonzero(members)
    order: npt.NDArray[np.int64] = inside[np.argsort(-typical[inside], kind="stable")]
    return order


def _correct(outcome: Outcome) -> Any:
    return pd.arrays.BooleanArray(~outcome.wrong, ~outcome.judged)
