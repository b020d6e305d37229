"""API keys. Only a key's SHA-256 is stored; the key itself is shown once, when it is made."""

import hashlib
import secrets
from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.tables import ApiKeyRow


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def sha256_of(key: str) -> str:
    """Keys are 256 random bits: a plain hash cannot be guessed backwards."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeyRepository:
    """The API keys of all catalogues, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, catalog_id: str, *, name: str, scopes: Sequence[Scope]) -> str:
        """Make a key and return it; it cannot be read again."""
        key = f"mme_{secrets.token_urlsafe(32)}"
        self._session.add(
            ApiKeyRow(
                key_sha256=sha256_of(key),
                catalog_id=catalog_id,
                name=name,
                scopes=[scope.value for scope in scopes],
            )
        )
        await self._session.flush()
        return key

    async def find(self, key: str) -> ApiKeyRow | None:
        """The row of a key that is known and not revoked."""
        statement = select(ApiKeyRow).where(
            ApiKeyRow.key_sha256 == sha256_of(key), ApiKeyRow.revoked_at.is_(None)
        )
        return (await self._session.execute(statement)).scalar_one_or_none()

    async def remove(self, key: str) -> None:
        """Forget a key; nothing happens where it is not known."""
        await self._session.execute(delete(ApiKeyRow).where(ApiKeyRow.key_sha256 == sha256_of(key)))
