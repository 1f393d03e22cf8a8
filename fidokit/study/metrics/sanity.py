"""The sanity check: a mask that a classifier with random parameters gets as well says nothing about the classifier.

Source: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity checks for saliency maps", NeurIPS 2018 (arXiv
1810.03292): the model parameter randomisation test, all layers at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from fidokit.methods.concrete import uniform
from fidokit.models import frozen
from fidokit.models.classifier import Classifier, with_precision
from fidokit.models.state import EvaluationCounter

#: A method passes if, with 95 % confidence, the rank correlation between its masks of the true and the random
#: classifiers has a smaller size than this on average. Smooth maps over few cells reach 0.2 to 0.4 by chance, as all
#: maps see the same image; a method that ignores the classifier has 1.
LIMIT = 0.5
#: Random classifiers that each mask is compared over: one alone may resemble the true one by chance, in all its masks.
RANDOM_CLASSIFIERS = 3
_PROBES = 16


def randomised(classifier: Classifier, seed: int = 0) -> Classifier:
    """The classifier with random parameters, in float32; the user's module stays as it is.

    Each parameter tensor is drawn anew from a normal distribution with the tensor's own mean and standard deviation;
    one that holds a single value is drawn around 0 with that value as standard deviation. The running statistics of
    batch normalisation are estimated anew on smooth noise, so that the random network still tells images apart.
    """
    module = frozen.frozen_copy(classifier.module, classifier.device)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(_draw(name, parameter, seed))
        _estimate_statistics(module, classifier)
    twin = with_precision(classifier, "float32", classifier.micro_batch)
    twin.module, twin.counter, twin.name, twin.memory_format = module, EvaluationCounter(), None, None
    return twin


def _draw(name: str, parameter: Tensor, seed: int) -> Tensor:
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    key = torch.tensor([int.from_bytes(digest, "little", signed=True)], dtype=torch.int64)
    normal: Tensor = torch.special.ndtri(uniform(key, 0, tuple(parameter.shape))[0]).to(parameter.device)
    values = parameter.float()
    mean, spread = values.mean(), values.std(correction=0)
    if float(spread) <= 1e-6 * float(mean.abs()):
        return normal * mean.abs()
    return mean + normal * spread


def _estimate_statistics(module: nn.Module, classifier: Classifier) -> None:
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    u = uniform(torch.arange(_PROBES), 0, (3, 16, 16))
    noise = nn.functional.interpolate(u, size=classifier.size, mode="bilinear")
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    module(((noise - mean) / std).to(classifier.device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def passes(high: Iterable[float]) -> list[bool | None]:
    """Whether upper bounds of mean correlations lie below `LIMIT`; None where there is no bound."""
    return [None if np.isnan(bound) else bool(bound < LIMIT) for bound in high]
