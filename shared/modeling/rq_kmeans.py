"""RQ-KMeans: residual k-means on the embeddings themselves, without an autoencoder.

The strong simple rival of the RQ-VAE, as in QARM (arXiv:2411.11739) and OneRec (arXiv:2502.18965).
The encoder is a centred isometry into R^D, the decoder its inverse; so the code embeddings are
[L, S, D] and enter Eq. 16 as they are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shared.modeling.isometry import centred_isometry
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, Progress, ignore_progress
from shared.modeling.quantizer import STAGE, Quantizer, Tower, training_inputs
from shared.modeling.quantizer_config import RQKMeansConfig
from shared.modeling.residual_quantizer import ResidualQuantizer, codebook_size_for
from shared.modeling.seeding import seeded

# Of more items than this a random sample finds the centres: the even clusters need [I, S].
LARGEST_SAMPLE = 65_536


class RQKMeans(Quantizer):
    """Modalities are not aligned; an item's codes are the nearest centres, level by level."""

    config_type = RQKMeansConfig
    config: RQKMeansConfig

    def _new_tower(self, input_dimension: int) -> Tower:
        dimension = self.config.dimension
        return Tower(
            input_dimension,
            nn.Linear(input_dimension, dimension, bias=False),
            ResidualQuantizer(self.config.levels, self.codebook_size, dimension),
            nn.Linear(dimension, input_dimension, bias=False),
        )


@torch.no_grad()
def train_rq_kmeans(
    embeddings: Mapping[Modality, Tensor],
    config: RQKMeansConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    device: str = "cpu",
) -> RQKMeans:
    """Find the centres of the embeddings [I, D_j] of all items, for any set of modalities.

    Each level is balanced k-means on what the levels before it left of all items. `on_progress`
    is called after every level, with the share of the variance that is left. The global random
    state is left as it was.

    Raises InvalidInputError when there is no modality or item, the item counts differ, or a
    value is not finite.
    """
    inputs, items = training_inputs(embeddings, device)
    with seeded(config.seed, device):
        generator = torch.Generator().manual_seed(config.seed)
        size = config.codebook_size or codebook_size_for(items)
        dimensions = {j: vectors.shape[1] for j, vectors in inputs.items()}
        model = RQKMeans(dimensions, size, config).to(device)
        total, done = config.levels * len(inputs), 0
        for j in model.modalities:
            tower = model.tower(j)
            _fit_isometry(tower, inputs[j], generator)
            residual = tower.encode(inputs[j][torch.randperm(items)[:LARGEST_SAMPLE]])
            for level in range(config.levels):
                residual = tower.quantizer.initialise_level(level, residual, config.iterations)
                done += 1
                left = residual.square().mean().item()
                on_progress(Progress(STAGE, done, total, {f"{j.value}_variance_left": left}))
        return model.eval()


def _fit_isometry(tower: Tower, vectors: Tensor, generator: torch.Generator) -> None:
    """z has unit variance a dimension, as the z of an MM-RQ-VAE have."""
    assert isinstance(tower.encoder, nn.Linear)
    assert isinstance(tower.decoder, nn.Linear)
    tower.fit_scale(vectors)
    dimension = tower.encoder.out_features
    standardised = tower.standardise(vectors).cpu()
    weight, _ = centred_isometry(standardised, dimension, dimension**0.5, generator)
    tower.encoder.weight.copy_(weight)
    # An isometry's inverse is its transpose; this one also scales, by the root of this.
    gain = weight.square().sum() / min(weight.shape)
    tower.decoder.weight.copy_(weight.T / gain)
