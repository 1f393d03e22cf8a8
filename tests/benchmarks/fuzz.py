"""Damaged inputs of every kind that fidokit reads from strangers: never anything but a FidokitError, never a hang.

    python tests/benchmarks/fuzz.py [--inputs 10000] [--seed 0] [--kinds ...] [--keep FOLDER]

Photographs, datasets in every layout, and the files of a study's store are changed at random: bytes flipped, cut,
doubled and exchanged, and for JSON also values, keys and numbers of the right syntax (drawn by hypothesis); and stores
are filled with well-formed, sealed tables of absurd content. Each input goes through everything that a user would do
with it. They run in child processes whose memory is limited to 2 GiB beyond what the imports take, each under a time
limit of ten seconds. One JSON line for each kind: inputs, how many were refused with an error of our own, the slowest
in seconds, the peak in megabytes, and findings, which make the exit status 1. A damaged part that `Study.check` calls
intact is a finding as well.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
sys.path.insert(0, str(Path(__file__).parents[1]))

KINDS = ("image", "csv", "coco", "camtrap", "detections", "timelapse", "cub", "nabirds", "manifest", "part", "table")
LIMIT = 10
"""Seconds for an input."""
MEMORY = 2 * 2**30
"""Bytes beyond the imports."""
_INTERESTING = [0, 1, 127, 128, 255, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF]


class TooSlow(BaseException):
    """No Exception, so that nothing takes it for its own."""


# Changes.


def mutate(content: bytes, generator: np.random.Generator) -> bytes:
    """The content with one to eight changes at random places."""
    changed = bytearray(content)
    for _ in range(min(8, int(generator.geometric(0.4)))):
        n = len(changed)
        if n == 0:
            break
        place, length = int(generator.integers(n)), int(min(generator.geometric(0.05), 200))
        match int(generator.integers(8)):
            case 0 | 1:
                changed[place] ^= 1 << int(generator.integers(8))
            case 2:
                changed[place] = int(generator.integers(256))
            case 3:
                del changed[place : place + length]
            case 4:
                changed[place:place] = changed[int(generator.integers(n)) :][:length]
            case 5:
                changed[place:place] = generator.bytes(length)
            case 6:
                width = int(generator.choice([1, 2, 4, 8]))
                number = _INTERESTING[int(generator.integers(len(_INTERESTING)))] & (256**width - 1)
                changed[place : place + width] = number.to_bytes(width, "little")
            case _:
                if generator.random() < 0.3:
                    del changed[place:]
    return bytes(changed)


_ODD_VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, -(2**63), 2**64, 10**400, 1e308, 0.1, float("nan"), float("inf")),
    *("", "0", "NaN", "../../etc/passwd", "/dev/zero", "python:os:system", "<script>alert(1)</script>", "\0", "\ud800"),
    *("x" * 70_000, [], {}, [[]], [0], {"": None}, {"a": {"b": []}}),
]


def mutate_json(content: bytes, generator: np.random.Generator, odd: list[object]) -> bytes:
    """The JSON with one to four of its values or keys replaced by others of it, or by odd ones."""
    value = json.loads(content)
    for _ in range(int(generator.integers(1, 5))):
        places: list[tuple[object, object]] = []

        def walk(node: object, places: list[tuple[object, object]] = places) -> None:
            for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
                places.append((node, key))
                walk(node[key])

        walk(value)
        if not places:
            break
        node, key = places[int(generator.integers(len(places)))]
        choice = generator.random()
        if choice < 0.15:
            del node[key]
        elif choice < 0.3:
            other, other_key = places[int(generator.integers(len(places)))]
            with contextlib.suppress(KeyError, IndexError):
                node[key] = json.loads(json.dumps(other[other_key]))
        elif choice < 0.4 and isinstance(node, list):
            node[:] = node * int(generator.integers(0, 5))
        else:
            # A copy: the next value may be put into this one, and must not end up in itself.
            node[key] = copy.deepcopy(odd[int(generator.integers(len(odd)))])
    if generator.random() < 0.02:
        return b"[" * 100_000
    return json.dumps(value, ensure_ascii=True).encode()


def odd_values(seed: int, n: int = 200) -> list[object]:
    """JSON values of all shapes, by hypothesis, and those that have hurt others before."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    values = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner)
    )
    drawn: list[object] = []

    @seeded(seed)
    @settings(max_examples=n, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(values)
    def draw(value: object) -> None:
        drawn.append(value)

    draw()
    return drawn + _ODD_VALUES * (1 + len(drawn) // len(_ODD_VALUES))


# Inputs: each generator function yields a function that tries the next one.

Attempt = Callable[[], None]


def exercise(data: object) -> None:
    """What a user does with a dataset."""
    from fidokit.data.geometry import Preprocessing
    from fidokit.exceptions import FidokitError
    from fidokit.study.store.schemas import images_to_arrow

    preprocessing = Preprocessing((32, 32), use_boxes=True)
    repr(data)
    data.fingerprint()
    data.metadata()
    images_to_arrow(data.table)
    for i in range(min(3, len(data))):
        data.box(i)
        data.part_points(i)
        for load in (data.load, data.load_object_mask, data.load_part_masks):
            with contextlib.suppress(FidokitError):
                load(i, preprocessing)
    data.subset([0])


def images(folder: Path, generator: np.random.Generator, _odd: list[object]) -> Iterator[Attempt]:
    from PIL import Image

    from fidokit.data.photographs import photograph_size, read_object_mask, read_part_map, read_photograph
    from fidokit.exceptions import FidokitError

    pixels = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    originals = []
    for mode in ("RGB", "L", "P", "RGBA", "I;16", "1", "CMYK"):
        picture = Image.fromarray(pixels)
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
        for form in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM"):
            sink = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            with contextlib.suppress(OSError, ValueError, KeyError):
                picture.save(sink, form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}))
                originals.append((form.lower(), sink.getvalue()))
    while True:
        form, content = originals[int(generator.integers(len(originals)))]
        path = folder / f"photograph.{form}"
        path.write_bytes(mutate(content, generator))

        def attempt(path: Path = path) -> None:
            errors = []
            for read in (photograph_size, read_photograph, read_object_mask, read_part_map):
                try:
                    read(path)
                except FidokitError as error:
                    errors.append(error)
            if errors:
                raise errors[0]

        yield attempt


def tables(folder: Path, generator: np.random.Generator, _odd: list[object]) -> Iterator[Attempt]:
    from fidokit.data.images import LabelledImages

    text = (
        "path,label,image_id,split,box_x0,box_y0,box_x1,box_y1,parts,part_points,night\n"
        'a.jpg,fox,1,train,0,0,10,10,"[""bill"", ""tail""]","{""bill"": [1, 2.5]}",1\n'
        'b/c.jpg,"hare, brown",2,test,,,,,,,0\nd.jpg,,3,,1.5,2,3,4,,,x\n'
    )
    forms = [text.encode(), text.replace(",", "\t").encode(), b"\xef\xbb\xbfpath;label;box\na.jpg;x;1 2 3 4\n"]
    path = folder / "photographs.csv"
    while True:
        path.write_bytes(mutate(forms[int(generator.integers(len(forms)))], generator))
        yield lambda: exercise(LabelledImages.from_csv(path))


def coco(folder: Path, generator: np.random.Generator, odd: list[object]) -> Iterator[Attempt]:
    from test_readers_coco import CATEGORIES, annotation, image

    from fidokit.data.images import LabelledImages

    value = {
        "info": {"version": "1.0"},
        "images": [
            image("a", width=20, height=10, seq_id="s", frame_num=0, location=3),
            image("b"),
            image("c", corrupt=True),
        ],
        "annotations": [
            annotation("1", "a", 1, bbox=[1.5, 2, 10, 5]),
            annotation("2", "b", 0),
            annotation("3", "b", 2),
        ],
        "categories": [*CATEGORIES, {"id": 7, "name": "Bubo bubo", "supercategory": "Aves", "genus": "Bubo"}],
    }
    content, path = json.dumps(value).encode(), folder / "dataset.json"
    while True:
        structured = generator.random() < 0.6
        path.write_bytes(mutate_json(content, generator, odd) if structured else mutate(content, generator))
        yield lambda: exercise(LabelledImages.from_coco(path))


def camtrap(folder: Path, generator: np.random.Generator, odd: list[object]) -> Iterator[Attempt]:
    from test_readers_camtrap_dp import event, medium, package, seen

    from fidokit.data.images import LabelledImages

    observations = seen("o1", "m1", name="Vulpes vulpes", box="0.1,0.2,0.3,0.4") + seen("o2", "m2", kind="blank")
    observations += event("o3", "2020-05-30T02:57:40Z", "2020-05-30T03:57:40Z", name="Lepus europaeus")
    package(folder, medium("m1") + medium("m2") + medium("m3"), observations)
    files = {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".json")}
    while True:
        path = list(files)[int(generator.integers(len(files)))]
        structured = path.suffix == ".json" and generator.random() < 0.7
        change = mutate_json(files[path], generator, odd) if structured else mutate(files[path], generator)
        path.write_bytes(change)
        yield lambda: exercise(LabelledImages.from_camtrap_dp(folder))
        path.write_bytes(files[path])


def detections(folder: Path, generator: np.random.Generator, odd: list[object]) -> Iterator[Attempt]:
    """MegaDetector's, AddaxAI's and SpeciesNet's files, and labels for them."""
    from test_readers_detections import BLANK, CANID, CATEGORIES, CLASSES, FOX, found, photograph, save

    from fidokit.data.images import LabelledImages

    save(folder, "s/a.jpg", "b.jpg")
    two = [found(classifications=[["0", 0.8], ["1", 0.1]]), found("1", 0.6, (0, 0, 0.3, 0.3))]
    classified = found("4", 0.71, prev_conf=0.93, prev_category="1", classifications=[["1", 0.71]])
    images = [
        photograph("s\\a.jpg", *two, seq_id="s1", location=3, datetime="2020-05-01 10:00:00"),
        photograph("b.jpg", classified, found("2"), manually_checked=True),
        photograph("D:\\traps\\b.jpg", found(frame_number=3)),
        {"file": "broken.jpg", "detections": None, "failure": "Failure image access"},
    ]
    info = {"format_version": "1.5", "detector_metadata": {"typical_detection_threshold": 0.2}}
    further = {"classification_categories": CLASSES, "classification_category_descriptions": CLASSES}
    names = {"detection_categories": CATEGORIES | {"4": "fox"}, **further}
    scores = {"classes": [FOX, CANID], "scores": [0.55, 0.3]}
    decided = {"raw_classifications": scores, "processed_classification": {"class": FOX, "score": 0.5, "source": "x"}}
    predicted = [
        {"filepath": "s/a.jpg", "detections": two, "classifications": scores, "prediction": CANID, "country": "GBR"},
        {"filepath": "C:\\x\\b.jpg", "detections": [found("0", 1.0, **decided), found(label="animal", **decided)]},
        {"filepath": "b.jpg", "failures": ["DETECTOR"], "prediction": BLANK, "prediction_score": 0.9},
    ]
    contents = [
        json.dumps(content).encode()
        for content in ({"info": info, "images": images, **names}, {"info": {}, "predictions": predicted})
    ]
    path, labels = folder / "detections.json", folder / "labels.csv"
    table = b"path,detection,label\ns/a.jpg,0,fox\nb.jpg,,elk\ns\\a.jpg,1,\n"
    while True:
        content = contents[int(generator.integers(len(contents)))]
        structured = generator.random() < 0.6
        path.write_bytes(mutate_json(content, generator, odd) if structured else mutate(content, generator))
        given = labels if generator.random() < 0.3 else None
        labels.write_bytes(mutate(table, generator))

        def attempt(given: Path | None = given, empty: bool = bool(generator.random() < 0.5)) -> None:
            data = LabelledImages.from_detections(path, labels=given, empty=empty)
            exercise(data)
            if "recorded_label" in data.table.columns:
                data.recorded()

        yield attempt


def timelapse(folder: Path, generator: np.random.Generator, _odd: list[object]) -> Iterator[Attempt]:
    from test_readers_timelapse import write

    from fidokit.data.images import LabelledImages

    path = write(folder, "a.jpg,s1,2020-05-01 10:00:00,false,fox,1", "b.jpg,s1,,true,,", '"d.jpg",s2\\c,,False,hare,2')
    content = path.read_bytes()
    while True:
        path.write_bytes(mutate(content, generator))
        yield lambda: exercise(LabelledImages.from_timelapse(path))


def birds(folder: Path, generator: np.random.Generator, name: str) -> Iterator[Attempt]:
    import test_readers_birds

    from fidokit.data.images import LabelledImages

    root = getattr(test_readers_birds, name)(folder)
    read = getattr(LabelledImages, f"from_{name}")
    files = {path: path.read_bytes() for path in sorted(root.rglob("*.txt"))}
    while True:
        path = list(files)[int(generator.integers(len(files)))]
        path.write_bytes(mutate(files[path], generator))
        yield lambda: exercise(read(root))
        path.write_bytes(files[path])


def study_in(folder: Path) -> Path:
    """A small finished study with metrics."""
    import study_cases

    import fidokit as fk

    data = study_cases.make_data(folder / "data", 6)
    Path(data.table["path"][1]).write_bytes(b"broken")
    study_cases.register_counting("counting")
    study_cases.register_counting("other")
    classifier = study_cases.make_classifier()
    study = fk.run_study(classifier, data, ["counting", "other"], store=folder / "s", part_size=3, progress=False)
    study.metrics(progress=False)
    return folder / "s"


def use(store: Path, page: Path | None, damaged: str | None = None) -> None:
    """What a user does with a study, each thing whether or not the one before it worked."""
    import fidokit as fk
    from fidokit.exceptions import FidokitError
    from fidokit.study.metrics.table import metric_frame

    study = fk.open_study(store)
    if damaged is not None:
        states = study.check().set_index("part")["state"]
        assert states[damaged] != "intact", f"{damaged} is damaged, and was called intact"
    errors = []
    acts = [
        study.check,
        study.masks,
        lambda: list(study.iter_masks(batch_size=3)),
        lambda: study.masks(columns=["score_kept"], image_ids=["red/000.png"]),
        study.predictions,
        study.failures,
        study.status,
        study._repr_html_,
        lambda: metric_frame(study, study.methods, ("ssr", "sdr")),
        lambda: study.summary(10),
        lambda: [study.mask_array(label, kind) for label in study.methods for kind in study.kinds(label)],
        lambda: study.data,
        lambda: study.classifier,
        *([] if page is None else [lambda: fk.write_report(study, page)]),
    ]
    for act in acts:
        try:
            act()
        except FidokitError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def manifests(folder: Path, generator: np.random.Generator, odd: list[object]) -> Iterator[Attempt]:
    store = study_in(folder)
    path = store / "study.json"
    content = path.read_bytes()
    while True:
        structured = generator.random() < 0.8
        path.write_bytes(mutate_json(content, generator, odd) if structured else mutate(content, generator))
        page = folder / "page.html" if generator.random() < 0.3 else None
        yield lambda page=page: use(store, page)


def parts(folder: Path, generator: np.random.Generator, _odd: list[object]) -> Iterator[Attempt]:
    store = study_in(folder)
    files = {path: path.read_bytes() for path in sorted(store.rglob("*.parquet"))}
    while True:
        path = list(files)[int(generator.integers(len(files)))]
        path.write_bytes(mutate(files[path], generator))
        page = folder / "page.html" if generator.random() < 0.1 else None
        part = str(path.relative_to(store)) if path.read_bytes() != files[path] else None
        yield lambda page=page, part=part: use(store, page, part)
        path.write_bytes(files[path])


def odd_tables(folder: Path, generator: np.random.Generator, odd: list[object]) -> Iterator[Attempt]:
    """Well-formed and sealed: the checksums of a stranger's store are all right."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fidokit.study.store import checksummed

    store = study_in(folder)
    files = {path: path.read_bytes() for path in sorted(store.rglob("*.parquet"))}
    numbers = [0, 1, -1, 2**31 - 1, -(2**31), 3, 10**6, None]
    while True:
        path = list(files)[int(generator.integers(len(files)))]
        table = pq.read_table(path)
        for _ in range(int(generator.integers(1, 3))):
            place = int(generator.integers(len(table.column_names)))
            name, kind = table.column_names[place], table.schema.types[place]
            match int(generator.integers(6)):
                case 0:
                    table = table.remove_column(place)
                case 1:
                    table = table.set_column(place, name, pa.nulls(len(table), kind))
                case 2:
                    table = table.take(
                        generator.integers(0, max(1, len(table)), len(table) * int(generator.integers(0, 4)))
                    )
                case 3:
                    values = generator.choice(np.array(numbers, object), len(table)).tolist()
                    table = table.set_column(place, name, pa.array(values, pa.int64()))
                case 4:
                    texts = [str(odd[int(generator.integers(len(odd)))])[:99] for _ in range(len(table))]
                    clean = [text.encode("utf-8", "replace").decode() for text in texts]
                    table = table.set_column(place, name, pa.array(clean))
                case _:
                    lengths = generator.integers(0, 20, len(table))
                    lists = [generator.random(int(n)).astype(np.float16) for n in lengths]
                    table = table.set_column(place, name, pa.array(lists, pa.list_(pa.float16())))
            if not table.column_names:
                break
        path.write_bytes(checksummed.encode(table))
        page = folder / "page.html" if generator.random() < 0.1 else None
        yield lambda page=page: use(store, page)
        path.write_bytes(files[path])


def inputs(kind: str, folder: Path, seed: int, odd: list[object]) -> Iterator[Attempt]:
    """The inputs of a kind; each attempt must be made before the next one is asked for."""
    generator = np.random.default_rng([seed, KINDS.index(kind)])
    if kind in ("cub", "nabirds"):
        return birds(folder, generator, kind)
    made = {"image": images, "csv": tables, "coco": coco, "camtrap": camtrap}
    made |= {"detections": detections, "timelapse": timelapse}
    made |= {"manifest": manifests, "part": parts, "table": odd_tables}
    return made[kind](folder, generator, odd)


# Child: tries. Parent: watches.


def child(kind: str, seed: int, n: int, folder: Path, keep: Path | None) -> None:
    """Try n inputs, telling the parent which one is on; a line of JSON at the end."""
    import torch

    import fidokit.report
    import fidokit.study.run  # noqa: F401
    from fidokit.exceptions import FidokitError

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    odd = odd_values(seed)

    def too_slow(*_: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, too_slow)
    attempts = inputs(kind, folder, seed, odd)
    pages = Path("/proc/self/statm")
    if pages.exists():
        most = int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused, slowest, findings = 0, 0.0, []
    for number in range(n):
        attempt = next(attempts)
        print(number, file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            signal.alarm(LIMIT)
            attempt()
        except FidokitError:
            refused += 1
        except BaseException:
            findings.append({"input": number, "error": traceback.format_exc(limit=-4)})
            if keep is not None:
                _copy(folder, keep / f"{kind}-{seed}-{number}")
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"refused": refused, "slowest": round(slowest, 2), "peak_mb": round(peak), "findings": findings}))


def _copy(folder: Path, target: Path) -> None:
    import shutil

    shutil.copytree(folder, target, dirs_exist_ok=True)


def fuzz(kind: str, seed: int, n: int, keep: Path | None = None) -> dict[str, object]:
    """Try n inputs of a kind in a child process; what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--child", kind, folder, "--seed", str(seed), "--inputs", str(n)]
        if keep is not None:
            arguments += ["--keep", str(keep)]
        told = Path(folder) / ".told"
        with told.open("w") as errors:
            done = subprocess.run(
                [sys.executable, __file__, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=60 + LIMIT * n,
                check=False,
            )
        result = {"kind": kind, "seed": seed, "inputs": n}
        if done.returncode == 0:
            return result | json.loads(done.stdout)
        if keep is not None:
            _copy(Path(folder), keep / f"{kind}-{seed}-died")
        last = told.read_text(errors="replace").splitlines()[-6:]
        return result | {"findings": [{"input": "died", "error": f"exit status {done.returncode}: {last}"}]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--keep", type=Path, help="folder for the inputs that were findings")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], arguments.seed, arguments.inputs, Path(arguments.child[1]), arguments.keep)
        return 0
    failed = False
    for kind in arguments.kinds:
        result = fuzz(kind, arguments.seed, -(-arguments.inputs // len(arguments.kinds)), arguments.keep)
        print(json.dumps(result), flush=True)
        failed |= bool(result["findings"])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
