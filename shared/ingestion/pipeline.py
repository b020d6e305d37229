"""Changes of items, in batches: embed, tokenize, store, index.

Every step may be repeated: a crash in between only means that the outbox still has the change, and
the relay does it again. Versions are compared wherever something is written, so that whoever comes
late with an older version changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.artifacts.images import ImageStore
from shared.artifacts.store import ArtifactStore
from shared.clients.embedding import EmbeddingClient
from shared.clients.ranking import RankingClient
from shared.clients.tokenization import TokenizationClient
from shared.contracts.ranking import UpsertItemsRequest
from shared.contracts.tokenization import IndexRequest
from shared.database.bundles import BundleRepository
from shared.database.embeddings import EmbeddingRepository
from shared.database.items import ItemRepository
from shared.database.outbox import OutboxRepository
from shared.database.semantic_ids import SemanticIdRepository
from shared.database.session import Database
from shared.database.tables import ItemRow
from shared.errors import MmesidError, NotFoundError
from shared.ingestion.change import Action, Change, Outcome, Result, outcome_of_error
from shared.ingestion.content_vectors import Vectors, content_vectors
from shared.ingestion.ready_item import ReadyItem
from shared.ingestion.target_bundle import TargetBundle, target_bundle
from shared.ingestion.tokenizing import tokenize

GROUP_SIZE = 64  # at some thousand numbers an item, requests of a few MB


@dataclass(frozen=True)
class _Work:
    """The upserts of a group that are not stale, and what they are done with.

    with_traffic: the bundles that some of the users are served from besides the live one.
    """

    catalog_id: str
    target: TargetBundle
    with_traffic: frozenset[str]
    rows: Mapping[Change, ItemRow]
    stored: Mapping[str, Vectors]


class ItemPipeline:
    """Makes changed items searchable and recommendable, and takes deleted ones away."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        *,
        embedding: EmbeddingClient,
        tokenization: TokenizationClient,
        ranking: RankingClient,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._embedding = embedding
        self._tokenization = tokenization
        self._ranking = ranking

    async def process(
        self, catalog_id: str, changes: Sequence[Change], *, bundle: str | None = None
    ) -> list[Outcome]:
        """Process changes of one catalogue; the outcomes are in the order of the changes.

        What the other services answer, or that they do not, is never raised but stands in the
        outcomes: one bad item does not fail the others.

        `bundle`: make the semantic IDs of this bundle ahead of its going live. Then neither the
        items' status nor the outbox is touched: under the live bundle the changes are still due.
        Otherwise it is the live bundle, and those with a share of the traffic after it.
        """
        ordered = sorted(set(changes), key=lambda change: (change.item_id, change.version))
        deletes = [change for change in ordered if change.action is Action.DELETE]
        upserts = [change for change in ordered if change.action is Action.UPSERT]
        outcomes = [await self._delete(catalog_id, change) for change in deletes]
        for start in range(0, len(upserts), GROUP_SIZE):
            outcomes += await self._upsert(
                catalog_id, upserts[start : start + GROUP_SIZE], bundle=bundle
            )
        by_change = {outcome.change: outcome for outcome in outcomes}
        return [by_change[change] for change in changes]

    async def _delete(self, catalog_id: str, change: Change) -> Outcome:
        """An item that was posted again meanwhile stays: the services compare versions."""
        try:
            for service in (self._tokenization, self._ranking):
                await _remove(service, catalog_id, change)
        except MmesidError as error:
            return Outcome(change, Result.POSTPONED, error)
        async with self._database.transaction() as session:
            await OutboxRepository(session).remove(catalog_id, {change.item_id: change.version})
        return Outcome(change, Result.REMOVED)

    async def _upsert(
        self, catalog_id: str, changes: Sequence[Change], *, bundle: str | None
    ) -> list[Outcome]:
        try:
            work = await self._read(catalog_id, changes, bundle)
            ready, failed = await self._make(work)
        except MmesidError as error:
            return [Outcome(change, Result.POSTPONED, error) for change in changes]
        stale = [change for change in changes if change not in work.rows]
        if bundle is not None:
            stored, overtaken = await self._store_ahead(work, ready)
        else:
            await self._remove_from_outbox(catalog_id, stale)
            failed = [await self._finish_failed(catalog_id, outcome) for outcome in failed]
            stored, overtaken = await self._store(work, ready)
        outcomes = failed + [Outcome(change, Result.STALE) for change in [*stale, *overtaken]]
        if not stored:
            return outcomes
        try:
            await self._serve(work, stored)
        except MmesidError as error:
            return outcomes + [Outcome(item.change, Result.POSTPONED, error) for item in stored]
        done = [item.change for item in stored]
        if bundle is None:
            return outcomes + await self._finish(work, done)
        return outcomes + [Outcome(change, Result.READY) for change in done]

    async def _finish(self, work: _Work, changes: Sequence[Change]) -> list[Outcome]:
        """What the live bundle has, those with traffic get too; then it leaves the outbox."""
        left: dict[Change, Outcome] = {}
        for version in sorted(work.with_traffic):
            for outcome in await self._upsert(work.catalog_id, changes, bundle=version):
                if not outcome.is_final:
                    left[outcome.change] = outcome
        done = [change for change in changes if change not in left]
        if done and not await self._settle(work, done):
            return [*left.values(), *await self._upsert(work.catalog_id, done, bundle=None)]
        return [*left.values(), *(Outcome(change, Result.READY) for change in done)]

    async def _read(self, catalog_id: str, changes: Sequence[Change], bundle: str | None) -> _Work:
        """The items as they are now, with the vectors known of them."""
        async with self._database.transaction() as session:
            target = await target_bundle(session, catalog_id, bundle)
            in_service = await BundleRepository(session, catalog_id).in_service()
            found = await ItemRepository(session, catalog_id).get_many(
                [change.item_id for change in changes]
            )
            rows = {
                change: found[change.item_id]
                for change in changes
                if change.item_id in found and found[change.item_id].version == change.version
            }
            stored = await EmbeddingRepository(session, catalog_id).of_items(
                [change.item_id for change in rows], target.revisions
            )
        return _Work(catalog_id, target, in_service.with_traffic, rows, stored)

    async def _make(self, work: _Work) -> tuple[list[ReadyItem], list[Outcome]]:
        """Embed and tokenize; the outcomes are those of the items that have a problem."""
        made = await content_vectors(
            list(work.rows.values()),
            work.stored,
            target=work.target,
            images=ImageStore(self._artifacts, work.catalog_id),
            embedding=self._embedding,
        )
        vectors = {
            item_id: found for item_id, found in made.items() if not isinstance(found, MmesidError)
        }
        problems = {
            item_id: found for item_id, found in made.items() if isinstance(found, MmesidError)
        }
        ready: dict[str, ReadyItem] = {}
        changes = {change.item_id: change for change in work.rows}
        if vectors:
            tokenized = await tokenize(
                self._tokenization, work.catalog_id, work.target.version, vectors
            )
            for item_id, found in tokenized.items():
                if isinstance(found, MmesidError):
                    problems[item_id] = found
                else:
                    change = changes[item_id]
                    ready[item_id] = ReadyItem(change, work.rows[change], vectors[item_id], found)
        failed = [outcome_of_error(changes[item_id], error) for item_id, error in problems.items()]
        return list(ready.values()), failed

    async def _store(
        self, work: _Work, items: Sequence[ReadyItem]
    ) -> tuple[list[ReadyItem], list[Change]]:
        """Write vectors, semantic IDs and status; also the changes that were overtaken."""
        if not items:
            return [], []
        async with self._database.transaction() as session:
            # First, because it locks the items in one order: two that store the same items wait
            # for one another instead of blocking each other.
            unchanged = await ItemRepository(session, work.catalog_id).mark_ready(
                {item.change.item_id: item.change.version for item in items}
            )
            stored = [item for item in items if item.change.item_id in unchanged]
            await EmbeddingRepository(session, work.catalog_id).put(
                [vector for item in stored for vector in item.embeddings(work.target)]
            )
            await SemanticIdRepository(session, work.catalog_id).put(
                work.target.version, [item.semantic_ids for item in stored]
            )
        return stored, [item.change for item in items if item.change.item_id not in unchanged]

    async def _store_ahead(
        self, work: _Work, items: Sequence[ReadyItem]
    ) -> tuple[list[ReadyItem], list[Change]]:
        """As `_store`, but the status stays. Item by item, so that one lock is held at a time."""
        stored, overtaken = [], []
        for item in items:
            async with self._database.transaction() as session:
                row = await ItemRepository(session, work.catalog_id).get(
                    item.change.item_id, for_update=True
                )
                if row is None or row.version != item.change.version:
                    overtaken.append(item.change)
                    continue
                await EmbeddingRepository(session, work.catalog_id).put(
                    item.embeddings(work.target)
                )
                await SemanticIdRepository(session, work.catalog_id).put(
                    work.target.version, [item.semantic_ids]
                )
                stored.append(item)
        return stored, overtaken

    async def _serve(self, work: _Work, items: Sequence[ReadyItem]) -> None:
        """Make stored items searchable and recommendable."""
        await self._tokenization.index(
            IndexRequest(
                catalog_id=work.catalog_id,
                bundle=work.target.version,
                items=[item.index_entry() for item in items],
            )
        )
        await self._ranking.upsert(
            UpsertItemsRequest(
                catalog_id=work.catalog_id,
                bundle=work.target.version,
                items=[item.rankable() for item in items],
            )
        )

    async def _settle(self, work: _Work, changes: Sequence[Change]) -> bool:
        """Take changes from the outbox; false, with nothing done, where another bundle answers now.

        A bundle that goes live, or gets traffic, has what it lacks enqueued and finds these changes
        enqueued still, so removing them then would lose them for it.
        """
        async with self._database.transaction() as session:
            bundles = BundleRepository(session, work.catalog_id)
            await bundles.lock(shared=True)
            now = await bundles.in_service()
            if now.live != work.target.version or not now.with_traffic <= work.with_traffic:
                return False
            await OutboxRepository(session).remove(
                work.catalog_id, {change.item_id: change.version for change in changes}
            )
        return True

    async def _finish_failed(self, catalog_id: str, outcome: Outcome) -> Outcome:
        """Note on an item why it can never become ready as it is."""
        if outcome.is_final and outcome.error is not None:
            change = outcome.change
            async with self._database.transaction() as session:
                await ItemRepository(session, catalog_id).mark_failed(
                    change.item_id, change.version, outcome.error.problem()
                )
                await OutboxRepository(session).remove(catalog_id, {change.item_id: change.version})
        return outcome

    async def _remove_from_outbox(self, catalog_id: str, changes: Sequence[Change]) -> None:
        """Forget changes that were overtaken; the rows of newer changes stay."""
        if changes:
            async with self._database.transaction() as session:
                await OutboxRepository(session).remove(
                    catalog_id, {change.item_id: change.version for change in changes}
                )


async def _remove(
    service: TokenizationClient | RankingClient, catalog_id: str, change: Change
) -> None:
    try:
        await service.remove(catalog_id, change.item_id, version=change.version)
    except NotFoundError:
        return  # it was never there
