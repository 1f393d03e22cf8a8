"""Which reader a dataset needs, by its files."""

from __future__ import annotations

from pathlib import Path

from fidokit.data.images import LabelledImages
from fidokit.data.readers.birds import CUB_FOLDER, is_birds_folder, is_nabirds
from fidokit.data.readers.camtrap_dp import DESCRIPTOR
from fidokit.data.readers.csv_table import header_of
from fidokit.data.readers.detector_results import is_detector_file
from fidokit.data.readers.reading import read_text
from fidokit.data.readers.timelapse import is_timelapse
from fidokit.exceptions import SettingsError

_CAMTRAP_TABLES = ("deployments.csv", "media.csv", "observations.csv")


def read_dataset(
    path: str | Path, *, images: str | Path | None = None, labels: str | Path | None = None
) -> LabelledImages:
    """The photographs of a dataset in any of the layouts that `LabelledImages` reads.

    A folder with datapackage.json is a Camtrap DP; one with images.txt, image_class_labels.txt and classes.txt is
    NABirds if it has hierarchy.txt or photographers.txt, CUB-200-2011 if not; any other holds one folder a class. A
    file datapackage.json is a Camtrap DP, a .json with detection_categories or predictions is a detector's, any other
    .json COCO Camera Traps or iNaturalist; a table with Timelapse's columns is Timelapse's, and any other file a CSV.

    Args:
        path: of the dataset.
        images: folder to which the paths in a table or JSON are relative; default its own.
        labels: table of labels for what a detector found, see `LabelledImages.from_detections`.

    Raises:
        SettingsError: there is nothing at this path, or what is there cannot be used; `images` or `labels` for a
            dataset that has its own.

    Warns:
        RuntimeWarning: what was left out, see the readers of `LabelledImages`.
    """
    path = Path(path)
    if not path.exists():
        raise SettingsError(
            f"there is no dataset {path}; give a folder with one folder a class, a CSV, a COCO JSON, a detector's "
            "JSON, or the folder of a Camtrap DP, of CUB-200-2011 or of NABirds"
        )
    is_json = path.suffix.lower() == ".json"
    if path.is_file() and is_json and path.name != DESCRIPTOR and is_detector_file(read_text(path)):
        return LabelledImages.from_detections(path, images=images, labels=None if labels is None else str(labels))
    if labels is not None:
        raise SettingsError(f"labels are for what a detector found; {path} has its own")
    if path.name == DESCRIPTOR or (path / DESCRIPTOR).is_file():
        return LabelledImages.from_camtrap_dp(path, root=images)
    if path.is_file() and is_json:
        return LabelledImages.from_coco(path, root=images)
    if path.is_file():
        if is_timelapse(header_of(path)):
            return LabelledImages.from_timelapse(path, images=images)
        return LabelledImages.from_csv(path, root=images)
    if all((path / name).is_file() for name in _CAMTRAP_TABLES):
        raise SettingsError(
            f"{path} has the tables of a Camtrap DP ({', '.join(_CAMTRAP_TABLES)}), but no {DESCRIPTOR}, which says "
            "what they hold; copy it from where the tables came from"
        )
    if images is not None:
        raise SettingsError(f"images are for tables and JSON; the photographs of {path} lie in it")
    if is_birds_folder(path) and is_nabirds(path):
        return LabelledImages.from_nabirds(path)
    if is_birds_folder(path) or is_birds_folder(path / CUB_FOLDER):
        return LabelledImages.from_cub(path)
    return LabelledImages.from_folder(path)
