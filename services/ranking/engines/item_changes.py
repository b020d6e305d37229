"""What changed since a bundle was made, for an engine that starts over from the bundle's files."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from services.ranking.engines.engine import ItemRows

BATCH = 1024


class ItemChanges:
    """The last rows put of each item, and which are hidden."""

    def __init__(self) -> None:
        self._put: dict[int, ItemRows] = {}
        self._hidden: set[int] = set()

    def put(self, rows: NDArray[np.int64], items: ItemRows) -> None:
        for place, row in enumerate(rows.tolist()):
            self._put[row] = _slice(items, place)
            self._hidden.discard(row)

    def hide(self, rows: NDArray[np.int64]) -> None:
        self._hidden.update(rows.tolist())

    @property
    def hidden(self) -> NDArray[np.int64]:
        return np.asarray(sorted(self._hidden), dtype=np.int64)

    def batches(self) -> Iterator[tuple[NDArray[np.int64], ItemRows]]:
        """All rows that were put, in order; hidden ones too, since histories may hold them."""
        rows = sorted(self._put)
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            yield np.asarray(batch, dtype=np.int64), _join([self._put[row] for row in batch])


def _slice(items: ItemRows, place: int) -> ItemRows:
    """One item's rows, copied: the others of its request are not kept for it."""
    return ItemRows(
        inputs=items.inputs[place : place + 1].clone(),
        fused=items.fused[place : place + 1].clone(),
        sequence=items.sequence[place : place + 1].clone(),
        weights=items.weights[place : place + 1].clone(),
        target=items.target[place : place + 1].clone(),
        embeddings={j: t[place : place + 1].clone() for j, t in items.embeddings.items()},
    )


def _join(items: list[ItemRows]) -> ItemRows:
    return replace(
        items[0],
        inputs=torch.cat([one.inputs for one in items]),
        fused=torch.cat([one.fused for one in items]),
        sequence=torch.cat([one.sequence for one in items]),
        weights=torch.cat([one.weights for one in items]),
        target=torch.cat([one.target for one in items]),
        embeddings={
            j: torch.cat([one.embeddings[j] for one in items]) for j in items[0].embeddings
        },
    )
