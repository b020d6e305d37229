"""The items nearest to an item's content: text and image together.

The similarity is the mean of the cosine similarities of the content modalities that the item has.
Candidates are the nearest of each modality alone; each candidate is then compared in all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.modeling.modality import Modality
from shared.vectors.store import Hit, VectorPoint, VectorQuery, VectorStore, in_order

FEWEST_CANDIDATES = 64
CANDIDATES_A_RESULT = 4


@dataclass(frozen=True)
class ContentQuery:
    """The `k` items nearest to `vectors`, the content vectors [D_j] of one item."""

    vectors: Mapping[Modality, NDArray[np.float32]]
    k: int
    exclude: Sequence[str] = ()
    where: Sequence[tuple[str, str]] = ()


async def nearest_by_content(
    store: VectorStore, collection: str, queries: Sequence[ContentQuery], *, exact: bool
) -> list[list[Hit]]:
    """The hits of each query, best first."""
    searches = [
        VectorQuery(
            modality.value, vector, _candidates(query), query.exclude, query.where, exact=exact
        )
        for query in queries
        for modality, vector in query.vectors.items()
    ]
    found = iter(await store.search(collection, searches))
    by_query = [[next(found) for _ in query.vectors] for query in queries]
    unsure = {
        hit.item_id
        for query, lists in zip(queries, by_query, strict=True)
        if len(query.vectors) > 1
        for hits in lists
        for hit in hits
    }
    names = sorted({modality.value for query in queries for modality in query.vectors})
    points = await store.retrieve(collection, sorted(unsure), names=names) if unsure else {}
    candidates = _Candidates(points)
    return [
        _fused(query, lists, candidates)[: query.k]
        for query, lists in zip(queries, by_query, strict=True)
    ]


class _Candidates:
    """The candidates of all queries together: one table of unit vectors a modality."""

    def __init__(self, points: Mapping[str, VectorPoint]) -> None:
        self._points = points
        self._places = {item_id: place for place, item_id in enumerate(points)}
        self._tables: dict[Modality, NDArray[np.float32]] = {}

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._places

    def similarities(
        self, item_ids: Sequence[str], vectors: Mapping[Modality, NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        """[n] means, over the modalities, of the cosine similarities with `vectors`."""
        places = [self._places[item_id] for item_id in item_ids]
        total = np.zeros(len(places))
        for modality, vector in vectors.items():
            table = self._table(modality, len(vector))[places]
            total += table @ unit(vector[None])[0]
        return total / len(vectors)

    def _table(self, modality: Modality, dimension: int) -> NDArray[np.float32]:
        if modality not in self._tables:
            # An item without a vector of this modality is like one at a right angle.
            absent = np.zeros(dimension, dtype=np.float32)
            self._tables[modality] = unit(
                np.stack([p.vectors.get(modality.value, absent) for p in self._points.values()])
            )
        return self._tables[modality]


def _candidates(query: ContentQuery) -> int:
    if len(query.vectors) == 1:
        return query.k
    return max(FEWEST_CANDIDATES, CANDIDATES_A_RESULT * query.k)


def _fused(
    query: ContentQuery, lists: Sequence[Sequence[Hit]], candidates: _Candidates
) -> list[Hit]:
    if len(query.vectors) == 1:
        return list(lists[0])
    item_ids = sorted({hit.item_id for hits in lists for hit in hits if hit.item_id in candidates})
    if not item_ids:
        return []
    similarities = candidates.similarities(item_ids, query.vectors).tolist()
    return in_order([Hit(i, s) for i, s in zip(item_ids, similarities, strict=True)])


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, D] with rows of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled
