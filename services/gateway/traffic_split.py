"""Which bundle a user gets while some of the users are served from another one than the live.

    a user's place in [0, 100):   |-- first share --|-- second share --|-- the live bundle --|

A share that grows keeps the users that it had.
"""

import hashlib
import time
from collections.abc import Mapping

from shared.database.session import Database
from shared.database.traffic import TrafficRepository

LOOK_EVERY_S = 1.0  # so long another gateway may go on with shares that were changed


def place_of(catalog_id: str, user_id: str) -> float:
    """Where a user stands in [0, 100): the same in every process, at any time."""
    digest = hashlib.blake2b(f"{catalog_id}\n{user_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) * 2.0**-53 * 100


def share_at(place: float, shares: Mapping[str, float]) -> str | None:
    """The bundle whose share (version -> percent) a place lies in; None: the live one's."""
    end = 0.0
    for version, percent in shares.items():
        end += percent
        if place < end:
            return version
    return None


class TrafficSplit:
    """The shares of every catalogue, looked up again once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, Mapping[str, float]]] = {}

    async def bundle_for(self, catalog_id: str, user_id: str | None) -> str | None:
        """The bundle that a user gets; None: the live one, and always for a user not named."""
        if user_id is None:
            return None
        shares = await self._shares(catalog_id)
        return share_at(place_of(catalog_id, user_id), shares) if shares else None

    def forget(self, catalog_id: str) -> None:
        """The shares were changed: look at once."""
        self._known.pop(catalog_id, None)

    async def _shares(self, catalog_id: str) -> Mapping[str, float]:
        until, shares = self._known.get(catalog_id, (0.0, {}))
        if time.monotonic() < until:
            return shares
        # Those who come while this one looks go on with what was known.
        self._known[catalog_id] = (time.monotonic() + LOOK_EVERY_S, shares)
        async with self._database.transaction() as session:
            shares = await TrafficRepository(session, catalog_id).shares()
        self._known[catalog_id] = (time.monotonic() + LOOK_EVERY_S, shares)
        return shares
