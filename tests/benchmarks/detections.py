"""How long 100,000 detections take to be read: one JSON line a format.

    python tests/benchmarks/detections.py [--detections 100000]

33,000 photographs of a camera trap in folders of 1,000, with none to ten detections each and two classifications a
detection, and as many detections again that are below every threshold; photographs are links to one small JPEG.
Measured are MegaDetector's format with a label for each photograph, and SpeciesNet's (version 5, absolute paths of
Windows). `seconds` is the whole of `from_detections`, `cpu_seconds` what it takes of a processor, which other programs
do not change.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fidokit.data.images import LabelledImages

CLASSES = {str(k): f"species {k}" for k in range(200)}


def records(n: int, generator: np.random.Generator) -> list[tuple[str, list[dict[str, Any]]]]:
    """Photographs with their detections, n of them above every threshold, and as many again that are too faint."""
    made: list[tuple[str, list[dict[str, Any]]]] = []
    left = n
    while left:
        number = len(made)
        count = min(left, int(generator.choice([0, 1, 2, 3, 10], p=[0.2, 0.3, 0.2, 0.1, 0.2])))
        boxes = []
        for k in range(2 * count):
            x, y, width, height = (round(float(value), 4) for value in generator.uniform(0.01, 0.45, 4))
            conf = float(generator.uniform(0.5, 1) if k % 2 == 0 else generator.uniform(0.01, 0.1))
            boxes.append({"category": "1", "conf": round(conf, 3), "bbox": [x, y, width, height]})
        made.append((f"site{number // 1000:03d}/IMG_{number:06d}.JPG", boxes))
        left -= count
    return made


def photographs(folder: Path, files: list[str]) -> None:
    """Links to one picture under each name; copies where too many links lead to one file."""
    picture = folder / "picture.jpg"
    Image.new("RGB", (64, 48), "olive").save(picture)
    for file in files:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        try:
            os.link(picture, path)
        except OSError:
            path.write_bytes(picture.read_bytes())


def classified(made: list[tuple[str, list[dict[str, Any]]]], generator: np.random.Generator) -> dict[str, Any]:
    """MegaDetector's format."""
    images = []
    for file, boxes in made:
        detections = [
            box | {"classifications": [[str(generator.integers(200)), 0.7], [str(generator.integers(200)), 0.2]]}
            for box in boxes
        ]
        images.append({"file": file, "detections": detections, "datetime": "2024-05-01 10:00:00"})
    info = {"format_version": "1.5", "detector_metadata": {"typical_detection_threshold": 0.2}}
    return {
        "info": info,
        "detection_categories": {"1": "animal"},
        "classification_categories": CLASSES,
        "images": images,
    }


def predicted(made: list[tuple[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """SpeciesNet's format."""
    name = "00000000;mammalia;carnivora;canidae;vulpes;vulpes;red fox"
    answer = {
        "raw_classifications": {"classes": [name, name], "scores": [0.7, 0.2]},
        "processed_classification": {"class": name, "score": 0.7, "source": "classifier"},
    }
    records = [
        {
            "filepath": "D:\\traps\\" + file.replace("/", "\\"),
            "detections": [box | {"label": "animal"} | answer for box in boxes],
            "country": "GBR",
            "model_version": "4.0.3a",
        }
        for file, boxes in made
    ]
    return {"info": {"format_version": "20261015"}, "predictions": records}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detections", type=int, default=100_000)
    n = parser.parse_args().detections
    generator = np.random.default_rng(0)
    made = records(n, generator)
    labels = {file: f"species {k % 200}" for k, (file, _) in enumerate(made)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder, [file for file, _ in made])
        for form, content, options in (
            ("megadetector", classified(made, generator), {"labels": labels}),
            ("speciesnet", predicted(made), {}),
        ):
            path = folder / f"{form}.json"
            path.write_text(json.dumps(content))
            start, start_cpu = time.perf_counter(), time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = LabelledImages.from_detections(path, **options)
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
            line = {
                "format": form,
                "photographs": len(made),
                "detections": sum(len(boxes) for _, boxes in made),
                "rows": len(data),
                "megabytes": round(path.stat().st_size / 1e6, 1),
                "seconds": round(seconds, 2),
                "cpu_seconds": round(cpu_seconds, 2),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
