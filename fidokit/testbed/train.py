"""Make the networks' weights again: ``python -m fidokit.testbed.train`` (about 5 minutes on 2 cores).

Drawing and training are seeded; another machine rounds its sums differently, which moves the accuracy by less than a
point.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from fidokit.testbed.lessons import example
from fidokit.testbed.network import MEAN, STD, EmbeddingNetwork, Network
from fidokit.testbed.own_marks import FIRST, MOST
from fidokit.testbed.species import SPECIES

_BATCH = 48
#: Of the cosines to the individuals' proxies while the embedding is trained.
_SCALE = 12.0
#: Lesson -> pictures, passes over them, highest learning rate. The biased classifiers start from the fair one.
_COURSES = {
    "fair": (4800, 12, 4e-3),
    "habitat": (1800, 3, 1e-3),
    "watermark": (2400, 5, 2e-3),
    "individuals": (3920, 10, 4e-3),
}


def draw(lesson: str, n: int, workers: int) -> tuple[Tensor, Tensor]:
    """(n, 3, 128, 128) uint8 pictures and (n,) species indices of a lesson."""
    images = np.empty((n, 128, 128, 3), dtype=np.uint8)
    labels = np.empty(n, dtype=np.int64)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        examples = pool.map(partial(example, lesson), range(n), chunksize=50)
        for i, (image, label) in enumerate(tqdm(examples, total=n, desc=f"drawing {lesson}", disable=None)):
            images[i], labels[i] = image, label
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


class _Proxies(nn.Module):
    """Cosines to one learnt direction an individual: normalised softmax (Wang, Xiang, Cheng, Yuille, ACM MM 2017)."""

    def __init__(self, individuals: int) -> None:
        super().__init__()
        self.embedding = EmbeddingNetwork()
        self.proxies = nn.Parameter(torch.randn(individuals, self.embedding.body.head.out_features))

    def forward(self, x: Tensor) -> Tensor:
        embeddings, proxies = (functional.normalize(v.float(), dim=1) for v in (self.embedding(x), self.proxies))
        return _SCALE * embeddings @ proxies.T


def augmented(batch: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 3, H, W) uint8 as normalised float32: mirrored, shifted, in other light, some out of focus."""
    images = batch.float() / 255

    def draw_uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images[mirrored] = images[mirrored].flip(3)
    dx, dy = (int(v) for v in torch.randint(-8, 9, (2,), generator=generator))
    images = functional.pad(images, (8, 8, 8, 8), mode="reflect")[:, :, 8 + dy : 136 + dy, 8 + dx : 136 + dx]
    blurred = torch.rand(len(images), generator=generator) < 0.25
    if blurred.any():
        # A crop to a small bird is enlarged, and so less sharp than the other pictures.
        side = int(torch.randint(56, 112, (1,), generator=generator))
        small = functional.interpolate(images[blurred], (side, side), mode="bilinear", antialias=True)
        images[blurred] = functional.interpolate(small, (128, 128), mode="bilinear")
    n = len(images)
    images = images * draw_uniform(0.85, 1.15, n, 1, 1, 1) * draw_uniform(0.96, 1.04, n, 3, 1, 1)
    images = images + draw_uniform(-0.04, 0.04, n, 1, 1, 1)
    return normalised(images.clamp(0, 1))


def normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def train(
    network: nn.Module,
    pictures: tuple[Tensor, Tensor],
    passes: int,
    rate: float,
    *,
    dtype: torch.dtype | None = None,
    name: str = "",
) -> None:
    """Fit the network in place: AdamW under a one-cycle schedule.

    Args:
        network: to train.
        pictures: of `draw`.
        passes: over all pictures.
        rate: highest learning rate.
        dtype: of the arithmetic; default the faster of float32 and bfloat16 on this machine.
        name: for the progress bar.
    """
    images, labels = pictures
    generator = torch.Generator().manual_seed(0)
    network.to(memory_format=torch.channels_last)
    dtype = dtype or _faster_dtype(network, normalised(images[:_BATCH].float() / 255))
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.03)
    batches = len(images) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=batches * passes, pct_start=0.25)
    network.train()
    with tqdm(total=batches * passes, desc=f"training {name}", unit="step", disable=None) as bar:
        for _ in range(passes):
            order = torch.randperm(len(images), generator=generator)
            for k in range(batches):
                rows = order[k * _BATCH : (k + 1) * _BATCH]
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                    logits = network(augmented(images[rows], generator))
                loss = functional.cross_entropy(logits.float(), labels[rows], label_smoothing=0.05)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                bar.update()
    network.eval()


def _faster_dtype(network: nn.Module, batch: Tensor) -> torch.dtype:
    """float32, or bfloat16 where this machine computes in it and it takes less time."""
    seconds = {}
    network.eval()
    for dtype in (torch.float32, torch.bfloat16):
        for _ in range(3):
            begun = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                network(batch).float().square().mean().backward()
            seconds[dtype] = time.perf_counter() - begun
    network.zero_grad(set_to_none=True)
    return min(seconds, key=lambda dtype: seconds[dtype])


def save(network: nn.Module, path: Path) -> None:
    """Weights as float16 safetensors, without the counters that only training needs."""
    state = {
        name: value.to(torch.float16).contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, path)
    path.chmod(0o644)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m fidokit.testbed.train", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "weights", help="where the weights go")
    parser.add_argument("--threads", type=int, default=2, help="cores to use (default 2)")
    parser.add_argument("--lessons", nargs="+", choices=_COURSES, default=list(_COURSES), help="default all")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    fair: Network | None = None
    for lesson in chosen.lessons:
        n, passes, rate = _COURSES[lesson]
        begun = time.perf_counter()
        torch.manual_seed(0)
        taught: Network | _Proxies
        if lesson == "individuals":
            taught = _Proxies(MOST - FIRST)
        else:
            taught = Network(len(SPECIES))
            if fair is None and lesson != "fair":
                parser.error(f"the lesson {lesson} goes on from fair; name fair before it")
            if fair is not None:
                taught.load_state_dict(fair.state_dict())
        train(taught, draw(lesson, n, chosen.threads), passes, rate, name=lesson)
        save(taught.embedding if isinstance(taught, _Proxies) else taught, chosen.folder / f"{lesson}.safetensors")
        if lesson == "fair" and isinstance(taught, Network):
            fair = taught
        print(f"{lesson}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
