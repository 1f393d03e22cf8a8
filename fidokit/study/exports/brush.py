"""Binary masks as Label Studio's brush keeps them: run lengths in a stream of bits.

The format is that of the npm package @thi.ng/rle-pack. A head: the number of values (32 bits), the bits of a value less
one (5), and four times the bits of a run's length less one (4 each). Then runs: one bit for a run of equal values, two
for which of the four widths its length has, the length less one, the value. Label Studio packs four values a pixel,
row by row, 255 where the brush was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_VALUE_BITS = 8
#: Bits of a run's length.
_WIDTHS = (3, 4, 8, 16)
_LONGEST = 1 << _WIDTHS[-1]
_CHANNELS = 4
_PAINTED = 255


def packed(mask: npt.NDArray[np.bool_]) -> list[int]:
    """The bytes of an (H, W) bool mask."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if flat.size else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}", f"{_VALUE_BITS - 1:05b}", *(f"{width - 1:04b}" for width in _WIDTHS)]
    for length, painted in zip(lengths.tolist(), flat[starts].tolist(), strict=True):
        value = f"{_PAINTED if painted else 0:0{_VALUE_BITS}b}"
        left = length
        while left:
            run = min(left, _LONGEST)
            which = next(i for i, width in enumerate(_WIDTHS) if run <= 1 << width)
            bits.append(f"1{which:02b}{run - 1:0{_WIDTHS[which]}b}{value}")
            left -= run
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))
