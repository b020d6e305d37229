"""A ranker in pieces over the GPUs (FSDP): each holds 1 / N of every weight, gradient and moment.

A layer of the LLM is put together when it is computed and taken apart again; what is left of the
ranker (prompt embeddings, item encoder, fusion head) is one more such group. PyTorch's
`fully_shard` (FSDP2) turns the weights into DTensors in place.
"""

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from shared.modeling.ranker import Ranker


def shard(step: nn.Module, ranker: Ranker, device: str, *, methods: tuple[str, ...]) -> None:
    """Shard a step that holds the ranker, from where it lies to the devices of all processes.

    Only `forward` and `methods` of the step put weights together: whatever uses weights has to be
    called through them, by every process alike.
    """
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for layer in ranker.decoder.layers:
        fully_shard(layer, mesh=mesh)
    head = ranker.language_model.get_output_embeddings()
    if head.weight is not ranker.decoder.embed_tokens.weight:
        # Never called: in a group of its own it is never put together.
        fully_shard(head, mesh=mesh)
    fully_shard(step, mesh=mesh)
    for name in methods:
        register_fsdp_forward_method(step, name)


def whole(tensor: Tensor) -> Tensor:
    """The tensor that the pieces of all processes make, on the CPU; any other tensor as it is.

    Every process has to call it.
    """
    if isinstance(tensor, DTensor):
        return tensor.full_tensor().cpu()
    return tensor


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor as pieces, where the parameter it belongs to is in pieces."""
    if isinstance(parameter, DTensor) and tensor.shape == parameter.shape:
        return distribute_tensor(
            tensor.to(parameter.device), parameter.device_mesh, parameter.placements
        )
    return tensor
