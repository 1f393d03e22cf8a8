"""Clusters verified in a thread beside the notebook, told as it goes on, and stopped when asked."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence

from fidokit.errors.result import ErrorClusters
from fidokit.errors.verify import Verification
from fidokit.study.study import Study
from fidokit.widgets.running import own_copy, stop_at_exit


class Verifying:
    """One verification in a thread.

    Args:
        errors: are left to the notebook: a copy with a classifier of its own is asked.
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
        self.errors, self.clusters, self.told, self.ended = errors, list(clusters), told, ended
        self._stop = threading.Event()
        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = threading.Thread(target=self._run, name="fidokit-verify", daemon=True)

    def start(self) -> None:
        """Begin."""
        stop_at_exit(self)
        self._thread.start()

    def stop(self) -> None:
        """Ask to stop; what is verified by then is kept."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most so many seconds; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        found, error = None, None
        try:
            study = self.errors.study
            with own_copy(study.classifier) as classifier:
                twin = copy.copy(self.errors)
                twin.study = Study(study.store, classifier, study.data)
                twin.verify(self.clusters, progress=False, on_progress=self._watch)
                found = twin.verification
        except Exception as caught:
            error = caught
        self.ended(found, error)

    def _watch(self, done: int, total: int) -> bool:
        self.told(done, total)
        return self._stop.is_set()
