"""The API of the stack that runs here, or of the one the settings name, for one command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import typer
from sqlalchemy.exc import SQLAlchemyError

from infra.cli.api import Api
from infra.cli.console import fail
from infra.cli.options import settings_for, state_folder
from shared.database.api_keys import ApiKeyRepository, Scope
from shared.database.session import Database
from shared.errors import MmesidError, UnavailableError
from shared.settings import Settings

DATABASE_AWAY = (SQLAlchemyError, OSError)
INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended

Answer = TypeVar("Answer")


def with_api(
    state: Path | None,
    catalog: str,
    work: Callable[[Api], Awaitable[Answer]],
    *,
    scope: Scope = Scope.ADMIN,
) -> Answer:
    """What `work` makes of the API; its errors, and a stack that does not run, end the command."""
    folder = state_folder(state)
    running = folder.running()
    settings = settings_for(folder)
    url = settings.services.gateway if running is None else running.urls["API"]
    if url is None:
        fail("no stack runs here: start it with `mmesid up`")

    async def run() -> Answer:
        async with (
            _lent_key(settings, catalog, scope) as key,
            Api(url, key) as api,
        ):
            return await work(api)

    try:
        return asyncio.run(run())
    except MmesidError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@asynccontextmanager
async def _lent_key(settings: Settings, catalog: str, scope: Scope) -> AsyncIterator[str]:
    """A key that is there as long as the command. One that stays behind is known to nobody."""
    database = Database(settings.database)
    try:
        try:
            async with database.transaction() as session:
                keys = ApiKeyRepository(session)
                key = await keys.create(catalog, name="command line", scopes=[scope])
        except DATABASE_AWAY as error:
            cause = type(error).__name__
            raise UnavailableError(f"the stack's database does not answer: {cause}") from error
        try:
            yield key
        finally:
            with suppress(*DATABASE_AWAY):
                async with database.transaction() as session:
                    await ApiKeyRepository(session).remove(key)
    finally:
        await database.close()
