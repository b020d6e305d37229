"""Packed linear layers: the same products."""

import pytest
import torch
from torch import nn

from shared.modeling.packed_linear import PackedLinear, is_packable, pack_linears

pytestmark = pytest.mark.skipif(not torch._C._has_mkldnn, reason="this torch has no oneDNN")


@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (300, 24), (2, 5, 24)])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_the_product_is_that_of_the_layer(shape, bias):
    layer, rows = nn.Linear(24, 40, bias=bias), torch.randn(shape)
    torch.testing.assert_close(PackedLinear(layer)(rows), layer(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@torch.inference_mode()
def test_other_precisions_stay_what_they_are_packed_or_not(dtype):
    """A CPU without AVX-512 cannot pack half precisions: there the layers are left alone."""
    module = nn.Sequential(nn.Linear(24, 40)).to(dtype)
    rows = torch.randn(7, 24).to(dtype)
    expected = module(rows)
    pack_linears(module)
    assert isinstance(module[0], PackedLinear) == is_packable(dtype)
    found = module(rows)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@torch.inference_mode()
def test_every_linear_layer_of_a_module_is_packed_and_nothing_else():
    module = nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 4)))
    rows = torch.randn(3, 6)
    expected = module(rows)
    pack_linears(module)
    assert [type(own) for own in (module[0], module[1][0], module[1][1])] == [
        PackedLinear, nn.LayerNorm, PackedLinear,
    ]  # fmt: skip
    assert sum(own.numel() for own in module.parameters()) == 2 * 8
    torch.testing.assert_close(module(rows), expected, rtol=1e-4, atol=1e-5)
