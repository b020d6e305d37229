"""Wait until a database has the schema that this code knows: `python -m infra.migrations.wait`.

A newer schema will do: then this is the former version of the code, after a rollback.
"""

import logging
import time

import structlog
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from infra.migrations.upgrade import configuration
from shared.settings import load_settings
from shared.telemetry import configure_logs

LOOK_EVERY_S = 2.0

log = structlog.get_logger()


def is_migrated(url: str) -> bool:
    """Whether every migration that this code knows has been applied."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            applied = set(MigrationContext.configure(connection).get_current_heads())
    finally:
        engine.dispose()
    scripts = ScriptDirectory.from_config(configuration(url))
    older = {script.revision for script in scripts.walk_revisions()} - set(scripts.get_heads())
    return bool(applied) and not applied & older


def wait(url: str) -> None:
    """Returns when the schema is there; a database that does not answer is waited for too."""
    while True:
        try:
            if is_migrated(url):
                return
            log.info("waiting for the migrations")
        except OperationalError as error:
            log.info("waiting for the database", error=str(error.orig))
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    settings = load_settings()
    configure_logs("await-schema", settings.log_level, settings.log_format)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it would say the same at every look
    wait(settings.database.url)
