"""The tokenization service as an ASGI app."""

from fastapi import FastAPI

from services.tokenization.routes import router
from services.tokenization.service import TokenizationService
from shared.bundle_app import create_bundle_app
from shared.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The app. It answers from the first moment; bundles are loaded in the background."""
    return create_bundle_app(
        "mmesid tokenization", lambda: TokenizationService.open(settings), router
    )
