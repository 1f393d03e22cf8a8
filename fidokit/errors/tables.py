"""The groups of a study's images as tables: clusters, members and the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit._util.checks import is_whole
from fidokit.errors import words
from fidokit.errors.features import Features
from fidokit.errors.groups import ALPHA, Found, Outcome
from fidokit.errors.layout import Layout
from fidokit.errors.verification import Verification
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study

Bools = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]

#: Columns that `ErrorClusters.verify` fills.
_VERIFY_COLUMNS = ["effect", "effect_low", "effect_high", "effect_p", "verdict"]
#: Columns of `ErrorClusters.clusters`.
CLUSTER_COLUMNS = [
    *("cluster", "size", "n_errors", "error_rate", "expected_rate", "p_value", "q_value", "holdout_size"),
    *("holdout_error_rate", "holdout_p", "stability", "systematic", "true_class", "predicted_class", "sentence"),
    *_VERIFY_COLUMNS,
    *("holdout_n_errors", "expected_rate_score", "p_value_score", "words", "pairs", "properties", "superseded_by"),
    *("name", "advice"),
]
#: Columns of `ErrorClusters.members` and `ErrorClusters.assign`.
MEMBER_COLUMNS = ["image_id", "cluster", "half", "rank", "correct", "x", "y"]
_TEXTS = [
    "true_class",
    "predicted_class",
    "sentence",
    "words",
    "pairs",
    "properties",
    "superseded_by",
    "name",
    "advice",
]


class ClusterTables:
    """Groups of images alike in what the classifier used, with what speaks for each; see `ErrorClusters`.

    Attributes:
        study: whose images they are.
        features: what describes them, N images.
        outcome: what became of each.
        found: the groups, their members, and what speaks for each.
        seed: of everything random.
        verification: what changing pixels has shown, or None.
    """

    def __init__(self, study: Study, features: Features, outcome: Outcome, found: Found, seed: int = 0) -> None:
        """Use `find_error_clusters`."""
        self.study, self.features, self.outcome, self.found, self.seed = study, features, outcome, found, seed
        self.verification: Verification | None = None

    def __len__(self) -> int:
        """Number of clusters."""
        return len(self.found.groups)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that can be predicted."""
        return list(self.study.manifest["classifier"]["class_names"])

    @property
    def clusters(self) -> pd.DataFrame:
        """One row a cluster, the systematic ones first, then by p-value; columns `CLUSTER_COLUMNS`.

        Counts, rates and the first tests are those of the discovery half, as far as labels are known:

        - cluster: its number, from 1 in the order of this table, by which everything else names it; size, n_errors,
          error_rate.
        - expected_rate: from the true classes alone; p_value: exact, errors might fall on any image of the same class
          (see `fidokit.errors.evidence.p_values`); q_value: corrected over all clusters (Benjamini-Hochberg).
        - expected_rate_score, p_value_score: from class and score. A cause that lowers the score, such as night, is
          partly told by it.
        - holdout_size, holdout_n_errors, holdout_error_rate, holdout_p: the same on the held-out half, corrected by
          Holm over the clusters with a q_value of at most 0.05; missing for all others, which are not asked.
        - stability: mean best Jaccard index when images are drawn anew.
        - systematic: q_value and holdout_p at most 0.05, stability at least 0.5, at least 3 errors in each half, and
          not told already by a clearer cluster, which `superseded_by` names.
        - true_class, predicted_class: of the most frequent confusion; pairs: the most frequent ones.
        - words: what the images are; properties: what the errors have and others of their classes have not;
          sentence: all of it.
        - name: what to call it, in a few words; advice: what to do about it. Both follow what `verify` has proved.
        - effect, effect_low, effect_high, effect_p, verdict: from `verify`, missing before.
        """
        table = self._described.copy()
        if self.verification is not None and len(self.verification.table):
            verified = self.verification.table.set_index("cluster")
            for name in _VERIFY_COLUMNS:
                values = table["cluster"].map(verified[name])
                table[name] = values.astype(object).where(values.notna(), None) if name == "verdict" else values
            for proof in self.verification.table.to_dict("records"):
                table.loc[table["cluster"] == proof["cluster"], ["name", "advice"]] = self._called(
                    proof["cluster"], proof
                )
        return table

    def _called(self, number: int, proof: Mapping[Any, Any] | None = None) -> tuple[str, str]:
        """Name and advice of a cluster."""
        group, properties = self.found.groups[number - 1], self._properties[number - 1]
        what = words.own_words(group, self.class_names)
        return words.cluster_name(what, properties, proof), words.advice(group, properties, proof)

    @cached_property
    def _properties(self) -> list[list[words.Property]]:
        """What the errors of each cluster have in common."""
        describer = words.Describer(self.features, self.outcome.codes()[0], np.flatnonzero(self.outcome.judged))
        table = self.found.table
        # What more than chance explains is described; anything can be found in common in the rest.
        told = (table["q_value"] <= ALPHA) & (table["n_errors"] > 0)
        return [
            describer.properties(inside, self.outcome.wrong) if own else []
            for inside, own in zip(self.found.members, told, strict=True)
        ]

    @cached_property
    def _described(self) -> pd.DataFrame:
        outcome, found, rows = self.outcome, self.found, np.flatnonzero(~self.found.holdout & self.outcome.judged)
        superseded_by = {g: owner + 1 for owner, others in found.superseded.items() for g in others}
        counts = [{str(k): v for k, v in row.items()} for row in found.table.to_dict("records")]
        texts = []
        for g, (group, row) in enumerate(zip(found.groups, counts, strict=True)):
            errors = rows[(found.members[g] & outcome.wrong)[rows]]
            pairs = words.pairs(outcome.label[errors], outcome.predicted[errors])
            properties = self._properties[g]
            texts.append(
                {
                    "true_class": pairs[0][0] if pairs else None,
                    "predicted_class": pairs[0][1] if pairs else None,
                    "sentence": words.sentence(group, self.class_names, row, pairs, properties),
                    "words": words.own_words(group, self.class_names),
                    "pairs": words.pairs_words(pairs),
                    "properties": "; ".join(p.words for p in properties),
                    "superseded_by": superseded_by.get(g, -1),
                    **dict(zip(("name", "advice"), self._called(g + 1), strict=True)),
                }
            )
        described = pd.DataFrame(texts, index=found.table.index, columns=_TEXTS)
        table = pd.concat([found.table, described], axis=1).assign(
            cluster=np.arange(1, len(found.groups) + 1, dtype=np.int64),
            **{name: None if name == "verdict" else np.nan for name in _VERIFY_COLUMNS},
        )
        table["verdict"] = table["verdict"].astype(object)
        table["superseded_by"] = table["superseded_by"].astype(np.int64)
        return table[CLUSTER_COLUMNS]

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
            cluster[self.found.of(g)] = g
        own = self._predictions
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
        order = _by_rank(self.found.of(number), self.found.typical[number - 1])
        halves = np.where(self.found.holdout[order], "holdout", "discovery").astype(object)
        own = self._predictions.iloc[order].reset_index(drop=True)
        return own[["image_id", "path", "label", "predicted", "correct", "score"]].assign(
            half=halves, rank=np.arange(1, len(order) + 1)
        )

    def check_clusters(self, numbers: Sequence[int]) -> list[int]:
        """The numbers of clusters, as they are.

        Raises:
            SettingsError: there is no such cluster.
        """
        for number in numbers:
            if not is_whole(number) or not 1 <= number <= len(self):
                raise SettingsError(
                    f"there is no cluster {number!r}; the {len(self)} clusters are numbered from 1, see the column "
                    "`cluster` of `clusters`"
                )
        return [int(number) for number in numbers]

    def _systematic(self) -> list[int]:
        """The numbers of the systematic clusters, in the order of `clusters`."""
        return [int(g) + 1 for g in np.flatnonzero(self.found.table["systematic"].to_numpy(bool))]

    @cached_property
    def _predictions(self) -> pd.DataFrame:
        return self.study.predictions().set_index("image_id").loc[self.features.image_ids].reset_index()

    @cached_property
    def _layout(self) -> Layout:
        return Layout.fit(self.features, self.seed)

    @cached_property
    def _correct(self) -> Any:
        return correctness(self.outcome)

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
                "cluster": np.repeat(np.arange(1, len(members) + 1, dtype=np.int64), sizes),
                "half": halves[rows],
                "rank": np.concatenate(ranks).astype(np.int64) if ranks else np.zeros(0, np.int64),
                "correct": correct[rows],
                "x": places[rows, 0],
                "y": places[rows, 1],
            },
            columns=MEMBER_COLUMNS,
        )


def _by_rank(members: Bools, typical: Singles) -> npt.NDArray[np.int64]:
    """Positions of the members, the most typical first."""
    inside = np.flatnonzero(members)
    order: npt.NDArray[np.int64] = inside[np.argsort(-typical[inside], kind="stable")]
    return order


def correctness(outcome: Outcome) -> Any:
    """(N,) nullable booleans: whether each image is right, missing where it is not judged."""
    return pd.arrays.BooleanArray(~outcome.wrong, ~outcome.judged)
