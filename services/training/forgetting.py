"""Lists given long ago are forgotten: no metric asks for them any more."""

from datetime import timedelta

import structlog

from services.training.resources import Resources
from shared.database.forgotten_users import ForgottenUserRepository
from shared.database.recommendations import RecommendationRepository

AT_A_TIME = 5000

log = structlog.get_logger()


async def forget_recommendations(resources: Resources) -> int:
    """Remove those older than `gateway.keep_recommendations_days`; returns how many there were.

    One that old goes even if a gateway writes it late, so who was forgotten before that needs to be
    remembered no longer.
    """
    days = timedelta(days=resources.settings.gateway.keep_recommendations_days)
    forgotten = 0
    while True:
        async with resources.database.transaction() as session:
            removed = await RecommendationRepository(session).remove_older(days, limit=AT_A_TIME)
        forgotten += removed
        if removed < AT_A_TIME:
            break
    async with resources.database.transaction() as session:
        await ForgottenUserRepository(session).remove_older(days)
    if forgotten:
        log.info("lists given long ago forgotten", lists=forgotten)
    return forgotten
