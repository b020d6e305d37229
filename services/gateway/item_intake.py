"""New and changed items: checked, stored with their outbox rows, then made ready at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.gateway.errors import PreconditionFailedError
from services.gateway.item_images import ItemImages
from services.gateway.item_reading import ItemReader
from services.gateway.storable import require_storable
from shared.artifacts.images import ImageStore
from shared.artifacts.store import ArtifactStore
from shared.contracts.public import Item, ItemCreate, ItemPatch
from shared.database.items import ItemContent, ItemRepository, NewItem, content_of
from shared.database.session import Database
from shared.database.tables import ItemRow
from shared.errors import ConflictError, FieldProblem, InvalidInputError, NotFoundError
from shared.ingestion.change import Action, Change
from shared.ingestion.item_content import item_content
from shared.ingestion.pipeline import ItemPipeline

log = structlog.get_logger()


@dataclass(frozen=True)
class StoredItem:
    """An item that was accepted. `is_new` is false where it was there with this content."""

    row: ItemRow
    is_new: bool

    @property
    def change(self) -> Change:
        return Change(self.row.item_id, self.row.version, Action.UPSERT)


@dataclass(frozen=True)
class AcceptedItem:
    item: Item
    is_new: bool


class ItemIntake:
    """Accepts changes of items. What is accepted is in Postgres together with its outbox row."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        images: ItemImages,
        pipeline: ItemPipeline,
        reader: ItemReader,
        *,
        ready_wait_s: float,
        relay_grace_s: float,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._images = images
        self._pipeline = pipeline
        self._reader = reader
        self._ready_wait_s = ready_wait_s
        self._relay_after = timedelta(seconds=relay_grace_s)

    async def create(
        self, catalog_id: str, create: ItemCreate, image: bytes | None = None
    ) -> AcceptedItem:
        """Accept a new item and wait a while for its semantic IDs.

        Raises:
            InvalidInputError, PayloadTooLargeError, UnavailableError: see `prepare`.
            ConflictError: the id is taken by an item with other content.
        """
        item = await self.prepare(catalog_id, create, image)
        stored = (await self.store(catalog_id, [item]))[0]
        if isinstance(stored, ConflictError):
            raise stored
        if stored.is_new:
            await self._make_ready(catalog_id, stored.change)
        return AcceptedItem(await self._reader.get(catalog_id, item.item_id), is_new=stored.is_new)

    async def patch(
        self, catalog_id: str, item_id: str, patch: ItemPatch, *, if_version: int | None
    ) -> Item:
        """Change an item and wait a while for its new semantic IDs.

        Raises:
            NotFoundError: there is no such item.
            PreconditionFailedError: it has another version than `if_version`.
        """
        require_storable(patch)
        _require_no_null(patch)
        image = await self._images.read(url=patch.image_url, encoded=patch.image_base64, data=None)
        sha256 = await self._keep(catalog_id, image)
        async with self._database.transaction() as session:
            row = await _locked(session, catalog_id, item_id, if_version)
            content = _patched(content_of(row), patch, sha256)
            if content.content_hash == row.content_hash:
                change = None
            else:
                await ItemRepository(session, catalog_id).change(
                    row, content, relay_after=self._relay_after
                )
                change = Change(item_id, row.version, Action.UPSERT)
        if change is not None:
            await self._make_ready(catalog_id, change)
        return await self._reader.get(catalog_id, item_id)

    async def delete(self, catalog_id: str, item_id: str, *, if_version: int | None) -> None:
        """Delete an item and take it from the index and the ranking.

        Raises:
            NotFoundError: there is no such item.
            PreconditionFailedError: it has another version than `if_version`.
        """
        async with self._database.transaction() as session:
            row = await _locked(session, catalog_id, item_id, if_version)
            await ItemRepository(session, catalog_id).delete(row, relay_after=self._relay_after)
            change = Change(item_id, row.version, Action.DELETE)
        await self._make_ready(catalog_id, change)

    async def prepare(
        self, catalog_id: str, create: ItemCreate, image: bytes | None = None
    ) -> NewItem:
        """Everything that can be checked of an item alone; its image is stored.

        Raises:
            InvalidInputError: a field is wrong, or the image cannot be read.
            PayloadTooLargeError: the image has too many bytes or pixels.
            UnavailableError: the image's host does not answer.
        """
        require_storable(create)
        if not create.title.strip():
            raise InvalidInputError.of("title", "must not be blank")
        data = await self._images.read(
            url=create.image_url, encoded=create.image_base64, data=image
        )
        content = item_content(
            title=create.title,
            description=create.description,
            categories=create.categories,
            brand=create.brand,
            attributes=create.attributes,
            image_sha256=await self._keep(catalog_id, data),
        )
        return NewItem(create.item_id or uuid4().hex, content)

    async def store(
        self, catalog_id: str, items: Sequence[NewItem]
    ) -> list[StoredItem | ConflictError]:
        """Store items in one transaction; the results are in their order.

        Of several with one id the first counts, and the others are compared with it.
        """
        first: dict[str, NewItem] = {}
        for item in items:
            first.setdefault(item.item_id, item)
        async with self._database.transaction() as session:
            repository = ItemRepository(session, catalog_id)
            # In one order everywhere, so that two batches cannot block each other.
            inserted = await repository.insert_many(
                [first[item_id] for item_id in sorted(first)], relay_after=self._relay_after
            )
            new = {row.item_id: row for row in inserted}
            there = await repository.get_many([key for key in first if key not in new])
        results: list[StoredItem | ConflictError] = []
        for item in items:
            if item.item_id in new and item is first[item.item_id]:
                results.append(StoredItem(new[item.item_id], is_new=True))
            else:
                row = new.get(item.item_id) or there.get(item.item_id)
                results.append(_compared(item, row))
        return results

    async def _keep(self, catalog_id: str, image: bytes | None) -> str | None:
        """Store the image, and return its SHA-256."""
        if image is None:
            return None
        return await asyncio.to_thread(ImageStore(self._artifacts, catalog_id).put, image)

    async def _make_ready(self, catalog_id: str, change: Change) -> None:
        """Do at once what the relay would do; what does not succeed in time stays for the relay."""
        try:
            async with asyncio.timeout(self._ready_wait_s):
                outcomes = await self._pipeline.process(catalog_id, [change])
        except TimeoutError:
            log.info("left to the relay", item_id=change.item_id, cause="it took too long")
            return
        for outcome in outcomes:
            if outcome.error is not None:
                log.info(
                    "item is not ready",
                    item_id=change.item_id,
                    result=outcome.result,
                    cause=outcome.error.detail,
                )


def _compared(item: NewItem, row: ItemRow | None) -> StoredItem | ConflictError:
    """An item whose id was taken: it is the same, or it is refused."""
    if row is not None and row.content_hash == item.content.content_hash:
        return StoredItem(row, is_new=False)
    cause = (
        "was deleted at this moment: send the item again"
        if row is None
        else f"is taken by an item with other content (version {row.version}); PATCH changes it"
    )
    return ConflictError(
        f"item_id: {item.item_id!r} {cause}", fields=[FieldProblem("item_id", cause)]
    )


def _require_no_null(patch: ItemPatch) -> None:
    removable = {"brand", "image_url", "image_base64"}
    for name in sorted(patch.model_fields_set - removable):
        if getattr(patch, name) is None:
            raise InvalidInputError.of(name, "cannot be removed, only changed")
    if patch.title is not None and not patch.title.strip():
        raise InvalidInputError.of("title", "must not be blank")


async def _locked(
    session: AsyncSession, catalog_id: str, item_id: str, if_version: int | None
) -> ItemRow:
    row = await ItemRepository(session, catalog_id).get(item_id, for_update=True)
    if row is None:
        raise NotFoundError(f"There is no item {item_id!r}")
    if if_version is not None and row.version != if_version:
        raise PreconditionFailedError(
            f"If-Match: the item has version {row.version}, not {if_version}",
            fields=[FieldProblem("If-Match", f"the item has version {row.version}")],
        )
    return row


def _patched(old: ItemContent, patch: ItemPatch, image_sha256: str | None) -> ItemContent:
    given = patch.model_fields_set
    removes_image = image_sha256 is None and bool(given & {"image_url", "image_base64"})
    return item_content(
        title=old.title if patch.title is None else patch.title,
        description=old.description if patch.description is None else patch.description,
        categories=old.categories if patch.categories is None else patch.categories,
        brand=patch.brand if "brand" in given else old.brand,
        attributes=old.attributes if patch.attributes is None else patch.attributes,
        image_sha256=None if removes_image else image_sha256 or old.image_sha256,
    )
