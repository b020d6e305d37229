"""The ranking service as an ASGI app."""

from fastapi import FastAPI

from services.ranking.routes import router
from services.ranking.service import RankingService
from shared.bundle_app import create_bundle_app
from shared.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The app. It answers from the first moment; bundles are loaded in the background."""
    return create_bundle_app("mmesid ranking", lambda: RankingService.open(settings), router)
