"""What a training run trains with: the settings, and what its request says instead.

The gateway refuses by this what a worker could not train with, so nothing here needs torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from shared.contracts.admin import TrainingCreate
from shared.errors import InvalidInputError
from shared.modeling.base_source import DTYPES, BaseKind, BaseSource
from shared.modeling.quantizer_config import MMRQVAEConfig, QuantizerConfig, quantizer_config
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.sasrec_config import SASRecConfig
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


def run_configs(
    request: TrainingCreate,
    settings: TrainingSettings,
    *,
    device: str,
    hidden_size: Callable[[BaseSource], int],
) -> RunConfigs:
    """The configs of a run.

    `request.ranker` may also name the `base_model`, the `base_dtype` of its weights and, for a tiny
    one, its sizes as `tiny`.

    device: torch's name of it. hidden_size: of a base model's embeddings.

    Raises InvalidInputError for a name or value that no setting has; the field says which. What
    `hidden_size` raises passes through.
    """
    seed = settings.seed if request.seed is None else request.seed
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


def require_trainable(request: TrainingCreate, settings: TrainingSettings) -> None:
    """Raises InvalidInputError for what `run_configs` refuses; whether the base model can be had
    only the worker finds out."""
    run_configs(request, settings, device="cpu", hidden_size=lambda base: base.tiny.hidden_size)


def _base(name: Any, dtype: Any, tiny: Any) -> BaseSource:
    if not isinstance(name, str) or not name:
        raise InvalidInputError.of("ranker.base_model", "must be a name")
    if dtype not in DTYPES:
        raise InvalidInputError.of("ranker.base_dtype", f"{dtype!r} is none of {', '.join(DTYPES)}")
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
