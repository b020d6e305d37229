"""The quantizers there are, chosen by the `kind` of a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.mm_rq_vae import MMRQVAE, MMRQVAEConfig, train_mm_rq_vae
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, ignore_progress
from shared.modeling.quantizer import Quantizer, config_file
from shared.modeling.rq_kmeans import RQKMeans, RQKMeansConfig, train_rq_kmeans
from shared.overriding import overridden

QuantizerConfig = MMRQVAEConfig | RQKMeansConfig

KINDS: Mapping[str, type[Quantizer]] = {
    MMRQVAEConfig.kind: MMRQVAE,
    RQKMeansConfig.kind: RQKMeans,
}


def quantizer_config(
    config: QuantizerConfig, changes: Mapping[str, Any], field: str
) -> QuantizerConfig:
    """`config` with some of its settings changed; `field` names it in errors.

    Another `kind` keeps the settings that both have, and starts from its own defaults otherwise.

    Raises InvalidInputError for a kind or name that there is not, or a value of the wrong kind.
    """
    kind = changes.get("kind", config.kind)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidInputError.of(f"{field}.kind", f"{kind!r} is none of {', '.join(KINDS)}")
    if kind != config.kind:
        config = KINDS[kind].config_type(
            dimension=config.dimension,
            levels=config.levels,
            codebook_size=config.codebook_size,
            seed=config.seed,
        )
    return overridden(config, changes, field)


def train_quantizer(
    embeddings: Mapping[Modality, Tensor],
    config: QuantizerConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    device: str = "cpu",
) -> Quantizer:
    """Train on the embeddings [I, D_j] of all items. Raises as the training of its kind does."""
    if isinstance(config, RQKMeansConfig):
        return train_rq_kmeans(embeddings, config, on_progress, device=device)
    return train_mm_rq_vae(embeddings, config, on_progress, device=device)


def load_quantizer(folder: Path) -> Quantizer:
    """What `save` of any kind wrote, ready to tokenize on the CPU.

    Raises InvalidInputError when the folder holds none.
    """
    for kind, quantizer in KINDS.items():
        if config_file(folder, kind).is_file():
            return quantizer.load(folder)
    raise InvalidInputError.of("quantizer", f"{folder} holds none of {', '.join(KINDS)}")
