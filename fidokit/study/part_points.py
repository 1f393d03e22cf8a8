"""Which annotated parts, such as CUB's bill or wing, lie where a mask is highest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from fidokit._util.checks import SHARE, check_number
from fidokit._util.warning import warn
from fidokit.data.geometry import Preprocessing
from fidokit.data.photographs import photograph_size
from fidokit.data.readers.cells import file_of
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods.base import resize_masks
from fidokit.methods.regions import cut
from fidokit.study.selection import Selection
from fidokit.study.summary import bootstrap_means, percentile_interval

if TYPE_CHECKING:
    from fidokit.study.stored import StoredStudy

POINT_COLUMNS = ("method", "kind", "part", "photographs", "explained", "low", "high")


def part_points_frame(study: StoredStudy, labels: Sequence[str], kinds: Sequence[str], area: float) -> pd.DataFrame:
    """The table of `Study.part_points`."""
    check_number("area", area, SHARE)
    preprocessing = study.preprocessing
    pixels = _pixels(study, preprocessing)
    height, width = preprocessing.size
    found: dict[tuple[str, str], dict[str, dict[str, bool]]] = {}
    for piece in Selection(study, labels, kinds, ["image_id", "method", "kind", "mask"], pixels).pieces(256):
        for image_id, method, kind, mask in piece.itertuples(index=False, name=None):
            (inside,) = cut(resize_masks(torch.from_numpy(mask.copy())[None], (height, width)), area)
            points = pixels[image_id]
            found.setdefault((method, kind), {})[image_id] = {part: bool(inside[at]) for part, at in points.items()}
    parts = list(dict.fromkeys(part for points in pixels.values() for part in points))
    rows = []
    for (method, kind), hits in found.items():
        for part in (*parts, None):
            values = [
                float(np.mean(list(own.values()))) if part is None else float(own[part])
                for own in hits.values()
                if part is None or part in own
            ]
            if values:
                low, high = percentile_interval(bootstrap_means(np.asarray([values])))
                rows.append((method, kind, part, len(values), float(np.mean(values)), float(low[0]), float(high[0])))
    # As text the column would turn None, all parts, into NaN.
    return pd.DataFrame(rows, columns=list(POINT_COLUMNS), dtype=object).astype(
        {"photographs": int, "explained": float, "low": float, "high": float}
    )


def _pixels(study: StoredStudy, preprocessing: Preprocessing) -> dict[str, dict[str, tuple[int, int]]]:
    """image_id -> part -> (row, column) in the input, of the photographs that have a part in sight."""
    data = study.data
    if "part_points" not in data.table.columns:
        raise SettingsError(
            "the dataset has no part points (column part_points); CUB-200-2011 and NABirds have them, see "
            "LabelledImages.from_cub"
        )
    found: dict[str, dict[str, tuple[int, int]]] = {}
    unread: list[str] = []
    for image_id, i in study.positions.items():
        points = data.part_points(i)
        if not points:
            continue
        try:
            geometry = data.geometry(i, preprocessing, photograph_size(file_of(data.table["path"].iloc[i])))
        except ImageError as error:
            unread.append(str(error))
            continue
        own = {}
        for part, (x, y) in points.items():
            # A pixel of the photograph around the point: what lies outside of the input has no area there.
            x0, y0, x1, y1 = geometry.box_to_input((x - 0.5, y - 0.5, x + 0.5, y + 0.5))
            if x1 > x0 and y1 > y0:
                own[part] = int((y0 + y1) / 2), int((x0 + x1) / 2)
        if own:
            found[image_id] = own
    if unread:
        warn(f"the part points of {len(unread)} photographs are left out: {unread[0]}")
    return found
