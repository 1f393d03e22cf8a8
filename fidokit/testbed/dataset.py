"""`load`, `survey` and `individuals`: drawn pictures on disk as `LabelledImages`, and with one thing changed."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from platformdirs import user_cache_dir
from tqdm.auto import tqdm

from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError
from fidokit.testbed.causes import Rates, plan
from fidokit.testbed.drawing import render
from fidokit.testbed.own_marks import individual_name, plan_individuals
from fidokit.testbed.scene import DRAWING, Scene
from fidokit.testbed.sites import Faults, plan_survey
from fidokit.testbed.species import GENUS_OF, OWN_MARK, PARTS

_TABLE = "images.csv"
_COLUMNS = [
    *("path", "label", "image_id", "box_x0", "box_y0", "box_x1", "box_y1", "object_mask", "part_map", "parts"),
    *("genus", "habitat", "planted_cause", "planted_scene"),
]
#: A half-written folder this old (seconds) belongs to a process that was killed.
_STALE = 24 * 3600


def load(
    n: int,
    seed: int = 0,
    causes: Rates | None = None,
    *,
    folder: str | Path | None = None,
    size: int = 256,
    species: Sequence[str] | None = None,
    clutter: float = 0.4,
) -> LabelledImages:
    """Drawn birds with labels, boxes, part masks and planted causes of error; the same arguments give the same pixels.

    Without a cause a picture shows its bird in the home habitat of its species, with all small parts in view.

    Args:
        n: number of pictures; every species comes once before any comes again.
        seed: of everything random. Settings are tuned on seeds below 1000 and reported on seeds from 1000; the
            classifiers were trained on seeds from 1,000,000.
        causes: cause -> share of the pictures, or of the pictures of single species: ``{"habitat": 0.2, "night":
            {"marl tit": 0.5}}``. A picture shows one cause at most. ``habitat``: the home of a congener;
            ``hidden_part``: leaves in front of all parts that tell the species of the genus apart; ``watermark``: the
            stamp or scale bar that belongs to a congener; ``night``: an infrared flash; ``tiny``: a quarter of the
            usual length, anywhere.
        folder: for pictures and masks; made if it is not there, used again if it holds just these pictures. Default: a
            folder of the user's cache that is named by the arguments.
        size: side of the square pictures in pixels; default 256, twice the classifier's input, so that a crop to a tiny
            bird gains something.
        species: only these; default all 12.
        clutter: how much stands in front of the birds, beside their small parts; 0 nothing, 1 much; up to 4.

    Returns:
        One row a picture: image_id, path, label, box_x0, box_y0, box_x1, box_y1 (of the visible bird), object_mask,
        part_map, parts, genus, habitat; planted_cause ("none" or the cause) and planted_scene (JSON) are the answer
        that no analysis may read.

    Raises:
        SettingsError: an argument that cannot be used, or a folder that cannot be written or holds something else.
    """
    scenes = plan(n, seed, causes, species=species, size=size, clutter=clutter)
    return _written(scenes, folder)


def individuals(
    n: int,
    seed: int = 0,
    count: int = 24,
    *,
    folder: str | Path | None = None,
    size: int = 256,
    clutter: float = 0.4,
) -> LabelledImages:
    """Drawn birds of one species, each with a mark of its own that stays with it through poses, light and habitats.

    The mark is a ring of one colour around a core of another, on breast, belly, shoulder or rump; no other individual
    has these two colours, and nothing else tells one bird from another. "bird 01" is the same bird with every seed, so
    that pictures of one seed can be the references of a `Gallery` and those of another the queries; the same arguments
    give the same pixels.

    Args:
        n: number of pictures; every individual comes once, in random order, before any comes again.
        seed: of everything random; see `load`.
        count: number of individuals, 2 to 72. Default 24: those that `embedder` has never seen.
        folder, size, clutter: as for `load`.

    Returns:
        One row a picture, with the columns of `load`; the label is the individual ("bird 01"), and "mark" is one part
        more, at 2 % of the picture.

    Raises:
        SettingsError: as `load`.

    Example:
        >>> birds = fk.testbed.individuals(24, folder="birds")
        >>> len(birds.classes), "mark" in birds.load_part_masks(0, clf.preprocessing)
        (24, True)
    """
    return _written(plan_individuals(n, seed, count, size, clutter), folder)


def survey(
    n: int,
    seed: int = 0,
    *,
    sites: int = 12,
    causes: Rates | None = None,
    shortcuts: int = 0,
    stumps: int = 0,
    bursts: int = 3,
    blanks: float = 0.0,
    wrong_labels: float = 0.0,
    wrong_reasons: float = 0.0,
    folder: str | Path | None = None,
    size: int = 256,
    species: Sequence[str] | None = None,
    clutter: float = 0.4,
) -> LabelledImages:
    """Drawn birds before cameras that stay where they are; what surrounds them is the same from night to night.

    An ordinary site is in one habitat, and the species come that are at home there. The same arguments give the same
    pixels.

    Args:
        n: number of photographs, in bursts; the sites have them in turn.
        seed: of everything random; see `load`.
        sites: number of cameras.
        causes: as for `load`. Habitat (one number for all species: a congener of those at home comes) and night are
            those of whole bursts, the others come and go within them.
        shortcuts: number of sites to which only species come whose congeners are at home there: a classifier that reads
            the habitat takes them for these.
        stumps: number of sites with a stump at a fixed place of the frame and on it a carved bird, which is larger than
            the birds that come and of a congener's species.
        bursts: photographs in a burst.
        blanks: share of the photographs without a bird, which have the label of their burst; one photograph of each
            burst shows the bird.
        wrong_labels: share of the photographs with the label of a congener.
        wrong_reasons: share of the photographs, at ordinary sites, whose bird hides its small parts at home and, where
            the species owns one, beside its stamp or scale bar: a classifier that learnt these is right about it.
        folder, size, species, clutter: as for `load`.

    Returns:
        One row a photograph, with the columns of `load` and site, sequence (the burst) and datetime. The answer that no
        analysis may read: planted_label (the species, or "blank"), planted_cause (that of the photograph: as in `load`,
        "stump" or "blank"; it is "habitat" at shortcut sites), planted_site ("none", "shortcut" or "stump"),
        planted_reason ("none", "background" or "background and stamp") and planted_scene.

    Raises:
        SettingsError: as `load`.

    Example:
        >>> birds = fk.testbed.survey(24, sites=4, stumps=1, folder="survey")
        >>> birds.table["site"].nunique(), birds.table["sequence"].nunique()
        (4, 8)
    """
    faults = Faults(shortcuts, stumps, blanks, wrong_labels, wrong_reasons)
    scenes, columns = plan_survey(n, seed, causes, sites, bursts, faults, species, size, clutter)
    return _written(scenes, folder, columns)


def scene_of(data: LabelledImages, i: int) -> Scene:
    """What the picture at position i of drawn pictures shows.

    Raises:
        SettingsError: the data was not made by `load`, `survey` or `individuals`.
    """
    if "planted_scene" not in data.table.columns:
        raise SettingsError(
            "these are no drawn pictures (no column planted_scene); make them with fidokit.testbed.load or "
            "fidokit.testbed.individuals"
        )
    return Scene.from_json(str(data.table["planted_scene"].iloc[i]))


def intervene(
    data: LabelledImages,
    i: int,
    *,
    remove: str | Sequence[str] | None = None,
    exchange: tuple[str, str] | None = None,
    habitat: str | None = None,
) -> Image.Image:
    """The picture at position i with one thing changed and every other pixel equal.

    Args:
        data: made by `load`.
        i: position of the picture.
        remove: part or parts of `PARTS`, or the "mark" of an individual, to take away; what is behind them shows.
        exchange: (part, species): the part as that species has it. Bodies belong to the genus: only the parts in
            `DIAGNOSTIC_PARTS` differ between species.
        habitat: the habitat, with its perch, to put in place of this one.

    Raises:
        SettingsError: nothing to change, or an unknown part, species or habitat.
    """
    changed = scene_of(data, i)
    if remove is None and exchange is None and habitat is None:
        raise SettingsError("nothing to change; pass remove, exchange or habitat")
    for part in [remove] if isinstance(remove, str) else remove or []:
        changed = changed.without(part)
    if exchange is not None:
        changed = changed.exchanged(*exchange)
    if habitat is not None:
        changed = changed.in_habitat(habitat)
    return Image.fromarray(render(changed).pixels)


def without_part(data: LabelledImages, i: int, part: str) -> Image.Image:
    """The picture at position i without one part: `intervene` with ``remove=part``."""
    return intervene(data, i, remove=part)


def _written(
    scenes: list[Scene], folder: str | Path | None, columns: Sequence[Mapping[str, str]] = ()
) -> LabelledImages:
    """The pictures of these scenes, drawn where they are not there yet, and for each what else its row says."""
    lines = [str(DRAWING), *(scene.to_json() for scene in scenes), *(json.dumps(row) for row in columns)]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    target = Path(folder) if folder is not None else Path(user_cache_dir("fidokit")) / "testbed" / digest[:32]
    if not _is_complete(target, digest):
        _write(scenes, target, digest, columns)
    return LabelledImages.from_csv(target / _TABLE)


def _is_complete(folder: Path, digest: str) -> bool:
    """Whether the folder holds these pictures, all of them (a cleaner of caches may have taken some)."""
    try:
        if json.loads((folder / "testbed.json").read_text(encoding="utf-8"))["scenes"] != digest:
            return False
        with (folder / _TABLE).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return all((folder / row[column]).is_file() for row in rows for column in ("path", "object_mask", "part_map"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(scenes: list[Scene], target: Path, digest: str, columns: Sequence[Mapping[str, str]]) -> None:
    """Draw into a folder beside the target, and rename it when it is whole."""
    _check_free(target, digest)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        half = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise SettingsError(f"{target} cannot be written ({error.strerror}); pass folder=, one that can") from error
    try:
        _draw(scenes, half, digest, columns)
        half.chmod(0o755)
        if target.is_dir():
            shutil.rmtree(target)
        half.rename(target)
    except OSError as error:
        # Another process may have been faster with the same pictures.
        if not _is_complete(target, digest):
            raise SettingsError(f"{target} cannot be written ({error.strerror}); pass folder=, one that can") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _check_free(target: Path, digest: str) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise SettingsError(f"{target} is not a folder; pass the path of a new or empty one")
    if not any(target.iterdir()):
        return
    try:
        ours = json.loads((target / "testbed.json").read_text(encoding="utf-8"))["scenes"] == digest
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise SettingsError(f"{target} holds other files; pass a new or empty folder")


def _remove_stale(target: Path) -> None:
    for left in target.parent.glob(f".{target.name}.*"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)


def _draw(scenes: list[Scene], folder: Path, digest: str, columns: Sequence[Mapping[str, str]]) -> None:
    for name in ("images", "object_masks", "part_maps"):
        (folder / name).mkdir()
    palette = [0, 0, 0, *(channel for colour in _PALETTE for channel in colour)]
    rows = []
    # A bar appears for what takes long, and only on a terminal.
    for drawn in tqdm(scenes, unit="picture", desc="drawing", leave=False, disable=None if len(scenes) > 60 else True):
        picture = render(drawn)
        name = f"{drawn.index:05d}.png"
        part_map = Image.fromarray(picture.part_map)
        part_map.putpalette(palette)
        Image.fromarray(picture.pixels).save(folder / "images" / name, compress_level=1)
        part_map.save(folder / "part_maps" / name, compress_level=1)
        object_mask = Image.fromarray(picture.object_mask.astype(np.uint8) * 255)
        object_mask.save(folder / "object_masks" / name, compress_level=1)
        own = drawn.individual
        label, parts = (drawn.species, PARTS) if own is None else (individual_name(own), [*PARTS, OWN_MARK])
        values = [f"images/{name}", label, f"{drawn.seed}-{drawn.index:05d}"]
        values += [str(edge) for edge in picture.box] if picture.box is not None else [""] * 4
        values += [f"object_masks/{name}", f"part_maps/{name}", json.dumps(parts)]
        values += [GENUS_OF[drawn.species].name, drawn.habitat, drawn.cause, drawn.to_json()]
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    rows = [row | dict(more) for row, more in zip(rows, columns, strict=True)] if columns else rows
    with (folder / _TABLE).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "testbed.json").write_text(json.dumps({"drawing": DRAWING, "scenes": digest}), encoding="utf-8")


_PALETTE = [
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
    *((120, 120, 120), (255, 255, 255), (170, 68, 153), (136, 34, 85)),
    (60, 60, 60),
]
