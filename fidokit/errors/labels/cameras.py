"""Frames in which a camera sees only what it always sees."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from fidokit.errors.survey import sequence_column, site_column
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study

Floats = npt.NDArray[np.float64]

#: Pixels of a side at which frames are compared.
_SIDE = 64
#: Pixels of that: what is larger changes with the light; contrast is that within the next; what differs is smoothed by
#: the last, so that it counts where it is as large as an animal.
_DETAIL, _CONTRAST, _ANIMAL = 3.0, 12.0, 2.0
#: Grey levels below which contrast is noise.
_NOISE = 2.0
#: Greatest difference from a camera's usual frame that makes a frame as likely blank as not: drawn ones without a bird
#: have 2 to 4, and nineteen in twenty of those with one more than 4.
_BLANK = 3.5
#: Frames of a camera, and bursts, without which it is not known what it usually sees.
_LEAST_FRAMES, _LEAST_BURSTS = 9, 3


@dataclass
class Cameras:
    """The frames of a study's cameras, compared with what each camera usually sees.

    What a camera usually sees is the median over its frames (Piccardi, "Background subtraction techniques", 2004), here
    of local contrast, which changes less with the light than brightness does.

    Attributes:
        names: image_id -> its camera; nothing where cameras are not known.
        bursts: image_id -> its burst, likewise.
        notes: what could not be said.
    """

    names: dict[str, object]
    bursts: dict[str, object]
    notes: list[str] = field(default_factory=list)
    _frames: dict[str, npt.NDArray[np.float16]] = field(default_factory=dict)

    @classmethod
    def of(cls, study: Study, site: str | None, sequence: str | None) -> Cameras:
        """Those of a study, by its columns, see `fidokit.errors.survey`.

        Raises:
            SettingsError: a column that was named and is not there.
        """
        table = study.images
        burst = sequence_column(table, sequence)
        bursts = {} if burst is None else dict(zip(table["image_id"], table[burst], strict=True))
        if study.manifest["classifier"]["preprocessing"].get("use_boxes") and "box_x0" in table:
            note = "The classifier is shown boxes and not what the camera sees: blank frames were not looked for."
            return cls({}, bursts, [note])
        try:
            column = site_column(table, site)
        except SettingsError as error:
            if site is not None:
                raise
            return cls({}, bursts, [f"Blank frames were not looked for: {error}."])
        return cls(dict(zip(table["image_id"], table[column], strict=True)), bursts)

    def add(self, image_id: str, image: Tensor) -> None:
        """Take a (3, H, W) frame in [0, 1]."""
        if image_id in self.names:
            small = functional.interpolate(image[None], (_SIDE, _SIDE), mode="area")[0].permute(1, 2, 0).numpy()
            self._frames[image_id] = _detail(255 * small.astype(np.float64)).astype(np.float16)

    def scores(self, image_ids: pd.Series[str]) -> Floats:
        """In [0, 1], from 0.5 on rather blank, NaN where that is not known; adds notes."""
        found = dict.fromkeys(image_ids, np.nan)
        by_camera = pd.Series({name: str(self.names[name]) for name in self._frames}, dtype=object)
        for _, own in by_camera.groupby(by_camera):
            frames = list(own.index)
            bursts = {self.bursts.get(name, name) for name in frames}
            if len(frames) >= _LEAST_FRAMES and len(bursts) >= _LEAST_BURSTS:
                details = np.stack([self._frames[name] for name in frames]).astype(np.float32)
                usual = np.median(details, axis=0)
                for name, detail in zip(frames, details, strict=True):
                    differs = gaussian_filter(np.abs(detail - usual).sum(-1), _ANIMAL).max()
                    found[name] = float(np.clip(1 - differs / (2 * _BLANK), 0, 1))
        scores = np.asarray([found[name] for name in image_ids], np.float64)
        if self.names and (unknown := int(np.isnan(scores).sum())):
            self.notes.append(
                f"{unknown:,} photographs are of cameras with fewer than {_LEAST_FRAMES} photographs or "
                f"{_LEAST_BURSTS} bursts, so that blank frames among them were not looked for."
            )
        return scores


def _detail(pixels: Floats) -> Floats:
    """(H, W, 3) fine structure in units of the contrast around it."""
    fine = pixels - gaussian_filter(pixels, (_DETAIL, _DETAIL, 0))
    contrast = np.sqrt(gaussian_filter(fine**2, (_CONTRAST, _CONTRAST, 0)).mean(-1, keepdims=True))
    return np.asarray(fine / (contrast + _NOISE))
