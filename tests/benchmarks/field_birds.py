"""A real species classifier on real photographs: how often it is right at each rank, its masks at family and species.

Reads ``../shared/field`` (964 species of birds and "background", MobileNetV2) and needs PyPI's ``tflite``. Run:
``python tests/benchmarks/field_birds.py [--store FOLDER]``; with a store, its page is written beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import pandas as pd
from material import report

import fidokit as fk

FIELD = Path(__file__).resolve().parents[3] / "shared" / "field"
#: The families of the photographs' labels, with all their genera among the classes; other classes stand by their genus.
FAMILIES = {
    ("Strigiformes", "Strigidae"): "Aegolius Asio Athene Bubo Ciccaba Glaucidium Megascops Ninox Strix Surnia",
    ("Strigiformes", "Tytonidae"): "Tyto",
    ("Psittaciformes", "Psittacidae"): "Amazona Ara Aratinga Eupsittula Myiopsitta Psittacara",
    ("Psittaciformes", "Psittaculidae"): "Alisterus Cyanoramphus Melopsittacus Platycercus Psittacula Trichoglossus",
    ("Psittaciformes", "Cacatuidae"): "Cacatua Eolophus",
    ("Psittaciformes", "Strigopidae"): "Nestor",
}


def taxonomy_of(class_names: list[str]) -> fk.Taxonomy:
    """Genus and species from the names, family and order from `FAMILIES`."""
    families = {genus: taxa for taxa, genera in FAMILIES.items() for genus in genera.split()}
    table = fk.Taxonomy.from_binomials(class_names).table()
    above = [families.get(genus, (None, None)) for genus in table["genus"]]
    return fk.Taxonomy.from_table(table.assign(order=[o for o, _ in above], family=[f for _, f in above]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, help="also make masks of family and species, and a page")
    given = parser.parse_args()
    if not FIELD.is_dir():
        sys.exit(f"skipped: {FIELD} is not there")
    spec = importlib.util.spec_from_file_location("species_classifier", FIELD / "species_classifier.py")
    assert spec is not None
    assert spec.loader is not None
    species_classifier = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(species_classifier)
    net, names = species_classifier.load("bird", FIELD)
    taxonomy = taxonomy_of(list(names))
    classifier = fk.Classifier(net, names, mean=0.5, std=0.5, size=224, taxonomy=taxonomy)
    photos = pd.read_csv(FIELD / "photos.csv")
    photos = photos[photos["kind"] == "bird"]
    data = fk.LabelledImages.from_table(
        pd.DataFrame({"path": [str(FIELD / path) for path in photos["path"]], "label": photos["label"]})
    )
    table = classifier.predict(data)
    shares = taxonomy.accuracy(table).merge(taxonomy.errors(table)[["rank", "n"]], on="rank")
    for row in shares.to_dict("records"):
        report(
            benchmark="field birds", rank=row["rank"], photographs=row["n_x"], right=row["right"],
            accuracy=row["accuracy"], low=row["low"], high=row["high"], errors_from_here_on=row["n_y"],
        )  # fmt: skip
    named = table[table["rollup"].notna()]
    holds = [
        label == taxon or label in taxonomy.groups.get(taxon, ())
        for label, taxon in zip(named["label"], named["rollup"], strict=True)
    ]
    report(benchmark="field birds", what="rolled up", photographs=len(table), named=len(named), holds=sum(holds))
    if given.store is not None:
        study = fk.run_study(
            classifier, data, ["fido", "grad-cam"], store=given.store, ranks=["family", "species"], progress=False
        )
        study.metrics(progress=False)
        print(fk.write_report(study, given.store.with_suffix(".html")))


if __name__ == "__main__":
    main()
