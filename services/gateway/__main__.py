"""`python -m services.gateway` serves the API until SIGTERM."""

from services.gateway.app import create_app
from shared.http import serve
from shared.settings import load_settings
from shared.telemetry import configure_logs

settings = load_settings()
configure_logs("gateway", settings.log_level, settings.log_format)
serve(create_app(settings), settings.server)
