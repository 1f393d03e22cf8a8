"""`Study`: what a user reads of masks over a dataset; it is computed and written elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fidokit.classifier import Classifier, with_precision
from fidokit.exceptions import SettingsError, StoreError
from fidokit.images import LabelledImages
from fidokit.methods.base import KINDS, resize_masks
from fidokit.study.checking import check, move_aside
from fidokit.study.manifest import BYTES_COLUMN, classifier_difference, data_difference, describe_classifier
from fidokit.study.manifest_check import checked
from fidokit.study.named import named_classifier, named_photographs
from fidokit.study.parts import PART_SCORES, PartScore, Removal
from fidokit.study.selection import Selection
from fidokit.study.store import SCHEMA, Store, mask_arrays
from fidokit.study.summary import sanity_verdicts, summarise


class Study:
    """Masks of several methods over a dataset, read from its store; made by `run_study` and `open_study`.

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

    def reread(self) -> Study:
        """The same study as its store has it by now, with methods that were added since."""
        return Study(self.store, self._classifier, self._data, self._trust)

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r}: {len(self)} photographs, methods {', '.join(self.methods)})"

    def _repr_html_(self) -> str:
        from fidokit.display import study_html

        return study_html(self)

    @property
    def classifier(self) -> Classifier:
        """The classifier, in the precision that the study was made with.

        If none was given it is loaded by its command-line name, unless that is one of a user's own Python functions, or
        a file or repository in a study that somebody else made: opening a folder must not run what is named in it.

        Raises:
            StoreError: it cannot be loaded, or is another one by now; the message says how to give it.
        """
        if self._classifier is None:
            self._classifier = named_classifier(self)
        return self._classifier

    @cached_property
    def is_own(self) -> bool:
        """Whether this user began the study on this machine, or said `trust`; only then are files that it names read.

        See `fidokit.study.origin`.
        """
        return self._trust or self.store.fits_origin(self.manifest)

    @property
    def data(self) -> LabelledImages:
        """The photographs, found by the paths in the store if they were not given and the study is the user's own.

        Raises:
            StoreError: they have moved or changed, or somebody else wrote their paths; the message says how to give
                them.
        """
        if self._data is None:
            self._data = named_photographs(self)
        return self._data

    def check_classifier(self, classifier: Classifier) -> Classifier:
        """The classifier with the study's precision and micro-batch.

        Raises:
            StoreError: it is another one; the message says what differs.
        """
        recorded = self.manifest["classifier"]
        difference = classifier_difference(recorded, describe_classifier(classifier))
        if difference is not None:
            raise StoreError(
                f"{self.path} holds masks of another classifier: {difference}. Give the classifier it was begun with, "
                "or another folder as `store`"
            )
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
    def positions(self) -> dict[str, int]:
        """Position of each image_id in the dataset."""
        return {image_id: i for i, image_id in enumerate(self.images["image_id"])}

    def chunks_of(self, image_ids: Collection[str]) -> set[int]:
        """Numbers of the chunks, and so of the parts, that hold these photographs."""
        size: int = self.manifest["options"]["part_size"]
        return set((self.places(pd.Series(list(image_ids), dtype=object)) // size).tolist())

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
        (label,) = self._labels(method)
        return list(self.manifest["methods"][label]["kinds"])

    def masks(
        self,
        methods: str | Sequence[str] | None = None,
        kinds: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        image_ids: Collection[str] | None = None,
    ) -> pd.DataFrame:
        """One row per image, method and kind, in the order of the dataset, of `methods`, of the kinds.

        Only what is asked for is read from disk: without the column `mask`, a large study fits into memory.

        Args:
            methods: labels; None for all.
            kinds: of ``ssr``, ``sdr``, ``joint``, ``attribution``; None for all.
            columns: None for all: image_id, method, kind, target, against, mask (an (h, w) float32 array), height,
                width, evaluations, seconds, converged, score_full, score_kept, score_dropped, settings_id.
            image_ids: None for all; only the parts that hold some of them are read.

        Raises:
            SettingsError: a method, kind, column or image_id that there is not.
            StoreError: a file cannot be read.
        """
        return self._selection(methods, kinds, columns, image_ids).frame()

    def iter_masks(
        self,
        methods: str | Sequence[str] | None = None,
        kinds: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        image_ids: Collection[str] | None = None,
        *,
        batch_size: int = 1024,
    ) -> Iterator[pd.DataFrame]:
        """The rows of `masks`, in the same order, piece by piece: what a study's masks do not fit into memory for.

        Args:
            methods, kinds, columns, image_ids: as in `masks`.
            batch_size: rows of each piece; the last one may have fewer.

        Raises:
            SettingsError: as in `masks`, or batch_size is less than 1.
            StoreError: a file cannot be read.
        """
        if batch_size < 1:
            raise SettingsError(f"batch_size is {batch_size}; at least 1 is needed")
        return self._selection(methods, kinds, columns, image_ids).pieces(batch_size)

    def check(self, *, set_aside: bool = False) -> pd.DataFrame:
        """Whether every file of the store is as it was written, and what has to be computed again.

        All of it is read: checksums, and whether each part belongs where it is. The next `run_study` with the same
        classifier and photographs sets damaged and foreign parts aside by itself and computes just what they held.

        Args:
            set_aside: whether to move damaged and foreign files into the store's folder ``damaged`` at once.

        Returns:
            One row a file: part (its name in the store); state: ``intact``; ``unsealed``, readable, but written without
            a checksum by the first versions; ``damaged``; ``foreign``, not written by this study, or into another
            place; ``incomplete`` and ``missing``, lost or not computed yet; reason, None if all is well; image_ids, a
            tuple of the photographs whose results are to be computed again.

        Raises:
            StoreError: the store cannot be reached or, with `set_aside`, is being written to.
        """
        if not set_aside:
            return check(self)
        with self.store.locked():
            found = check(self)
            move_aside(self, found)
        return found

    def mask_array(self, method: str, kind: str, size: tuple[int, int] | None = None) -> npt.NDArray[np.float32]:
        """(N, H, W) float32 masks of one method and kind, in the order of `predictions`; NaN where there is none.

        Args:
            method: its label.
            kind: one of `kinds`.
            size: (H, W) to which masks are brought, averaged where that is coarser; None for the classifier's input.

        Raises:
            SettingsError: a method or kind that there is not.
        """
        (label,) = self._labels(method)
        if kind not in self.kinds(label):
            raise SettingsError(f"{label!r} makes no {kind!r} masks, only {', '.join(self.kinds(label))}")
        if size is None:
            height, width = self.manifest["classifier"]["preprocessing"]["size"]
            size = (int(height), int(width))
        try:
            result = np.full((len(self), *size), np.nan, dtype=np.float32)
        except (MemoryError, ValueError) as error:
            raise SettingsError(
                f"{len(self)} masks of {size[0]} x {size[1]} do not fit into memory; give a smaller `size`, or take "
                "them piece by piece with iter_masks"
            ) from error
        for batch in self.store.mask_batches([label], ["image_id", "mask", "height", "width"], [kind]):
            for place, mask in zip(self.places(batch["image_id"].to_pandas()), mask_arrays(batch), strict=True):
                result[place] = resize_masks(torch.from_numpy(mask), size).numpy()
        return result

    def predictions(self) -> pd.DataFrame:
        """One row per photograph of the dataset: image_id, path, label, predicted, correct, score, margin, runner_up,
        reason; see `Classifier.predict`. The reason of a photograph that no run has reached is "not predicted yet".
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
        table["correct"] = table["correct"].astype("boolean")
        return table.drop(columns="done")

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

    def metrics(
        self,
        methods: str | Sequence[str] | None = None,
        kinds: str | Sequence[str] | None = None,
        *,
        stability: int = 0,
        sanity: bool = False,
        parts: bool = False,
        removal: Removal | None = None,
        part_score: PartScore = "sum",
        progress: bool = True,
    ) -> pd.DataFrame:
        """Which masks can be believed: one row per image, method and kind that has a mask, one column per metric.

        What was measured before is read, what is missing is measured and kept in the store, chunk by chunk: after
        Ctrl-C a second call goes on, and methods that are added later cost only their own. It needs the classifier and
        the photographs only if something is missing.

        Under a panel of infills that no method optimises with, the same for every method (the manifest lists it: whole
        photographs of other classes and a mosaic), mean over the panel:

        - insertion, deletion: area under the curve of ``p(target) / p(target | whole image)`` over the share of most
          important pixels kept, or filled in; high insertion and low deletion are good.
        - sufficient_area, destroying_area: the smallest of the shares read at which, for the first time, the target is
          the decision, or no longer is; not interpolated. Small is good.
        - road: `fidokit.study.road`; high is good, 0 is what a random order gets.

        Against the object mask, or else the box: average_precision (of the pixels by rank), energy_inside,
        pointing_game, iou_at_object_area. Against the box, or else the rectangle around the object mask: iou and
        false_discovery_rate of the mask above its own mean.

        Of the mask alone: total_variation of its most important fifth on the input's grid, entropy in bits a cell,
        area. agreement: mean rank correlation with the other methods' masks of the image, of the same kind, or else
        with the other's joint or only one, on a grid of 28 x 28.

        On request, and from then on in the table: stability, mean rank correlation with masks of other seeds; sanity,
        mean size of the rank correlation with masks of three classifiers with random parameters, see `sanity`;
        part_correlation, rank correlation over the visible parts between the mask's part scores and the true effects,
        drops of the target's log-odds when the part is removed.

        Args:
            methods: labels; None for all.
            kinds: of ``ssr``, ``sdr``, ``joint``, ``attribution``; None for all.
            stability: how many other seeds to compute the masks with.
            sanity: whether to compute the masks of classifiers with random parameters.
            parts: whether to measure the effects of parts; the dataset needs part masks.
            removal: a function (data, position, part) that gives the photograph without the part; None fills the part
                in with the panel.
            part_score: ``sum`` of the mask over a part, since its effect belongs to the whole part, or ``mean``.
            progress: whether to show a progress bar.

        Returns:
            image_id, method, kind, the metrics, and reason: why values are missing (they are NaN), None if none is.

        Raises:
            SettingsError: a method, kind or option that there is not.
            StoreError: classifier or photographs are needed and cannot be found; the message says how to give them.
        """
        from fidokit.study.measuring import Measuring, Request
        from fidokit.study.metric_table import metric_frame

        if part_score not in PART_SCORES:
            raise SettingsError(f"part_score must be one of {', '.join(PART_SCORES)}, not {part_score!r}")
        labels, chosen = self._labels(methods), _known(kinds, KINDS, "kind")
        Measuring(self, labels, chosen, Request(stability, sanity, parts, removal)).run(progress)
        return metric_frame(self, labels, chosen, part_score)

    def sanity(self, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
        """Which methods fail the sanity check, as far as ``metrics(sanity=True)`` has measured it.

        Columns: method, kind, n (images compared), sanity (mean size of the rank correlation between the masks of the
        true and of three random classifiers), its 95 % bootstrap interval sanity_low, sanity_high, and passes_sanity:
        whether the interval's upper end lies below 0.5. Masks that ignore the classifier have 1 and fail; missing
        where nothing could be compared. Source: Adebayo et al., NeurIPS 2018.
        """
        return sanity_verdicts(self, n_resamples, seed)

    def summary(self, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
        """One row per method and kind: means over the images, with 95 % bootstrap intervals.

        Columns: method, kind, n (images that have the mask); score_kept, score_dropped and area (the mean of the mask),
        each with its percentile interval as ``_low`` and ``_high``; and the means of evaluations, seconds and converged
        (a share). The same images are resampled for every row, so that rows can be compared. Then every metric that
        `metrics` has measured, with its interval; after ``metrics(sanity=True)`` also passes_sanity.

        Args:
            n_resamples: bootstrap samples.
            seed: of the samples.
        """
        return summarise(self, n_resamples, seed)

    def _selection(
        self,
        methods: str | Sequence[str] | None,
        kinds: str | Sequence[str] | None,
        columns: Sequence[str] | None,
        image_ids: Collection[str] | None,
    ) -> Selection:
        chosen, wanted = _known(kinds, KINDS, "kind"), _known(columns, SCHEMA.names, "column")
        return Selection(self, self._labels(methods), chosen, wanted, image_ids)

    def _labels(self, methods: str | Sequence[str] | None) -> list[str]:
        return _known(methods, self.methods, "method")


def _known(names: str | Sequence[str] | None, known: Sequence[str], what: str) -> list[str]:
    chosen = list(known) if names is None else [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in chosen:
        if name not in known:
            raise SettingsError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return chosen
