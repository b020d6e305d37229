"""What a run trains with: the settings, and what its request says instead."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from shared.contracts.admin import TrainingCreate
from shared.errors import InvalidInputError
from shared.modeling.base_model import BaseKind, BaseSource, hidden_size
from shared.modeling.mm_rq_vae import MMRQVAEConfig
from shared.modeling.quantizer_kinds import QuantizerConfig, quantizer_config
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.sasrec import SASRecConfig
from shared.overriding import overridden
from shared.settings import TrainingSettings

# A pretrained base keeps its own weights, and its adapter learns more slowly than fresh layers.
PRETRAINED_LEARNING_RATE = 2e-4
# Of the scores of a SASRec beside the LLM's; validation decides among them, and against all.
SEQUENCE_WEIGHTS = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class RunConfigs:
    """All choices of a run; the same configs and data give the same bundle."""

    seed: int
    device: str
    collaborative: SASRecConfig
    sequence: SASRecConfig
    quantizer: QuantizerConfig
    base: BaseSource
    ranker: RankerConfig

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def configs_of(request: TrainingCreate, settings: TrainingSettings) -> RunConfigs:
    """The configs of a run.

    `request.ranker` may also name the `base_model`, the `base_dtype` of its weights and, for a tiny
    one, its sizes as `tiny`.

    Raises:
        InvalidInputError: a name or value that no setting has; the field says which.
        UnavailableError: the base model cannot be had.
    """
    seed = settings.seed if request.seed is None else request.seed
    device = _device(settings.device)
    ranker = dict(request.ranker)
    base = _base(
        ranker.pop("base_model", settings.base_model),
        ranker.pop("base_dtype", settings.base_dtype),
        ranker.pop("tiny", {}),
    )
    quantizer = dict(request.quantizer)
    if "dimension" in quantizer:
        raise InvalidInputError.of("quantizer.dimension", "is the embedding size of the base model")
    collaborative = overridden(
        SASRecConfig(max_length=settings.max_history, start="content", seed=seed),
        request.collaborative,
        "collaborative",
    )
    return RunConfigs(
        seed=seed,
        device=device,
        collaborative=collaborative,
        sequence=_other_start(collaborative),
        quantizer=quantizer_config(
            MMRQVAEConfig(dimension=hidden_size(base), seed=seed), quantizer, "quantizer"
        ),
        base=base,
        ranker=overridden(_ranker(base, settings.max_history, seed, device), ranker, "ranker"),
    )


def _base(name: Any, dtype: Any, tiny: Any) -> BaseSource:
    if not isinstance(name, str) or not name:
        raise InvalidInputError.of("ranker.base_model", "must be a name")
    if not isinstance(dtype, str):
        raise InvalidInputError.of("ranker.base_dtype", "must be a name")
    if not isinstance(tiny, Mapping):
        raise InvalidInputError.of("ranker.tiny", "must be an object")
    kinds = {kind.value: kind for kind in (BaseKind.TINY, BaseKind.SMOLLM2)}
    if name in kinds:
        base = BaseSource(kind=kinds[name], dtype=dtype)
    else:
        base = BaseSource(kind=BaseKind.CHECKPOINT, name=name, dtype=dtype)
    return replace(base, tiny=overridden(base.tiny, tiny, "ranker.tiny"))


def _other_start(collaborative: SASRecConfig) -> SASRecConfig:
    start: Literal["random", "content"]
    start = "random" if collaborative.start == "content" else "content"
    return replace(collaborative, start=start)


def _ranker(base: BaseSource, max_history: int, seed: int, device: str) -> RankerConfig:
    config = RankerConfig(
        max_history=max_history, sequence_weights=SEQUENCE_WEIGHTS, seed=seed, device=device
    )
    if base.kind == BaseKind.TINY:
        return config
    return replace(config, train_base=False, learning_rate_base=PRETRAINED_LEARNING_RATE)


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
