"""How a quantizer is trained: every choice of each kind, and what it may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from shared.errors import InvalidInputError
from shared.modeling.config_checks import require_at_least_one
from shared.overriding import overridden

Gradient = Literal["straight_through", "rotation"]


@dataclass(frozen=True)
class MMRQVAEConfig:
    """dimension: D of the codes, the base LLM's embedding size. codebook_size: S; None chooses it
    by `codebook_size_for` the catalogue.

    reconstruction: MMD^2 (Eq. 12), squared error (Eq. 4), or their sum. alignment: InfoNCE
    (Eq. 14) or MMD^2 of quantized embeddings. alpha, beta, gamma: Eq. 5 and 11.
    epochs: at most these, and at most `max_steps` steps. More make the losses smaller and the
    semantic IDs worse: the commitment term of Eq. 5 draws all items of a code onto it, until the
    later levels have nothing left to tell apart.
    revival_epochs: every so many epochs codes that no item uses are moved to where they are
    needed; the last quarter of the training is left to settle.
    gradient: how the decoder's gradient passes the quantizer to the encoder.
    k_means, balanced, revival: codebooks start from k-means centres, the last level is assigned
    evenly while training, dead codes are revived. Each can be left out, to measure what it does.
    """

    dimension: int
    kind: Literal["mm_rq_vae"] = "mm_rq_vae"
    levels: int = 4
    codebook_size: int | None = None
    hidden: int = 512
    reconstruction: Literal["mmd", "mse", "mmd+mse"] = "mmd"
    alignment: Literal["info_nce", "mmd"] = "info_nce"
    alpha: float = 1.0
    beta: float = 1e-3
    gamma: float = 1.0
    temperature: float = 0.1
    epochs: int = 30
    max_steps: int = 400
    batch_size: int = 256
    learning_rate: float = 1e-4
    k_means_iterations: int = 10
    sinkhorn_epsilon: float = 0.003
    sinkhorn_iterations: int = 30
    revival_epochs: int = 5
    gradient: Gradient = "straight_through"
    k_means: bool = True
    balanced: bool = True
    revival: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least_one(
            self,
            "dimension", "levels", "hidden", "epochs", "max_steps", "batch_size",
            "k_means_iterations", "sinkhorn_iterations", "revival_epochs",
        )  # fmt: skip
        if self.codebook_size is not None and self.codebook_size < 2:
            raise InvalidInputError.of("codebook_size", "must be at least 2")
        for name in ("temperature", "learning_rate", "sinkhorn_epsilon"):
            if getattr(self, name) <= 0:
                raise InvalidInputError.of(name, f"must be above 0, not {getattr(self, name)}")
        for name in ("alpha", "beta", "gamma"):
            if getattr(self, name) < 0:
                raise InvalidInputError.of(name, f"must not be negative: {getattr(self, name)}")
        if self.reconstruction not in ("mmd", "mse", "mmd+mse"):
            raise InvalidInputError.of("reconstruction", f"is unknown: {self.reconstruction}")
        if self.alignment not in ("info_nce", "mmd"):
            raise InvalidInputError.of("alignment", f"is unknown: {self.alignment}")
        if self.gradient not in get_args(Gradient):
            raise InvalidInputError.of("gradient", f"is unknown: {self.gradient}")


@dataclass(frozen=True)
class RQKMeansConfig:
    """dimension: D of the codes, the base LLM's embedding size. codebook_size: S; None chooses it
    by `codebook_size_for` the catalogue. iterations: of k-means, a level.
    """

    dimension: int
    kind: Literal["rq_kmeans"] = "rq_kmeans"
    levels: int = 4
    codebook_size: int | None = None
    iterations: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least_one(self, "dimension", "levels", "iterations")
        if self.codebook_size is not None and self.codebook_size < 2:
            raise InvalidInputError.of("codebook_size", "must be at least 2")


QuantizerConfig = MMRQVAEConfig | RQKMeansConfig

CONFIGS: Mapping[str, type[QuantizerConfig]] = {
    config.kind: config for config in (MMRQVAEConfig, RQKMeansConfig)
}


def quantizer_config(
    config: QuantizerConfig, changes: Mapping[str, Any], field: str
) -> QuantizerConfig:
    """`config` with some of its settings changed; `field` names it in errors.

    Another `kind` keeps the settings that both have, and starts from its own defaults otherwise.

    Raises InvalidInputError for a kind or name that there is not, or a value of the wrong kind.
    """
    kind = changes.get("kind", config.kind)
    if not isinstance(kind, str) or kind not in CONFIGS:
        raise InvalidInputError.of(f"{field}.kind", f"{kind!r} is none of {', '.join(CONFIGS)}")
    if kind != config.kind:
        config = CONFIGS[kind](
            dimension=config.dimension,
            levels=config.levels,
            codebook_size=config.codebook_size,
            seed=config.seed,
        )
    return overridden(config, changes, field)
