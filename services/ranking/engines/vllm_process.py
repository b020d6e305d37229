"""One life of vLLM's engine over one bundle: AsyncLLM here, model and tables in its process.

ids, k, bitmap ---> [ prefix cache -> Llama -> o_LLM -> o E*^T -> filters -> top-k ] ---> rows
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import aclosing
from itertools import count
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from services.ranking.engines.engine import ItemRows, Query, TopK
from services.ranking.engines.vllm_plugin import ARCHITECTURE
from services.ranking.engines.vllm_plugin.wire import (
    pack_items,
    pack_query,
    unpack_best,
)
from shared.artifacts.bundle import Bundle
from shared.errors import UnavailableError
from shared.modeling.prompt import PromptTemplate
from shared.modeling.ranker import base_checkpoint, load_prompt
from shared.settings import RankingSettings

BLOCK_TOKENS = 32
"""Tokens of a block of the prefix cache; larger blocks would never hold a whole short prompt."""
STEP_TOKENS = 2048
"""At least as many tokens go into one step: more would let a request wait for others' prompts."""


class VllmProcess:
    """Raises UnavailableError from every method once the process is gone."""

    def __init__(self, engine: Any, prompt: PromptTemplate) -> None:
        """engine: an `AsyncLLM` whose model is `RankerForPooling`."""
        self._engine = engine
        self._prompt = prompt
        self._numbers = count()
        self._table_version = 0

    @classmethod
    async def start(cls, bundle: Bundle, settings: RankingSettings) -> Self:
        """Start the process and load the bundle into it; some 10 to 30 seconds.

        Raises UnavailableError where it does not start.
        """
        # In a thread, since it blocks until the engine's process has loaded everything.
        starting = asyncio.create_task(asyncio.to_thread(_start_engine, bundle, settings))
        try:
            engine = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Nobody waits for it any more, yet it must not be left behind.
            engine = await starting
            engine.shutdown()
            raise
        return cls(engine, load_prompt(bundle.ranker))

    @property
    def is_dead(self) -> bool:
        return bool(self._engine.errored)

    async def rank(self, query: Query) -> TopK:
        """A caller that is cancelled takes its request out of the engine."""
        from vllm import PoolingParams
        from vllm.inputs.engine import tokens_input

        # Keys and values of a former input table must not be reused.
        salt = str(self._table_version)
        prompt = tokens_input(self._prompt.token_ids(query.history), cache_salt=salt)
        params = PoolingParams(task="embed", extra_kwargs=pack_query(query))
        outputs = self._engine.encode(prompt, params, request_id=str(next(self._numbers)))
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    return unpack_best(output.outputs.data)
        except _engine_errors() as error:
            raise _gone(error) from error
        raise UnavailableError("The ranking engine gave no answer", retry_after_s=1)

    async def put(self, rows: NDArray[np.int64], items: ItemRows) -> None:
        changed = await self._call("put_items", pack_items(torch.from_numpy(rows), items))
        if any(changed):
            self._table_version += 1

    async def hide(self, rows: NDArray[np.int64]) -> None:
        await self._call("hide_items", rows.tobytes())

    async def _call(self, method: str, data: bytes) -> list[Any]:
        try:
            answers: list[Any] = await self._engine.collective_rpc(method, args=(data,))
        except _engine_errors() as error:
            raise _gone(error) from error
        return answers

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.shutdown)


def _start_engine(bundle: Bundle, settings: RankingSettings) -> Any:
    os.environ.update(_environment(settings))
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    from services.ranking.engines.vllm_metrics import RequestTimes

    arguments = _engine_arguments(bundle, settings)
    try:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[RequestTimes])
    except (RuntimeError, ValueError, OSError) as error:
        raise UnavailableError(
            f"vLLM does not start over bundle {bundle.manifest.version}: {error}"
        ) from error


def _engine_arguments(bundle: Bundle, settings: RankingSettings) -> dict[str, Any]:
    from vllm.config import PoolerConfig
    from vllm.platforms import current_platform

    from services.ranking.engines.vllm_plugin.model import MAX_ROWS

    prompt = load_prompt(bundle.ranker)
    checkpoint, source = base_checkpoint(bundle.ranker, settings.cache)
    memory: dict[str, Any] = (
        {"kv_cache_memory_bytes": settings.kv_cache_bytes}
        if current_platform.is_cpu()
        else {"gpu_memory_utilization": settings.gpu_memory_share}
    )
    return {
        "model": checkpoint,
        "revision": source.revision,
        "dtype": source.dtype,
        "runner": "pooling",
        "convert": "embed",
        "pooler_config": PoolerConfig(task="embed", pooling_type="LAST", use_activation=False),
        "hf_overrides": {
            "architectures": [ARCHITECTURE],
            "vocab_size": prompt.vocabulary_size + MAX_ROWS,
            "mmesid_bundle": str(bundle.folder.resolve()),
            "mmesid_settings": settings.model_dump_json(),
        },
        "skip_tokenizer_init": True,
        "worker_extension_cls": "services.ranking.engines.vllm_plugin.item_updates.ItemUpdates",
        "max_model_len": prompt.longest,
        "max_num_seqs": settings.max_batch,
        "max_num_batched_tokens": max(STEP_TOKENS, prompt.longest),
        "block_size": BLOCK_TOKENS,
        "enable_prefix_caching": True,
        "tensor_parallel_size": settings.tensor_parallel,
        "enforce_eager": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **memory,
    }


def _environment(settings: RankingSettings) -> Mapping[str, str]:
    """What vLLM only reads from the environment; its processes inherit it."""
    variables = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if settings.tensor_parallel == 1:
        # The model runs in the engine's process, not in a worker of its own: one process less to
        # hold libraries and to wait for.
        variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if settings.threads is not None:
        # Not bound to cores: the other services of a small machine would share them.
        variables |= {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(settings.threads),
        }
    return variables


def _engine_errors() -> tuple[type[BaseException], ...]:
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    return (EngineDeadError, EngineGenerateError)


def _gone(error: BaseException) -> UnavailableError:
    return UnavailableError(
        f"The ranking engine is not there: {error or type(error).__name__}", retry_after_s=1
    )
