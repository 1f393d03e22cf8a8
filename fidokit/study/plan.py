"""What a study would cost, extrapolated from a few of its photographs."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from fidokit._util.checks import COUNT, check_number
from fidokit.data.images import LabelledImages
from fidokit.data.reading import read_chunks
from fidokit.models import devices
from fidokit.models.classifier import Classifier
from fidokit.study.run import DEFAULT_METHODS, PART_SIZE, Methods, Ranks, asked_against, run_study
from fidokit.study.store import checksummed
from fidokit.study.store.store import FOLDERS, PART, slug
from fidokit.study.study import Study

#: Label of what `Study.metrics` costs.
METRICS = "(metrics)"


@dataclass(frozen=True)
class Plan:
    """What a study would cost; made by `plan`.

    Everything is proportional to the number of photographs, apart from `start_seconds`, paid once by each process, and
    `memory`, which hardly grows. Reading goes on beside the computing, so the slower of the two counts.

    Attributes:
        table: one row per method, and one for the metrics if they were measured: method, kinds (how many masks a
            photograph gets), evaluations, seconds and bytes per photograph, failed (share of the photographs without a
            mask), and all_evaluations, all_hours and all_bytes of the dataset. Methods share one prediction, which each
            of them counts.
        n, n_measured: photographs of the dataset, and of those measured.
        read_seconds: to read a photograph, some of them at once.
        start_seconds: to make the classifier ready, its choice of precision and micro-batch included.
        memory: bytes, the most that this process has had so far; None where the system does not say (Windows).
        gpu_memory: bytes, the most on the GPU while measuring; None on a CPU.
        device, precision, micro_batch, threads: with which it was measured.
    """

    table: pd.DataFrame
    n: int
    n_measured: int
    read_seconds: float
    start_seconds: float
    memory: int | None
    gpu_memory: int | None
    device: str
    precision: str
    micro_batch: int | None
    threads: int

    @property
    def seconds(self) -> float:
        """For the whole dataset on this machine."""
        return self.start_seconds + self.n * self._per_photograph

    @property
    def evaluations(self) -> float:
        """Of the whole dataset."""
        return float(self.table["all_evaluations"].sum())

    @property
    def store_bytes(self) -> float:
        """Of the finished store."""
        return float(self.table["all_bytes"].sum())

    def on(self, workers: Sequence[int]) -> pd.DataFrame:
        """Hours on so many workers, each on a machine, or with a GPU, like this one: columns workers, hours.

        The masks are shared out evenly, parts being many; metrics are measured by one process, after them.

        Raises:
            SettingsError: a number below 1.
        """
        for n in workers:
            check_number("workers", n, COUNT)
        one = float(self.table["seconds"][self.table["method"] == METRICS].sum())
        shared = self._per_photograph - one
        hours = [(self.start_seconds + self.n * (shared / n + one)) / 3600 for n in workers]
        return pd.DataFrame({"workers": list(workers), "hours": hours})

    @property
    def _per_photograph(self) -> float:
        masks = self.table["method"] != METRICS
        computing = float(self.table["seconds"][masks].sum())
        return max(computing, self.read_seconds) + float(self.table["seconds"][~masks].sum())


def plan(
    classifier: Classifier,
    data: LabelledImages,
    methods: Methods = DEFAULT_METHODS,
    *,
    targets: str | None = None,
    against: str | None = None,
    part_size: int | None = None,
    sample: int = 8,
    metrics: bool = False,
    ranks: Ranks | None = None,
) -> Plan:
    """Explain a few photographs, spread evenly over the dataset, and say what all of them would cost.

    It is a study of the few in a temporary folder, after one photograph to warm up. Time on another device cannot be
    known from this one: call it where the study is to run.

    Args:
        classifier, data, methods, targets, against, part_size, ranks: as for `run_study`.
        sample: photographs to measure. 8 take a few seconds; fewer than go through the classifier at once would make
            a GPU look slow, where 64 are better.
        metrics: whether to measure what `Study.metrics` costs as well.

    Raises:
        SettingsError: `sample` is below 1, or as `run_study`.
        MethodNotApplicable: as `run_study`.
    """
    check_number("sample", sample, COUNT)
    few = data.subset(np.linspace(0, len(data) - 1, min(sample, len(data))).round().astype(int))
    size = part_size or PART_SIZE
    options: dict[str, Any] = {
        "targets": targets,
        "against": asked_against(classifier, against),
        "part_size": size,
        "progress": False,
        "ranks": ranks,
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # What they warn of, such as failures, the study itself will say.
        warnings.simplefilter("ignore", RuntimeWarning)
        start = time.perf_counter()
        with classifier.session(), classifier.session(exact=True):
            start_seconds = time.perf_counter() - start
            run_study(classifier, few.subset([0]), methods, store=Path(folder) / "warm", **options)
            if classifier.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(classifier.device)
            study = run_study(classifier, few, methods, store=Path(folder) / "few", **options)
            rows = [_cost(study, label) for label in study.methods]
            if metrics:
                before, start = classifier.counter.evaluations, time.perf_counter()
                study.metrics(progress=False)
                rows.append(
                    {
                        "method": METRICS,
                        "kinds": 0,
                        "evaluations": (classifier.counter.evaluations - before) / len(few),
                        "seconds": (time.perf_counter() - start) / len(few),
                        "failed": 0.0,
                    }
                )
        sizes = _sizes(study, len(data), size)
        read_seconds = _read_seconds(classifier, few)
    table = pd.DataFrame(rows)
    table["all_bytes"] = [sizes.get(label, 0.0) for label in table["method"]]
    table["bytes"] = table["all_bytes"] / len(data)
    table["all_evaluations"] = table["evaluations"] * len(data)
    table["all_hours"] = table["seconds"] * len(data) / 3600
    names = [
        "method",
        "kinds",
        "evaluations",
        "seconds",
        "bytes",
        "failed",
        "all_evaluations",
        "all_hours",
        "all_bytes",
    ]
    on_gpu = classifier.device.type == "cuda"
    return Plan(
        table=table[names],
        n=len(data),
        n_measured=len(few),
        read_seconds=read_seconds,
        start_seconds=start_seconds,
        memory=peak_memory(),
        gpu_memory=torch.cuda.max_memory_allocated(classifier.device) if on_gpu else None,
        device=devices.label(classifier.device),
        precision=classifier.precision,
        micro_batch=classifier.micro_batch,
        threads=torch.get_num_threads(),
    )


def peak_memory() -> int | None:
    """The most bytes of main memory that this process has had so far; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024


def _cost(study: Study, label: str) -> dict[str, Any]:
    """One row of the table, what the method costs for a photograph of the few."""
    kinds = study.kinds(label)
    made = study.masks(label, kinds[:1], columns=["evaluations", "seconds"])
    return {
        "method": label,
        "kinds": len(kinds),
        "evaluations": float(made["evaluations"].mean()) if len(made) else np.nan,
        "seconds": float(made["seconds"].mean()) if len(made) else np.nan,
        "failed": 1 - len(made) / len(study),
    }


def _read_seconds(classifier: Classifier, few: LabelledImages) -> float:
    start = time.perf_counter()
    for _ in read_chunks(few, classifier.preprocessing, [(0, range(len(few)))]):
        pass
    return (time.perf_counter() - start) / len(few)


def _sizes(study: Study, n: int, part_size: int) -> dict[str, float]:
    """Label -> bytes of its parts in a store of n photographs; what concerns all methods is shared out among them.

    A part has a footer beside its rows, so both are told apart: each is encoded with all of its rows and with half.
    """
    n_parts, times = -(-n // part_size), n / len(study)
    slugs = {slug(label): label for label in study.methods}
    sizes = dict.fromkeys([*study.methods, METRICS], 0.0)
    files = study.store.files
    for folder in (*FOLDERS, ""):
        for name in files.names(folder):
            match = PART.fullmatch(name)
            if match is None and name != "images.parquet":
                continue
            table = checksummed.decode(files.open(f"{folder}/{name}" if folder else name))
            footer, row = _growth(table)
            grown = footer * (n_parts if match else 1) / _parts_like(study) + row * len(table) * times
            owner = slugs.get((match["name"] or "") if match and folder in ("masks", "failures") else "")
            if folder == "metrics":
                sizes[METRICS] += grown
            elif owner is not None:
                sizes[owner] += grown
            else:
                for label in study.methods:
                    sizes[label] += grown / len(study.methods)
    return sizes


def _parts_like(study: Study) -> int:
    """How many parts of one name the few have themselves."""
    size: int = study.manifest["options"]["part_size"]
    return -(-len(study) // size)


def _growth(table: pa.Table) -> tuple[float, float]:
    """Bytes of a file of such a table without rows, and of each row."""
    half = len(table) // 2
    whole, part = (len(checksummed.encode(rows)) for rows in (table, table.slice(0, half)))
    row = (whole - part) / max(1, len(table) - half)
    return whole - row * len(table), row
