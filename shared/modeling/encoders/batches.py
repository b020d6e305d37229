"""How many inputs go through a model at once."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def length_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of inputs of similar length, longest first.

    A batch has at most `max_tokens` tokens, padding included (one input may have more), so that
    short texts do not pay for long ones and memory stays bounded.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def encode_by_length(
    lengths: Sequence[int],
    encode: Callable[[list[int]], Tensor],
    *,
    dimension: int,
    max_tokens: int,
) -> Tensor:
    """[n, dimension]: `encode` called on batches of indices, its rows put back in order."""
    vectors = torch.empty(len(lengths), dimension)
    for batch in length_batches(lengths, max_tokens):
        vectors[batch] = encode(batch).float().cpu()
    return vectors


def encode_in_chunks(
    pixels: Sequence[Tensor], encode: Callable[[Tensor], Tensor], *, dimension: int, size: int
) -> Tensor:
    """[n, dimension]: `encode` called on stacks [<= size, 3, H, W] of prepared images."""
    vectors = torch.empty(len(pixels), dimension)
    for start in range(0, len(pixels), size):
        chunk = torch.stack(list(pixels[start : start + size]))
        vectors[start : start + size] = encode(chunk).float().cpu()
    return vectors
