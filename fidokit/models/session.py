"""`Session`: a frozen copy of a classifier's module, ready for evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import torch
from torch import Tensor, nn

from fidokit._util.ambient import unaffected
from fidokit._util.warning import warn
from fidokit.models import devices, frozen
from fidokit.models.depthwise import FastDepthwise
from fidokit.models.goals import of_probabilities, to_logits
from fidokit.models.state import ClassifierState

_T = TypeVar("_T")
#: The smallest batch on CUDA where it is not known how long cuDNN plans for one of this module.
LEAST_BATCH = 16


def padded_size(n: int, most: int, least: int) -> int:
    """The size to which a batch of n is filled up: the least, twice, four times as many and so on, or the most."""
    size = least
    while size < n:
        size *= 2
    return max(n, min(size, most))


class Session:
    """A frozen copy of a classifier's module, ready for evaluations; made by `Classifier.session`.

    Attributes:
        module: the frozen copy.
        device, precision: where and how it computes.
        memory_format: layout of images and weights: channels-last where the module can be run so.
        micro_batch: evaluations that go through at once.
        counter: the classifier's count of evaluations, that of the thread which opened the session.
        least_batch: the smallest batch that `evaluate` sends through; None sends batches through as they are.
    """

    def __init__(self, module: nn.Module, classifier: ClassifierState, precision: frozen.Precision) -> None:
        self.module = module
        self.device = classifier.device
        self.precision = precision
        self.memory_format = classifier.memory_format or torch.channels_last
        self.micro_batch = classifier.micro_batch or 1
        self.counter = classifier.counter
        self.least_batch = (classifier.least_batch or LEAST_BATCH) if self.device.type == "cuda" else None
        self._single_logit = classifier.single_logit
        self._head = classifier.head
        self._classes = len(classifier.class_names)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(classifier.preprocessing.mean, device=self.device).view(shape)
        self._std = torch.tensor(classifier.preprocessing.std, device=self.device).view(shape)

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> normalised, on the device, in the memory format and the precision of the weights.

        Pinned memory lets the copy to a GPU overlap with computation.
        """
        if self.device.type == "cuda" and images.device.type == "cpu":
            images = images.pin_memory()
        images = images.to(self.device, torch.float32, non_blocking=True)
        normalised = (images - self._mean) / self._std
        return normalised.to(self.precision.dtype).contiguous(memory_format=self.memory_format)

    def denormalise(self, normalised: Tensor) -> Tensor:
        """The (B, 3, H, W) float32 images in [0, 1] that these normalised ones came from."""
        return (normalised.float() * self._std + self._mean).clamp(0, 1)

    def forward(self, normalised: Tensor) -> Tensor:
        """(B, K) float32 logits of normalised images; a single logit z becomes the two logits (-z, z).

        Of a module that gives probabilities they are the logarithms, or the log-odds of independent classes.
        """
        self.counter.evaluations += normalised.shape[0]
        # A mixture of images may have come out in another layout; there are modules that only run in theirs.
        normalised = normalised.contiguous(memory_format=self.memory_format)
        with ExitStack() as ways:
            ways.enter_context(unaffected(gradients=False))
            if self.device.type == "cpu":
                ways.enter_context(FastDepthwise())
            if self.precision.autocast is not None:
                ways.enter_context(torch.autocast(self.device.type, dtype=self.precision.autocast))
            output = self.module(normalised)
            # A module that runs in inference mode by itself returns what no later gradient may use.
            logits = frozen.logits_of(output)
            logits = (logits.clone() if logits.is_inference() else logits).float()
            logits = to_logits(logits, self._head) if of_probabilities(self._head) else logits
            return torch.cat([-logits, logits], dim=1) if self._single_logit else logits

    def padded(self, n: int) -> int:
        """The size of the batch in which `evaluate` sends n images through."""
        return n if self.least_batch is None or not n else padded_size(n, self.micro_batch, self.least_batch)

    def evaluate(self, normalised: Tensor) -> Tensor:
        """`forward` for who looks at nothing but the logits: on CUDA in a batch of one of few sizes.

        cuDNN plans each layer anew for each size that it meets. What a batch is filled up with is not counted and has
        no influence: rows of a batch do not know of each other.
        """
        n = len(normalised)
        size = self.padded(n)
        if size == n:
            return self.forward(normalised)
        filling = normalised[-1:].detach().expand(size - n, -1, -1, -1)
        logits = self.forward(torch.cat([normalised, filling]))[:n]
        self.counter.evaluations -= size - n
        return logits

    @unaffected()
    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(B, K) float32 logits, on the CPU, of (B, 3, H, W) images in [0, 1], a micro-batch at a time."""

        def run(rows: slice) -> Tensor:
            return self.evaluate(self.normalise(images[rows])).cpu()

        nothing = torch.empty(0, self._classes)
        return torch.cat([nothing, *(part for _, part in self.in_micro_batches(len(images), run))])

    def in_micro_batches(self, n: int, run: Callable[[slice], _T]) -> Iterator[tuple[slice, _T]]:
        """``run`` over n rows, a micro-batch at a time; after an out-of-memory error again with smaller ones."""
        start = 0
        while start < n:
            rows = slice(start, min(start + self.micro_batch, n))
            try:
                result = run(rows)
            except Exception as error:
                if not self.shrink_after(error):
                    raise
                continue
            yield rows, result
            start = rows.stop

    def shrink_after(self, error: BaseException) -> bool:
        """After an out-of-memory error: halve the micro-batch, say so, and return True if it is worth trying again."""
        if not frozen.is_out_of_memory(error) or self.micro_batch == 1:
            return False
        self.micro_batch //= 2
        devices.free_cache(self.device)
        warn(f"out of memory: going on with a micro-batch of {self.micro_batch}")
        return True
