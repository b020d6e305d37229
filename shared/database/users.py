"""What is kept of users, over all tables."""

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database.forgotten_users import ForgottenUserRepository
from shared.database.tables import InteractionRow, RecommendationRow


class UserRepository:
    """The users of one catalogue, within one transaction."""

    def __init__(self, session: AsyncSession, catalog_id: str) -> None:
        self._session = session
        self._catalog_id = catalog_id

    async def forget(self, user_id: str) -> None:
        """Delete what the user did. The lists that the user was given stay, as nobody's, and so do
        those given before this that are stored later."""
        await ForgottenUserRepository(self._session).add(self._catalog_id, user_id)
        await self._session.execute(
            delete(InteractionRow).where(
                InteractionRow.catalog_id == self._catalog_id, InteractionRow.user_id == user_id
            )
        )
        await self._session.execute(
            update(RecommendationRow)
            .where(
                RecommendationRow.catalog_id == self._catalog_id,
                RecommendationRow.user_id == user_id,
            )
            .values(user_id=None)
        )
