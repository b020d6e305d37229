"""What a vector index can do, whichever engine is behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidInputError


@dataclass(frozen=True)
class VectorPoint:
    """One item: its vectors [D_name] by name, of the length they were given, and its payload."""

    item_id: str
    vectors: Mapping[str, NDArray[np.float32]]
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VectorQuery:
    """The `k` items whose vector `name` has the highest cosine similarity with `vector` [D_name].

    exclude: items that are not wanted. where: (payload key, value) pairs that must all hold; a
    payload that is a list holds each of its values. exact: compare with every item, not through
    the graph.
    """

    name: str
    vector: NDArray[np.float32]
    k: int
    exclude: Sequence[str] = ()
    where: Sequence[tuple[str, str]] = ()
    exact: bool = False


@dataclass(frozen=True)
class Hit:
    """An item found, and its cosine similarity."""

    item_id: str
    similarity: float


class VectorStore(Protocol):
    """Collections of points with named vectors, compared by cosine similarity.

    Every method but `create`, `drop`, `collections`, `aliases` and `close` raises NotFoundError
    where the collection does not exist; all raise UnavailableError where the engine is not there.
    """

    async def create(
        self, collection: str, dimensions: Mapping[str, int], *, keywords: Sequence[str] = ()
    ) -> None:
        """A new, empty collection. keywords: payload keys that queries name in `where`.

        Raises ConflictError where there is one of this name.
        """
        ...

    async def drop(self, collection: str) -> None:
        """Remove a collection and the aliases that point to it; none of this name is no error."""
        ...

    async def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        ...

    async def upsert(
        self, collection: str, points: Sequence[VectorPoint], *, more_follow: bool = False
    ) -> None:
        """Add points; one of an item that is there replaces it whole.

        more_follow: a large collection is being filled, and `optimize` comes at its end.

        Raises InvalidInputError where a vector's name or dimension is not the collection's.
        """
        ...

    async def delete(self, collection: str, item_ids: Sequence[str]) -> None:
        """Remove items; those that are not there are no error."""
        ...

    async def retrieve(
        self, collection: str, item_ids: Sequence[str], *, names: Sequence[str]
    ) -> dict[str, VectorPoint]:
        """Those of the items that are there, by id, with the vectors named."""
        ...

    def payloads(
        self, collection: str, keys: Sequence[str]
    ) -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
        """(item id, payload restricted to `keys`) of every item, a page at a time."""
        ...

    async def search(self, collection: str, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        """The hits of each query, best first; ties in the order of the ids."""
        ...

    async def count(self, collection: str) -> int: ...

    async def optimize(self, collection: str) -> None:
        """Build what makes searches fast, after many points were added."""
        ...

    async def switch_alias(self, alias: str, collection: str) -> None:
        """Let the alias name this collection, and no other, in one step."""
        ...

    async def aliases(self) -> dict[str, str]:
        """Alias -> collection."""
        ...

    async def close(self) -> None: ...


def check_vectors(
    vectors: Mapping[str, NDArray[np.float32]], dimensions: Mapping[str, int]
) -> None:
    """Raises InvalidInputError where a vector's name or dimension is not the collection's."""
    for name, vector in vectors.items():
        if name not in dimensions:
            raise InvalidInputError.of(f"vectors.{name}", f"is not one of {sorted(dimensions)}")
        if vector.shape != (dimensions[name],):
            raise InvalidInputError.of(
                f"vectors.{name}",
                f"has {vector.size} dimensions, the collection {dimensions[name]}",
            )


def in_order(hits: Sequence[Hit]) -> list[Hit]:
    """Best first; ties in the order of the ids."""
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.item_id))
