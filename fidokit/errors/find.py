"""`find_error_clusters`: from a study to groups of images, tested."""

from __future__ import annotations

from collections.abc import Sequence

from fidokit.errors.features import Features, extract
from fidokit.errors.groups import Outcome, group_and_test
from fidokit.errors.result import ErrorClusters
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study


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
            at a trap: it stays in one half, since copies of one photograph would confirm each other. None: only the
            animals that a detector found in one photograph belong together.
        seed: of the halves, of the stability and of the images that large trees are grown from.
        progress: whether to show a progress bar while photographs are read.

    Raises:
        SettingsError: not a study, or a method, kind or column that there is not.
        StoreError: classifier or photographs are needed and cannot be found; the message says how to give them.

    Example:
        >>> errors = fk.find_error_clusters(study, method="fido", kind="joint")
        >>> set(errors.members["image_id"]) <= set(data.table["image_id"])
        True
    """
    if not isinstance(study, Study):
        raise SettingsError(
            f"`study` must be a study, not {type(study).__name__}; fidokit.run_study or fidokit.open_study give one"
        )
    features = extract(study, method, kind, progress=progress)
    return group_images(study, features, burst=burst, seed=seed, masks=(method, kind))


def group_images(
    study: Study,
    features: Features,
    *,
    burst: str | None = None,
    seed: int = 0,
    masks: tuple[str | None, str | None] = (None, None),
) -> ErrorClusters:
    """`find_error_clusters` with features that are at hand.

    Args:
        study: whose images they are.
        features: from `fidokit.errors.features.extract`, or a part of them.
        burst, seed: as in `find_error_clusters`.
        masks: the method and kind with which the features were extracted.
    """
    outcome = Outcome.read(study.predictions(), features.image_ids)
    found = group_and_test(features, outcome, seed=seed, bursts=bursts_of(study, features.image_ids, burst))
    return ErrorClusters(study, features, outcome, found, seed, masks)


def bursts_of(study: Study, image_ids: Sequence[str], column: str | None) -> list[str | None] | None:
    """The burst of each image, from a column of the user's table; None where each is its own."""
    if column is None:
        images = study.images.set_index("image_id").loc[list(image_ids)]
        several = "detection" in images.columns and bool(images["path"].duplicated().any())
        return images["path"].tolist() if several else None
    table = study.data.metadata().set_index("image_id")
    if column not in table.columns:
        there = ", ".join(map(str, table.columns)) or "no columns beside paths and labels"
        raise SettingsError(f"there is no column {column!r} that tells bursts apart; there are {there}")
    values = table[column].loc[list(image_ids)]
    return [None if missing else str(v) for v, missing in zip(values, values.isna(), strict=True)]
