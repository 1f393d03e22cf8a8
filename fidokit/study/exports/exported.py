"""`ExportedStudy`: a study's results as a table, and in the forms of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from fidokit._util.ambient import unaffected
from fidokit.study.exports.camtrap_dp import Wanted as CamtrapWanted
from fidokit.study.exports.camtrap_dp import to_camtrap_dp
from fidokit.study.exports.detections import to_detections
from fidokit.study.exports.label_studio import LOCAL_FILES, to_label_studio
from fidokit.study.exports.results import ClusterMembers, Findings, chosen_mask, result_table
from fidokit.study.exports.timelapse import to_timelapse
from fidokit.study.stored import StoredStudy


class ExportedStudy(StoredStudy):
    """A study whose results can be taken elsewhere; nothing is computed for it but what stands in the store."""

    def results(
        self,
        *,
        mask: tuple[str, str] | None = None,
        errors: ClusterMembers | None = None,
        review: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """What is known of each photograph, in one table: what all exports write, each in its program's form.

        Args:
            mask: (label of a method, kind) whose verdict is given; None for the first method, and of its masks for the
                joint ones, or else those of its first kind.
            errors: error clusters, from `find_error_clusters`; the systematic ones are named.
            review: what people found, a table with image_id and review: ``open``, ``confirmed`` (the prediction is
                right), ``corrected`` (the column label says to what) or ``unsure``; where there are such, by, at (a
                time with its zone) and comment. Photographs that it leaves out are open.

        Returns:
            The columns of `predictions`, and state: ``right``, ``wrong``, ``not judged`` (no label that the classifier
            knows) or ``failed`` (no prediction); kept and dropped, shares of the score that the mask keeps and leaves;
            method and kind of it, None where there is no mask; verdict, such as ``enough only``, as in
            `Study.masks`, with those of the regions that `Study.regions` cut of it; clusters and sentences, lists, None
            without `errors`; review, review_label, reviewed_by, reviewed_at and review_comment, None without `review`;
            note, what went wrong.

        Raises:
            SettingsError: an argument that cannot be used.
        """
        return result_table(self, Findings(mask, errors, review))

    def to_timelapse(
        self,
        file: str | Path,
        *,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        root: str | Path | None = None,
        mask: tuple[str, str] | None = None,
        errors: ClusterMembers | None = None,
        review: pd.DataFrame | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a CSV that Timelapse imports, one row a file, joined by RelativePath and File.

        Timelapse refuses columns that its template has not: add fields of these DataLabels to it (Note; Decimal for the
        score, Counter for the rows, Flag for wrong), or say with `columns` which of the template's take them. Texts
        that a spreadsheet would run as formulas get an apostrophe before them, but not the two columns of the key.

        Args:
            file: the CSV.
            columns: which fields, and the DataLabels that they get, as a list or a dict; None for all of
                prediction, score, rows (how many crops of the file were classified), label, state, wrong, runner_up,
                mask, note, with clusters, sentences and review where there are such, called FidokitPrediction and so
                on; rank and why are filled by `ReviewOrder.to_timelapse`. Where a file has several rows, texts stand in
                their order with semicolons, the score is the lowest, the state the worst.
            root: folder of the template, to which RelativePath is relative; None for that of the dataset.
            mask, errors, review: as in `results`.
            overwrite: whether to write over a file that is there.

        Returns:
            The path of the file.

        Raises:
            SettingsError: the file is there already, a photograph lies outside of `root`, or an argument cannot be
                used.
            StoreError: it cannot be written.

        Warns:
            RuntimeWarning: a path begins as a formula does.
        """
        results = self.results(mask=mask, errors=errors, review=review)
        return to_timelapse(self, Path(file), results, root=root, columns=columns, overwrite=overwrite)

    def to_camtrap_dp(
        self,
        folder: str | Path,
        *,
        source: str | Path | None = None,
        names: Mapping[str, str] | None = None,
        classified_by: str | None = None,
        deployments: pd.DataFrame | None = None,
        descriptor: Mapping[str, Any] | None = None,
        timezone: str | None = None,
        copy_media: bool = False,
        mask: tuple[str, str] | None = None,
        errors: ClusterMembers | None = None,
        review: pd.DataFrame | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a Camtrap DP with an observation for each prediction.

        The package that the photographs came from is written again with these observations added; all else in it stays
        as it is. Photographs that come from none get a new one, 1.0.1, with their labels as observations too.

        An observation is of its medium, by a machine with its probability; of the reviewer, where `review` says
        ``confirmed`` or ``corrected``; of type ``unclassified`` where there is no prediction. Its tags hold the state,
        the review, the verdict of the mask and the clusters, its comments the same in words. It has the box where the
        classifier saw no more than that. It has the same id whenever the same classifier's study is written, so that a
        package can be written again, and what was written before is replaced.

        Args:
            folder: of the package; made whole, or file by file where it is there.
            source: the package to add to, its folder or datapackage.json; None for the one in the dataset's folder.
            names: class or label -> scientific name, or human, vehicle, blank, unknown or animal; others keep theirs,
                but for such as "person" and "empty", whose type is known.
            classified_by: name of the classifier; None for the one by which it was loaded.
            deployments: of a new package, a table with the standard's columns: deploymentID, latitude and longitude;
                others as far as they are known. None where the dataset's table has the position of each deployment.
            descriptor: of a new package: contributors, and project with title, samplingDesign, captureMethod and
                individualAnimals; whatever else datapackage.json may hold.
            timezone: of times without one, such as ``"+02:00"`` or ``"Europe/Berlin"``. Times of a new package are
                those of the column datetime, or else of EXIF.
            copy_media: whether to copy the photographs too. Otherwise they stay where they are: read the package with
                ``LabelledImages.from_camtrap_dp(folder, root=...)``.
            mask, errors, review: as in `results`.
            overwrite: whether to write over files that are there.

        Returns:
            The path of datapackage.json.

        Raises:
            SettingsError: the folder is not empty, a photograph is none of the package's, or something is missing that
                the standard asks for; the message says how to give it.
            StoreError: it cannot be written, or the study is somebody else's and `source` was not given.

        Warns:
            RuntimeWarning: media without a timestamp, which get no observation.
        """
        results = self.results(mask=mask, errors=errors, review=review)
        wanted = CamtrapWanted(source, names, classified_by, deployments, descriptor, timezone, copy_media)
        return to_camtrap_dp(self, Path(folder), results, wanted, overwrite=overwrite)

    def to_detections(
        self,
        file: str | Path,
        source: str | Path,
        *,
        replace_classifications: bool = False,
        mask: tuple[str, str] | None = None,
        errors: ClusterMembers | None = None,
        review: pd.DataFrame | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write a detector's JSON again, with what was found added to its detections.

        Each detection that a row of the study is about gets the object ``fidokit`` (state, prediction, score,
        runner-up, label, verdict of the mask, clusters, review, note), which other readers pass over, and in
        MegaDetector's format ``classifications``, where it has none. What is about a photograph as a whole stands with
        it, a list. All else stays as it is.

        Args:
            file: the JSON to write.
            source: the detector's: MegaDetector's format, 1.3 to 1.6, which AddaxAI writes too, or SpeciesNet's.
            replace_classifications: whether to write over those that a detection has.
            mask, errors, review: as in `results`.
            overwrite: whether to write over a file that is there.

        Returns:
            The path of the file.

        Raises:
            SettingsError: the file is there already, `source` cannot be read or names none of the photographs, or an
                argument cannot be used.
            StoreError: it cannot be written.

        Warns:
            RuntimeWarning: photographs that `source` does not name, or boxes that are none of its detections.
        """
        results = self.results(mask=mask, errors=errors, review=review)
        return to_detections(
            self,
            Path(file),
            results,
            source=source,
            replace_classifications=replace_classifications,
            overwrite=overwrite,
        )

    @unaffected()
    def to_label_studio(
        self,
        file: str | Path,
        *,
        url: str = LOCAL_FILES,
        root: str | Path | None = None,
        shape: Literal["brush", "rectangle", "none"] = "brush",
        share: float = 0.1,
        only: Sequence[str] | None = None,
        mask: tuple[str, str] | None = None,
        errors: ClusterMembers | None = None,
        review: pd.DataFrame | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write label tasks for Label Studio, one a photograph, and the labelling configuration that they are for.

        A task comes with what the classifier said as its predictions: the species as a choice, the animal's box, and
        the region that the decision rests on.

        Args:
            file: the tasks, .json; the configuration is written beside it as .xml.
            url: of a photograph, with ``{path}`` for its path in `root`; by default Label Studio's storage of local
                files, whose document root is then `root`.
            root: None for the dataset's folder.
            shape: of regions: ``brush``, the pixels; ``rectangle``, around them; or ``none``.
            share: of the classifier's input that a region covers, the most important places of the mask: masks of
                different methods are compared by rank.
            only: image_ids, in the order of the tasks; None for all.
            mask, errors, review: as in `results`.
            overwrite: whether to write over files that are there.

        Returns:
            The paths of tasks and configuration.

        Raises:
            SettingsError: a file is there already, or an argument cannot be used.
            StoreError: they cannot be written, or the photographs have moved.
        """
        results = self.results(mask=mask, errors=errors, review=review)
        return to_label_studio(
            self,
            Path(file),
            results,
            mask=chosen_mask(self, mask),
            url=url,
            root=root,
            shape=shape,
            share=share,
            only=only,
            overwrite=overwrite,
        )
