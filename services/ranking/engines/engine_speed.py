"""How fast each engine ranks on this machine: measured once a bundle, kept beside its files."""

import asyncio
import hashlib
import json
import platform
import time
from pathlib import Path

import numpy as np
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from services.ranking.engines.engine import Query, RankingEngine, Selection
from shared.artifacts.bundle import Bundle
from shared.modeling.ranker import load_prompt

WARM_UP_S = 0.5
MEASURED_S = 2.0
FOLDER = "engine-speed"

log = structlog.get_logger()


class EngineSpeed(BaseModel):
    """Requests a second with a full batch in flight, every request another user's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_s: dict[str, float]

    def fastest(self) -> str:
        return max(self.requests_per_s, key=lambda name: self.requests_per_s[name])


async def requests_per_s(engine: RankingEngine, bundle: Bundle, in_flight: int) -> float:
    """What an engine manages when each answer is followed by another request at once."""
    random = np.random.default_rng(0)
    items = len(bundle.catalogue.item_ids)
    length = load_prompt(bundle.ranker).max_history
    done = 0
    started = time.monotonic()

    async def keep_asking() -> None:
        nonlocal done, started
        while (elapsed := time.monotonic() - started) < WARM_UP_S + MEASURED_S:
            history = random.integers(items, size=random.integers(1, length + 1))
            await engine.rank(Query(history, Selection(10, None, history)))
            done += elapsed >= WARM_UP_S

    await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    return done / (time.monotonic() - started - WARM_UP_S)


def read_speed(bundle: Bundle, setting: str) -> EngineSpeed | None:
    """What was measured on a machine like this one, with this setting; None if nothing was."""
    try:
        return EngineSpeed.model_validate_json(_file(bundle, setting).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def keep_speed(bundle: Bundle, setting: str, speed: EngineSpeed) -> None:
    """Write it down; a folder that cannot be written is no reason not to serve."""
    file = _file(bundle, setting)
    try:
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(speed.model_dump_json(indent=2))
        part.replace(file)
    except OSError as error:
        log.warning("engine speed not kept", bundle=bundle.manifest.version, error=str(error))


def _file(bundle: Bundle, setting: str) -> Path:
    kind = json.dumps([platform.processor(), platform.machine(), _cpu_model(), setting])
    return bundle.folder / FOLDER / f"{hashlib.sha256(kind.encode()).hexdigest()[:16]}.json"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")
