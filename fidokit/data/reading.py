"""Photographs chunk by chunk, those of the next chunk read while the current one is computed with."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from fidokit.data.geometry import Geometry, Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.exceptions import ImageError

# Decoding is fast beside masks: a few threads keep ahead of any device, and photographs of many megapixels stay few.
_MAX_THREADS = 4


@dataclass(frozen=True)
class Chunk:
    """Photographs that are computed with together.

    Attributes:
        number: of the chunk.
        images: (B, 3, H, W) in [0, 1].
        positions: B positions in the dataset.
        unread: position -> why it could not be read.
        geometries: where each image lies in its photograph.
    """

    number: int
    images: Tensor
    positions: list[int]
    unread: dict[int, str]
    geometries: list[Geometry]


def read_chunks(
    data: LabelledImages, preprocessing: Preprocessing, chunks: Iterable[tuple[int, Sequence[int]]]
) -> Generator[Chunk, None, None]:
    """Read chunks, (number, positions) each, one ahead of the one in use; close the iterator to stop early.

    No more than two chunks are in memory as long as the consumer drops each before it asks for the next.
    """
    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), thread_name_prefix="fidokit-read")
    try:
        wanted = iter(chunks)
        following = next(wanted, None)
        coming = None if following is None else _Coming(pool, data, preprocessing, *following)
        while coming is not None:
            chunk = coming.collect()
            following = next(wanted, None)
            coming = None if following is None else _Coming(pool, data, preprocessing, *following)
            yield chunk
            del chunk
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Coming:
    """A chunk that is being read, each photograph right into its place."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        data: LabelledImages,
        preprocessing: Preprocessing,
        number: int,
        positions: Sequence[int],
    ) -> None:
        self.number, self.positions = number, list(positions)
        self.images = torch.empty(len(positions), 3, *preprocessing.size)
        self.results: list[Future[Geometry | str]] = [
            pool.submit(_read, data, position, preprocessing, self.images[row])
            for row, position in enumerate(positions)
        ]

    def collect(self) -> Chunk:
        results = [future.result() for future in self.results]
        unread = {
            position: result
            for position, result in zip(self.positions, results, strict=True)
            if isinstance(result, str)
        }
        geometries = [result for result in results if isinstance(result, Geometry)]
        if not unread:
            return Chunk(self.number, self.images, self.positions, {}, geometries)
        rows = [row for row, result in enumerate(results) if isinstance(result, Geometry)]
        return Chunk(self.number, self.images[rows], [self.positions[row] for row in rows], unread, geometries)


def _read(data: LabelledImages, position: int, preprocessing: Preprocessing, place: Tensor) -> Geometry | str:
    """Read a photograph into its (3, H, W) place; its geometry, or why that failed."""
    try:
        image, geometry = data.load(position, preprocessing)
        place.copy_(image)
    except ImageError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return geometry
