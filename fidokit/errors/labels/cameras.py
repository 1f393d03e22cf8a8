"""Frames in which a camera sees only what it always sees."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.special import expit
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
_DETAIL, _CONTRAST, _ANIMAL = 2.0, 12.0, 2.0
#: Grey levels below which contrast is noise.
_NOISE = 2.0
#: What others of its burst show and it lacks counts for half; up to here a frame is rather blank, in median
#: differences, and how fast that changes: most drawn frames without a bird have less, and 2 in 100 of those with one.
_LACKING, _BLANK, _STEEP = 0.5, 0.4, 8.0
#: Frames of a camera that say what it usually sees.
_MOST_FRAMES = 40
#: Frames of a camera, and bursts, without which it is not known what it usually sees.
_LEAST_FRAMES, _LEAST_BURSTS = 9, 3


@dataclass
class Cameras:
    """The frames of a study's cameras, compared with what each camera usually sees.

    What a camera usually sees is the median over its frames of other bursts (Piccardi, "Background subtraction
    techniques", 2004), here of local contrast, which changes less with the light than brightness does. Twigs that the
    wind has moved are there in the whole burst; an animal that only its other frames show tells a blank one.

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
        frames = pd.DataFrame({"image_id": list(self._frames)})
        frames["camera"] = [str(self.names[name]) for name in frames["image_id"]]
        frames["burst"] = [str(self.bursts.get(name, name)) for name in frames["image_id"]]
        differs: dict[str, float] = {}
        lacks: dict[str, float] = {}
        for _, camera in frames.groupby("camera"):
            if len(camera) < _LEAST_FRAMES or camera["burst"].nunique() < _LEAST_BURSTS:
                continue
            for burst, own in camera.groupby("burst")["image_id"]:
                away = self._away(own.tolist(), camera.loc[camera["burst"] != burst, "image_id"].tolist())
                for name, one in zip(own, away, strict=True):
                    differs[name], lacks[name] = float(one.max()), float((away - one).max())
        # Most frames have an animal, or else what is usual differs as little as what is blank, and none is called so.
        usual = float(np.median(list(differs.values()))) if differs else np.nan
        left = [differs.get(name, np.nan) - _LACKING * lacks.get(name, np.nan) for name in image_ids]
        scores: Floats = expit(_STEEP * (_BLANK - np.asarray(left, np.float64) / max(usual, 1e-9)))
        if self.names and (unknown := int(np.isnan(scores).sum())):
            self.notes.append(
                f"{unknown:,} photographs are of cameras with fewer than {_LEAST_FRAMES} photographs or "
                f"{_LEAST_BURSTS} bursts, so that blank frames among them were not looked for."
            )
        return scores

    def _away(self, own: list[str], others: list[str]) -> Floats:
        """(n, h, w) how far frames of a burst are from what the camera sees otherwise."""
        chosen = np.unique(np.linspace(0, len(others) - 1, min(len(others), _MOST_FRAMES)).round().astype(int))
        usual = np.median([self._frames[others[i]] for i in chosen], axis=0)
        away = [np.abs(self._frames[name].astype(np.float64) - usual).sum(-1) for name in own]
        return np.stack([gaussian_filter(one, _ANIMAL) for one in away])


def _detail(pixels: Floats) -> Floats:
    """(H, W, 3) fine structure in units of the contrast around it."""
    fine = pixels - gaussian_filter(pixels, (_DETAIL, _DETAIL, 0))
    contrast = np.sqrt(gaussian_filter(fine**2, (_CONTRAST, _CONTRAST, 0)).mean(-1, keepdims=True))
    return np.asarray(fine / (contrast + _NOISE))
