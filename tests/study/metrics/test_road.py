from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from skimage import data
from skimage.transform import resize

from fidokit.methods.concrete import image_keys
from fidokit.study.metrics.ranks import ranks
from fidokit.study.metrics.road import NOISE, ROAD_SHARES, imputation_noise, impute, road_score, road_variants

WEIGHTS = {(i, j): 1 / 6 if i == 0 or j == 0 else 1 / 12 for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)}


def solved(image, removed):
    """The linear system of the paper, solved exactly: sum of weights * (neighbour - pixel) is 0."""
    number = np.cumsum(removed).reshape(removed.shape) - 1
    rows, columns, entries = [], [], []
    right = np.zeros((int(removed.sum()), len(image)))
    for k, (i, j) in enumerate(np.argwhere(removed)):
        for (down, across), weight in WEIGHTS.items():
            y, x = i + down, j + across
            if 0 <= y < removed.shape[0] and 0 <= x < removed.shape[1]:
                rows.append(k), columns.append(k), entries.append(weight)
                if removed[y, x]:
                    rows.append(k), columns.append(number[y, x]), entries.append(-weight)
                else:
                    right[k] += weight * image[:, y, x]
    matrix = coo_matrix((entries, (rows, columns))).tocsc()
    result = image.copy()
    result[:, removed] = np.asarray(spsolve(matrix, right)).reshape(len(right), -1).T
    return result


def photograph(side=64):
    return resize(data.chelsea()[:300, :300], (side, side), anti_aliasing=True).transpose(2, 0, 1).astype(np.float32)


def masks(side=64):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")[:, 0]
    return {"smooth": smooth, "noise": torch.rand(1, side, side, generator=generator)}


@pytest.mark.parametrize("name", ["smooth", "noise"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_imputation_is_the_solution_of_the_system(name, share):
    image = photograph()
    removed = ranks(masks()[name])[0] > 1 - share
    exact = solved(image, removed.numpy())
    made = impute(torch.from_numpy(image), removed[None])[0].numpy()
    np.testing.assert_array_equal(made[:, ~removed], image[:, ~removed])
    error = (made - exact)[:, removed.numpy()]
    # To about the noise that is added, and far closer than the mean colour is.
    assert np.sqrt((error**2).mean()) < 2.5 * NOISE
    flat = (image.mean((1, 2), keepdims=True) - exact)[:, removed.numpy()]
    assert np.sqrt((error**2).mean()) < 0.3 * np.sqrt((flat**2).mean())


def test_an_even_colour_comes_back_exactly():
    image = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1).expand(3, 37, 50)
    removed = torch.rand(4, 37, 50) < torch.tensor([0.1, 0.5, 0.9, 0.99]).view(4, 1, 1)
    assert (impute(image, removed) - image).abs().max() < 1e-5


def test_where_nothing_is_left_stands_the_mean_colour():
    image = torch.from_numpy(photograph(20))
    made = impute(image, torch.ones(1, 20, 20, dtype=torch.bool))
    torch.testing.assert_close(made[0], image.mean(dim=(1, 2), keepdim=True).expand(3, 20, 20), rtol=0, atol=1e-5)
    assert torch.equal(impute(image, torch.zeros(2, 20, 20, dtype=torch.bool)), image.expand(2, 3, 20, 20))


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 5)])
def test_every_size_can_be_imputed(size):
    removed = torch.rand(2, *size) < 0.5
    made = impute(torch.rand(3, *size), removed)
    assert made.shape == (2, 3, *size)
    assert torch.isfinite(made).all()


def test_images_of_a_batch_do_not_mix():
    image = torch.from_numpy(photograph(32))
    removed = torch.stack([ranks(m)[0] > 0.6 for m in masks(32).values()])
    together = impute(image, removed)
    for i in range(2):
        torch.testing.assert_close(together[i], impute(image, removed[i : i + 1])[0], rtol=0, atol=1e-6)


def test_variants_remove_the_most_and_the_least_important():
    image = torch.full((3, 10, 10), 0.5)
    noise = torch.full((3, 10, 10), 0.1)
    rank = ranks(torch.stack([torch.arange(100.0).view(10, 10), torch.arange(100.0).flip(0).view(10, 10)]))
    made, flipped = road_variants(image, rank, noise, (0.1, 0.4))
    torch.testing.assert_close(flipped, made.flip(-1, -2))
    removed = (made[:, 0] - 0.6).abs() < 1e-4
    assert removed.flatten(1).sum(1).tolist() == [10, 40, 10, 40]
    assert removed[0, 9].all()
    assert removed[1, 6:].all()
    assert removed[2, 0].all()
    assert removed[3, :4].all()


def test_noise_is_an_images_own():
    one, other = (imputation_noise(image_keys(0, [name]), (60, 60)) for name in "ab")
    assert float(one.std()) == pytest.approx(NOISE, rel=0.05)
    assert abs(float(one.mean())) < 3 * NOISE / 60
    assert not torch.equal(one, other)
    assert torch.equal(one, imputation_noise(image_keys(0, ["a"]), (60, 60)))


def test_the_score_by_hand():
    # Without the most important: 0.2 and 0; without the least important: 1 and 0.6. (0.8 + 0.6) / 2 / 2
    assert float(road_score(torch.tensor([0.2, 0.0, 1.0, 0.6]))) == pytest.approx(0.35)
    assert float(road_score(torch.tensor([0.5, 0.3, 0.5, 0.3]))) == 0


def test_the_score_is_that_of_the_exact_imputation():
    # Relative brightness of the left half, whose pixels a good mask calls important.
    image = photograph(40)
    left = np.zeros((40, 40))
    left[:, :20] = 1
    rank = ranks(torch.from_numpy(left)[None].float() + masks(40)["noise"])[0]

    def score(picture):
        return 1 / (1 + np.exp(-10 * (picture[:, :, :20].mean() - 0.35)))

    expected = []
    for share in ROAD_SHARES:
        most, least = (score(solved(image, removed.numpy())) for removed in (rank > 1 - share, rank <= share))
        expected.append((min(least / score(image), 1) - min(most / score(image), 1)) / 2)
    made = road_variants(torch.from_numpy(image), rank[None], torch.zeros(3, 40, 40))[0]
    relative = torch.tensor([score(picture) / score(image) for picture in made.numpy()]).clamp(0, 1)
    assert float(road_score(relative)) == pytest.approx(np.mean(expected), abs=0.02)
