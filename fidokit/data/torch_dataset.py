"""Photographs by position, as torch's `DataLoader` takes them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from torch.utils.data import Dataset

from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image


class TorchDataset(Dataset[tuple[Any, Any]]):
    """A torch `Dataset` over a table of photographs, which its subclass opens.

    Attributes:
        table: one row a photograph, with a column label.
        transform: makes the item's image of the PIL image; None leaves it.
        target_transform: makes the item's label of the class name, or of None; None leaves it.
    """

    table: pd.DataFrame
    transform: Callable[[Image.Image], Any] | None = None
    target_transform: Callable[[str | None], Any] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def open(self, i: int) -> Image.Image:
        """The upright photograph at a position."""
        raise NotImplementedError

    def subset(self, selector: Any) -> Any:
        """Some of the photographs."""
        raise NotImplementedError

    def __getitem__(self, i: Any) -> Any:
        """(image, label) at position i, as `transform` and `target_transform` make them; of a slice the `subset`.

        Raises:
            IndexError: there is no such position.
            SettingsError: `i` is no position; `subset` finds photographs in other ways.
            ImageError: the file cannot be read.
        """
        if isinstance(i, slice):
            return self.subset(i)
        if isinstance(i, bool) or not hasattr(i, "__index__"):
            raise SettingsError(
                f"data[{i!r}] is no position; data.subset finds photographs by image_id or a boolean mask"
            )
        position = operator.index(i)
        if not -len(self) <= position < len(self):
            raise IndexError(f"there are {len(self)} photographs, none at position {position}")
        position %= len(self)
        image: Any = self.open(position)
        label = self.table["label"].iloc[position]
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )

    def with_transform(
        self,
        transform: Callable[[Image.Image], Any] | None,
        target_transform: Callable[[str | None], Any] | None = None,
    ) -> Self:
        """The same photographs, with ``data[i]`` turned into something else.

        Args:
            transform: from the upright PIL image, as torchvision's are; None leaves it.
            target_transform: from the class name, None where there is none; ``data.classes.index`` gives numbers.

        Example:
            >>> from torchvision.transforms import v2
            >>> augment = v2.Compose([v2.PILToTensor(), v2.RandomHorizontalFlip(), v2.Resize((64, 64))])
            >>> training = data.with_transform(augment, data.classes.index)
            >>> loader = torch.utils.data.DataLoader(training, batch_size=4, shuffle=True)
            >>> next(iter(loader))[0].shape
            torch.Size([4, 3, 64, 64])

        Raises:
            SettingsError: one that cannot be called.
        """
        for name, function in (("transform", transform), ("target_transform", target_transform)):
            if function is not None and not callable(function):
                raise SettingsError(f"{name} must be a function, or None, not {type(function).__name__}")
        twin = copy.copy(self)
        twin.transform, twin.target_transform = transform, target_transform
        return twin
