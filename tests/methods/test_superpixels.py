"""Superpixels: connected, about equally large, and true to edges; scikit-image's are the second implementation."""

import numpy as np
import pytest
import torch
from nets import photographs
from scipy import ndimage

from fidokit.methods.superpixels import _lab, superpixels


def scene(size=(96, 128), seed=0):
    """A picture of four flat shapes under a little noise, and which shape each pixel belongs to."""
    y, x = np.mgrid[: size[0], : size[1]]
    truth = np.zeros(size, dtype=int)
    truth[(y - 40) ** 2 + (x - 45) ** 2 < 25**2] = 1
    truth[60:85, 80:120] = 2
    truth[np.abs(y - x + 60) < 9] = 3
    colours = np.array([[0.3, 0.5, 0.2], [0.8, 0.3, 0.2], [0.2, 0.3, 0.8], [0.9, 0.9, 0.6]])
    noise = np.random.default_rng(seed).normal(0, 0.02, (*size, 3))
    return torch.tensor(colours[truth] + noise).clip(0, 1).permute(2, 0, 1).float(), truth


def leak(labels, truth):
    """Share of the pixels that lie in a superpixel which mostly belongs to another shape."""
    table = np.zeros((labels.max() + 1, truth.max() + 1))
    np.add.at(table, (labels.ravel(), truth.ravel()), 1)
    return 1 - table.max(1).sum() / truth.size


@pytest.mark.parametrize("image", [scene()[0], photographs(1, (60, 33))[0], torch.full((3, 20, 50), 0.5)])
@pytest.mark.parametrize("regions", [2, 12, 50])
def test_they_are_connected_numbered_and_about_as_many_as_asked_for(image, regions):
    labels = superpixels(image, regions)
    assert labels.shape == image.shape[1:]
    sizes = torch.bincount(labels.flatten())
    assert len(sizes) == labels.unique().numel()
    assert 0.5 * regions <= len(sizes) <= 1.5 * regions + 1
    assert all(ndimage.label(labels.numpy() == name)[1] == 1 for name in range(len(sizes)))
    assert sizes.min() >= 0.2 * labels.numel() / regions


def test_of_an_image_of_one_colour_they_are_the_grid():
    labels = superpixels(torch.full((3, 24, 36), 0.7), 6)
    assert torch.equal(labels, torch.arange(6).view(2, 3).repeat_interleave(12, 0).repeat_interleave(12, 1))


def test_they_keep_to_edges_as_well_as_those_of_scikit_image():
    segmentation = pytest.importorskip("skimage.segmentation")
    image, truth = scene()
    ours = leak(superpixels(image, 40).numpy(), truth)
    picture = image.permute(1, 2, 0).double().numpy()
    theirs = leak(segmentation.slic(picture, 40, slic_zero=True, start_label=0), truth)
    grid = np.arange(96)[:, None] // 16 * 8 + np.arange(128) // 16
    assert ours <= theirs + 0.005
    assert ours < leak(grid, truth) / 3


def test_colours_are_those_of_scikit_image():
    color = pytest.importorskip("skimage.color")
    image = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0)).double().numpy()
    image[:, 0, 0], image[:, 0, 1] = 0, 1
    np.testing.assert_allclose(_lab(image), color.rgb2lab(image, channel_axis=0), atol=0.02)


def test_they_depend_on_the_image_alone():
    image = photographs(1, (40, 40))[0]
    assert torch.equal(superpixels(image, 20), superpixels(image.clone(), 20))
    assert not torch.equal(superpixels(image, 20), superpixels(photographs(1, (40, 40), seed=5)[0], 20))
