"""Perturbed images: the levels themselves, what lies between them, and the gradient in the mask."""

from __future__ import annotations

import pytest
import torch
from nets import conv_net, photographs

from fidokit.methods.infill import blur
from fidokit.methods.pyramid import baseline_images, perturbed, pyramid
from fidokit.models.classifier import Classifier

SIZE = (32, 24)


@pytest.fixture
def session():
    with Classifier(conv_net(), size=SIZE, precision="float32", micro_batch=4, device="cpu").session() as session:
        yield session


def test_baselines(session):
    images = photographs(2, SIZE)
    for name, expected in {
        "black": torch.zeros_like(images),
        "white": torch.ones_like(images),
        "blur": blur(images),
    }.items():
        torch.testing.assert_close(baseline_images(session, images, name), session.normalise(expected))
    # The classifier's mean colour is zero once normalised.
    assert (baseline_images(session, images, "mean") == 0).all()
    assert baseline_images(session, images, "mean").shape == images.shape


def test_levels_go_from_the_strongest_blur_to_the_image(session):
    images = photographs(2, SIZE)
    levels = pyramid(session, images, "blur", 0.2, 3)
    assert levels.shape == (2, 3, *SIZE, 3)
    for level, expected in enumerate((blur(images, 0.2), blur(images, 0.1), images)):
        torch.testing.assert_close(levels[:, level].permute(0, 3, 1, 2), session.normalise(expected))
    faded = pyramid(session, images, "black", 0.2, 3)
    assert faded.shape == (2, 2, *SIZE, 3)
    torch.testing.assert_close(
        perturbed(faded, torch.tensor([1]), torch.full((1, *SIZE), 0.25)), session.normalise(images[1:] * 0.25)
    )


def test_a_pixel_comes_from_the_level_its_mask_names(session):
    images = photographs(3, SIZE)
    levels = pyramid(session, images, "blur", 0.2, 5)
    image = torch.tensor([2, 0, 2, 1])
    masks = torch.rand(4, *SIZE, generator=torch.Generator().manual_seed(1))
    masks[0], masks[1] = 0.0, 1.0
    made = perturbed(levels, image, masks)
    assert made.shape == (4, 3, *SIZE)
    torch.testing.assert_close(made[0], levels[2, 0].permute(2, 0, 1))
    torch.testing.assert_close(made[1], levels[0, 4].permute(2, 0, 1))
    for e, y, x in ((2, 3, 5), (3, 31, 23), (3, 0, 0)):
        position = float(masks[e, y, x]) * 4
        low, share = int(position), position - int(position)
        expected = (1 - share) * levels[image[e], low, y, x] + share * levels[image[e], low + 1, y, x]
        torch.testing.assert_close(made[e, :, y, x], expected)


def test_the_slope_is_the_difference_of_neighbouring_levels_even_at_the_ends(session):
    levels = pyramid(session, photographs(1, SIZE), "blur", 0.2, 5)
    masks = torch.full((3, *SIZE), 0.6)
    masks[1], masks[2] = 0.0, 1.0
    masks.requires_grad_(True)
    (gradient,) = torch.autograd.grad(perturbed(levels, torch.zeros(3, dtype=torch.long), masks).sum(), masks)
    for row, below in enumerate((2, 0, 3)):
        torch.testing.assert_close(
            gradient[row], 4 * (levels[0, below + 1] - levels[0, below]).sum(-1), atol=1e-4, rtol=1e-4
        )
