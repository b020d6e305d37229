"""Which engine serves a bundle, and why."""

import asyncio

from services.ranking.engine import RankingEngine
from services.ranking.transformers_engine import TransformersEngine
from shared.artifacts.bundle import Bundle
from shared.contracts.common import EngineChoice
from shared.settings import RankingSettings


async def open_engine(
    bundle: Bundle, settings: RankingSettings
) -> tuple[RankingEngine, EngineChoice]:
    """An engine over the bundle's own items."""
    choice = EngineChoice(name="transformers", reason="vLLM is not installed")
    return await asyncio.to_thread(TransformersEngine.open, bundle, settings), choice
