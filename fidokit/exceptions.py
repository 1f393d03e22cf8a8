"""fidokit's own errors: every one derives from `FidokitError` and its message says what to do."""

from __future__ import annotations


class FidokitError(Exception):
    """Base class of all errors that fidokit raises on purpose.

    Example:
        >>> try:
        ...     fk.explain(clf, data, "gradcam")
        ... except fk.FidokitError as error:
        ...     print(str(error)[:25])
        unknown method 'gradcam';
    """


class SettingsError(FidokitError, ValueError):
    """An option, a target or a name that cannot be used; the message lists what can."""


class ImageError(FidokitError):
    """A photograph that cannot be read or used; the message names the file and the remedy."""


class ClassifierError(FidokitError):
    """A classifier that cannot be loaded, or whose output cannot be used."""


class MethodNotApplicable(FidokitError):
    """A method that this classifier does not support, and why."""


class StoreError(FidokitError):
    """A store on disk that cannot be written, read or continued."""


class ClusterError(FidokitError):
    """Workers that lack what a run needs, or a scheduler that is gone; the message names the machine."""


class MissingExtra(FidokitError, ImportError):
    """An optional dependency that is not installed; the message names the extra."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is needed for this and is not installed: pip install 'fidokit[{extra}]'")
        self._given = package, extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        """Errors of a worker process come back pickled."""
        return type(self), self._given
