"""`Study`: what a user reads of masks over a dataset; it is computed and written elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fidokit._util.ambient import unaffected
from fidokit._util.checks import COUNT, check_number
from fidokit._util.display import HtmlDisplay
from fidokit.data.geometry import laid_together
from fidokit.data.photographs import photograph_size
from fidokit.data.readers.cells import file_of
from fidokit.exceptions import SettingsError
from fidokit.methods.base import KINDS, resize_masks
from fidokit.study.exports.exported import ExportedStudy
from fidokit.study.metrics.measuring import Measuring, Request
from fidokit.study.metrics.parts import PART_SCORES, PartScore, Removal
from fidokit.study.metrics.table import metric_frame
from fidokit.study.part_points import part_points_frame
from fidokit.study.rank_falls import study_rank_falls
from fidokit.study.regions import CuttingRegions, region_frame
from fidokit.study.selection import SELECTABLE, Selection
from fidokit.study.store.checking import check, move_aside
from fidokit.study.store.store import mask_arrays
from fidokit.study.stored import known_names
from fidokit.study.summary import sanity_verdicts, summarise


class Study(HtmlDisplay, ExportedStudy):
    """Masks of several methods over a dataset, read from its store; made by `run_study` and `open_study`.

    Attributes:
        store: the files.
        path: the store's folder.
        manifest: what the study was made with: classifier, dataset, methods with their settings, options.
        methods: labels of the methods, in the order in which they were added: the column `method` of all tables.

    Example:
        >>> study = fk.run_study(clf, data, ["grad-cam"], store="runs/birds", progress=False)
        >>> study.status().to_dict("records")
        [{'method': 'grad-cam', 'finished': 8, 'failed': 0, 'missing': 0}]
        >>> study.masks().shape[0]
        8
        >>> study.to_timelapse("results.csv").name
        'results.csv'
    """

    def reread(self) -> Study:
        """The same study as its store has it by now, with methods that were added since."""
        return Study(self.store, self._classifier, self._data, self._trust)

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r}: {len(self)} photographs, methods {', '.join(self.methods)})"

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
            kinds: of ``ssr``, ``sdr``, ``joint``, ``effect``, ``attribution``; None for all.
            columns: None for all: image_id, method, kind, target, against, mask (an (h, w) float32 array), height,
                width, evaluations, seconds, converged, score_full, score_kept, score_dropped, settings_id, explained
                (see `FidoSettings`; None for methods without that choice, and in parts of earlier versions), verdict
                (what the scores say of the mask, see `Masks.to_frame`).
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
        check_number("batch_size", batch_size, COUNT)
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

    @unaffected()
    def mask_array(self, method: str, kind: str, size: tuple[int, int] | None = None) -> npt.NDArray[np.float32]:
        """(N, H, W) float32 masks of one method and kind, in the order of `predictions`; NaN where there is none.

        Args:
            method: its label.
            kind: one of `kinds`.
            size: (H, W) to which masks are brought, averaged where that is coarser; None for the classifier's input.

        Raises:
            SettingsError: a method or kind that there is not.
        """
        (label,) = self.labels_of(method)
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

    def photograph_mask(
        self, image_id: str, method: str, kind: str, size: tuple[int, int] | None = None
    ) -> npt.NDArray[np.float32]:
        """The masks of all animals in one photograph, laid where they belong in it; the largest where they overlap.

        Args:
            image_id: of any row of the photograph; a photograph with one row has one mask.
            method: its label.
            kind: one of `kinds`.
            size: (height, width) of a rendering of the photograph; None for its full resolution.

        Returns:
            (height, width) float32, 0 outside of what the classifier was shown.

        Raises:
            SettingsError: an image_id, method or kind that there is not, or the photograph has no such mask.
            ImageError: the photograph cannot be read, or the classifier has a transform of its own.
            StoreError: the photographs cannot be found.

        Example:
            >>> study.photograph_mask(data.table["image_id"].iloc[0], "grad-cam", "attribution").shape
            (256, 256)
        """
        data, preprocessing = self.data, self.preprocessing
        if image_id not in self.positions:
            raise SettingsError(f"there is no photograph {image_id!r} in the study")
        path = data.table["path"].iloc[self.positions[image_id]]
        animals = data.table["image_id"][data.table["path"] == path].tolist()
        masks = self.masks(method, kind, ["image_id", "mask"], animals)
        if not len(masks):
            raise SettingsError(f"{image_id!r} has no {kind!r} mask of {method!r}; failures() says why")
        whole = photograph_size(file_of(path))
        pairs = zip(masks["image_id"], masks["mask"], strict=True)
        return laid_together(
            [(mask, data.geometry(self.positions[own], preprocessing, whole)) for own, mask in pairs], size
        )

    @unaffected()
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
        - road: `fidokit.study.metrics.road`; high is good, 0 is what a random order gets.

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
            kinds: of ``ssr``, ``sdr``, ``joint``, ``effect``, ``attribution``; None for all.
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
        if part_score not in PART_SCORES:
            raise SettingsError(f"part_score must be one of {', '.join(PART_SCORES)}, not {part_score!r}")
        labels, chosen = self.labels_of(methods), known_names(kinds, KINDS, "kind")
        Measuring(self, labels, chosen, Request(stability, sanity, parts, removal)).run(progress)
        return metric_frame(self, labels, chosen, part_score)

    @unaffected()
    def rank_falls(
        self,
        methods: str | Sequence[str] | None = None,
        kinds: str | Sequence[str] | None = None,
        *,
        area: float = 0.05,
        controls: int = 8,
        infills: torch.Tensor | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> pd.DataFrame:
        """How many ranks the right class, such as the right individual of a `Gallery`, falls without a mask's region.

        The right class is that of the label, and of the target where there is no label. See `fidokit.rank_falls`, whose
        columns the table has; it needs the classifier and the photographs.

        Args:
            methods, kinds: as in `metrics`.
            area, controls, infills, seed: as in `fidokit.rank_falls`.
            progress: whether to show a progress bar.

        Raises:
            SettingsError: a method, kind or number that there is not.
            StoreError: classifier or photographs cannot be found; the message says how to give them.
        """
        labels, chosen = self.labels_of(methods), known_names(kinds, KINDS, "kind")
        return study_rank_falls(self, labels, chosen, area, controls, infills, seed, progress)

    @unaffected()
    def part_points(
        self, methods: str | Sequence[str] | None = None, kinds: str | Sequence[str] | None = None, *, area: float = 0.1
    ) -> pd.DataFrame:
        """Which annotated parts the masks point at: how often a part's point lies where a mask is highest.

        It needs the photographs' sizes and no classifier; the dataset must have part points, as CUB-200-2011 and
        NABirds do. Points outside of the classifier's input are left out.

        Args:
            methods, kinds: as in `masks`.
            area: the share of the input that counts as highest. A map without any meaning explains this share of the
                points; the default, a tenth, is about as much as a bird's head in a photograph that it fills.

        Returns:
            One row per method, kind and part, and one of all parts (part None), its mean over photographs: method,
            kind, part, photographs, explained (a share), low, high (95 % bootstrap interval over photographs).

        Raises:
            SettingsError: a method or kind that there is not, an area outside (0, 1], or no part points.
            StoreError: the photographs cannot be found; the message says how to give them.
        """
        return part_points_frame(self, self.labels_of(methods), known_names(kinds, KINDS, "kind"), area)

    @unaffected()
    def regions(
        self,
        methods: str | Sequence[str] | None = None,
        kinds: str | Sequence[str] | None = None,
        image_ids: Collection[str] | None = None,
        *,
        progress: bool = True,
    ) -> pd.DataFrame:
        """The verified regions of the masks: the smallest cut of which the mask's claim is true, see `find_regions`.

        What was cut before is read, what is missing is cut, checked and kept in the store, chunk by chunk: after Ctrl-C
        a second call goes on. It needs the classifier and the photographs only if something is missing. A region costs
        18 evaluations: a mask ``ssr`` or ``sdr`` has one, all others have two.

        Args:
            methods: labels; None for all.
            kinds: of ``ssr``, ``sdr``, ``joint``, ``effect``, ``attribution``; None for all.
            image_ids: None for all photographs.
            progress: whether to show a progress bar.

        Returns:
            One row for each mask and claim (``sufficient`` or ``destroying``), in the order of `masks`: image_id,
            method, kind, claim; holds: ``yes``, ``no`` or ``only under some infills``, none of which anything was
            optimised with; area, a share of the input; scores, with the region kept, or filled in, under each infill,
            as shares of the whole image's; score, their mean, and worst, the one furthest from the claim; region, an
            (H, W) bool array at the input's size; evaluations; verdict, in words; reason, why a region could not be
            cut, else None.

        Raises:
            SettingsError: a method, kind or image_id that there is not.
            StoreError: classifier or photographs are needed and cannot be found; the message says how to give them.

        Example:
            >>> table = study.regions("grad-cam", progress=False)
            >>> table["claim"].value_counts().to_dict()
            {'sufficient': 8, 'destroying': 8}
        """
        labels, chosen = self.labels_of(methods), known_names(kinds, KINDS, "kind")
        wanted = None if image_ids is None else self.known_images(image_ids)
        CuttingRegions(self, labels, chosen, wanted).run(progress)
        return region_frame(self, labels, chosen, wanted)

    @unaffected()
    def sanity(self, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
        """Which methods fail the sanity check, as far as ``metrics(sanity=True)`` has measured it.

        Columns: method, kind, n (images compared), sanity (mean size of the rank correlation between the masks of the
        true and of three random classifiers), its 95 % bootstrap interval sanity_low, sanity_high, and passes_sanity:
        whether the interval's upper end lies below 0.5. Masks that ignore the classifier have 1 and fail; missing
        where nothing could be compared. Source: Adebayo et al., NeurIPS 2018.
        """
        return sanity_verdicts(self, n_resamples, seed)

    @unaffected()
    def summary(self, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
        """One row per method and kind: means over the images, with 95 % bootstrap intervals.

        Columns: method, kind, n (images that have the mask); score_kept, score_dropped and area (the mean of the mask),
        each with its percentile interval as ``_low`` and ``_high``, NaN where fewer than two images have the mask; and
        the means of evaluations, seconds and converged (a share). The same images are resampled for every row, so that
        rows can be compared. Then every metric that `metrics` has measured, with its interval; after
        ``metrics(sanity=True)`` also passes_sanity. After `regions` also sufficient_holds and destroying_holds, the
        shares of masks with a region that is smaller than the picture and holds under all infills of the check, and
        sufficient_region_area and destroying_region_area, the mean areas of all regions, with intervals.

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
        chosen, wanted = known_names(kinds, KINDS, "kind"), known_names(columns, SELECTABLE, "column")
        return Selection(self, self.labels_of(methods), chosen, wanted, image_ids)
