"""`migrate` and `keys create`: the database's schema and the keys that open the API."""

import asyncio
from typing import Annotated

import typer

from infra.cli.console import say
from infra.cli.options import CatalogOption, StateOption, settings_for, state_folder
from infra.migrations.upgrade import upgrade
from shared.database.api_keys import ApiKeyRepository, Scope
from shared.database.session import Database
from shared.settings import Settings

keys = typer.Typer(no_args_is_help=True, help="API keys.")


def migrate(state: StateOption = None) -> None:
    """Bring the database to the newest schema."""
    upgrade(settings_for(state_folder(state)).database.url)
    say("The database has the newest schema.")


@keys.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[list[Scope], typer.Option(help="Give it once a scope.")],
    catalog: CatalogOption = "default",
    state: StateOption = None,
) -> None:
    """Make an API key and print it; it cannot be shown again."""
    settings = settings_for(state_folder(state))
    print(asyncio.run(create_key(settings, catalog, name=name, scopes=scope)))


async def create_key(settings: Settings, catalog: str, *, name: str, scopes: list[Scope]) -> str:
    database = Database(settings.database)
    try:
        async with database.transaction() as session:
            return await ApiKeyRepository(session).create(catalog, name=name, scopes=scopes)
    finally:
        await database.close()
