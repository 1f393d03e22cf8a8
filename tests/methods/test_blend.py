"""The fast blend against torch's own interpolation and lerp, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fidokit.methods.blend import blend, upsample_kept


@pytest.mark.parametrize("grid", [(1, 1), (5, 7), (16, 16), (33, 21)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_those_of_interpolate_and_lerp(grid, layout):
    generator = torch.Generator().manual_seed(0)
    x, filled, weight = (
        torch.rand(4, 3, 33, 21, generator=generator).contiguous(memory_format=layout) for _ in range(3)
    )
    results = []
    for ours in (True, False):
        cells = torch.rand(4, 1, *grid, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
        if ours:
            out = blend(cells, x, filled)
        else:
            share = functional.interpolate(cells, size=(33, 21), mode="bilinear")
            out = share * x + (1 - share) * filled
        (gradient,) = torch.autograd.grad((out * weight).sum(), cells)
        results.append((out.detach(), gradient))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-3, rtol=1e-4)


def test_the_result_has_the_precision_and_the_layout_of_the_image():
    x = torch.rand(2, 3, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    out = blend(torch.rand(2, 1, 4, 4), x, torch.zeros_like(x))
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_shares_stay_in_their_range():
    cells = torch.rand(3, 1, 6, 6)
    out = upsample_kept(cells, (50, 40))
    assert out.shape == (3, 1, 50, 40)
    assert float(out.min()) >= float(cells.min()) - 1e-6
    assert float(out.max()) <= float(cells.max()) + 1e-6
