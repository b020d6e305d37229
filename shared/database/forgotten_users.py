"""Which users were forgotten, for whoever still holds something of them in memory."""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import LargeBinary, any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.arrays import is_one_of
from shared.database.tables import ForgottenUserRow

# (catalogue, user id)
User = tuple[str, str]


class ForgottenUserRepository:
    """The forgotten users of all catalogues, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, catalog_id: str, user_id: str) -> None:
        """Remember that this user is forgotten now.

        Waits for those who have asked `when` and are writing; who asks later gets to know.
        """
        await self._lock(shared=False)
        statement = insert(ForgottenUserRow).values(
            catalog_id=catalog_id, user_sha256=_sha256(user_id)
        )
        key = [ForgottenUserRow.catalog_id, ForgottenUserRow.user_sha256]
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=key, set_={"forgotten_at": func.now()})
        )

    async def when(self, users: Collection[User]) -> dict[User, datetime]:
        """Those of the users who were forgotten, and when. Nobody else is until this transaction
        ends."""
        await self._lock(shared=True)
        user_of = {(user[0], _sha256(user[1])): user for user in users}
        hashes = literal([sha256 for _, sha256 in user_of], ARRAY(LargeBinary))
        statement = select(ForgottenUserRow).where(
            is_one_of(ForgottenUserRow.catalog_id, {catalog_id for catalog_id, _ in user_of}),
            ForgottenUserRow.user_sha256 == any_(hashes),
        )
        rows = (await self._session.execute(statement)).scalars()
        forgotten = {(row.catalog_id, row.user_sha256): row.forgotten_at for row in rows}
        return {user_of[key]: at for key, at in forgotten.items() if key in user_of}

    async def remove_older(self, than: timedelta) -> None:
        """Remove the memory of users who were forgotten longer ago than that."""
        await self._session.execute(
            delete(ForgottenUserRow).where(ForgottenUserRow.forgotten_at < func.now() - than)
        )

    async def _lock(self, *, shared: bool) -> None:
        lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        await self._session.execute(select(lock(func.hashtextextended("forgotten users", 0))))


def _sha256(user_id: str) -> bytes:
    return hashlib.sha256(user_id.encode()).digest()
