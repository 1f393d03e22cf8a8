"""Photographs for the comparisons: the composites of `material`, or else those in scikit-image's wheel."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from material import inputs, photographs, report
from torch import Tensor

import fidokit as fk
from fidokit import samples


@dataclass
class Pictures:
    """(B, 3, H, W) images, (B, H, W) object masks or None, and names; images of one photograph share a unit."""

    images: Tensor
    objects: Tensor | None
    ids: list[str]
    units: dict[str, str]


def pictures(classifier: fk.Classifier, part: str, most: int | None = None, seeds: Sequence[int] = (0,)) -> Pictures:
    """The first photographs of a part."""
    try:
        found = photographs(classifier, part, seeds)
        images, objects, names = found.images[:most], found.objects[:most], found.names[:most]
    except samples.MaterialMissing as error:
        report(note=f"{error}; six photographs of scikit-image instead, without object masks")
        with tempfile.TemporaryDirectory() as folder:
            data = samples.photographs(folder)
            images = inputs(classifier, data)[:most]
        objects, names = None, list(data.table["image_id"])[:most]
    ids = [f"{i} {name}" for i, name in enumerate(names)]
    return Pictures(images, objects, ids, dict(zip(ids, names, strict=True)))


def arguments(description: str | None, most: int | None) -> ArgumentParser:
    """A parser with the options that all comparisons have."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--part", choices=("tuning", "report"), default="report")
    parser.add_argument("--photographs", type=int, default=most, help="at most so many")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each composes every animal anew")
    return parser


def report_rows(rows: pd.DataFrame, /, **labels: object) -> None:
    """One JSON line for each row; what is missing is null, since JSON knows no NaN."""
    for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
        report(**labels, **row)
