"""Where to look first: errors found in the first fifth looked at, against scores, cleanlab and chance; and stopping.

A problem is a survey of 400 drawn photographs of 12 cameras, 10 to 30 % of them wrong: by a habitat, a hidden part,
night, a tiny bird, a stump, or two of them. Settings were tuned on seeds below 1000. Real photographs: the field's bird
classifier, and animals composed onto photographs of nature. Of cleanlab there are its scores without labels, out of
distribution by features and by probabilities, and, in the comparison with labels, ActiveLab.

Run: ``python tests/benchmarks/review.py --problems 40 --seed 5000 --workers 2`` (about 10 minutes on 2 quiet cores),
``--real`` for real photographs, ``--cost 2000`` for the time beside that of one `Classifier.predict`.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from material import inputs, report

import fidokit as fk
from fidokit import samples, testbed
from fidokit.errors.review.reading import Look, look
from fidokit.errors.review.stopping import errors_left

KINDS = ("habitat", "hidden_part", "night", "tiny", "stump", "mixture")
FIELD = Path(__file__).resolve().parents[3] / "shared" / "field"
SHARE, LABELLED = 0.2, 1 / 3
RIVALS = ("margin", "entropy", "energy", "maximum logit", "cleanlab, features", "cleanlab", "random")
RESAMPLES = 10_000


def problem(seed: int, folder: Path, n: int = 400) -> tuple[str, str | None, fk.LabelledImages]:
    """Kind, bias of the classifier, and photographs."""
    generator = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    wanted = [kind] if kind != "mixture" else [str(k) for k in generator.choice(KINDS[:-1], 2, replace=False)]
    rate = float(generator.uniform(0.12, 0.3)) / len(wanted)
    causes, shortcuts, stumps = {}, 0, 0
    for name in wanted:
        if name == "habitat":
            shortcuts = int(generator.integers(1, 3))
            causes[name] = max(0.03, rate - shortcuts / 12)
        elif name == "stump":
            stumps = int(generator.integers(2, 5))
        else:
            causes[name] = rate
    data = testbed.survey(
        n, seed, causes=causes, shortcuts=shortcuts, stumps=stumps, folder=folder / str(seed), size=128
    )
    return "+".join(wanted), "habitat" if "habitat" in wanted else None, data


def rivals(found: Look, probabilities: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Name -> (N,) score, high where an error is suspected."""
    from cleanlab.outlier import OutOfDistribution

    return {
        "margin": found.probability[:, 1] - found.probability[:, 0],
        "entropy": found.entropy,
        "energy": -found.energy,
        "maximum logit": -found.logit[:, 0],
        "cleanlab, features": -OutOfDistribution().fit_score(features=found.features, verbose=False),
        "cleanlab": -OutOfDistribution({"adjust_pred_probs": False, "method": "least_confidence"}).fit_score(
            pred_probs=probabilities, verbose=False
        ),
        "random": np.random.default_rng(seed).random(len(found)),
    }


def active_lab(probabilities: np.ndarray, labels: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """(U,) cleanlab's ActiveLab for the photographs without labels, with those that have one; high = look first."""
    from cleanlab.multiannotator import get_active_learning_scores

    # It wants every class among the labels, which a third of a survey need not have.
    known = np.unique(labels[labelled])
    own = probabilities[:, known] + 1e-9
    own /= own.sum(1, keepdims=True)
    given = pd.DataFrame({"label": np.searchsorted(known, labels[labelled])})
    return -get_active_learning_scores(given, own[labelled], own[~labelled])[1]


def found_share(score: np.ndarray, wrong: np.ndarray) -> float:
    """Share of the errors in the first fifth."""
    first = np.argsort(-score, kind="stable")[: round(SHARE * len(score))]
    return float(wrong[first].sum() / max(1, wrong.sum()))


def score_of(order: fk.ReviewOrder, ids: list[str]) -> np.ndarray:
    return -order.table.reset_index().set_index("image_id")["index"].loc[ids].to_numpy(float)


def solve(seed: int, n: int) -> dict[str, object]:
    """One problem: what each order finds, without and with labels, and whether the intervals hold."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kind, bias, data = problem(seed, folder, n)
        classifier = testbed.classifier(bias, device="cpu")
        study = fk.run_study(classifier, data, ["grad-cam"], store=folder / "study", progress=False)
        table = study.predictions()
        ids, wrong = table["image_id"].tolist(), table["correct"].eq(False).to_numpy(bool)
        seen = look(study, np.arange(len(study)))
        images = inputs(classifier, data)
        probabilities = classifier.logits(images).softmax(1).numpy()
        others = rivals(seen, probabilities, seed)
        order = fk.review_order(study, learn_from_labels=False)
        without = {name: found_share(score, wrong) for name, score in others.items()}
        without["fixed weights"] = found_share(score_of(order, ids), wrong)
        without["other cameras' labels"] = found_share(score_of(fk.review_order(study), ids), wrong)

        bursts = pd.factorize(data.table["sequence"])[0]
        chosen = np.random.default_rng(seed).permutation(bursts.max() + 1)[: round(LABELLED * (bursts.max() + 1))]
        known = np.isin(bursts, chosen)
        partly = fk.LabelledImages.from_table(data.table.assign(label=data.table["label"].where(known, None)))
        third = fk.run_study(classifier, partly, ["grad-cam"], store=folder / "third", progress=False)
        rest = [name for name, own in zip(ids, known, strict=True) if not own]
        labels = np.asarray([testbed.SPECIES.index(name) for name in data.table["label"]])
        with_labels = {name: found_share(score[~known], wrong[~known]) for name, score in others.items()}
        with_labels["cleanlab"] = found_share(active_lab(probabilities, labels, known), wrong[~known])
        with_labels["fixed weights"] = found_share(
            score_of(fk.review_order(third, learn_from_labels=False), rest), wrong[~known]
        )
        with_labels["learnt weights"] = found_share(score_of(fk.review_order(third), rest), wrong[~known])
        return {
            "seed": seed,
            "kind": kind,
            "error_rate": float(wrong.mean()),
            "without": without,
            "with": with_labels,
            "stopping": stopping(order, dict(zip(ids, wrong, strict=True))),
        }


def stopping(order: fk.ReviewOrder, wrong: dict[str, bool]) -> dict[str, object]:
    """Whether the intervals hold after each batch, and after which the errors left are at most 5 % with 95 %."""
    truth = np.asarray([wrong[name] for name in order.table["image_id"]])
    left = errors_left(order.batches, truth.astype(float))
    remaining = np.asarray([truth[order.batches.number > batch].sum() for batch in left["batch"]])
    inside = (left["errors_left_low"] <= remaining) & (remaining <= left["errors_left_high"])
    stop = np.flatnonzero(left["at_most"] <= 0.05 * len(truth))[0]
    return {
        "inside": [bool(value) for value in inside[:-1]],
        "bound": bool((remaining <= left["at_most"]).all()),
        "looked_at": float(left["looked_at"][stop] / len(truth)),
        "errors_left": float(remaining[stop] / max(1, truth.sum())),
    }


def interval_of(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over problems and its 95 % percentile bootstrap interval."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def compare(name: str, table: pd.DataFrame, own: tuple[str, ...], **told: object) -> None:
    """Each order's share of the errors found, and the paired gain over the best rival by its mean."""
    best = table[list(RIVALS)].mean().idxmax()
    for order in table:
        mean, low, high = interval_of(table[order].to_numpy())
        report(benchmark="review", line=name, order=order, found=mean, low=low, high=high, n=len(table), **told)
    for order in own:
        mean, low, high = interval_of((table[order] - table[best]).to_numpy())
        report(benchmark="review", line=name, order=order, against=best, gain=mean, low=low, high=high, **told)


def problems(number: int, first: int, n: int, workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        done = list(pool.map(solve, range(first, first + number), [n] * number))
    for one in done:
        report(
            benchmark="review", line="problem", **{k: one[k] for k in ("seed", "kind", "error_rate", "without", "with")}
        )
    compare(
        "without labels", pd.DataFrame([one["without"] for one in done]), ("fixed weights", "other cameras' labels")
    )
    compare("a third labelled", pd.DataFrame([one["with"] for one in done]), ("fixed weights", "learnt weights"))
    stops = [one["stopping"] for one in done]
    per_look = pd.DataFrame([stop["inside"] for stop in stops]).mean()
    report(
        benchmark="review",
        line="stopping rule",
        interval_holds=float(np.mean([np.mean(stop["inside"]) for stop in stops])),
        interval_holds_at_worst_look=float(per_look.min()),
        bound_holds_at_all_looks=float(np.mean([stop["bound"] for stop in stops])),
        looked_at_until_stop=float(np.mean([stop["looked_at"] for stop in stops])),
        errors_left_at_stop=float(np.mean([stop["errors_left"] for stop in stops])),
        n=len(stops),
    )


def real(folder: Path) -> None:
    """The field's bird photographs, and composites: errors found in the first fifth; an interval over photographs."""
    sets: dict[str, tuple[fk.Classifier, fk.LabelledImages]] = {}
    try:
        parts = [
            samples.composites(folder / str(seed), seed=seed, share=(0.3, 0.8), size=320, backgrounds="photographs")
            for seed in range(3)
        ]
        tables = [part.table.assign(image_id=f"{i}/" + part.table["image_id"]) for i, part in enumerate(parts)]
        composites = fk.LabelledImages.from_table(pd.concat(tables, ignore_index=True))
        sets["composites"] = (samples.efficientnet_lite0(device="cpu"), composites)
        if FIELD.is_dir():
            sets["field, mammals"] = field_mammals()
    except fk.FidokitError as error:
        report(benchmark="review", line="composites", skipped=str(error))
    if FIELD.is_dir():
        sets["field, birds"] = field_birds()
    else:
        report(benchmark="review", line="field", skipped=f"{FIELD} is not there")
    for name, (classifier, data) in sets.items():
        study = fk.run_study(classifier, data, ["grad-cam"], store=folder / f"study-{name}", progress=False)
        table = study.predictions()
        judged = np.flatnonzero(table["correct"].notna().to_numpy())
        wrong = table["correct"].eq(False).to_numpy(bool)[judged]
        seen = look(study, judged)
        images = inputs(classifier, data.subset(judged))
        scores = rivals(seen, classifier.logits(images).softmax(1).numpy(), 0)
        ids = table["image_id"].iloc[judged].tolist()
        for own, options in {
            "fixed weights": {"learn_from_labels": False},
            "with interventions": {"learn_from_labels": False, "interventions": len(judged)},
            "other photographs' labels": {},
        }.items():
            scores[own] = score_of(fk.review_order(study, **options), ids)
        drawn = np.random.default_rng(0).integers(0, len(wrong), (2000, len(wrong)))
        for order, score in scores.items():
            shares = [found_share(score[rows], wrong[rows]) for rows in drawn]
            low, high = np.quantile(shares, [0.025, 0.975])
            told = {"found": found_share(score, wrong), "low": float(low), "high": float(high)}
            report(benchmark="review", line=name, order=order, **told, n=len(wrong), errors=int(wrong.sum()))


def field_birds() -> tuple[fk.Classifier, fk.LabelledImages]:
    """A classifier of 964 birds, and the field's photographs of birds."""
    spec = importlib.util.spec_from_file_location("species_classifier", FIELD / "species_classifier.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net, names = module.load("bird", FIELD)
    photos = pd.read_csv(FIELD / "photos.csv")
    photos = photos[photos["kind"] == "bird"]
    table = photos[["label"]].assign(path=[str(FIELD / path) for path in photos["path"]])
    return fk.Classifier(net, names, mean=0.5, std=0.5, size=224, device="cpu"), fk.LabelledImages.from_table(table)


def field_mammals() -> tuple[fk.Classifier, fk.LabelledImages]:
    """An ImageNet classifier and the field's photographs of mammals; most labels are coarser than its classes."""
    names = samples.imagenet_classes()
    kinds = {"cat": ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"], "dog": names[151:269]}
    kinds |= {
        "wolf": ["timber wolf", "white wolf", "red wolf"],
        "fox": [name for name in names if name.endswith(" fox")],
    }
    above = {name: kind for kind, members in kinds.items() for name in members}
    taxonomy = fk.Taxonomy.from_table(pd.DataFrame({"class": names, "family": [above.get(name) for name in names]}))
    photos = pd.read_csv(FIELD / "photos.csv")
    photos = photos[(photos["kind"] == "mammal") & (photos["label"] != "deer")]
    table = photos.drop(columns=["path", "kind"]).assign(path=[str(FIELD / path) for path in photos["path"]])
    return samples.efficientnet_lite0(device="cpu", taxonomy=taxonomy), fk.LabelledImages.from_table(table)


def cost(n: int, folder: Path) -> None:
    """Seconds of the order beside those of one `predict`, in turns, the shortest of three."""
    data = testbed.survey(n, 1, stumps=2, folder=folder / "cost", size=128)
    classifier = testbed.classifier(device="cpu")
    study = fk.run_study(classifier, data, ["grad-cam"], store=folder / "study", progress=False)
    seconds: dict[str, list[float]] = {"predict": [], "review_order": []}
    for _ in range(3):
        for name, run in {
            "predict": lambda: classifier.predict(data),
            "review_order": lambda: fk.review_order(study),
        }.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    ratio = min(seconds["review_order"]) / min(seconds["predict"])
    report(benchmark="review", line="cost", n=n, predict=min(seconds["predict"]), ratio=ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--seed", type=int, default=5000, help="of the first problem")
    parser.add_argument("--n", type=int, default=400, help="photographs a problem")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--real", action="store_true", help="real photographs instead")
    parser.add_argument("--cost", type=int, metavar="N", help="the cost for N photographs instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.real:
            real(Path(folder))
        elif given.cost:
            cost(given.cost, Path(folder))
        else:
            problems(given.problems, given.seed, given.n, given.workers)


if __name__ == "__main__":
    main()
