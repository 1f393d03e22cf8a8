"""Problems for the benchmark of error clusters: planted causes, errors at random, and the rivals' groupings.

A pool of drawn images is explained once by each classifier; a problem is a part of it, drawn by its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import fidokit as fk
from fidokit import testbed
from fidokit.errors import ErrorClusters
from fidokit.errors.features import Features, extract
from fidokit.errors.find import group_images
from fidokit.errors.groups import Outcome, evidence_table
from fidokit.errors.space import PrincipalSpace
from fidokit.study.study import Study

CAUSES = ("habitat", "hidden_part", "watermark", "night", "tiny")
CLASSIFIERS = ("fair", "habitat", "watermark")
#: A cause needs this many errors to count as planted.
LEAST_ERRORS = 25
TYPICAL = 10


@dataclass
class Pool:
    """Drawn images explained by one classifier."""

    study: Study
    features: Features
    table: pd.DataFrame


@dataclass
class Planted:
    """A problem: rows of the pool, and what was planted: (cause, species) pairs."""

    classifier: str
    rows: np.ndarray
    causes: list[tuple[str, str]]
    rates: list[float]


def draw(folder: Path, seed: int, per_species: int = 300, per_cause: int = 60, extra: int = 300) -> fk.LabelledImages:
    """Clean images of every species, more of the first of each genus, and images with each cause."""
    parts = [testbed.load(12 * per_species, seed, folder=folder / "clean")]
    many = testbed.SPECIES[::4]
    if extra:
        parts.append(testbed.load(extra * len(many), seed + 1, folder=folder / "more", species=many))
    for i, cause in enumerate(CAUSES, start=2):
        parts.append(testbed.load(12 * per_cause, seed + i, {cause: 1.0}, folder=folder / cause))
    return fk.LabelledImages.from_table(pd.concat([part.table for part in parts], ignore_index=True))


def explain(folder: Path, data: fk.LabelledImages, name: str, method: str) -> Pool:
    """The pool as one classifier sees it."""
    classifier = testbed.classifier(None if name == "fair" else name)
    study = fk.run_study(classifier, data, [method], store=folder / f"study-{name}-{method}", progress=False)
    features = extract(study)
    table = study.predictions().set_index("image_id").loc[features.image_ids].reset_index()
    secret = data.table.set_index("image_id").loc[features.image_ids, "planted_cause"]
    return Pool(study, features, table.assign(cause=secret.to_numpy()))


def problem(pools: dict[str, Pool], seed: int) -> Planted:
    """One or two causes, each of one species, at 5 to 40 % of its images, with at least `LEAST_ERRORS` errors each."""
    generator = np.random.default_rng(seed)
    first = CAUSES[seed % len(CAUSES)]
    wanted = [first]
    if generator.random() < 0.4:
        wanted.append(str(generator.choice([c for c in CAUSES if c != first])))
    for _ in range(200):
        name = str(generator.choice(list(pools)))
        species = [str(s) for s in generator.choice(testbed.SPECIES, len(wanted), replace=False)]
        rate = float(np.exp(generator.uniform(np.log(0.05), np.log(0.4))))
        made = _planted(pools[name], list(zip(wanted, species, strict=True)), rate, generator)
        if made is not None:
            return Planted(name, *made)
        if _ == 100:  # no classifier is fooled by both
            wanted = wanted[:1]
    raise RuntimeError(f"no problem for seed {seed}")


def _planted(pool: Pool, causes: list[tuple[str, str]], rate: float, generator: np.random.Generator):
    table = pool.table
    clean = (table["cause"] == "none").to_numpy()
    label = table["label"].to_numpy()
    rows = [
        generator.permutation(np.flatnonzero(clean & (label == s)))[: int(generator.integers(50, 100))]
        for s in testbed.SPECIES
        if s not in [species for _, species in causes]
    ]
    rates = []
    for cause, species in causes:
        own = generator.permutation(np.flatnonzero((table["cause"] == cause) & (label == species)))
        wrong = np.cumsum(table["correct"].iloc[own].eq(False).to_numpy())
        if not len(own) or wrong[-1] < LEAST_ERRORS:
            return None
        least = int(np.searchsorted(wrong, LEAST_ERRORS)) + 1
        others = generator.permutation(np.flatnonzero(clean & (label == species)))
        n = min(len(own), max(least, round(rate * min(len(others), 200) / (1 - rate))))
        n_clean = min(len(others), round(n * (1 - rate) / rate))
        if not 0.045 <= n / (n + n_clean) <= 0.42:
            return None
        rates.append(n / (n + n_clean))
        rows += [own[:n], others[:n_clean]]
    return np.sort(np.concatenate(rows)), causes, rates


def clusters_of(pool: Pool, rows: np.ndarray, seed: int) -> ErrorClusters:
    """The clusters of a part of a pool."""
    return group_images(pool.study, pool.features.take(rows), seed=seed)


def random_errors(pool: Pool, seed: int) -> tuple[Features, Outcome]:
    """Clean images with errors at random: labels exchanged, at one rate or at one for each class, evenly or towards a
    few classes."""
    generator = np.random.default_rng(seed)
    clean = np.flatnonzero(((pool.table["cause"] == "none") & pool.table["correct"].eq(True)).to_numpy())
    rows = np.sort(generator.choice(clean, min(len(clean), int(generator.integers(400, 1200))), replace=False))
    table = pool.table.iloc[rows]
    names = np.asarray(testbed.SPECIES, dtype=object)
    k = len(names)
    label = np.searchsorted(np.sort(names), table["label"].to_numpy(object))
    rates = np.full(k, generator.uniform(0.03, 0.25))
    if seed % 2:
        rates = np.clip(rates * generator.dirichlet(np.ones(k)) * k, 0, 0.6)
    towards = generator.dirichlet(np.ones(k)) if seed % 4 >= 2 else np.full(k, 1 / k)
    wrong = generator.random(len(rows)) < rates[label]
    drawn = generator.choice(k, len(rows), p=towards)
    drawn = np.where(drawn == label, (drawn + 1) % k, drawn)
    outcome = Outcome.read(pool.table, [pool.features.image_ids[i] for i in rows])
    mixed = np.sort(names)[np.where(wrong, drawn, label)]
    return pool.features.take(rows), replace(outcome, label=mixed, wrong=mixed != outcome.predicted)


def precision(members: np.ndarray, typical: np.ndarray, truth: np.ndarray) -> float:
    """Share of the planted among the most typical members of one group."""
    inside = np.flatnonzero(members)
    top = inside[np.argsort(-typical[inside], kind="stable")][:TYPICAL]
    return float(truth[top].mean()) if len(top) == TYPICAL else 0.0


def rival(name: str, features: Features, outcome: Outcome, holdout: np.ndarray, seed: int, k: int = 25):
    """(members, typical, systematic) of k groups by a rival, tested as fidokit's are, stability aside.

    `k-means` and `mixture` group the classifier's pooled features; `domino` is a mixture over features, labels and
    predictions (Eyuboglu et al., ICLR 2022, eq. 2-3, with the weight 10 they use).
    """
    discovery = np.flatnonzero(~holdout)
    space = PrincipalSpace.fit(features.blocks["whole"][discovery], 16)
    points = space.place(features.blocks["whole"])
    k = min(k, len(discovery) // 8)
    if name == "k-means":
        from sklearn.cluster import KMeans

        model = KMeans(k, n_init=4, random_state=seed).fit(points[discovery])
        typical = -model.transform(points).T
    elif name == "mixture":
        from sklearn.mixture import GaussianMixture

        model = GaussianMixture(k, covariance_type="diag", reg_covar=1e-3, random_state=seed).fit(points[discovery])
        typical = model.predict_proba(points).T
    else:
        both = pd.factorize(np.concatenate([outcome.label, outcome.predicted]))[0]
        label, predicted = both[: len(points)], both[len(points) :]
        typical = error_aware_mixture(points, label, predicted, discovery, k, seed)
    members = typical.argmax(0)[None] == np.arange(len(typical))[:, None]
    table, _ = evidence_table(members, holdout, outcome, np.ones(len(members)))
    return members, typical, table["systematic"].to_numpy()


def error_aware_mixture(
    points: np.ndarray,
    label: np.ndarray,
    predicted: np.ndarray,
    rows: np.ndarray,
    k: int,
    seed: int,
    weight: float = 10,
) -> np.ndarray:
    """(k, N) log-responsibilities of a mixture of Gaussians times two categorical distributions, by EM on `rows`."""
    generator = np.random.default_rng(seed)
    n_classes = int(max(label.max(), predicted.max())) + 1
    one_label, one_predicted = np.eye(n_classes)[label], np.eye(n_classes)[predicted]
    # Begun from the cells of the confusion matrix, as published, with some noise within them.
    cells = pd.factorize(label[rows] * n_classes + predicted[rows])[0]
    share = np.eye(k)[(cells + generator.integers(0, 2, len(cells)) * (cells.max() + 1)) % k] + 0.05
    share /= share.sum(1, keepdims=True)
    log_all = np.zeros((k, len(points)))
    for _ in range(60):
        mass = share.sum(0) + 1e-6
        middle = share.T @ points[rows] / mass[:, None]
        spread = share.T @ points[rows] ** 2 / mass[:, None] - middle**2 + 1e-3
        of_label = (share.T @ one_label[rows] + 1e-3) / (mass[:, None] + n_classes * 1e-3)
        of_predicted = (share.T @ one_predicted[rows] + 1e-3) / (mass[:, None] + n_classes * 1e-3)
        squared = ((points[None] - middle[:, None]) ** 2 / spread[:, None]).sum(2)
        log_all = (
            np.log(mass / mass.sum())[:, None]
            - 0.5 * (squared + np.log(spread).sum(1)[:, None])
            + weight * (np.log(of_label)[:, label] + np.log(of_predicted)[:, predicted])
        )
        log_all = log_all - np.logaddexp.reduce(log_all, axis=0)
        share = np.exp(log_all[:, rows]).T
    return log_all
