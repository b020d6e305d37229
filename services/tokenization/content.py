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
    return [
        _fused(query, lists, points)[: query.k]
        for query, lists in zip(queries, by_query, strict=True)
    ]


def _candidates(query: ContentQuery) -> int:
    if len(query.vectors) == 1:
        return query.k
    return max(FEWEST_CANDIDATES, CANDIDATES_A_RESULT * query.k)


def _fused(
    query: ContentQuery, lists: Sequence[Sequence[Hit]], points: Mapping[str, VectorPoint]
) -> list[Hit]:
    if len(query.vectors) == 1:
        return list(lists[0])
    candidates = sorted({hit.item_id for hits in lists for hit in hits} & points.keys())
    if not candidates:
        return []
    total = np.zeros(len(candidates))
    for modality, vector in query.vectors.items():
        # An item without a vector of this modality is like one at a right angle.
        absent = np.zeros_like(vector)
        table = np.stack(
            [points[item_id].vectors.get(modality.value, absent) for item_id in candidates]
        )
        total += cosine(table, vector)
    similarities = total / len(query.vectors)
    return in_order(
        [Hit(item_id, float(s)) for item_id, s in zip(candidates, similarities, strict=True)]
    )


def cosine(table: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine similarities [n] of the rows of [n, D] with [D]; 0 where either is 0."""
    lengths = np.linalg.norm(table, axis=1).astype(np.float64) * float(np.linalg.norm(vector))
    products = (table @ vector).astype(np.float64)
    similarities = np.zeros_like(products)
    np.divide(products, lengths, out=similarities, where=lengths > 0)
    return similarities
