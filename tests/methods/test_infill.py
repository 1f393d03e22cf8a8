from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import photographs
from scipy.ndimage import gaussian_filter

from fidokit.exceptions import SettingsError
from fidokit.methods import infill
from fidokit.methods.concrete import image_keys
from fidokit.methods.infill import INFILLS, RANDOM, Mixture

SIZES = [(32, 32), (24, 40), (17, 9), (2, 2), (1, 5), (224, 160)]


def keys(n, seed=0):
    return image_keys(seed, [f"image {i}" for i in range(n)])


def fill(name, images, draw=-1, key=None):
    kept = torch.ones(len(images), 1, *images.shape[-2:])
    kept[..., : images.shape[-2] // 2, :] = 0.2
    return infill.fill(name, images, kept, keys(len(images)) if key is None else key, draw)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", INFILLS)
def test_every_infill_is_an_image_of_the_same_size(name, size):
    images = photographs(2, size)
    before = images.clone()
    filled = fill(name, images)
    assert filled.shape == images.shape
    assert filled.dtype == torch.float32
    assert filled.min() >= 0
    assert filled.max() <= 1 + 1e-6
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", INFILLS)
def test_no_infill_depends_on_the_neighbours(name):
    images = photographs(3, (24, 32))
    together, key = fill(name, images), keys(3)
    for i in range(3):
        alone = fill(name, images[i : i + 1], key=key[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", INFILLS)
def test_fill_finds_every_infill_by_its_name_and_only_random_ones_change_by_the_draw(name):
    images, kept = photographs(2, (24, 32)), torch.ones(2, 1, 24, 32)
    kept[..., 8:16, 8:16] = 0
    once, again = (infill.fill(name, images, kept, keys(2), -1) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == images.shape
    assert (infill.fill(name, images, kept, keys(2), -2) - once).abs().max().gt(0.01) == (name in RANDOM)


@pytest.mark.parametrize("name", RANDOM)
def test_random_infills_differ_by_key_and_draw_and_repeat_otherwise(name):
    image = photographs(1, (32, 32)).expand(2, -1, -1, -1)
    first = fill(name, image, draw=-1)
    assert torch.equal(first, fill(name, image, draw=-1))
    assert (first[0] - first[1]).abs().mean() > 0.01
    assert (first - fill(name, image, draw=-2)).abs().mean() > 0.01
    assert (first - fill(name, image, draw=-1, key=keys(2, seed=1))).abs().mean() > 0.01


def test_mean_is_the_mean_colour():
    images = photographs(2, (8, 12))
    expected = images.numpy().mean(axis=(2, 3))
    filled = infill.mean(images).numpy()
    np.testing.assert_allclose(filled, np.broadcast_to(expected[:, :, None, None], filled.shape), atol=1e-6)


def test_zeros_and_original():
    images = photographs(2, (8, 12))
    assert not infill.zeros(images).any()
    assert torch.equal(infill.original(images), images)


@pytest.mark.parametrize("size", SIZES)
def test_blur_keeps_a_constant_image(size):
    images = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, *size)
    torch.testing.assert_close(infill.blur(images), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (100, 150), (224, 224), (181, 320)])
def test_blur_is_scipys(size):
    torch.manual_seed(0)
    smooth, rough = photographs(1, size), torch.rand(1, 3, *size)
    edge = torch.zeros(1, 3, *size)
    edge[..., size[1] // 3 :] = 1
    sigma = min(size) / 22.4
    inside = slice(int(3 * sigma), -int(3 * sigma))
    for images in (smooth, edge, rough):
        expected = gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=6)
        gap = np.abs(infill.blur(images).numpy() - expected)
        # What lies beyond the edge is the edge pixel, which is averaged with its neighbour on large images; of white
        # noise that is another colour.
        assert gap[..., inside, inside].max() < 1e-2
        assert images is rough or gap.max() < 1e-2


def test_blur_of_a_point_is_a_gaussian():
    images = torch.zeros(1, 3, 45, 45)
    images[:, :, 22, 22] = 1
    filled = infill.blur(images, 3 / 45)[0, 0]
    d = torch.arange(45) - 22.0
    gauss = torch.exp(-0.5 * (d / 3) ** 2) / (3 * (2 * torch.pi) ** 0.5)
    torch.testing.assert_close(filled, gauss[:, None] * gauss[None], rtol=0, atol=2e-4)


def test_local_is_the_mean_of_cells():
    images = photographs(1, (28, 28))
    filled = infill.local(images)
    cells = images.view(1, 3, 7, 4, 7, 4).mean(dim=(3, 5))
    torch.testing.assert_close(filled, torch.nn.functional.interpolate(cells, size=(28, 28), mode="bilinear"))
    constant = torch.full((1, 3, 9, 13), 0.3)
    torch.testing.assert_close(infill.local(constant), constant)


def test_noise_lies_around_the_mean_colour():
    images = torch.tensor([0.3, 0.5, 0.6]).view(1, 3, 1, 1).expand(200, 3, 56, 56)
    filled = infill.noise(images, keys(200), -1, spread=0.1)
    assert (filled - images).abs().max() <= 0.2 + 1e-6
    torch.testing.assert_close(filled.mean(dim=(0, 2, 3)), images[0, :, 0, 0], rtol=0, atol=0.005)
    # Low frequencies: neighbouring pixels are alike, pixels of other cells are not.
    values = filled - images
    near = (values[..., 1:] * values[..., :-1]).mean() / values.square().mean()
    far = (values[..., 12:] * values[..., :-12]).mean() / values.square().mean()
    assert near > 0.9
    assert abs(far) < 0.05


def test_uniform_noise_is_uniform_and_white():
    values = infill.white_noise(torch.zeros(4, 3, 50, 50), keys(4), -3)
    assert abs(float(values.mean()) - 0.5) < 0.01
    assert abs(float(values.var()) - 1 / 12) < 0.005
    centred = values - 0.5
    assert abs(float((centred[..., 1:] * centred[..., :-1]).mean())) < 0.003


@pytest.mark.parametrize(("size", "cells"), [((16, 16), 8), ((24, 40), 8), ((6, 9), 3), ((2, 2), 2)])
def test_shuffle_is_a_permutation_of_the_patches(size, cells):
    torch.manual_seed(0)
    images = torch.rand(3, 3, *size)
    filled = infill.shuffle(images, keys(3), -1, cells)
    h, w = size[0] // cells, size[1] // cells

    def patches(image):
        return image.unfold(1, h, h).unfold(2, w, w).permute(1, 2, 0, 3, 4).reshape(cells * cells, -1)

    moved = 0
    for one, other in zip(images, filled, strict=True):
        before = [tuple(p) for p in patches(one).tolist()]
        after = [tuple(p) for p in patches(other).tolist()]
        assert len(set(before)) == cells * cells
        assert sorted(before) == sorted(after)
        moved += before != after
    assert moved >= 2


@pytest.mark.parametrize("size", [(9, 9), (17, 9), (2, 2), (30, 50), (1, 5)])
def test_shuffle_of_an_uneven_image_uses_its_own_pixels(size):
    values = torch.rand(1, 1, *size).expand(1, 3, *size)
    filled = infill.shuffle(values, keys(1), -1)
    own = {round(v, 6) for v in values.flatten().tolist()}
    used = {round(v, 6) for v in filled.flatten().tolist()}
    assert used <= own
    assert len(used) > 0.5 * len(own)


# Mixture


def test_a_mixture_from_names_and_weights():
    assert Mixture.parse("blur") == Mixture(("blur",), (1.0,))
    assert Mixture.parse(["blur", "noise"]) == Mixture(("blur", "noise"), (0.5, 0.5))
    assert Mixture.parse(("blur", ("shuffle", 3.0))) == Mixture(("blur", "shuffle"), (0.25, 0.75))
    assert Mixture.parse([["blur", 2], "mean"]) == Mixture(("blur", "mean"), (2 / 3, 1 / 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("blurr", "unknown infill 'blurr'; choose among blur, mean"),
        (["blur", "snow"], "unknown infill 'snow'"),
        ([("snow", 1.0)], "unknown infill 'snow'"),
        ([("blur", 0)], "weight of infill 'blur' is 0; it must be a number above 0"),
        ([("blur", -1.0)], "number above 0"),
        ([("blur", float("nan"))], "number above 0"),
        ([("blur", float("inf"))], "number above 0"),
        ([("blur", "much")], "number above 0"),
        (("blur", 2.0), "2.0 is no infill"),
        ([("blur", 1.0, 2.0)], "is no infill"),
        ([], "empty mixture"),
        ({"blur": 1.0, "noise": 9.0}, "a list of names or of"),
        (None, "a list of names or of"),
        (3, "a list of names or of"),
    ],
)
def test_a_mixture_that_cannot_be_used(given, message):
    with pytest.raises(SettingsError, match=message):
        Mixture.parse(given)


def test_the_bank_holds_fixed_infills_once_and_random_ones_as_often_as_drawn():
    images, key = photographs(2), keys(2)
    bank = Mixture.parse(["noise", "blur", "shuffle", "noise"]).bank(images, key, 3)
    assert bank.shape == (2, 3 + 1 + 3 + 3, 3, 32, 32)
    torch.testing.assert_close(bank[:, 3], infill.blur(images))
    entries = bank.flatten(2).unbind(1)
    for i, one in enumerate(entries):
        for other in entries[:i]:
            assert (one - other).abs().mean() > 0.01
    assert torch.equal(bank, Mixture.parse(["noise", "blur", "shuffle", "noise"]).bank(images, key, 3))


@pytest.mark.parametrize("draws", [1, 4])
def test_every_infill_is_drawn_with_its_probability(draws):
    mixture = Mixture.parse(["blur", ("noise", 2.0), "mean", ("shuffle", 4.0)])
    ends = mixture.cumulative(draws)
    assert len(ends) == 2 + 2 * draws == mixture.bank(photographs(1), keys(1), draws).shape[1]
    assert ends[-1] == 1.0
    shares = np.diff([0.0, *ends])
    assert (shares > 0).all()
    expected = [1 / 8, *[2 / 8 / draws] * draws, 1 / 8, *[4 / 8 / draws] * draws]
    np.testing.assert_allclose(shares, expected, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_inpaint_keeps_a_flat_picture_flat_and_never_leaves_the_range_of_what_is_kept(size):
    images = photographs(2, size)
    kept = (torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    flat = torch.full_like(images, 0.3)
    torch.testing.assert_close(infill.inpaint(flat, kept), flat, rtol=0, atol=1e-4)
    filled = infill.inpaint(images, kept)
    assert filled.amin() >= images.amin() - 1e-4
    assert filled.amax() <= images.amax() + 1e-4


def test_inpaint_forgets_what_is_dropped_and_continues_what_surrounds_it():
    ramp = torch.linspace(0.2, 0.8, 48).expand(1, 3, 48, 48)
    kept = torch.ones(1, 1, 48, 48)
    kept[..., 16:32, 16:32] = 0
    damaged = ramp.clone()
    damaged[..., 16:32, 16:32] = 1.0
    filled = infill.inpaint(damaged, kept)
    torch.testing.assert_close(filled, infill.inpaint(ramp, kept), rtol=0, atol=1e-4)
    torch.testing.assert_close(filled, ramp, rtol=0, atol=0.06)
    # Blur, today's rival, has the damage all over the hole.
    assert (infill.blur(damaged) - ramp)[..., 20:28, 20:28].abs().mean() > 0.3


def test_inpaint_of_nothing_kept_is_finite():
    images = photographs(1, (40, 56))
    assert torch.isfinite(infill.inpaint(images, torch.zeros(1, 1, 40, 56))).all()


@pytest.mark.parametrize("size", [(32, 32), (100, 130)])
def test_background_is_the_backdrop_where_that_is_plain(size):
    colour = torch.tensor([0.2, 0.4, 0.7]).view(1, 3, 1, 1)
    images = colour.expand(1, 3, *size).clone()
    inside = (slice(size[0] // 4, size[0] // 2), slice(size[1] // 4, size[1] // 2))
    texture = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    images[0, :, inside[0], inside[1]] = (texture * torch.tensor([0.5, 0.3, 0.3]).view(3, 1, 1))[
        :, inside[0], inside[1]
    ] + torch.tensor([0.5, 0, 0]).view(3, 1, 1)
    torch.testing.assert_close(infill.background(images), colour.expand_as(images), atol=0.02, rtol=0)


def test_background_is_that_of_the_surroundings_and_no_other_images():
    images = torch.empty(2, 3, 64, 64)
    left, right = torch.tensor([0.1, 0.3, 0.8]), torch.tensor([0.2, 0.7, 0.1])
    images[:, :, :, :32], images[:, :, :, 32:] = left[None, :, None, None], right[None, :, None, None]
    images[0, :, 24:40, 8:24] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    made = infill.background(images)
    # The object gives way to the side that it lies on; next to the border of the sides both are seen.
    assert (made[0, :, 28:36, 12:20] - left[:, None, None]).abs().max() < 0.1
    assert (made[0, :, :, 44:] - right[:, None, None]).abs().max() < 0.05
    torch.testing.assert_close(infill.background(images[:1]), made[:1])


def test_dominant_is_the_colour_of_the_background_and_not_the_mean():
    images = torch.full((1, 3, 20, 20), 0.2)
    images[..., 5:12, 5:12] = 0.9
    torch.testing.assert_close(infill.dominant(images), torch.full_like(images, 0.2))
    assert abs(float(infill.mean(images).mean()) - 0.2) > 0.05


def test_wide_blur_leaves_less_of_an_object_than_blur():
    images = torch.zeros(1, 3, 64, 64)
    images[..., 24:40, 24:40] = 1
    contrast = [
        float(filled[0, 0, 32, 32] - filled[0, 0, 2, 2]) for filled in (infill.blur(images), infill.wide_blur(images))
    ]
    assert contrast[0] > 0.9
    assert contrast[1] < 0.3


def test_a_mixture_puts_what_depends_on_the_mask_behind_its_bank():
    mixture = Mixture.parse([("inpaint", 3.0), "mean", "noise"])
    assert mixture.names == ("mean", "noise", "inpaint")
    assert mixture.depends_on_mask
    assert mixture.bank(photographs(2, (8, 8)), keys(2), 4).shape == (2, 5, 3, 8, 8)
    np.testing.assert_allclose(mixture.cumulative(4), [0.2, 0.25, 0.3, 0.35, 0.4, 1.0])
    alone = Mixture.parse("inpaint")
    assert alone.bank(photographs(2, (8, 8)), keys(2), 4).shape == (2, 0, 3, 8, 8)
    assert not Mixture.parse("mean").depends_on_mask
