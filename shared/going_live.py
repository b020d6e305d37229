"""A bundle goes live beside the one that serves, and no request fails of it.

    load       tokenization and ranking hold it, warmed up; they go on serving from the live one
    catch_up   items that came or changed since it was made get semantic IDs of it
    go_live    one transaction: it is the live one, and what it lacks still waits in the outbox
    tell       the services switch now instead of at their next look at the database

Each step may be repeated. Who is killed between two of them leaves the former bundle live, or the
new one: the services follow the database by themselves.
"""

from collections.abc import Awaitable, Callable, Mapping

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.clients.ranking import RankingClient
from shared.clients.tokenization import TokenizationClient
from shared.contracts.common import BundleReference
from shared.database.arrays import in_chunks
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository
from shared.database.outbox import OutboxRepository
from shared.database.session import Database
from shared.database.traffic import TrafficRepository
from shared.errors import MmesidError
from shared.ingestion.change import Change
from shared.ingestion.pipeline import ItemPipeline
from shared.notices import BundleActive, Notices

LOAD_TIMEOUT_S = 600.0
ACTIVATE_TIMEOUT_S = 60.0
CATCH_UP_ITEMS = 256

log = structlog.get_logger()


def _go_on() -> None:
    """Nothing speaks against going on."""


class GoingLive:
    """The steps, for bundles of any catalogue."""

    def __init__(
        self,
        database: Database,
        pipeline: ItemPipeline,
        notices: Notices,
        *,
        tokenization: TokenizationClient,
        ranking: RankingClient,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._notices = notices
        self._services: dict[str, TokenizationClient | RankingClient] = {
            "tokenization": tokenization,
            "ranking": ranking,
        }

    async def load(self, bundle: BundleReference) -> None:
        """Both services hold the bundle beside the live one, and have warmed it up.

        Raises:
            NotFoundError: the bundle's files are not there.
            UnavailableError: a service does not answer.
        """
        for service in self._services.values():
            await service.load_bundle(bundle, timeout_s=LOAD_TIMEOUT_S)

    async def catch_up(
        self, bundle: BundleReference, *, check: Callable[[], None] = _go_on
    ) -> None:
        """What cannot be done now is left to the relay, which comes by after `go_live`.

        check: called before every batch of items; what it raises ends the catching up.
        """
        last = ""
        while True:
            check()
            async with self._database.transaction() as session:
                rows = await ItemRepository(session, bundle.catalog_id).without_semantic_ids(
                    bundle.version, after_item_id=last, limit=CATCH_UP_ITEMS
                )
            if not rows:
                return
            last = rows[-1].item_id
            outcomes = await self._pipeline.process(
                bundle.catalog_id,
                [Change(row.item_id, row.version) for row in rows],
                bundle=bundle.version,
            )
            left = [outcome for outcome in outcomes if not outcome.is_final]
            if left:
                log.warning("items left to the relay", items=len(left), error=str(left[0].error))

    async def go_live(
        self,
        bundle: BundleReference,
        *,
        confirm: Callable[[AsyncSession], Awaitable[None]],
        made_from: Mapping[str, int],
    ) -> None:
        """The bundle is live, and its share of the traffic ends: it gets what the shares leave.

        confirm: called before anything is written, while nobody else can change what is live; what
            it raises leaves everything as it was.
        made_from: items (id -> version) that the bundle knows from its making: they are ready.

        Raises:
            NotFoundError: there is no such bundle any more.
        """
        async with self._database.transaction() as session:
            bundles = BundleRepository(session, bundle.catalog_id)
            await bundles.lock()
            await confirm(session)
            await bundles.make_live(bundle.version)
            await TrafficRepository(session, bundle.catalog_id).end(bundle.version)
            await _mark_ready(session, bundle.catalog_id, made_from)
            outbox = OutboxRepository(session)
            await outbox.enqueue_without_semantic_ids(bundle.catalog_id, bundle.version)
            await outbox.hasten(bundle.catalog_id)

    async def tell(self, bundle: BundleReference) -> None:
        """Save the services the waiting. Raises nothing: one that is away looks when it is back."""
        for name, service in self._services.items():
            try:
                await service.activate_bundle(bundle, timeout_s=ACTIVATE_TIMEOUT_S)
            except MmesidError as error:
                log.warning("service switches later", service=name, error=error.detail)
        await self._notices.publish(
            BundleActive(catalog_id=bundle.catalog_id, version=bundle.version)
        )


async def _mark_ready(session: AsyncSession, catalog_id: str, versions: Mapping[str, int]) -> None:
    items, outbox = ItemRepository(session, catalog_id), OutboxRepository(session)
    for chunk in in_chunks(versions.items()):
        ready = await items.mark_ready(dict(chunk))
        await outbox.remove(catalog_id, {item: version for item, version in chunk if item in ready})
