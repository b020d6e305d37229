"""Multimodal frequency-aware fusion: from o_LLM to a score for every item (Eq. 17, 18).

    y = w_x (o E_x^T) + sum_j w_j (o (W_j s_j + b_j)^T),   [w_x w_c w_t w_v] = softmax(g(q'') / T)

W_j, b_j and s_j are the item encoder's. E_x [I, D] is a new table for target items. The weights w
are a target item's own: a frequent item may lean on E_x, one never seen on text and image.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.item_encoder import ENCODING_CHUNK, ItemEncoder
from shared.modeling.modality import Modality

WEIGHT_HIDDEN = 16
TARGET_PART = "target"
"""The name of the part x beside the modalities'."""


class FusionHead(nn.Module):
    """E_x, g and the frequencies q; the projections come from the item encoder at each call."""

    frequency: Tensor
    normalized_frequency: Tensor
    log_frequency_range: Tensor

    def __init__(
        self,
        frequency: Tensor,
        modalities: tuple[Modality, ...],
        dimension: int,
        *,
        temperature: float = 1.0,
        target_std: float = 0.02,
        seed: int = 0,
    ) -> None:
        """frequency: q [I], occurrences in training. modalities: those of the item encoder, or
        none: without fusion a score is o E_x^T alone.

        Raises InvalidInputError when the temperature is not above 0 or a frequency is negative.
        """
        super().__init__()
        if temperature <= 0:
            raise InvalidInputError.of("temperature", f"must be above 0, is {temperature}")
        if frequency.numel() == 0 or int(frequency.min()) < 0:
            raise InvalidInputError.of("frequency", "must hold a count >= 0 for every item")
        self.modalities = modalities
        self.temperature = temperature
        generator = torch.Generator().manual_seed(seed)
        self.target_table = nn.Parameter(
            torch.randn(len(frequency), dimension, generator=generator) * target_std
        )
        self.widen = nn.Linear(1, WEIGHT_HIDDEN)
        self.narrow = nn.Linear(WEIGHT_HIDDEN, 1 + len(modalities))
        with torch.no_grad():
            self.widen.weight.copy_(torch.randn(WEIGHT_HIDDEN, 1, generator=generator))
            self.widen.bias.copy_(torch.randn(WEIGHT_HIDDEN, generator=generator))
            # Every part weighs the same at the start.
            self.narrow.weight.zero_()
            self.narrow.bias.zero_()
        logs = torch.log1p(frequency.to(torch.get_default_dtype()))
        self.register_buffer("frequency", frequency.detach().clone())
        self.register_buffer("log_frequency_range", torch.stack([logs.min(), logs.max()]))
        self.register_buffer("normalized_frequency", self.normalize(frequency))

    @classmethod
    def around(
        cls,
        state: Mapping[str, Tensor],
        modalities: tuple[Modality, ...],
        dimension: int,
        *,
        temperature: float,
    ) -> Self:
        """The head of a saved state dict, whose tensors it uses as they lie and does not copy."""
        head = cls(state["frequency"][:1], modalities, dimension, temperature=temperature)
        head.target_table = nn.Parameter(state["target_table"])
        for name, _ in list(head.named_buffers()):
            head.register_buffer(name, state[name])
        head.load_state_dict(state, assign=True)
        return head

    @property
    def part_names(self) -> tuple[str, ...]:
        """The order of the parts of a score: target (x), then the modalities present (c, t, v)."""
        return (TARGET_PART, *self.modalities)

    def normalize(self, frequency: Tensor) -> Tensor:
        """q -> q'' (Eq. 17), also of new items, by the training catalogue's minimum and maximum."""
        low, high = self.log_frequency_range
        logs = torch.log1p(frequency.to(low.dtype))
        if bool(high == low):
            return torch.zeros_like(logs)
        normalized: Tensor = ((logs - low) / (high - low)).clamp(0, 1)
        return normalized

    def met_rows(self) -> Tensor:
        """The rows of the items that occur in training (q > 0), in their order."""
        return (self.frequency > 0).nonzero().squeeze(1)

    def weights(self, normalized_frequency: Tensor | None = None) -> Tensor:
        """[n, 1 + J] fusion weights for q'' [n] (the catalogue's by default); a row sums to 1."""
        if normalized_frequency is None:
            normalized_frequency = self.normalized_frequency
        hidden = torch.tanh(self.widen(normalized_frequency.unsqueeze(-1)))
        return torch.softmax(self.narrow(hidden) / self.temperature, dim=-1)

    def scores(self, states: Tensor, encoder: ItemEncoder) -> Tensor:
        """Scores [B, I] of the catalogue for o_LLM [B, D], by whichever exact form costs less."""
        if self.projects_states(len(states), encoder):
            return self.scores_without_projection(states, encoder)
        return states @ self.fused_matrix(encoder).T

    def projects_states(self, states: int, encoder: ItemEncoder) -> bool:
        """Whether `scores_without_projection` costs less than the fused matrix for so many states.

        With few states (o W_j) s_j^T + o b_j spares the projection of the catalogue; with many, one
        fused matrix is the cheaper way.
        """
        widths = sum(encoder.embeddings(modality).shape[1] for modality in self.modalities)
        items, dimension = self.target_table.shape
        projecting_states = states * widths * (dimension + items)
        projecting_items = items * dimension * (widths + states)
        return projecting_states < projecting_items

    def scores_without_projection(self, states: Tensor, encoder: ItemEncoder) -> Tensor:
        """Eq. 18 as w_x (o E_x^T) + sum_j w_j ((o W_j) s_j^T + o b_j): [B, D] -> [B, I]."""
        weights = self.weights()
        scores = weights[:, 0] * (states @ self.target_table.T)
        for place, modality in enumerate(self.modalities, start=1):
            projection = encoder.projection(modality)
            part = (states @ projection.weight) @ encoder.embeddings(modality).T
            scores = scores + weights[:, place] * (part + (states @ projection.bias).unsqueeze(1))
        return scores

    def fused_matrix(self, encoder: ItemEncoder) -> Tensor:
        """E* [I, D] with o E*^T = Eq. 18: w_x E_x + sum_j w_j (s_j W_j^T + b_j), row by row."""
        rows = torch.arange(len(self.target_table), device=self.target_table.device)
        return torch.cat(
            [self.fused_rows(chunk, encoder) for chunk in torch.split(rows, ENCODING_CHUNK)]
        )

    def fused_rows(self, rows: Tensor, encoder: ItemEncoder) -> Tensor:
        """Rows [n, D] of E*, for catalogue items [n]."""
        return self.fuse(
            self.target_table[rows],
            {modality: encoder.embeddings(modality)[rows] for modality in self.modalities},
            self.normalized_frequency[rows],
            encoder,
        )

    def fuse(
        self,
        target_rows: Tensor,
        embeddings: Mapping[Modality, Tensor],
        normalized_frequency: Tensor,
        encoder: ItemEncoder,
    ) -> Tensor:
        """Rows [n, D] of E* for any items: their E_x rows [n, D], E_j [n, D_j] and q'' [n]."""
        parts = self.parts(target_rows, embeddings, normalized_frequency, encoder)
        return parts.sum(dim=1)

    def parts(
        self,
        target_rows: Tensor,
        embeddings: Mapping[Modality, Tensor],
        normalized_frequency: Tensor,
        encoder: ItemEncoder,
    ) -> Tensor:
        """The weighted parts of `fuse` before they are added: [n, 1 + J, D]."""
        weights = self.weights(normalized_frequency)
        projected = [
            encoder.project(modality, embeddings[modality]) for modality in self.modalities
        ]
        return weights.unsqueeze(-1) * torch.stack([target_rows, *projected], dim=1)

    def score_parts(self, states: Tensor, rows: Tensor, encoder: ItemEncoder) -> Tensor:
        """[B, n, 1 + J] parts of the scores of catalogue items [n]; their sum is the score."""
        parts = self.parts(
            self.target_table[rows],
            {modality: encoder.embeddings(modality)[rows] for modality in self.modalities},
            self.normalized_frequency[rows],
            encoder,
        )
        return torch.einsum("bd,npd->bnp", states, parts)

    def cold_fused_rows(
        self,
        embeddings: Mapping[Modality, Tensor],
        encoder: ItemEncoder,
        target_rows: Tensor | None = None,
    ) -> Tensor:
        """Rows [n, D] of E* for items that came after training: q = 0.

        target_rows: E_x rows [n, D] imputed for them; without any they get the mean of E_x, so that
        o E_x^T neither lifts nor sinks them against the trained items.
        """
        return self.cold_parts(embeddings, encoder, target_rows).sum(dim=1)

    def cold_parts(
        self,
        embeddings: Mapping[Modality, Tensor],
        encoder: ItemEncoder,
        target_rows: Tensor | None = None,
    ) -> Tensor:
        """The parts [n, 1 + J, D] of `cold_fused_rows`, to explain a new item's score."""
        number = len(next(iter(embeddings.values())))
        if target_rows is None:
            target_rows = self.target_table.mean(dim=0).expand(number, -1)
        cold = self.normalize(torch.zeros(number, device=self.target_table.device))
        return self.parts(target_rows, embeddings, cold, encoder)
