"""`StoredStudy`: what is on disk of a study, and the classifier and the photographs that it was made with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit._util.wording import argument, either, given
from fidokit.data.geometry import Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.data.labels import match_labels
from fidokit.data.names import there_are
from fidokit.data.reading import Chunk, read_chunks
from fidokit.exceptions import FidokitError, SettingsError, StoreError
from fidokit.models.classifier import Classifier, with_precision
from fidokit.models.fingerprint import fingerprint_of
from fidokit.models.prediction import ROLLED_UP, judged_at_rank
from fidokit.models.taxonomy import Taxonomy
from fidokit.study.store.manifest import BYTES_COLUMN, classifier_difference, data_difference, describe_classifier
from fidokit.study.store.manifest_check import checked
from fidokit.study.store.recorded import is_published, load_recorded
from fidokit.study.store.store import Store

#: Names of models that run code: neither the owner of a study nor `trust` has a store run them.
_CODE = {"python:": "the Python function", "speciesnet:": "the pickle"}


class StoredStudy:
    """A study as its store has it; see `Study` for what is computed from it.

    Attributes:
        store: the files.
        path: the store's folder.
        manifest: what the study was made with: classifier, dataset, methods with their settings, options.
        methods: labels of the methods, in the order in which they were added: the column `method` of all tables.
    """

    def __init__(
        self,
        store: Store,
        classifier: Classifier | None = None,
        data: LabelledImages | None = None,
        trust: bool = False,
    ) -> None:
        self.store = store
        self.path: Path | str = store.path
        self.manifest: dict[str, Any] = checked(store.read_manifest(), str(store))
        self._trust = trust
        self.methods: list[str] = list(self.manifest["methods"])
        self._classifier = classifier
        self._data = data

    def __len__(self) -> int:
        """Number of photographs."""
        return int(self.manifest["dataset"]["n"])

    @property
    def classifier(self) -> Classifier:
        """The classifier, in the precision that the study was made with.

        If none was given it is loaded by its command-line name, unless that is one of a user's own Python functions, or
        a file or repository in a study that somebody else made: opening a folder must not run what is named in it.

        Raises:
            StoreError: it cannot be loaded, or is another one by now; the message says how to give it.
        """
        if self._classifier is None:
            self._classifier = self._named_classifier()
        return self._classifier

    @cached_property
    def is_own(self) -> bool:
        """Whether this user began the study on this machine, or said `trust`; only then are files that it names read.

        See `fidokit.study.store.trust`.
        """
        return self._trust or self.store.is_remembered(self.manifest)

    @property
    def data(self) -> LabelledImages:
        """The photographs, found by the paths in the store if they were not given and the study is the user's own.

        Raises:
            StoreError: they have moved or changed, or somebody else wrote their paths; the message says how to give
                them.
        """
        if self._data is None:
            self._data = self._named_photographs()
        return self._data

    def check_classifier(self, classifier: Classifier) -> Classifier:
        """The classifier with the study's precision, micro-batch and taxonomy.

        A study that was begun without a taxonomy takes that of the classifier: no mask depends on it.

        Raises:
            StoreError: it is another one; the message says what differs.
        """
        recorded = self.manifest["classifier"]
        alike = recorded["class_names"] == classifier.class_names
        if recorded["taxonomy"] is not None and classifier.taxonomy is None and alike:
            classifier = classifier.with_taxonomy(Taxonomy.from_dict(recorded["taxonomy"]))
        current = describe_classifier(classifier)
        if recorded["taxonomy"] is None and classifier.taxonomy is not None:
            recorded = _with_taxonomy(recorded, current)
        difference = classifier_difference(recorded, current)
        if difference is not None:
            raise StoreError(
                f"{self.path} holds masks of another classifier: {difference}. Give the classifier it was begun with, "
                f"or another folder as `{argument('store')}`"
            )
        self.manifest["classifier"] = recorded
        return with_precision(classifier, recorded["precision"], recorded["micro_batch"])

    def check_data(self, data: LabelledImages) -> LabelledImages:
        """The dataset as it is.

        Raises:
            StoreError: it is another one; the message names the first photograph that differs.
        """
        if data.fingerprint() != self.manifest["dataset"]["fingerprint"]:
            difference = data_difference(self.store.read_images(), self.manifest["dataset"]["root"], data)
            raise StoreError(
                f"{self.path} holds masks of another dataset: {difference}. Give the photographs it was begun with, or "
                "another folder as `store`"
            )
        return data

    @cached_property
    def images(self) -> pd.DataFrame:
        """The table of the dataset: image_id, path, label and every other column of the user's own table.

        Raises:
            StoreError: it is damaged, or not the one that the manifest counts.
        """
        table = self.store.read_images().drop(columns=BYTES_COLUMN, errors="ignore")
        if len(table) != len(self):
            raise StoreError(
                f"{self.path} names {len(table)} photographs in its table and {len(self)} in its manifest; put back a "
                "copy of the one that is damaged, or begin anew elsewhere"
            )
        return table

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What the classifier does to a photograph, also where the classifier itself cannot be had."""
        return Preprocessing(**self.manifest["classifier"]["preprocessing"])

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position of each image_id in the dataset."""
        return {image_id: i for i, image_id in enumerate(self.images["image_id"])}

    def chunks_of(self, image_ids: Collection[str]) -> set[int]:
        """Numbers of the chunks, and so of the parts, that hold these photographs."""
        size: int = self.manifest["options"]["part_size"]
        return set((self.places(pd.Series(list(image_ids), dtype=object)) // size).tolist())

    def chunks_to_read(self, image_ids: Collection[str]) -> list[tuple[int, list[int]]]:
        """(number, positions) of each chunk that holds some of these photographs: what `read_chunks` asks for."""
        size: int = self.manifest["options"]["part_size"]
        wanted, chunks = set(image_ids), dict[int, list[int]]()
        for image_id, position in self.positions.items():
            if image_id in wanted:
                chunks.setdefault(position // size, []).append(position)
        return sorted(chunks.items())

    @contextmanager
    def reading(self, positions: Sequence[int], at_once: int) -> Iterator[Iterator[Chunk]]:
        """The photographs at some positions, so many at a time, one chunk read ahead; see `read_chunks`."""
        chunks = [(start, positions[start : start + at_once]) for start in range(0, len(positions), at_once)]
        with closing(read_chunks(self.data, self.classifier.preprocessing, chunks)) as reading:
            yield reading

    def mask_keys(
        self,
        label: str,
        kinds: Sequence[str],
        chunks: Collection[int] | None = None,
        image_ids: Collection[str] | None = None,
    ) -> set[tuple[str, str]]:
        """(image_id, kind) of the masks that a method has."""
        batches = self.store.mask_batches([label], ["image_id", "kind"], kinds, chunks=chunks, image_ids=image_ids)
        return {
            key
            for batch in batches
            for key in zip(batch["image_id"].to_pylist(), batch["kind"].to_pylist(), strict=True)
        }

    def places(self, image_ids: pd.Series[Any]) -> npt.NDArray[np.int64]:
        """Positions of image_ids that stand in parts.

        Raises:
            StoreError: the dataset has no such photograph, so a part is foreign.
        """
        # Not `Series.map`, which makes an index of the whole dataset at every call.
        places = np.array([self.positions.get(image_id, -1) for image_id in image_ids.tolist()], dtype=np.int64)
        if (places < 0).any():
            raise StoreError(
                f"{self.path} holds a row of {image_ids.iloc[int(places.argmin())]!r}, which is no photograph of its "
                f"dataset; `fidokit check {self.path}` names the part, and running the study again sets it aside"
            )
        return places

    def kinds(self, method: str) -> list[str]:
        """The kinds of masks that a method makes."""
        (label,) = self.labels_of(method)
        return list(self.manifest["methods"][label]["kinds"])

    def predictions(self) -> pd.DataFrame:
        """One row per photograph of the dataset: image_id, path, label, predicted, correct, score, margin, runner_up,
        reason; see `Classifier.predict`. The label is the class, or with a taxonomy the taxon, that the dataset's own
        label, in `images`, means. The reason of a photograph that no run has reached is "not predicted yet". With a
        taxonomy also rollup, rollup_rank, rollup_score and wrong_at.
        """
        made = self.store.read_predictions().assign(done=True)
        if made["image_id"].duplicated().any() or made["image_id"].isna().any():
            raise StoreError(
                f"{self.path} holds two predictions of a photograph; `fidokit check {self.path}` names the parts, and "
                "running the study again sets them aside"
            )
        table = self.images[["image_id", "path", "label"]].merge(made, on="image_id", how="left")
        table["reason"] = table["reason"].astype(object).where(table["reason"].notna(), None)
        table.loc[table["done"].isna(), "reason"] = "not predicted yet"
        order = [name for name in table.columns if name != "done" and (self.taxonomy or name not in ROLLED_UP)]
        if self.taxonomy is not None:
            # The taxonomy may have come after the predictions.
            names = self.manifest["classifier"]["class_names"]
            judged = judged_at_rank(table.drop(columns="correct"), names, self.taxonomy)
            return judged[[*order, "wrong_at"]]
        table["correct"] = table["correct"].astype("boolean")
        match = match_labels(table["label"], self.manifest["classifier"]["class_names"])
        table["label"] = pd.Series([match[label] for label in table["label"]], dtype=object)
        return table[order]

    @cached_property
    def taxonomy(self) -> Taxonomy | None:
        """The taxonomy of the classifier's classes, if it has one; of the one that was given, if the study has none."""
        if self._classifier is not None and self._classifier.taxonomy is not None:
            return self._classifier.taxonomy
        described = self.manifest["classifier"]["taxonomy"]
        return None if described is None else Taxonomy.from_dict(described)

    def is_of_taxa(self, label: str) -> bool:
        """Whether a method explains taxa at a rank, and not classes against all others."""
        return self.manifest["methods"][label].get("rank") is not None

    def comparable(self, label: str) -> list[str]:
        """The other methods that explain the same of a photograph: the class, or its taxon at the same rank."""
        asked = {name: (entry.get("rank"), entry.get("within")) for name, entry in self.manifest["methods"].items()}
        return [other for other in self.methods if other != label and asked[other] == asked[label]]

    def accuracy_by_rank(self) -> pd.DataFrame:
        """How often the classifier is right at each rank of its taxonomy: rank, n, right, accuracy, low, high; see
        `Taxonomy.accuracy`.

        Raises:
            SettingsError: the study has no taxonomy.
        """
        return self._needed_taxonomy().accuracy(self.predictions())

    def errors_by_rank(self) -> pd.DataFrame:
        """The errors by the coarsest rank at which they go wrong: rank, n, share, pairs; see `Taxonomy.errors`.

        Raises:
            SettingsError: the study has no taxonomy.
        """
        return self._needed_taxonomy().errors(self.predictions())

    def _needed_taxonomy(self) -> Taxonomy:
        if self.taxonomy is None:
            raise SettingsError(
                f"{self.path} has no taxonomy; open it with a classifier that has one: "
                + either(
                    "fidokit.open_study(..., classifier=classifier.with_taxonomy(...))",
                    given(classifier=...) + " " + given(taxonomy=...),
                )
            )
        return self.taxonomy

    def failures(self) -> pd.DataFrame:
        """What went wrong: image_id, method (None where it concerns all), stage (``read``, ``predict``, ``target`` or
        ``mask``) and reason, in the order of the dataset."""
        frame = self.store.read_failures()
        frame["method"] = frame["method"].astype(object).where(frame["method"].notna(), None)
        rank = {None: -1} | {label: i for i, label in enumerate(self.methods)}
        methods = np.array([rank.get(label, len(rank)) for label in frame["method"]], dtype=np.int64)
        order = np.lexsort([methods, frame["image_id"].map(self.positions).fillna(len(self)).to_numpy(np.int64)])
        return frame.iloc[order].reset_index(drop=True)

    def status(self) -> pd.DataFrame:
        """How far the study is, one row per method: method, finished, failed and missing, counts of photographs."""
        failures = self.store.read_failures()
        general = set(failures["image_id"][failures["method"].isna()])
        rows = []
        for label in self.methods:
            finished = self.store.finished(label, self.kinds(label))
            failed = (general | set(failures["image_id"][failures["method"] == label])) - finished
            missing = len(self) - len(finished) - len(failed)
            rows.append({"method": label, "finished": len(finished), "failed": len(failed), "missing": missing})
        return pd.DataFrame(rows, columns=["method", "finished", "failed", "missing"])

    def known_images(self, image_ids: Collection[str]) -> set[str]:
        """The image_ids, one or several, each once.

        Raises:
            SettingsError: a photograph that there is not.
        """
        chosen = {image_ids} if isinstance(image_ids, str) else set(image_ids)
        if unknown := chosen - self.positions.keys():
            raise SettingsError(f"there is no photograph {min(map(str, unknown))!r}; study.images lists the image_ids")
        return chosen

    def labels_of(self, methods: str | Sequence[str] | None) -> list[str]:
        """Labels of methods: one, several, or None for all.

        Raises:
            SettingsError: a method that there is not.
        """
        return known_names(methods, self.methods, "method")

    def _named_classifier(self) -> Classifier:
        """The classifier that a study's manifest names; see `classifier`."""
        recorded = self.manifest["classifier"]
        name = recorded["name"]
        give = given(f"fidokit.open_study({str(self.path)!r}", classifier=...)
        if name is None:
            raise StoreError(
                f"the classifier of this study, {recorded['repr']}, has no name to load it by; give it: {give}"
            )
        code = next((what for scheme, what in _CODE.items() if name.startswith(scheme)), None)
        if not is_published(name) and (code is not None or not self.is_own):
            pickled = name.startswith("speciesnet:")
            trusted = given(option="trust_model", trust=True) if pickled else ""
            say_so = either(
                f"classifier=fidokit.Classifier.load({name!r}{', ' * pickled}{trusted}) in {give}",
                f"{given(classifier=name)}{' ' * pickled}{trusted}",
            )
            raise StoreError(
                f"the classifier of this study comes from {code or 'what somebody else called'} {name!r}, which is "
                f"only run if you say so: {say_so}"
            )
        try:
            return self.check_classifier(load_recorded(name, recorded))
        except FidokitError as error:
            raise StoreError(f"{error}; give the classifier yourself: {give}") from error

    def _named_photographs(self) -> LabelledImages:
        """The photographs that a study's table names; see `data`."""
        give = given(f"fidokit.open_study({str(self.path)!r}", data=...)
        if not self.is_own:
            raise StoreError(
                f"{self.path} was not begun by you on this machine, so the photographs that it names are not read. "
                f"Give them, {give}, or, if you know where it comes from, {given(trust=True)}"
            )
        data = LabelledImages(self.images.copy(), Path(self.manifest["dataset"]["root"]))
        try:
            return self.check_data(data)
        except StoreError as error:
            raise StoreError(
                f"the photographs of this study are not as they were under {data.root}: {error}. If they have moved, "
                f"give them: {give}"
            ) from error


def _with_taxonomy(recorded: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a classifier without a taxonomy, with that of the current one."""
    parts = recorded["fingerprint_parts"]
    if parts is not None:
        parts = parts | {"taxonomy": current["fingerprint_parts"]["taxonomy"]}
    changed = {"taxonomy": current["taxonomy"], "fingerprint_parts": parts}
    return recorded | changed | ({} if parts is None else {"fingerprint": fingerprint_of(parts)})


def known_names(names: str | Sequence[str] | None, known: Sequence[str], what: str) -> list[str]:
    """The names, one or several of those that are known, each once; all of them for None.

    Raises:
        SettingsError: a name that is not known.
    """
    chosen = list(known) if names is None else [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in chosen:
        if name not in known:
            raise SettingsError(f"there is no {what} {name!r}{there_are(name, known, 'there are')}")
    return chosen
