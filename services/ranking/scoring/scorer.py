"""The fusion head over the whole catalogue, for all requests of a batch at once (Eq. 18).

    o_LLM [B, D] -- o E*^T --> [B, I] -- hidden, filters, seen: -inf --> top-k --> rows, parts

Where SASRec takes part, a state is [o_LLM, h] and a row of E* has w S beside it
(`shared/modeling/sequence_part.py`): one product still.

For very large catalogues E* may stay in the bundle's file: candidates come from a small copy of it
or from a graph, and only their rows are read and scored exactly (docs/large_catalogues.md).

It lives where the hidden states are, in whichever process computes them; only the best rows leave.
"""

import threading
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.ranking.engines.engine import ItemRows, Selection, TopK
from services.ranking.growing import GrowingTable, LayeredTable
from services.ranking.item_rows import bundle_rows
from services.ranking.scoring.candidates import CandidateSearch, CoarseSearch
from services.ranking.scoring.coarse import Float16Matrix, Int8Matrix
from services.ranking.scoring.graph_search import GraphSearch
from services.ranking.scoring.masking import Visible, forbid, the_few
from services.ranking.scoring.scratch import Scratch
from services.ranking.scoring.top_k import top_k
from shared.artifacts.bundle import Bundle
from shared.errors import InvalidInputError
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality
from shared.modeling.ranker import load_item_side, load_sequence_part
from shared.modeling.sequence_part import SequencePart
from shared.settings import VectorSettings

CatalogueMode = Literal["exact", "float16", "int8", "approximate"]

TOGETHER = 32
"""Requests scored at once; a score matrix of more would be hundreds of megabytes."""
FEW_SHARE = 128
FEW_AT_LEAST = 1024
"""Where a filter leaves at most 1/128 of the rows, or so many, just these are scored."""

Scored = tuple[Tensor, Tensor]


class CatalogueScorer:
    """The tables of one bundle's items. Used by one thread at a time, but for `hold`."""

    def __init__(
        self,
        encoder: ItemEncoder,
        items: ItemRows,
        search: CandidateSearch | None = None,
        sequence_part: SequencePart | None = None,
    ) -> None:
        """encoder: W_j and b_j explain scores; on the CPU, as all of the items but their inputs.

        items: rows 0..I-1; inputs on the device of the states. E* may lie there too, if there is
        no search: it is multiplied as a whole. With a search its rows are read one by one.
        """
        self._encoder = encoder
        self._search = search
        self._sequence_part = sequence_part
        self._inputs = GrowingTable(items.inputs)
        self._fused = LayeredTable(items.fused)
        self._weights = LayeredTable(items.weights)
        self._target = LayeredTable(items.target)
        self._embeddings = {j: LayeredTable(table) for j, table in items.embeddings.items()}
        self._sequence = LayeredTable(items.sequence)
        self._visible = Visible(len(items.fused), items.inputs.device)
        self._scratch = Scratch(items.fused.device)
        self.hold = threading.Lock()

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        device: torch.device,
        catalogue: CatalogueMode = "exact",
        vectors: VectorSettings | None = None,
    ) -> Self:
        """The scorer of a bundle's own items.

        vectors: where the index of `approximate` lies; it is built there at the first time.

        Raises:
            InvalidInputError: `approximate` without `vectors`.
            UnavailableError: a file is missing, or the index cannot be had.
        """
        encoder, head = load_item_side(bundle.ranker)
        sequence_part = load_sequence_part(bundle.ranker)
        items = bundle_rows(
            encoder, head, sequence_part, bundle.catalogue, device, exact=catalogue == "exact"
        )
        search = _search(bundle, items.fused, device, catalogue, vectors)
        return cls(encoder, items, search, sequence_part)

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
        rows = rows.to(self.inputs.device)
        present = rows[rows < len(self._inputs)]
        before = self.inputs[present].clone()
        self._inputs.put(rows, items.inputs)
        self._fused.put(rows, items.fused)
        self._weights.put(rows, items.weights)
        self._target.put(rows, items.target)
        for modality, table in self._embeddings.items():
            table.put(rows, items.embeddings[modality])
        self._sequence.put(rows, items.sequence)
        if self._search is not None:
            self._search.put(rows, items.fused)
        self._visible.put(rows, True)
        return not torch.equal(before, self.inputs[present])

    def hide(self, rows: Tensor) -> None:
        """Recommend these rows no more; histories may still hold them."""
        self._visible.put(rows, False)

    def close(self) -> None:
        """Free what is held outside of this process's memory."""
        if isinstance(self._search, GraphSearch):
            self._search.close()

    @torch.inference_mode()
    def with_sequence(self, states: Tensor, histories: Sequence[NDArray[np.int64]]) -> Tensor:
        """o_LLM [B, D] of the histories -> what `best` takes: [o_LLM, h] where SASRec takes part,
        which is computed on the CPU, else o_LLM as it is."""
        if self._sequence_part is None:
            return states
        beside = self._sequence_part.states(histories, self._sequence)
        return torch.cat([states.float(), beside.to(states.device)], dim=1)

    @torch.inference_mode()
    def best(self, states: Tensor, selections: Sequence[Selection]) -> list[TopK]:
        """What each request wants, for its state of `with_sequence`."""
        states = states.float()
        scored: list[Scored] = []
        for start in range(0, len(states), TOGETHER):
            end = start + TOGETHER
            scored += self._score(states[start:end], selections[start:end])
        explain = [selection.explain for selection in selections]
        parts = self._parts(states, [rows for rows, _ in scored], explain)
        return [
            TopK(rows.numpy(), scores.double().numpy(), own.double().numpy())
            for (rows, scores), own in zip(scored, parts, strict=True)
        ]

    def _score(self, states: Tensor, selections: Sequence[Selection]) -> list[Scored]:
        """Rows and scores of each request, best first, on the CPU."""
        visible = self._visible.mask
        most = max(FEW_AT_LEAST, len(visible) // FEW_SHARE)
        rows = [the_few(visible, selection, most) for selection in selections]
        rows = self._fill(rows, states, selections)
        scored: list[Scored | None] = [
            None if own is None else self._look_at(own, states[place], selections[place].k)
            for place, own in enumerate(rows)
        ]
        left = [place for place, own in enumerate(scored) if own is None]
        if left:
            found = self._look_at_all(states[left], [selections[place] for place in left])
            for place, own in zip(left, found, strict=True):
                scored[place] = own
        return [own for own in scored if own is not None]

    def _fill(
        self,
        rows: list[NDArray[np.int64] | None],
        states: Tensor,
        selections: Sequence[Selection],
    ) -> list[NDArray[np.int64] | None]:
        """Candidates for the requests that have no rows yet, where there is a search."""
        left = [place for place, own in enumerate(rows) if own is None]
        if self._search is None or not left:
            return rows
        wanted = [selections[place] for place in left]
        found = dict(zip(left, self._search.find(states[left], wanted, self._visible), strict=True))
        return [found.get(place, own) for place, own in enumerate(rows)]

    def _look_at(self, rows: NDArray[np.int64], state: Tensor, k: int) -> Scored:
        ordered = torch.from_numpy(np.sort(rows))
        fused = self._fused[ordered]
        scores = (fused @ state.to(fused.device)).cpu()
        best = scores.argsort(descending=True, stable=True)[:k]
        return ordered[best], scores[best]

    def _look_at_all(self, states: Tensor, selections: Sequence[Selection]) -> list[Scored]:
        base, later = self._fused.layers
        states = states.to(base.device)
        scores = self._scratch.matrix(len(states), len(self._fused))
        torch.mm(states, base.T, out=scores[:, : len(base)])
        if len(later):
            torch.mm(states, later.T, out=scores[:, len(base) :])
        forbid(scores, self._visible.hidden.to(base.device), selections)
        best = top_k(scores, [selection.k for selection in selections])
        return [(rows.cpu(), row[rows].cpu()) for rows, row in zip(best, scores, strict=True)]

    def _parts(
        self, states: Tensor, best: Sequence[Tensor], explain: Sequence[bool]
    ) -> list[Tensor]:
        """Eq. 18 before its sum, of the items of each request: B x [n, 1 + J], or [n, 0]; with
        what SASRec adds in one more column.

        w_j ((o W_j) s_j^T + o b_j): the states are projected, not the items. E_x and E_j stay on
        the CPU, where only the rows of the best items are read.
        """
        parts = [torch.zeros(len(rows), 0) for rows in best]
        wanted = [place for place, is_wanted in enumerate(explain) if is_wanted]
        if wanted:
            found = self._parts_of(states[wanted].cpu(), [best[place] for place in wanted])
            for place, own in zip(wanted, found, strict=True):
                parts[place] = own
        return parts

    def _parts_of(self, states: Tensor, best: Sequence[Tensor]) -> list[Tensor]:
        states, beside = states.tensor_split([self._encoder.dimension], dim=1)
        projections: list[nn.Linear] = [self._encoder.projection(j) for j in self.modalities]
        projected = [states @ projection.weight for projection in projections]
        biases = [states @ projection.bias for projection in projections]
        lengths = [len(rows) for rows in best]
        every = torch.cat(list(best))
        owner = torch.repeat_interleave(torch.arange(len(best)), torch.tensor(lengths))
        columns = [_dots(self._target[every], states, lengths)]
        for place, modality in enumerate(self.modalities):
            similarities = _dots(self._embeddings[modality][every], projected[place], lengths)
            columns.append(similarities + biases[place][owner])
        parts = self._weights[every] * torch.stack(columns, dim=1)
        if self._sequence_part is not None:
            rows = self._sequence_part.scoring_rows(self._sequence[every])
            parts = torch.cat([parts, _dots(rows, beside, lengths).unsqueeze(1)], dim=1)
        return list(parts.split_with_sizes(lengths))


def _dots(rows: Tensor, states: Tensor, lengths: Sequence[int]) -> Tensor:
    """[N]: each request's state of [B, n] times its own rows of [N, n]."""
    own = rows.split_with_sizes(list(lengths))
    return torch.cat([rows @ state for rows, state in zip(own, states, strict=True)])


def _search(
    bundle: Bundle,
    fused: Tensor,
    device: torch.device,
    catalogue: CatalogueMode,
    vectors: VectorSettings | None,
) -> CandidateSearch | None:
    match catalogue:
        case "exact":
            return None
        case "float16":
            return CoarseSearch(Float16Matrix(fused, device), device)
        case "int8":
            return CoarseSearch(Int8Matrix(fused, device), device)
        case "approximate":
            if vectors is None:
                raise InvalidInputError.of("vectors", "must be given for `approximate`")
            manifest = bundle.manifest
            return GraphSearch.open(fused, vectors, manifest.catalog_id, manifest.version)
