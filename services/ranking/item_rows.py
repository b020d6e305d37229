"""An item's rows from its vectors and semantic IDs: Eq. 16 on the way in, Eq. 17-18 on the way out.

An item that the bundle was trained on keeps its E_x, its q, its E_c and its row of SASRec when its
content changes. A later one has q = 0; its E_x and its row of SASRec come from its neighbours',
weighted as its E_c was imputed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.ranking.engines.engine import ItemRows
from shared.artifacts.bundle import Catalogue
from shared.errors import InvalidInputError
from shared.modeling.fusion_head import FusionHead
from shared.modeling.imputation import blend
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality
from shared.modeling.sequence_part import SequencePart

WEIGHTS_BLOCK = 2**16


@dataclass(frozen=True)
class NewItem:
    """An item as its rows are computed from it. place: where the request names it.

    neighbours: (item id, weight), the weights summing to 1.
    """

    item_id: str
    place: str
    vectors: Mapping[Modality, NDArray[np.float32]]
    codes: Mapping[Modality, Sequence[int]]
    neighbours: Sequence[tuple[str, float]]


@torch.no_grad()
def bundle_rows(
    encoder: ItemEncoder,
    head: FusionHead,
    sequence_part: SequencePart | None,
    catalogue: Catalogue,
    device: torch.device,
    *,
    exact: bool,
) -> ItemRows:
    """The rows of the bundle's own items, as its files hold them; on a CPU nothing is copied.

    inputs, and fused if `exact`, on the device; what only explains scores stays on the CPU.
    """
    fused = torch.from_numpy(catalogue.fused)
    return ItemRows(
        inputs=torch.from_numpy(catalogue.input_table).to(device),
        fused=fused.to(device) if exact else fused,
        sequence=_sequence_table(sequence_part, len(fused)),
        weights=torch.cat(
            [head.weights(q) for q in torch.split(head.normalized_frequency, WEIGHTS_BLOCK)]
        ),
        target=head.target_table.detach(),
        embeddings={j: encoder.embeddings(j) for j in encoder.modalities},
    )


class ItemRowMaker:
    """Computes rows with the weights of one bundle."""

    def __init__(
        self,
        encoder: ItemEncoder,
        head: FusionHead,
        sequence_part: SequencePart | None,
        catalogue: Catalogue,
    ) -> None:
        self._encoder = encoder
        self._head = head
        self._sequence_part = sequence_part
        self._trained = {item_id: row for row, item_id in enumerate(catalogue.item_ids)}
        self._target = head.target_table.detach()
        self._sequence = _sequence_table(sequence_part, len(self._target))
        collaborative = catalogue.embeddings.get(Modality.COLLABORATIVE)
        self._collaborative = None if collaborative is None else torch.from_numpy(collaborative)
        self._imputed = catalogue.imputed.get(Modality.COLLABORATIVE)

    @cached_property
    def _means(self) -> tuple[Tensor, Tensor]:
        """Of the rows that training met of E_x [D] and S [D_s]. Once: it reads the whole tables
        from their files."""
        met = (self._head.frequency > 0).to(self._target.dtype)
        share = met / met.sum()
        return share @ self._target, share.to(self._sequence) @ self._sequence

    @torch.no_grad()
    def make(self, items: Sequence[NewItem]) -> ItemRows:
        """The rows of items, in order.

        Raises InvalidInputError where a vector or code is missing or does not fit.
        """
        device = self._head.target_table.device
        embeddings = {
            j: torch.stack([self._vector(item, j) for item in items]).to(device)
            for j in self._encoder.modalities
        }
        codes = {
            j: torch.stack([self._codes(item, j) for item in items]).to(device)
            for j in self._encoder.modalities
        }
        learned = [self._learned_rows(item) for item in items]
        target, sequence = (torch.stack(rows) for rows in zip(*learned, strict=True))
        frequency = torch.stack([self._normalized_frequency(item) for item in items])
        fused = self._head.fuse(target, embeddings, frequency, self._encoder)
        if self._sequence_part is not None:
            fused = torch.cat([fused, self._sequence_part.scoring_rows(sequence)], dim=1)
        return ItemRows(
            inputs=self._encoder.encode(embeddings, codes),
            fused=fused,
            sequence=sequence,
            weights=self._head.weights(frequency),
            target=target,
            embeddings=embeddings,
        )

    def _vector(self, item: NewItem, modality: Modality) -> Tensor:
        row = self._trained.get(item.item_id)
        if modality == Modality.COLLABORATIVE and row is not None and self._has_learned(row):
            assert self._collaborative is not None
            return self._collaborative[row]
        field = f"{item.place}.vectors.{modality.value}"
        vector = item.vectors.get(modality)
        if vector is None:
            raise InvalidInputError.of(field, "is missing")
        wanted = self._encoder.embeddings(modality).shape[1]
        if len(vector) != wanted:
            raise InvalidInputError.of(
                field, f"has {len(vector)} dimensions, the bundle wants {wanted}"
            )
        if not np.isfinite(vector).all():
            raise InvalidInputError.of(field, "holds a value that is not finite")
        return torch.tensor(vector)

    def _codes(self, item: NewItem, modality: Modality) -> Tensor:
        levels, size, _ = self._encoder.code_embeddings[modality].shape
        codes = item.codes.get(modality, ())
        if len(codes) != levels or not all(0 <= code < size for code in codes):
            raise InvalidInputError.of(
                f"{item.place}.codes.{modality.value}",
                f"must be {levels} codes from 0 to {size - 1}",
            )
        return torch.tensor(codes, dtype=torch.int64)

    def _learned_rows(self, item: NewItem) -> tuple[Tensor, Tensor]:
        """Of E_x [D] and S [D_s]."""
        row = self._trained.get(item.item_id)
        if row is not None:
            return self._target[row], self._sequence[row]
        trained = [(self._trained[i], w) for i, w in item.neighbours if i in self._trained]
        total = sum(weight for _, weight in trained)
        target_mean, sequence_mean = self._means
        if total <= 0:
            # The means neither lift nor sink the item against the others.
            return target_mean, sequence_mean
        rows = torch.tensor([row for row, _ in trained], device=self._target.device)
        weights = torch.tensor([weight / total for _, weight in trained]).to(self._target)
        return (
            blend(self._target[rows], weights, target_mean),
            blend(self._sequence[rows], weights, sequence_mean),
        )

    def _normalized_frequency(self, item: NewItem) -> Tensor:
        row = self._trained.get(item.item_id)
        if row is not None:
            return self._head.normalized_frequency[row]
        return self._head.normalize(self._target.new_zeros(()))

    def _has_learned(self, row: int) -> bool:
        return self._imputed is not None and not self._imputed[row]


def _sequence_table(part: SequencePart | None, items: int) -> Tensor:
    """S [I, D_s]; without a part D_s is 0."""
    return torch.zeros(items, 0) if part is None else part.items
