"""The fusion head over the whole catalogue, for all requests of a batch at once (Eq. 18).

    o_LLM [B, D] -- o E*^T --> [B, I] -- hidden, filters, seen: -inf --> top-k --> rows, parts

It lives where the hidden states are, in whichever process computes them; only the best rows leave.
"""

import threading
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from services.ranking.engine import ItemRows, Selection, TopK
from services.ranking.growing import GrowingTable
from services.ranking.item_rows import bundle_rows
from services.ranking.top_k import top_k
from shared.artifacts.bundle import Bundle
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality
from shared.modeling.ranker import load_item_side


class CatalogueScorer:
    """The tables of one bundle's items. Used by one thread at a time, but for `hold`."""

    def __init__(self, encoder: ItemEncoder, items: ItemRows) -> None:
        """encoder: W_j and b_j explain scores. items: rows 0..I-1, on the device of the states."""
        self._encoder = encoder
        self._inputs = GrowingTable(items.inputs)
        self._fused = GrowingTable(items.fused)
        self._weights = GrowingTable(items.weights)
        self._target = GrowingTable(items.target)
        self._embeddings = {j: GrowingTable(table) for j, table in items.embeddings.items()}
        # Added to the scores: 0 for items that can be recommended, -inf for hidden ones.
        self._hiding = GrowingTable(torch.zeros(len(items.fused), device=items.fused.device))
        self.hold = threading.Lock()

    @classmethod
    def open(cls, bundle: Bundle, device: torch.device) -> Self:
        """The scorer of a bundle's own items."""
        encoder, head = load_item_side(bundle.ranker)
        encoder, head = encoder.to(device), head.to(device)
        return cls(encoder, bundle_rows(encoder, head, bundle.catalogue))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of `TopK.parts`, after the target part."""
        return self._encoder.modalities

    @property
    def inputs(self) -> Tensor:
        """Input embeddings of the items (Eq. 16), [I, D]."""
        return self._inputs.rows

    def put(self, rows: Tensor, items: ItemRows) -> bool:
        """Write the rows [n] int64 of n items, known or new, and let them be recommended.

        Whether a row that was there has another input embedding now.
        """
        present = rows[rows < len(self._inputs)]
        before = self.inputs[present].clone()
        self._inputs.put(rows, items.inputs)
        self._fused.put(rows, items.fused)
        self._weights.put(rows, items.weights)
        self._target.put(rows, items.target)
        for modality, table in self._embeddings.items():
            table.put(rows, items.embeddings[modality])
        self._hiding.put(rows, torch.zeros(len(rows)))
        return not torch.equal(before, self.inputs[present])

    def hide(self, rows: Tensor) -> None:
        """Recommend these rows no more; histories may still hold them."""
        self._hiding.put(rows, torch.full((len(rows),), -torch.inf))

    @torch.inference_mode()
    def best(self, states: Tensor, selections: Sequence[Selection]) -> list[TopK]:
        """What each request wants, for o_LLM [B, D]."""
        states = states.to(self._fused.rows.dtype)
        scores = states @ self._fused.rows.T
        scores += self._hiding.rows
        for selection, row in zip(selections, scores, strict=True):
            _forbid(row, selection)
        best = top_k(scores, [selection.k for selection in selections])
        parts = self._parts(states, best)
        return [
            TopK(
                rows=rows.cpu().numpy(),
                scores=row[rows].double().cpu().numpy(),
                parts=own.double().cpu().numpy(),
            )
            for rows, row, own in zip(best, scores, parts, strict=True)
        ]

    def _parts(self, states: Tensor, best: Sequence[Tensor]) -> list[Tensor]:
        """Eq. 18 before its sum, of the items of each request: B x [n, 1 + J].

        w_j ((o W_j) s_j^T + o b_j): the states are projected, not the items.
        """
        projections: list[nn.Linear] = [self._encoder.projection(j) for j in self.modalities]
        projected = [states @ projection.weight for projection in projections]
        biases = [states @ projection.bias for projection in projections]
        parts = []
        for request, rows in enumerate(best):
            columns = [self._target.rows[rows] @ states[request]]
            for place, modality in enumerate(self.modalities):
                similarity = self._embeddings[modality].rows[rows] @ projected[place][request]
                columns.append(similarity + biases[place][request])
            parts.append(self._weights.rows[rows] * torch.stack(columns, dim=1))
        return parts


def _forbid(scores: Tensor, selection: Selection) -> None:
    """Set the scores [I] of items that a request does not want to -inf, in place."""
    if selection.allowed is not None:
        known = torch.from_numpy(selection.allowed).to(scores.device)[: len(scores)]
        scores[: len(known)].masked_fill_(~known, -torch.inf)
        scores[len(known) :] = -torch.inf
    scores[torch.from_numpy(selection.excluded).to(scores.device)] = -torch.inf
