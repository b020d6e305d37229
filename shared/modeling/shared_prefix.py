"""One forward pass of a user's sequence trains every prefix of it.

The prompt of prefix k is [prefix tokens][x_1 .. x_k][response header]. The prompts of k = 1..n
share their beginnings, so they are laid out once, with a response block of R tokens for each k:

    [P prefix tokens][x_1 .. x_n][block 1][block 2] ... [block n]

Block k sees the prefix tokens, x_1..x_k and its own tokens up to each; nothing sees a block. Its
positions go on from those of x_k. Under this mask the hidden state at the last token of block k,
and every gradient, equal those of prompt k alone, at P + n (1 + R) tokens instead of the sum over
k of P + k + R. With right padding nothing else is needed: x_k is never seen by an earlier block.
"""

from typing import Any

import torch
from torch import Tensor


def shared_prefix_states(decoder: Any, prefix: Tensor, items: Tensor, suffix: Tensor) -> Tensor:
    """o_LLM [B, n, D]: at [b, k - 1] that of the prompt of the first k items of sequence b.

    decoder: a Llama decoder (without language-model head). prefix: [P, D] and suffix: [R, D] token
    embeddings. items: [B, n, D] input embeddings, padded on the right with anything finite.
    """
    batch, number, _ = items.shape
    response = len(suffix)
    tokens = torch.cat(
        [
            prefix.expand(batch, -1, -1),
            items,
            suffix.repeat(number, 1).expand(batch, -1, -1),
        ],
        dim=1,
    )
    states: Tensor = decoder(
        inputs_embeds=tokens,
        attention_mask=additive_mask(len(prefix), number, response, tokens),
        position_ids=positions(len(prefix), number, response, tokens.device).expand(batch, -1),
        use_cache=False,
    ).last_hidden_state
    return states[:, len(prefix) + number + response - 1 :: response]


def visible(prefix: int, number: int, response: int, device: torch.device | None = None) -> Tensor:
    """[T, T] bool, T = prefix + number (1 + response): may the row's token see the column's?"""
    context = prefix + number
    blocks = torch.arange(number, device=device).repeat_interleave(response)
    # The last context token that each token may see; a context token sees up to itself.
    reach = torch.cat([torch.arange(context, device=device), prefix + blocks])
    sees_context = torch.arange(context, device=device) <= reach.unsqueeze(1)
    length = context + number * response
    mask = torch.zeros(length, length, dtype=torch.bool, device=device)
    mask[:, :context] = sees_context
    own = blocks.unsqueeze(1) == blocks.unsqueeze(0)
    mask[context:, context:] = torch.tril(own)
    return mask


def positions(
    prefix: int, number: int, response: int, device: torch.device | None = None
) -> Tensor:
    """[1, T] position ids: those each token has in its own prompt."""
    in_block = torch.arange(response, device=device)
    first = prefix + 1 + torch.arange(number, device=device)
    blocks = (first.unsqueeze(1) + in_block).flatten()
    return torch.cat([torch.arange(prefix + number, device=device), blocks]).unsqueeze(0)


def additive_mask(prefix: int, number: int, response: int, like: Tensor) -> Tensor:
    """[1, 1, T, T] of 0 and the dtype's lowest number: every attention implementation takes it."""
    hidden = ~visible(prefix, number, response, like.device)
    mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
    return mask.masked_fill(hidden, torch.finfo(like.dtype).min)[None, None]
