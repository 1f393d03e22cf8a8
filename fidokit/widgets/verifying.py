"""Clusters verified in a thread beside the notebook, told as it goes on, and stopped when asked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from fidokit.errors.result import ErrorClusters
from fidokit.errors.verification import Verification
from fidokit.study.study import Study
from fidokit.widgets.running import BackgroundJob


class Verifying(BackgroundJob):
    """One verification in a thread.

    Args:
        errors: are left to the notebook: a copy is asked.
        clusters: numbers of those to verify.
        told: called with the images changed and those known of so far, in the thread.
        ended: called with what was found, stopped or not, or with the error, in the thread.
    """

    def __init__(
        self,
        errors: ErrorClusters,
        clusters: Sequence[int],
        told: Callable[[int, int], None],
        ended: Callable[[Verification | None, Exception | None], None],
    ) -> None:
        super().__init__("fidokit-verify")
        self.errors, self.clusters, self.told, self.ended = errors, list(clusters), told, ended

    def _run(self) -> None:
        found, error = None, None
        try:
            study = self.errors.study
            twin = copy.copy(self.errors)
            twin.study = Study(study.store, study.classifier, study.data)
            twin.verify(self.clusters, progress=False, on_progress=self._watch)
            found = twin.verification
        except Exception as caught:
            error = caught
        self.ended(found, error)

    def _watch(self, done: int, total: int) -> bool:
        self.told(done, total)
        return self._stop.is_set()
