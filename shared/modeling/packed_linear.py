"""Linear layers whose weights lie the way the CPU's product reads them.

torch multiplies with weights as they were saved, and each product arranges them anew: for the few
dozen rows of a prompt that is more work than the product itself. oneDNN can arrange them once; it
is what torch's own compiler does with weights that no longer change.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """`nn.Linear` for inference on a CPU, any [..., n] -> [..., m]; it keeps no other weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight: Tensor = _onednn()._reorder_linear_weight(linear.weight.detach(), None)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, rows: Tensor) -> Tensor:
        product = _onednn()._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
        return cast(Tensor, product)


def pack_linears(module: nn.Module) -> None:
    """Replace every linear layer in a module by a packed one, where torch can do so on this CPU.

    The module lies on the CPU and its weights do not change any more.
    """
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            if not is_packable(child.weight.dtype):
                continue
            # One by one, so that the next layer is packed into the memory this one gives back.
            setattr(module, name, PackedLinear(child))
        else:
            pack_linears(child)


def is_packable(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and knows the dtype on this CPU: half precisions need AVX-512."""
    if not torch._C._has_mkldnn:
        return False
    if dtype == torch.bfloat16:
        return bool(_onednn()._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(_onednn()._is_mkldnn_fp16_supported())
    return dtype == torch.float32


def _onednn() -> Any:
    return torch.ops.mkldnn
