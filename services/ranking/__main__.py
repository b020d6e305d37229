"""`python -m services.ranking`: serve at the address of the settings."""

from services.ranking.app import create_app
from shared.http import serve
from shared.settings import load_settings
from shared.telemetry import configure_logs


def main() -> None:
    settings = load_settings()
    configure_logs("ranking", settings.log_level, settings.log_format)
    serve(create_app(settings), settings.server)


if __name__ == "__main__":
    main()
