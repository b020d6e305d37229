"""The quantizers there are, chosen by the `kind` of a config."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.mm_rq_vae import MMRQVAE, train_mm_rq_vae
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, ignore_progress
from shared.modeling.quantizer import Quantizer, config_file
from shared.modeling.quantizer_config import MMRQVAEConfig, QuantizerConfig, RQKMeansConfig
from shared.modeling.rq_kmeans import RQKMeans, train_rq_kmeans

KINDS: Mapping[str, type[Quantizer]] = {
    MMRQVAEConfig.kind: MMRQVAE,
    RQKMeansConfig.kind: RQKMeans,
}


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
