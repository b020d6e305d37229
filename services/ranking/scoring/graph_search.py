"""Candidates from a graph of the bundle's rows in Qdrant, without a look at most of them.

Qdrant compares by cosine, and o E*^T is an inner product. One more dimension makes them agree:

    e' = [e, sqrt(M^2 - |e|^2)]   |e'| = M         o' = [o, 0]   |o'| = |o|
    cos(o', e') = o e / (|o| M):  for one o in the order of o e, if no |e| is above M

M is not the largest |e| but one that LONG of the rows exceed: a single long row would push all
others towards the new axis, where a graph can hardly tell them apart. Those long rows are not in
the graph. A small exact matrix beside it holds them, and the rows that came or changed after the
bundle was made. So the collection is a function of the bundle alone: it is built once, a restart
finds it, and the replicas of a service share it on a server.
"""

from collections.abc import Sequence
from math import ceil
from typing import Self

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.ranking.engines.engine import Selection
from services.ranking.growing import GrowingTable
from services.ranking.scoring.background_loop import BackgroundLoop
from services.ranking.scoring.masking import Visible, may_return
from services.ranking.scoring.top_k import top_k
from shared.errors import ConflictError
from shared.settings import VectorSettings
from shared.vectors.opening import open_vector_store
from shared.vectors.store import VectorPoint, VectorQuery, VectorStore

PREFIX = "ranking-"
VECTOR = "fused"
LONG = 0.01
FACTOR = 8
FLOOR = 512
MOST = 2**14
"""More hits than this cost more than the product with the whole of E*."""
KEPT = 3
"""Collections kept of a catalogue: the bundle that is served, the one before, one being loaded."""
BATCH = 4096
NORMS_BLOCK = 2**15
SEARCH_S = 5.0

log = structlog.get_logger()


class Lifting:
    """M, and the rows of E* with the dimension that the graph needs."""

    def __init__(self, fused: Tensor) -> None:
        """fused: E* [I, D], on the CPU."""
        self._fused = fused
        blocks = [block.double().norm(dim=1) for block in torch.split(fused, NORMS_BLOCK)]
        self._norms: NDArray[np.float64] = torch.cat(blocks).numpy()
        # Never 0: a row of zeros becomes [0, M], which has a direction.
        self._limit = max(float(np.quantile(self._norms, 1 - LONG)), float(np.finfo("f4").tiny))

    @property
    def dimension(self) -> int:
        return self._fused.shape[1] + 1

    @property
    def long(self) -> NDArray[np.int64]:
        """The rows that are longer than M."""
        return np.flatnonzero(self._norms > self._limit)

    @property
    def short(self) -> NDArray[np.int64]:
        """The others, which the graph holds."""
        return np.flatnonzero(self._norms <= self._limit)

    def lifted(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[e, sqrt(M^2 - |e|^2)] of short rows [n]: [n, D + 1]."""
        rest = np.sqrt(np.maximum(self._limit**2 - self._norms[rows] ** 2, 0))
        own = self._fused[torch.from_numpy(rows)].numpy()
        return np.concatenate([own, rest[:, None].astype(np.float32)], axis=1)


class GraphSearch:
    """A `CandidateSearch`. It raises nothing while it searches: without Qdrant it finds nothing."""

    def __init__(
        self,
        loop: BackgroundLoop,
        store: VectorStore,
        collection: str,
        fused: Tensor,
        long: NDArray[np.int64],
    ) -> None:
        """fused: E* [I, D] of the bundle, on the CPU. long: the rows the collection lacks."""
        self._loop = loop
        self._store = store
        self._collection = collection
        self._in_graph = np.ones(len(fused), dtype=np.bool_)
        self._in_graph[long] = False
        self._points = len(fused) - len(long)
        self._beside = GrowingTable(fused[torch.from_numpy(long)])
        self._beside_rows = GrowingTable(torch.from_numpy(long))
        self._place = {int(row): place for place, row in enumerate(long)}

    @classmethod
    def open(cls, fused: Tensor, settings: VectorSettings, catalog_id: str, version: str) -> Self:
        """Build the collection of a bundle where it is not complete, and drop old ones.

        fused: E* [I, D], on the CPU. Raises UnavailableError where Qdrant is not there, or another
        process holds the embedded collection.
        """
        loop = BackgroundLoop("graph-search")
        store = loop.run(_open_store(settings))
        prefix = f"{PREFIX}{catalog_id}-"
        lifting = Lifting(fused)
        try:
            loop.run(_build(store, prefix + version, lifting))
            loop.run(_drop_old(store, prefix, prefix + version))
        except BaseException:
            loop.run(store.close())
            loop.close()
            raise
        return cls(loop, store, prefix + version, fused, lifting.long)

    def close(self) -> None:
        """Free the collection for another process."""
        self._loop.run(self._store.close())
        self._loop.close()

    def put(self, rows: Tensor, fused: Tensor) -> None:
        places = []
        for row in rows.tolist():
            places.append(self._place.setdefault(row, len(self._place)))
            if row < len(self._in_graph):
                self._in_graph[row] = False
        self._beside.put(torch.tensor(places, dtype=torch.int64), fused.cpu())
        self._beside_rows.put(torch.tensor(places, dtype=torch.int64), rows.cpu())

    def find(
        self, states: Tensor, selections: Sequence[Selection], visible: Visible
    ) -> list[NDArray[np.int64] | None]:
        states = states.cpu()
        wanted = [self._hits_for(selection, visible) for selection in selections]
        asked = [place for place, count in enumerate(wanted) if count is not None]
        queries = [_query(states[place], wanted[place] or 0) for place in asked]
        hits = self._search(queries)
        if hits is None:
            return [None] * len(selections)
        beside = self._beside_candidates(states, selections, visible)
        found: list[NDArray[np.int64] | None] = [None] * len(selections)
        for place, rows in zip(asked, hits, strict=True):
            selection = selections[place]
            fresh = rows[self._in_graph[rows]]
            usable = fresh[may_return(fresh, visible.mask, selection)]
            has_all = len(rows) == self._points
            if has_all or len(usable) + len(beside[place]) >= selection.k:
                found[place] = np.concatenate([usable, beside[place]])
        return found

    def _hits_for(self, selection: Selection, visible: Visible) -> int | None:
        """As many as leave enough of those that a request may have; None: that is too many."""
        share = np.count_nonzero(visible.mask) / len(visible.mask)
        if selection.allowed is not None:
            share *= np.count_nonzero(selection.allowed) / len(selection.allowed)
        if share == 0:
            return None
        count = ceil(max(FACTOR * selection.k, FLOOR) / share) + len(selection.excluded)
        return count if count <= MOST else None

    def _search(self, queries: Sequence[VectorQuery]) -> list[NDArray[np.int64]] | None:
        try:
            found = self._loop.run(self._store.search(self._collection, queries), SEARCH_S)
        except Exception as error:  # whatever it is, E* itself is here and answers
            log.warning("approximate search failed, scoring exactly", error=repr(error))
            return None
        return [np.asarray([int(hit.item_id) for hit in hits], dtype=np.int64) for hits in found]

    def _beside_candidates(
        self, states: Tensor, selections: Sequence[Selection], visible: Visible
    ) -> list[NDArray[np.int64]]:
        """The best k rows of each request of those that the graph does not hold."""
        rows = self._beside_rows.rows
        if not len(rows):
            return [np.zeros(0, dtype=np.int64) for _ in selections]
        scores = states @ self._beside.rows.T
        for own, selection in zip(scores, selections, strict=True):
            refused = ~may_return(rows.numpy(), visible.mask, selection)
            own[torch.from_numpy(refused)] = -torch.inf
        best = top_k(scores, [selection.k for selection in selections])
        return [rows[places].numpy() for places in best]


async def _open_store(settings: VectorSettings) -> VectorStore:
    return open_vector_store(settings)  # a client keeps to the loop that it was made in


async def _build(store: VectorStore, collection: str, lifting: Lifting) -> None:
    """Fill a collection unless it holds all of its rows. Two that do it at once agree."""
    if collection not in await store.collections():
        try:
            await store.create(collection, {VECTOR: lifting.dimension})
        except ConflictError:
            log.info("another process builds the collection too", collection=collection)
    if await store.count(collection) == len(lifting.short):
        return
    for rows in np.array_split(lifting.short, ceil(len(lifting.short) / BATCH)):
        points = [
            VectorPoint(str(row), {VECTOR: vector})
            for row, vector in zip(rows.tolist(), lifting.lifted(rows), strict=True)
        ]
        await store.upsert(collection, points, more_follow=True)
    await store.optimize(collection)


async def _drop_old(store: VectorStore, prefix: str, own: str) -> None:
    """Versions begin with the time they were made at: the last ones are kept, and our own."""
    others = [name for name in await store.collections() if name.startswith(prefix) and name != own]
    for name in others[: -(KEPT - 1)]:
        await store.drop(name)


def _query(state: Tensor, count: int) -> VectorQuery:
    lifted = np.append(state.numpy(), np.float32(0)).astype(np.float32)
    return VectorQuery(VECTOR, lifted, count)
