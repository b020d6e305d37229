"""Items as they are: one, a page of them, and those similar to one."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.cursor import decode_cursor, encode_cursor
from services.gateway.item_view import item_view
from shared.clients.tokenization import TokenizationClient
from shared.contracts.public import Item, ItemPage, SimilarItems, SimilarPublicItem
from shared.database.bundles import BundleRepository
from shared.database.items import ItemRepository
from shared.database.semantic_ids import SemanticIdRepository
from shared.database.session import Database
from shared.database.tables import ItemRow
from shared.errors import ConflictError, FieldProblem, NotFoundError
from shared.modeling.modality import Modality


class ItemReader:
    def __init__(self, database: Database, tokenization: TokenizationClient) -> None:
        self._database = database
        self._tokenization = tokenization

    async def get(self, catalog_id: str, item_id: str) -> Item:
        """Raises NotFoundError."""
        async with self._database.transaction() as session:
            row = await self._row(session, catalog_id, item_id)
            return (await _views(session, catalog_id, [row]))[0]

    async def page(
        self, catalog_id: str, *, cursor: str | None, limit: int, status: str | None
    ) -> ItemPage:
        """Items in the order of their arrival.

        Raises:
            InvalidInputError: the cursor is not one of ours.
        """
        after = 0 if cursor is None else decode_cursor(cursor)
        async with self._database.transaction() as session:
            rows = await ItemRepository(session, catalog_id).page(
                after_ordinal=after, limit=limit + 1, status=status
            )
            items = await _views(session, catalog_id, rows[:limit])
        more = len(rows) > limit
        return ItemPage(
            items=items, next_cursor=encode_cursor(rows[limit - 1].ordinal) if more else None
        )

    async def similar(
        self, catalog_id: str, item_id: str, *, k: int, modality: Modality | None
    ) -> SimilarItems:
        """The nearest items, best first; fewer than k where some were deleted just now.

        Raises:
            NotFoundError: there is no such item.
            ConflictError: the item is not in the index, since it has no semantic IDs yet.
            UnavailableError: the tokenization service does not answer, or no bundle is live.
        """
        async with self._database.transaction() as session:
            row = await self._row(session, catalog_id, item_id)
        try:
            found = await self._tokenization.similar(catalog_id, item_id, k=k, modality=modality)
        except NotFoundError as error:
            cause = f"is not in the index; its status is {row.status}"
            raise ConflictError(
                f"item_id: {cause}", fields=[FieldProblem("item_id", cause)]
            ) from error
        async with self._database.transaction() as session:
            rows = await ItemRepository(session, catalog_id).get_many(
                [near.item_id for near in found.items]
            )
        return SimilarItems(
            item_id=item_id,
            bundle=found.bundle,
            items=[
                SimilarPublicItem(
                    item_id=near.item_id,
                    title=rows[near.item_id].title,
                    similarity=near.similarity,
                )
                for near in found.items
                if near.item_id in rows
            ],
        )

    async def _row(self, session: AsyncSession, catalog_id: str, item_id: str) -> ItemRow:
        row = await ItemRepository(session, catalog_id).get(item_id)
        if row is None:
            raise NotFoundError(f"There is no item {item_id!r}")
        return row


async def _views(session: AsyncSession, catalog_id: str, rows: Sequence[ItemRow]) -> list[Item]:
    live = await BundleRepository(session, catalog_id).live()
    if live is None:
        return [item_view(row, None, None) for row in rows]
    semantic_ids = await SemanticIdRepository(session, catalog_id).of_items(
        live.version, [row.item_id for row in rows]
    )
    return [item_view(row, live.version, semantic_ids.get(row.item_id)) for row in rows]
