"""`run_study`: masks of several methods over a dataset, kept on disk as they are made; `open_study` reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fidokit._util.ambient import unaffected
from fidokit._util.checks import COUNT, check_number
from fidokit._util.warning import warn
from fidokit._util.wording import argument, either, given
from fidokit._version import __version__
from fidokit.data.images import LabelledImages
from fidokit.data.labels import NOT_JUDGED, label_notes, match_labels
from fidokit.data.names import shorten
from fidokit.exceptions import FidokitError, MethodNotApplicable, SettingsError, StoreError
from fidokit.methods import get_method
from fidokit.methods.base import OnProgress, settings_from
from fidokit.models.classifier import Classifier
from fidokit.models.goals import RUNNER_UP, check_asked, taken
from fidokit.models.taxonomy import Taxonomy
from fidokit.study.engine.chunk import Recipe
from fidokit.study.engine.loop import Loop
from fidokit.study.store.checking import check, move_aside
from fidokit.study.store.manifest import (
    BYTES_COLUMN,
    SCHEMA_VERSION,
    Entry,
    describe_classifier,
    describe_data,
    file_sizes,
    method_difference,
)
from fidokit.study.store.store import DAMAGED, IMAGES, Store, megabytes
from fidokit.study.study import Study

if TYPE_CHECKING:
    from distributed import Client

    from fidokit.study.engine.cluster import Cluster

DEFAULT_METHODS = ("fido", "grad-cam", "integrated-gradients")
PART_SIZE = 32
Methods = str | Sequence[str] | Mapping[str, str | tuple[str, Any]]
Ranks = str | Sequence[str | tuple[str, str | None]]


@unaffected()
def run_study(
    classifier: Classifier,
    data: LabelledImages,
    methods: Methods = DEFAULT_METHODS,
    *,
    store: str | Path,
    targets: str | None = None,
    against: str | None = None,
    part_size: int | None = None,
    progress: bool = True,
    on_progress: OnProgress | None = None,
    retry_failures: bool = False,
    client: Client | None = None,
    ranks: Ranks | None = None,
) -> Study:
    """Compute what is missing of the masks of several methods over a dataset.

    The run can be ended in any way, with Ctrl-C or the power switch: run again with the same arguments, it goes on, and
    the table ends up the same. Run with more methods, it computes just those. What cannot be computed becomes a row of
    `Study.failures`. A method that does not suit the classifier, or breaks, costs its own masks: the others go on.

    Args:
        classifier: the classifier.
        data: the photographs.
        methods: names from `list_methods`; or a dict, label -> name or (name, settings), so that one method can stand
            there twice. Settings are the method's settings object, or a dict with single fields of it. A method without
            settings goes on with those that it has in the study under this label; new in it, it has the defaults.
        store: folder of the study, or its fsspec URL such as ``s3://bucket/study``; made if it is not there.
        targets: what is explained: None, the predicted class; ``"label"``, the labelled one.
        against: what it is contrasted with: None, all other classes; ``"runner-up"``, the best-scored class beside the
            target, or, with `ranks`, the taxon of the best one outside the target's; or the name of a class or taxon.
        part_size: photographs that are read, computed and written together. None: 32, or what the study was begun with.
        progress: whether to show a progress bar.
        on_progress: called with a `Snapshot` every few steps; a truthy result stops the run as Ctrl-C does.
        retry_failures: try again what failed before.
        client: a ``dask.distributed.Client`` (extra ``cluster``): its workers read, compute and write, and the table
            ends up the same. Store and photographs must lie where all machines find them under the same path. Each
            worker process computes one part at a time, with as many threads as it has; where workers declare the
            resource ``GPU``, each part holds one, and only those workers compute. A photograph that kills its worker
            again and again becomes a failure. It does not go with `on_progress`.
        ranks: of the classifier's taxonomy: each method explains the taxon of the class at each of them, labelled
            ``"METHOD (RANK)"``. ``["family", "species"]`` shows side by side where the classifier sees an owl, which is
            told from everything else, and where it sees that it is this owl: a species, or a class, is told from the
            rest of its taxon at the next coarser one of the ranks. A pair (rank, within) says what else a taxon is told
            from, see `fidokit.explain`. None: the classes, told from all others.

    Returns:
        The study. After Ctrl-C it is incomplete, which is printed; `Study.status` counts.

    Raises:
        SettingsError: an unknown method, setting, target or class.
        MethodNotApplicable: none of the methods suits this classifier.
        FidokitError: the only method breaks in a way that every photograph would meet.
        StoreError: the folder cannot be written to, is full, or was begun with something else; the message says what.
        ClusterError: workers lack what the run needs, or the scheduler is gone.
        MissingExtra: `client` was given and Dask is not installed.

    Example:
        >>> study = fk.run_study(clf, data, {"quick": ("fido", {"steps": 2})}, store="runs/quick", progress=False)
        >>> study.masks()["kind"].unique().tolist()
        ['ssr', 'sdr', 'joint', 'effect']
    """
    if not isinstance(classifier, Classifier):
        raise SettingsError(f"`classifier` must be a fidokit.Classifier, not {type(classifier).__name__}")
    if not isinstance(data, LabelledImages):
        raise SettingsError(
            f"`data` must be LabelledImages, not {type(data).__name__}; fidokit.LabelledImages.from_folder makes them"
        )
    if not len(data):
        raise SettingsError("the dataset holds no photographs")
    entries = _entries(methods)
    without_settings = _without_settings(methods)
    if ranks is not None:
        chosen = _ranks(ranks, classifier, against)
        without_settings = {f"{label} ({rank})" for label in without_settings for rank, _ in chosen}
        entries = {
            f"{label} ({rank})": replace(entry, rank=rank, within=within)
            for label, entry in entries.items()
            for rank, within in chosen
        }
    against = asked_against(classifier, against)
    _check_options(classifier, targets, against, part_size)
    unsuited = _check_methods(classifier, entries)
    if client is not None:
        _check_client(client, on_progress)
    files = Store(store)
    files.prepare()
    with files.locked(), ExitStack() as stack:
        options = {"targets": targets, "against": against, "part_size": part_size}
        if files.exists():
            study = Study(files)
            entries |= _recorded(study, without_settings, entries)
            classifier = _resume(study, classifier, data, entries, options)
        _check_labels(classifier, data, targets)
        for note in data.box_notes(classifier.preprocessing):
            _warn(note)
        _check_space(files, classifier, data, entries)
        recipe = Recipe(files, classifier, entries, targets == "label", against, unsuited)
        cluster = None if client is None else stack.enter_context(_cluster(client, recipe, data))
        if not files.exists():
            # Finds the precision and the micro-batch, which the manifest records.
            if cluster is None:
                stack.enter_context(classifier.session())
            else:
                cluster.probe()
        _begin(files, classifier, data, entries, options)
        Loop(Study(files, classifier, data), recipe, on_progress, retry_failures, cluster).run(progress)
    return Study(files, classifier, data)


def open_study(
    path: str | Path,
    classifier: Classifier | None = None,
    data: LabelledImages | None = None,
    *,
    trust: bool = False,
) -> Study:
    """A study from its folder.

    A study that somebody else made, or that was begun on another machine, is opened like any other, but the files that
    it names, its photographs and a model that is not a published one, are only read if they are given here: else they
    could be any file of yours, to be seen by whoever gets the report.

    Args:
        path: the folder, or its fsspec URL.
        classifier: the one it was made with; needed, by what evaluates images, if it has no command-line name.
        data: the photographs; needed, by what shows or evaluates them, if they have moved, or the study is not yours.
        trust: read the files that the study names as if it were your own.

    Raises:
        StoreError: there is no study, a newer fidokit wrote it, or it belongs to another classifier or dataset.

    Example:
        >>> fk.open_study(study.path).methods
        ['fido', 'grad-cam']
    """
    study = Study(Store(path), trust=trust)
    return Study(
        study.store,
        None if classifier is None else study.check_classifier(classifier),
        None if data is None else study.check_data(data),
        trust,
    )


def _entries(methods: Methods) -> dict[str, Entry]:
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, Mapping):
        twice = [name for name, n in Counter(methods).items() if n > 1]
        if twice:
            raise SettingsError(
                f"{twice[0]!r} stands twice in `{argument('methods')}`; "
                f"{either('give a dict, label -> (name, settings), to have it twice', 'name it once')}"
            )
        methods = {name: name for name in methods}
    if not methods:
        raise SettingsError("`methods` is empty; fidokit.list_methods() lists what there is")
    entries = {}
    for label, value in methods.items():
        if not isinstance(label, str) or not label.strip() or not _is_unicode(label):
            raise SettingsError(f"a method's label must be a text that is not empty, not {label!r}")
        name, settings = value if isinstance(value, tuple | list) and len(value) == 2 else (value, None)
        if not isinstance(name, str):
            raise SettingsError(f"methods[{label!r}] must be a name or (name, settings), not {value!r}")
        method = get_method(name)
        overrides = dict(settings) if isinstance(settings, Mapping) else None
        entry = Entry(name, method, method.resolve(None if overrides is not None else settings, overrides))
        entry.describe()
        entries[label] = entry
    return entries


def _without_settings(methods: Methods) -> set[str]:
    """The labels of methods that were asked for by name alone."""
    if isinstance(methods, Mapping):
        return {label for label, value in methods.items() if isinstance(value, str)}
    return {methods} if isinstance(methods, str) else set(methods)


def _recorded(study: Study, labels: set[str], entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Those of the labels that a study has with other settings than today's defaults, with the study's."""
    found: dict[str, Entry] = {}
    for label in sorted(labels & set(study.methods)):
        entry, recorded = entries[label], study.manifest["methods"][label]
        asked = {"rank": entry.rank, "within": entry.within}
        difference = method_difference(recorded | asked, entry.describe())
        settings = settings_from(entry.method, recorded["settings"]) if recorded["name"] == entry.name else None
        if difference is None or settings is None:
            continue
        found[label] = replace(entry, settings=settings)
        _warn(f"{shorten(label)} goes on with the settings that it has in this study ({difference} by default)")
    return found


def _ranks(ranks: Ranks, classifier: Classifier, against: str | None) -> list[tuple[str, str | None]]:
    """(rank, within) of the ranks to explain; species and classes within the next coarser one of them.

    Raises:
        SettingsError: there is no taxonomy or no such rank, one stands twice, or all classes are of one taxon there.
    """
    taxonomy = classifier.taxonomy
    if taxonomy is None:
        raise SettingsError(
            f"`{argument('ranks')}` needs a classifier with a taxonomy; give one: "
            f"{given('Classifier(...', taxonomy=...)}"
        )
    pairs: list[tuple[str, str | None]] = []
    for one in [ranks] if isinstance(ranks, str) else ranks:
        pair = isinstance(one, tuple | list) and len(one) == 2
        rank, within = (one[0], one[1]) if pair else (one, None)
        if not isinstance(rank, str) or not (within is None or isinstance(within, str)):
            raise SettingsError(f"ranks must be names of ranks, or pairs (rank, within), not {one!r}")
        pairs.append((rank, within))
    if not pairs:
        raise SettingsError(f"`{argument('ranks')}` is empty; the taxonomy has {', '.join(taxonomy.levels)}")
    names = [rank for rank, _ in pairs]
    if len(set(names)) < len(names):
        raise SettingsError(f"a rank stands twice in {names}; give each once")
    for rank, within in pairs:
        if within is not None and against is not None:
            raise SettingsError(
                f"`{argument('within')}` and `{argument('against')}` both say what a taxon is told from; give "
                "one of them"
            )
        taxonomy.asked(taxonomy.classes[0], rank, within)  # raises for a rank that there is not
    for rank in names:
        found = {taxonomy.at(name, rank) for name in taxonomy.classes}
        if len(found) == 1 and classifier.head in ("softmax", "probabilities"):
            raise SettingsError(
                f"all classes are of one {rank}, {found.pop()!r}, so there is nothing to tell it from; leave it out"
            )
    return [
        (rank, _next_coarser(rank, names, taxonomy) if within is None and against is None else within)
        for rank, within in pairs
    ]


def _next_coarser(rank: str, ranks: Sequence[str], taxonomy: Taxonomy) -> str | None:
    """Of a rank of species or classes, the finest of the ranks that are coarser; None of other ranks."""
    coarser = [one for one in ranks if taxonomy.level(one) < taxonomy.level(rank)]
    return max(coarser, key=taxonomy.level, default=None) if taxonomy.is_lowest(rank) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def asked_against(classifier: Classifier, against: str | None) -> str | None:
    """What a study contrasts with, by its whole name; see `goals.taken`.

    Raises:
        SettingsError: it is no name, or fits none or several.
    """
    if against is None or against == RUNNER_UP:
        return against
    if not isinstance(against, str):
        raise SettingsError(f"against must be None, {RUNNER_UP!r} or the name of a class, not {against!r}")
    name = str(taken(against, classifier.class_names, classifier.taxonomy))
    check_asked(None, name, classifier.class_names, classifier.taxonomy, classifier.head)
    return name


def _check_options(classifier: Classifier, targets: str | None, against: str | None, part_size: int | None) -> None:
    if targets not in (None, "label"):
        raise SettingsError(f"targets must be None (the predicted classes) or 'label' in a study, not {targets!r}")
    if against is not None and len(classifier.class_names) < 2:
        raise SettingsError(
            f"a classifier of one class has no other to contrast it with; leave out `{argument('against')}`"
        )
    check_number("part_size", part_size, COUNT, or_none="the default")


def _check_methods(classifier: Classifier, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Label -> why the classifier does not suit a method, of those that it does not suit."""
    unsuited: dict[str, str] = {}
    for label, entry in entries.items():
        if entry.method.check is not None:
            try:
                entry.method.check(classifier, entry.settings)
            except SettingsError:
                raise
            except Exception as error:
                unsuited[label] = str(error) if isinstance(error, FidokitError) else f"{type(error).__name__}: {error}"
    if len(unsuited) == len(entries):
        label, reason = next(iter(unsuited.items()))
        raise MethodNotApplicable(f"{shorten(label)}: {reason}; leave it out of `{argument('methods')}`")
    for label, reason in unsuited.items():
        _warn(f"{shorten(label)} does not suit this classifier: {reason}; the other methods go on without it")
    return unsuited


def _check_client(client: Client, on_progress: OnProgress | None) -> None:
    from fidokit.study.engine.cluster import check_client

    check_client(client)
    if on_progress is not None:
        raise SettingsError(
            "on_progress looks at masks in work, which stay on the workers; leave it out where there is a `client`"
        )


def _cluster(client: Client, recipe: Recipe, data: LabelledImages) -> Cluster:
    from fidokit.study.engine.cluster import Cluster

    return Cluster(client, recipe, data)


def _check_labels(classifier: Classifier, data: LabelledImages, targets: str | None) -> None:
    effect = "cannot be explained and become failures" if targets == "label" else NOT_JUDGED
    for note in label_notes(data.table["label"], classifier.class_names, effect, classifier.label_groups):
        _warn(note)


def _check_space(files: Store, classifier: Classifier, data: LabelledImages, entries: Mapping[str, Entry]) -> None:
    """Compare free space with two bytes a cell; a grid that is not known before is between one cell and the input."""
    height, width = classifier.size
    least = most = 0
    for label, entry in entries.items():
        kinds = entry.kinds
        masks = 2 * len(kinds) * (len(data) - len(files.finished(label, kinds)))
        grid_size = getattr(entry.settings, "grid_size", None)
        grid = grid_size(classifier.size) if callable(grid_size) else None
        least += masks * (grid[0] * grid[1] if grid else 1)
        most += masks * (grid[0] * grid[1] if grid else height * width)
    free = files.files.free_bytes()
    if free is None:
        return
    where = f"and {files.path} has {megabytes(free)} free"
    if free < least:
        raise StoreError(
            f"the masks need about {megabytes(least)}, {where}; make room, or choose another folder as "
            f"`{argument('store')}`"
        )
    if free < most:
        _warn(f"the masks may need up to {megabytes(most)}, {where}")


def _resume(
    study: Study,
    classifier: Classifier,
    data: LabelledImages,
    entries: Mapping[str, Entry],
    options: Mapping[str, Any],
) -> Classifier:
    """The classifier as the study was begun with; `StoreError` if anything that changes masks differs."""
    before = study.manifest["classifier"]
    asked, classifier = classifier.precision, study.check_classifier(classifier)
    if study.manifest["classifier"] != before:
        study.store.write_manifest(study.manifest)
        _warn("the study was begun without a taxonomy and goes on with that of the classifier")
    if asked not in ("auto", classifier.precision):
        _warn(f"the study was begun in {classifier.precision} and goes on so, not in {asked}")
    study.check_data(data)
    for label in entries.keys() & set(study.methods):
        difference = method_difference(study.manifest["methods"][label], entries[label].describe())
        if difference is not None:
            raise StoreError(
                f"{study.path} has masks under the label {shorten(label)!r} that were made otherwise: {difference}. "
                "Give these settings another label, {'label': (name, settings)}, or choose another folder"
            )
    recorded = study.manifest["options"]
    for name in ("targets", "against"):
        if recorded[name] != options[name]:
            raise StoreError(
                f"{study.path} was begun with {name}={recorded[name]!r}, not {options[name]!r}; choose another folder "
                "as `store` for these"
            )
    _set_aside(study, classifier, data)
    if options["part_size"] not in (None, recorded["part_size"]):
        _warn(f"the study was begun with part_size={recorded['part_size']} and goes on so")
    return classifier


def _set_aside(study: Study, classifier: Classifier, data: LabelledImages) -> None:
    """What is not as it was written counts as missing: it is moved away, and what was in it is computed again."""
    found = move_aside(study, check(study))
    if not study.store.files.exists(IMAGES):
        _write_images(study.store, data)
        # From here on it names nothing but what this user gave.
        named = {"dataset": describe_data(data), "classifier": study.manifest["classifier"] | {"name": classifier.name}}
        study.manifest.update(named)
        study.store.write_manifest(study.manifest)
        study.store.remember(study.manifest)
        # Which photographs belong into a part is known only now.
        found = pd.concat([found, move_aside(study, check(study))], ignore_index=True)
    if len(found):
        n = len({image_id for ids in found["image_ids"] for image_id in ids})
        _warn(
            f"{len(found)} files of {study.path} were damaged or not its own and are in its folder {DAMAGED!r} now: "
            f"{found['part'].iloc[0]} ({found['reason'].iloc[0]}){', ...' if len(found) > 1 else ''}; what they held "
            f"of {n} photographs is computed again"
        )


def _begin(
    files: Store,
    classifier: Classifier,
    data: LabelledImages,
    entries: Mapping[str, Entry],
    options: Mapping[str, Any],
) -> None:
    """Write the manifest, or add new methods to it."""
    methods = {label: entry.describe() for label, entry in entries.items()}
    try:
        if files.exists():
            manifest = files.read_manifest()
            if methods.keys() - manifest["methods"].keys():
                files.write_manifest(manifest | {"methods": manifest["methods"] | methods})
            return
        _write_images(files, data)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "fidokit_version": __version__,
            "classifier": describe_classifier(classifier),
            "dataset": describe_data(data) | _matched(classifier, data),
            "methods": methods,
            "options": {**options, "part_size": options["part_size"] or PART_SIZE},
        }
        files.write_manifest(manifest)
        files.remember(manifest)
    except OSError as error:
        raise StoreError(
            f"the study cannot be written to {files.path}: {error.strerror or error}; put that right, or choose "
            "another folder as `store`"
        ) from error


def _matched(classifier: Classifier, data: LabelledImages) -> dict[str, dict[str, str]]:
    """The labels that were taken for a class of another name, if there are such."""
    renamed = match_labels(data.table["label"], classifier.class_names, classifier.label_groups).renamed
    return {"matched_labels": renamed} if renamed else {}


def _write_images(files: Store, data: LabelledImages) -> None:
    table = _with_absolute_paths(data.table)
    table[BYTES_COLUMN] = pd.array(file_sizes(data), dtype="Int64")
    files.write_images(table)


def _with_absolute_paths(table: pd.DataFrame) -> pd.DataFrame:
    """The table with paths that hold from any working directory."""
    absolute = {
        column: pd.Series(
            [None if path is None else str(Path(path).absolute()) for path in table[column]], dtype=object
        )
        for column in ("path", "object_mask", "part_map")
        if column in table.columns
    }
    return table.reset_index(drop=True).assign(**absolute)


def _warn(message: str) -> None:
    warn(message)
