"""What a user did, to be read and to be forgotten."""

from services.gateway.cursor import decode_moment, encode_moment
from shared.contracts.public import UserEvent, UserEventPage
from shared.database.interactions import InteractionRepository
from shared.database.session import Database
from shared.database.tables import InteractionRow
from shared.database.users import UserRepository


class UserHistories:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, catalog_id: str, user_id: str, *, cursor: str | None, limit: int
    ) -> UserEventPage:
        """The user's events, newest first; none of a user who is not known.

        Raises:
            InvalidInputError: the cursor is not one of ours.
        """
        before = None if cursor is None else decode_moment(cursor)
        async with self._database.transaction() as session:
            rows = await InteractionRepository(session, catalog_id).latest(
                user_id, before=before, limit=limit + 1
            )
        shown = rows[:limit]
        more = len(rows) > limit
        return UserEventPage(
            events=[_view(row) for row in shown],
            next_cursor=encode_moment(shown[-1].occurred_at, shown[-1].id) if more else None,
        )

    async def forget(self, catalog_id: str, user_id: str) -> None:
        """Delete what is kept of the user, if anything is."""
        async with self._database.transaction() as session:
            await UserRepository(session, catalog_id).forget(user_id)


def _view(row: InteractionRow) -> UserEvent:
    return UserEvent.model_validate(
        {
            "item_id": row.item_id,
            "event_type": row.event_type,
            "timestamp": row.occurred_at,
            "rating": row.rating,
            "recommendation_id": row.recommendation_id,
            "event_id": row.event_id,
        }
    )
