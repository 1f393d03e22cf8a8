"""Error clusters on photographs: animals of which some lie beside a scale bar, or stand before one strange background,
and a classifier trained on ImageNet, which knows rulers and cups. Is the cause found, and is it proved? JSON lines.

Run: ``python tests/benchmarks/errors_photographs.py`` (about 10 minutes on 2 cores).
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from material import report
from PIL import Image, ImageDraw
from skimage import data as skimage_data

import fidokit as fk
from fidokit import samples

SIZE = 320
#: Animals of half to four fifths of the frame, most of which the classifier knows on ordinary backgrounds.
SHARE = (0.55, 0.8)
#: Height of the scale bar, as a share of the photograph's.
BAR = 0.28


def known_photographs(classifier: fk.Classifier, folder: Path, seed: int) -> set[str]:
    """The animals that the classifier mostly knows: nobody audits a classifier that knows nothing."""
    n = 3 * len(samples.stamps())
    data = samples.composites(folder, n, seed=seed, share=SHARE, size=SIZE, backgrounds="textures")
    right = classifier.predict(data)["correct"].astype(float).groupby(data.table["photograph"]).mean()
    return set(right.index[right > 0.5])


def composites(folder: Path, n: int, seed: int, known: set[str]) -> fk.LabelledImages:
    """At least n composites of the known animals on textures."""
    each = -(-n // len(known))
    data = samples.composites(
        folder, each * len(samples.stamps()), seed=seed, share=SHARE, size=SIZE, backgrounds="textures"
    )
    return data.subset(np.flatnonzero(data.table["photograph"].isin(known)))


def planted(folder: Path, n: int, strange: int, seed: int, cause: str, known: set[str]) -> fk.LabelledImages:
    """n composites on textures, and some more with the cause; `planted_cause` says which."""
    usual = composites(folder / "usual", n, seed, known)
    other = composites(folder / "strange", strange, seed + 1, known)
    generator = np.random.default_rng(seed)
    for i in range(len(other)):
        with Image.open(other.table["object_mask"].iloc[i]) as outline:
            kept = outline.convert("L")
        image = scale_bar(other.open(i)) if cause == "scale bar" else before_cup(other.open(i), kept, generator)
        image.save(other.table["path"].iloc[i])
    tables = [
        part.table.assign(image_id=f"{name}/" + part.table["image_id"].astype(str), planted_cause=planted)
        for name, part, planted in (("usual", usual, "none"), ("strange", other, cause))
    ]
    # Where the animals come from and what stands behind them is what an audit has to find out.
    table = pd.concat(tables, ignore_index=True).drop(columns=["background", "share"])
    return fk.LabelledImages.from_table(table)


def scale_bar(image: Image.Image) -> Image.Image:
    """A ruler along the lower edge, in front of whatever is there."""
    width, height = image.size
    top = round(height * (1 - BAR))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, top, width, height), fill=(235, 210, 120))
    for x in range(0, width, 4):
        length = (height - top) * (0.6 if x % 40 == 0 else 0.45 if x % 20 == 0 else 0.28)
        draw.line((x, top, x, top + length), fill=(20, 20, 20))
    for x in range(0, width, 40):
        draw.text((x + 2, top + (height - top) * 0.6), str(x // 40), fill=(20, 20, 20))
    return image


def before_cup(image: Image.Image, kept: Image.Image, generator: np.random.Generator) -> Image.Image:
    """The animal before a crop of scikit-image's photograph of a cup of coffee."""
    source = Image.fromarray(np.asarray(skimage_data.coffee())[..., :3])
    side = int(min(source.size) * generator.uniform(0.8, 1.0))
    x, y = (int(generator.integers(0, length - side + 1)) for length in source.size)
    return Image.composite(image, source.crop((x, y, x + side, y + side)).resize(image.size), kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=600, help="composites without the cause")
    parser.add_argument("--strange", type=int, default=120, help="composites with the cause")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000])
    parser.add_argument("--cause", choices=("scale bar", "background"), default="scale bar")
    parser.add_argument("--method", default="grad-cam")
    options = parser.parse_args()
    classifier = samples.efficientnet_lite0()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = known_photographs(classifier, Path(name) / "known", seed + 2)
            data = planted(Path(name), options.n, options.strange, seed, options.cause, known)
            study = fk.run_study(classifier, data, [options.method], store=Path(name) / "study", progress=False)
            right = study.predictions().set_index("image_id")["correct"].astype(float)
            cause = data.table.set_index("image_id")["planted_cause"] != "none"
            report(
                benchmark="errors_photographs", seed=seed, cause=options.cause, images=len(data), animals=len(known),
                right_usual=float(right[~cause].mean()), right_planted=float(right[cause].mean()),
            )  # fmt: skip
            errors = fk.find_error_clusters(study)
            table = errors.clusters[errors.clusters["systematic"]]
            proofs = errors.verify(progress=False).set_index("cluster") if len(table) else pd.DataFrame()
            for row in table.to_dict("records"):
                top = errors.images(row["cluster"]).head(10)["image_id"]
                verified = proofs.loc[row["cluster"]]
                report(
                    benchmark="errors_photographs", seed=seed, cluster=row["cluster"], sentence=row["sentence"],
                    precision_at_10=float(cause[top].mean()), verdict=verified["verdict"], proof=verified["sentence"],
                )  # fmt: skip
            report(benchmark="errors_photographs", seed=seed, systematic=len(table))


if __name__ == "__main__":
    main()
