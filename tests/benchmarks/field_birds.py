"""A real species classifier on real photographs: MobileNetV2 for 964 birds, photographs of camera traps and others.

How often the first answer is right at the rank of species, genus and family, with Wilson's 95 % intervals, and what the
masks of FIDO and Grad-CAM are worth; JSON lines. The page and the widgets are written to be looked at.

Run: ``python tests/benchmarks/field_birds.py OUT`` (3 minutes on 2 cores); needs ../shared/field and tflite (PyPI).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from material import report

import fidokit as fk
from fidokit._util.html import tag

FIELD = Path(__file__).resolve().parents[2].parent / "shared" / "field"
#: Genera of the classifier's species in the families of the photographs, after the IOC World Bird List 14.
FAMILIES = {
    "Strigidae": {
        *("Aegolius", "Asio", "Athene", "Bubo", "Ciccaba", "Glaucidium", "Megascops", "Ninox", "Strix", "Surnia"),
    },
    "Psittacidae": {"Amazona", "Ara", "Aratinga", "Eupsittula", "Myiopsitta", "Psittacara"},
}
METHODS = ("fido", "grad-cam")


def loaded() -> tuple[fk.Classifier, fk.LabelledImages]:
    """The classifier and the photographs of birds."""
    spec = importlib.util.spec_from_file_location("species_classifier", FIELD / "species_classifier.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net, names = module.load("bird", FIELD)
    data = fk.LabelledImages.from_csv(FIELD / "photos.csv")
    return fk.Classifier(net, names, mean=module.MEAN, std=module.STD, device="cpu"), data.subset(
        np.flatnonzero(data.table["kind"] == "bird")
    )


def at_ranks(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a photograph: whether the first answer is right at each rank."""
    label, predicted = predictions["label"].str, predictions["predicted"].str
    genus = label.split(n=1).str[0]
    family = {genus: name for name, genera in FAMILIES.items() for genus in genera}
    unknown = sorted(set(genus) - set(family))
    if unknown:
        raise SystemExit(f"no family is known of {', '.join(unknown)}: add it to FAMILIES")
    answered = predicted.split(n=1).str[0]
    return pd.DataFrame(
        {
            "species": predictions["label"] == predictions["predicted"],
            "genus": genus == answered,
            "family": genus.map(family) == answered.map(family),
        }
    )


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson, JASA 22, 1927)."""
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return float(middle - half), float(middle + half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the study, the page and the widgets")
    out: Path = parser.parse_args().out
    if not FIELD.is_dir() or importlib.util.find_spec("tflite") is None:
        print("skipped: ../shared/field or tflite is not there", file=sys.stderr)
        return
    classifier, data = loaded()
    study = fk.run_study(classifier, data, list(METHODS), store=out / "study", progress=False)
    predictions = study.predictions()
    right = at_ranks(predictions)
    for rank in right:
        n, k = len(right), int(right[rank].sum())
        low, high = wilson(k, n)
        report(part="top-1", rank=rank, right=k, photographs=n, share=k / n, low=low, high=high)
    study.metrics(progress=False)
    for row in study.summary().to_dict("records"):
        measured = {key: value for key, value in row.items() if isinstance(value, float) and not np.isnan(value)}
        report(part="masks", method=row["method"], kind=row["kind"], **measured)
    page = fk.write_report(study, out / "report.html")
    widgets = [fk.CompareWidget(study), fk.ExplainWidget(classifier, data)]
    shown = [
        tag("section", tag("h2", type(each).__name__), each._repr_mimebundle_()[0]["text/html"]) for each in widgets
    ]
    (out / "widgets.html").write_text(str(tag("html", *shown)), encoding="utf-8")
    report(part="files", page=str(page), widgets=str(out / "widgets.html"), kilobytes=page.stat().st_size / 1e3)


if __name__ == "__main__":
    main()
