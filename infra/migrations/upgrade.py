"""Bring a database to the newest schema: `python -m infra.migrations.upgrade`."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from shared.settings import load_settings


def configuration(url: str) -> Config:
    """Alembic's configuration for a database; no ini file is needed."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Apply every migration that the database has not seen."""
    command.upgrade(configuration(url), "head")


if __name__ == "__main__":
    upgrade(load_settings().database.url)
