"""`ErrorClusters`: the groups of a study's images, their tables, and what can be asked about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fidokit._util.display import HtmlDisplay
from fidokit.errors.clusters import FEWEST
from fidokit.errors.export import to_csv, to_fiftyone
from fidokit.errors.features import Features, extract
from fidokit.errors.groups import Found, Outcome
from fidokit.errors.tables import ClusterTables, correctness
from fidokit.errors.verify import verify
from fidokit.errors.wrong_labels import likely_wrong_labels
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study


class ErrorClusters(HtmlDisplay, ClusterTables):
    """Groups of images alike in what the classifier used, with their error rates; made by `find_error_clusters`.

    Groups are found on one half of the images (discovery) without any label and looked up on the other (holdout).

    Attributes:
        study: whose images they are.
        features: what describes them, N images.
        outcome: what became of each.
        found: the groups, their members, and what speaks for each.
        seed: of everything random.
        masks: method and kind of the masks that were read, so that `assign` reads the same.
        verification: what `verify` has found, or None.

    Example:
        >>> errors = fk.find_error_clusters(study)
        >>> list(errors.clusters.columns[:3])
        ['cluster', 'size', 'n_errors']
    """

    def __init__(
        self,
        study: Study,
        features: Features,
        outcome: Outcome,
        found: Found,
        seed: int = 0,
        masks: tuple[str | None, str | None] = (None, None),
    ) -> None:
        """Use `find_error_clusters`."""
        super().__init__(study, features, outcome, found, seed)
        self.masks = masks

    def __repr__(self) -> str:
        k = int(self.found.table["systematic"].sum())
        return f"ErrorClusters({len(self.features)} images, {len(self)} clusters, {k} systematic)"

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
        members, typical = self.found.look_up(features)
        halves = np.full(len(features), "new", dtype=object)
        return self._member_table(
            features.image_ids, members, typical, halves, correctness(outcome), self._layout.look_up(features)
        )

    def wrong_labels(self) -> pd.DataFrame:
        """Photographs whose label is likely wrong, the likeliest first; see `fidokit.errors.wrong_labels`.

        Raises:
            MissingExtra: cleanlab is not installed.
        """
        return likely_wrong_labels(self.study)

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write the tables into a folder; see `fidokit.errors.export.to_csv`.

        Raises:
            StoreError: the folder cannot be written.
        """
        return to_csv(self, folder)

    def to_fiftyone(self, name: str | None = None) -> Any:
        """A FiftyOne dataset with samples, clusters and masks; see `fidokit.errors.export.to_fiftyone`.

        Raises:
            MissingExtra: FiftyOne is not installed.
        """
        return to_fiftyone(self, name)

    def summary(self) -> str:
        """What was found, in a few lines: how many errors, how many systematic clusters, and what each is."""
        n, judged, wrong = len(self.features), int(self.outcome.judged.sum()), int(self.outcome.wrong.sum())
        lines = [self._counts(n, judged, wrong)]
        if wrong > 0:
            k = len(self._systematic())
            few = int((~self.found.holdout).sum()) < FEWEST
            told = (
                f"{k} of {len(self)} groups of images {'is' if k == 1 else 'are'} systematic: more errors than chance "
                "explains, confirmed on images that took no part in finding them."
            )
            least = f"There are too few images to group: {n}, of which half are held out; {2 * FEWEST} are the least."
            lines.append(least if few else told)
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
