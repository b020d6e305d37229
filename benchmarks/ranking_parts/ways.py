"""The ways to rank, by the names that the command line and the report use."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import torch

from benchmarks.ranking_parts.batched import Batched
from benchmarks.ranking_parts.code_decoder import CodeDecoder
from benchmarks.ranking_parts.one_by_one import OneByOne
from benchmarks.ranking_parts.waiting_room import Rows, WaitingRoom
from services.ranking.engines.engine import Query, Selection
from services.ranking.engines.transformers_engine import serving_device
from services.ranking.served_bundle import ServedBundle
from shared.artifacts.bundle import Bundle
from shared.computing import apart
from shared.errors import UnavailableError
from shared.settings import RankingSettings

K = 100
TOGETHER = 32

OURS = ("vllm", "transformers")
FLOOR = "floor"
DESCRIPTIONS: Mapping[str, str] = {
    "vllm": "ours, engine vllm",
    "transformers": "ours, engine transformers",
    "a": "(a) one user at a time, the catalogue through every W_j",
    "b": "(b) transformers, batches of up to 32, one product",
    "c": "(c) semantic IDs by beam search, beam 20, batches of up to 32",
    FLOOR: "the floor: prefill behind a cached beginning, one product",
}

Rank = Callable[[Rows], Awaitable[Rows]]


@asynccontextmanager
async def open_way(name: str, bundle: Bundle, settings: RankingSettings) -> AsyncIterator[Rank]:
    """One of `DESCRIPTIONS`, not the floor, ready to rank: a history to its best unseen rows.

    settings: those of our engines; the peers take the device from it.

    Raises UnavailableError where that engine is not to be had here.
    """
    if name in OURS:
        async with _served(name, bundle, settings) as rank:
            yield rank
    else:
        async with _peer(name, bundle, serving_device(settings.device)) as rank:
            yield rank


@asynccontextmanager
async def _served(name: str, bundle: Bundle, settings: RankingSettings) -> AsyncIterator[Rank]:
    """All that the service holds of a bundle, so that its memory is the service's."""
    served = await ServedBundle.open(bundle, settings.model_copy(update={"engine": name}))
    engine = served.engine

    async def rank(history: Rows) -> Rows:
        # The peers explain no scores either.
        selection = Selection(K, None, history, explain=False)
        return (await engine.rank(Query(history, selection))).rows

    try:
        if served.choice.name != name:
            raise UnavailableError(f"{name} is not to be had: {served.choice.reason}")
        await engine.warm_up()
        yield rank
    finally:
        await served.close()


@asynccontextmanager
async def _peer(name: str, bundle: Bundle, device: torch.device) -> AsyncIterator[Rank]:
    if name == "a":
        room = WaitingRoom((await apart(OneByOne, bundle, device, K)).rank, at_most=1)
    elif name == "b":
        room = WaitingRoom((await apart(Batched, bundle, device, K)).rank, at_most=TOGETHER)
    else:
        room = WaitingRoom((await apart(CodeDecoder.open, bundle, device)).rank, at_most=TOGETHER)
    try:
        yield room.rank
    finally:
        await room.close()
