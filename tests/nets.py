"""Tiny classifiers whose answers are known, shared by the tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Two patches of 40 x 40 pixels on an image of 160 x 160, on the borders of a 20 x 20 grid: (rows, columns).
LEFT = (slice(56, 96), slice(24, 64))
RIGHT = (slice(56, 96), slice(96, 136))
PATCH_SIZE = (160, 160)
#: A quarter of an image of `SIDE` pixels.
SIDE = 20
PATCH = (slice(5, 15), slice(5, 15))


class PatchLogit(nn.Module):
    """A single logit, known in closed form, 60 times the brightness of patches of a white image.

    - ``one``: of the left patch.
    - ``minimum``: of the worse of two, where what the right one lacks counts only 0.6. Both are needed, and dropping
      the left one costs more of the logit for the same area.
    - ``maximum``: of the better of two, the right one weighted 0.6. The left one suffices; both must go to destroy it.
    """

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        left = x[:, :, LEFT[0], LEFT[1]].mean(dim=(1, 2, 3))
        right = x[:, :, RIGHT[0], RIGHT[1]].mean(dim=(1, 2, 3))
        value = {
            "one": left,
            "minimum": torch.minimum(1 - 1.0 * (1 - left), 1 - 0.6 * (1 - right)),
            "maximum": torch.maximum(1.0 * left, 0.6 * right),
        }
        return 60 * value[self.how][:, None]


class PatchShare(nn.Module):
    """Two logits whose softmax is the mean brightness of `PATCH`, between 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        p = x[:, :, PATCH[0], PATCH[1]].mean(dim=(1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([p.log(), (1 - p).log()], dim=1)


class ConvNet(nn.Module):
    """A small convolutional net with batch normalisation and an in-place ReLU."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def conv_net(classes: int = 4, seed: int = 0) -> ConvNet:
    """A `ConvNet` with random weights and running statistics, the same for the same seed."""
    torch.manual_seed(seed)
    net = ConvNet(classes)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    net.head.weight.data *= 8
    return net.eval()


def photographs(n: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> Tensor:
    """(n, 3, H, W) smooth random images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 6, 6, generator=generator)
    return nn.functional.interpolate(coarse, size=size, mode="bilinear")


class TwoRanks(nn.Module):
    """Two genera of two species each: red in an image speaks for the first genus and green for the second, blue for the
    first species of a genus and white for the second.

    The logits are genus + species, genus - species, -genus + species and -genus - species, so that the log-odds of the
    genus depend on red and green alone, and those of a species within its genus on blue and white alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, 4, 8, stride=8)
        weights = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]]) / 64
        self.colours.weight.data = weights[:, :, None, None].repeat(1, 1, 8, 8)
        self.colours.bias.data = torch.tensor([0.0, 0, 0, -2])
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        red, green, blue, white = (960 * self.relu(self.colours(x)).mean(dim=(2, 3))).unbind(1)
        genus, species = red - green, blue - white
        return torch.stack([genus + species, genus - species, -genus + species, -genus - species], dim=1)


def two_marks(genus: int, species: int) -> Tensor:
    """(1, 3, H, W) grey image of `PATCH_SIZE` with the marks that `TwoRanks` reads: of a genus on the left patch, of a
    species on the right one, both numbered from 0."""
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])[:, :, None, None]
    image = torch.full((1, 3, *PATCH_SIZE), 0.5)
    image[0, :, LEFT[0], LEFT[1]] = colours[genus]
    image[0, :, RIGHT[0], RIGHT[1]] = colours[2 + species]
    return image


class Block(nn.Module):
    """A block of a transformer whose attention is torch's fused one, or written out."""

    def __init__(self, width: int, heads: int, *, fused: bool = True) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, h, N, D) each."""
        parts = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.attend(x)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        else:
            mixed = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1) @ value
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """A tiny transformer over 8 x 8 patches, read from a class token or from the mean of the others."""

    def __init__(self, classes: int = 4, *, class_token: bool = True, fused: bool = True, side: int = 32) -> None:
        super().__init__()
        width = 16
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, int(class_token), width))
        self.position = nn.Parameter(torch.zeros(1, int(class_token) + (side // 8) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, 2, fused=fused) for _ in range(3)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def read(self, tokens: Tensor) -> Tensor:
        """Logits of the tokens that a block gives."""
        tokens = self.norm(tokens)
        return self.head(tokens[:, 0] if self.token.shape[1] else tokens.mean(1))

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.position

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.blocks(self.embed(x)))


def vision_transformer(seed: int = 0, **options: bool | int) -> VisionTransformer:
    """A `VisionTransformer` with random weights, the same for the same seed."""
    torch.manual_seed(seed)
    net = VisionTransformer(**options)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.5)
    return net.eval()
