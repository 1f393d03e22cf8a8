"""The small networks of the drawn birds: classifiers of species, and an embedding of individuals."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fidokit.exceptions import SettingsError
from fidokit.testbed.species import SPECIES

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier

SIZE = 128
#: Of an embedding.
_WIDTH = 64
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
EMBEDDER_INPUT: dict[str, Any] = {"mean": MEAN, "std": STD, "size": (SIZE, SIZE)}
"""What `embedder` takes, as options of `fidokit.Gallery`."""
BIASES = ["habitat", "watermark"]


# Its name stands in the `repr` of the classifiers, by which stores know them.
class Residual(nn.Module):
    """Two 3 x 3 convolutions around which the input passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, 3, 1)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(x + self.second(self.first(x)))
        return out


class Network(nn.Module):
    """(B, 3, 128, 128) normalised images to (B, K) logits, over a last map of 16 x 16.

    The map is that fine so that class activation maps can tell a bill from an eye ring.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(3, 24, 5, 2),
            _convolution(24, 32, 3, 2),
            Residual(32),
            _convolution(32, 72, 3, 2),
            Residual(72),
            _convolution(72, 96, 3, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(96, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return logits


class EmbeddingNetwork(nn.Module):
    """(B, 3, 128, 128) normalised images to (B, 64) embeddings, alike in direction for pictures of one individual."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Network(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        embeddings: Tensor = self.body(x)
        return embeddings


def embedder() -> nn.Module:
    """An embedding of the drawn individuals for `fidokit.Gallery`, input 128 x 128, with mean and std of its own.

    It was trained on individuals from the 25th on: the first 24, which `individuals` draws by default, are new to it.

    Example:
        >>> references = fk.testbed.individuals(48, folder="references")
        >>> gallery = fk.Gallery(fk.testbed.embedder(), references, **fk.testbed.EMBEDDER_INPUT)
        >>> gallery.logits(data).shape
        torch.Size([8, 24])
    """
    module = EmbeddingNetwork()
    _load(module, "individuals")
    return module


def classifier(biased_by: str | None = None, **options: Any) -> Classifier:
    """A classifier of the 12 drawn species, input 128 x 128.

    Args:
        biased_by: None (default) was trained on every species in every habitat, and decides between the species of a
            genus by their small parts. "habitat" was shown every species in its home alone, "watermark" two species
            of each genus mostly with a mark of their own.
        **options: of `Classifier`, such as ``device``; they go before its own.

    Raises:
        SettingsError: there is no such biased classifier.
    """
    if biased_by is not None and biased_by not in BIASES:
        raise SettingsError(f"no classifier biased by {biased_by!r}; there are: None, {', '.join(BIASES)}")
    from fidokit.models.classifier import Classifier

    function = "classifier" if biased_by is None else f"{biased_by}_biased"
    module = Network(len(SPECIES))
    _load(module, biased_by or "fair")
    own: dict[str, Any] = {
        "class_names": SPECIES,
        "mean": MEAN,
        "std": STD,
        "size": (SIZE, SIZE),
        "name": f"python:fidokit.testbed:{function}",
    }
    return Classifier(module, **(own | options))


def habitat_biased(**options: Any) -> Classifier:
    """`classifier` that learnt the habitat: its name on the command line is python:fidokit.testbed:habitat_biased."""
    return classifier("habitat", **options)


def watermark_biased(**options: Any) -> Classifier:
    """`classifier` that learnt the marks: its name on the command line is python:fidokit.testbed:watermark_biased."""
    return classifier("watermark", **options)


def _load(module: nn.Module, name: str) -> None:
    """Put the weights that ship under a name into a network, for use."""
    from safetensors.torch import load

    weights = files("fidokit.testbed").joinpath("weights", f"{name}.safetensors").read_bytes()
    module.load_state_dict({name: value.float() for name, value in load(weights).items()}, strict=False)
    module.eval()


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
