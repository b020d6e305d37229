"""MM-RQ-VAE: one RQ-VAE a modality, aligned with each other, gives an item its semantic IDs.

loss = reconstruction (Eq. 12) + beta * alignment (Eq. 13-15) + gamma * RQ-VAE loss (Eq. 5, 11)
"""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.modeling.losses import info_nce, mmd2, rq_vae_loss
from shared.modeling.modality import CONTENT_MODALITIES, Modality
from shared.modeling.progress import OnProgress, Progress, ignore_progress
from shared.modeling.quantizer import STAGE, Quantizer, Tower, training_inputs
from shared.modeling.quantizer_config import MMRQVAEConfig
from shared.modeling.residual_quantizer import (
    Balance,
    Quantization,
    ResidualQuantizer,
    codebook_size_for,
)
from shared.modeling.seeding import seeded

# Dead codes are revived in this first part of the steps; then all codes settle.
SETTLING = 0.75


class MMRQVAE(Quantizer):
    """Its encoders and decoders are MLPs."""

    config_type = MMRQVAEConfig
    config: MMRQVAEConfig

    def _new_tower(self, input_dimension: int) -> Tower:
        config = self.config
        return Tower(
            input_dimension,
            _MLP(input_dimension, config.hidden, config.dimension),
            ResidualQuantizer(config.levels, self.codebook_size, config.dimension, config.gradient),
            _MLP(config.dimension, config.hidden, input_dimension),
        )


def train_mm_rq_vae(
    embeddings: Mapping[Modality, Tensor],
    config: MMRQVAEConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    device: str = "cpu",
) -> MMRQVAE:
    """Train on the embeddings [I, D_j] of all items, for any set of modalities.

    c-t and c-v are aligned where both sides exist. `on_progress` is called after every step.
    The global random state is left as it was.

    Raises InvalidInputError when there is no modality or item, the item counts differ, or a
    value is not finite.
    """
    inputs, items = training_inputs(embeddings, device)
    with seeded(config.seed, device):
        size = config.codebook_size or codebook_size_for(items)
        dimensions = {j: vectors.shape[1] for j, vectors in inputs.items()}
        model = MMRQVAE(dimensions, size, config).to(device)
        return _fit(model, inputs, on_progress)


def _fit(model: MMRQVAE, inputs: Mapping[Modality, Tensor], on_progress: OnProgress) -> MMRQVAE:
    config = model.config
    items = len(next(iter(inputs.values())))
    for j, vectors in inputs.items():
        tower = model.tower(j)
        tower.fit_scale(vectors)
        if config.k_means:
            tower.quantizer.initialise(_encode_all(tower, vectors), config.k_means_iterations)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    steps_per_epoch = -(-items // config.batch_size)
    total = min(config.epochs * steps_per_epoch, config.max_steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for step, rows in enumerate(_batches(items, steps_per_epoch, total), start=1):
        epoch, first_step = divmod(step - 1, steps_per_epoch)
        due = first_step == 0 and epoch > 0 and epoch % config.revival_epochs == 0
        if config.revival and due and step < SETTLING * total:
            for j, vectors in inputs.items():
                tower = model.tower(j)
                tower.quantizer.revive_dead_codes(_encode_all(tower, vectors))
        losses = _losses(model, {j: vectors[rows] for j, vectors in inputs.items()})
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        on_progress(Progress(STAGE, step, total, _as_floats(losses)))
    return model.eval()


def _batches(items: int, steps_per_epoch: int, total: int) -> Iterator[Tensor]:
    """`total` batches of rows on the CPU; every epoch shuffles all items anew."""
    left = total
    while left > 0:
        for rows in torch.randperm(items).tensor_split(steps_per_epoch)[:left]:
            left -= 1
            yield rows


def _losses(model: MMRQVAE, batch: Mapping[Modality, Tensor]) -> dict[str, Tensor]:
    """The weighted terms of Eq. 11. Squared norms are taken per dimension, so that alpha, beta
    and gamma mean the same at every D."""
    config = model.config
    balance = (
        Balance(config.sinkhorn_epsilon, config.sinkhorn_iterations) if config.balanced else None
    )
    reconstruction, quantization = [], []
    quantized: dict[Modality, Tensor] = {}
    for j, vectors in batch.items():
        tower = model.tower(j)
        target = tower.standardise(vectors)
        result: Quantization = tower.quantizer(tower.encoder(target), balance)
        quantized[j] = result.quantized
        reconstruction.append(_reconstruction(tower.decoder(result.quantized), target, config))
        per_item = rq_vae_loss(result.residuals, result.code_embeddings, config.alpha)
        quantization.append(per_item / config.dimension)
    losses = {
        "reconstruction": torch.stack(reconstruction).sum(),
        "quantization": config.gamma * torch.stack(quantization).sum(),
    }
    aligned = _alignments(quantized, config)
    if aligned:
        losses["alignment"] = config.beta * torch.stack(aligned).sum()
    return losses


def _reconstruction(decoded: Tensor, target: Tensor, config: MMRQVAEConfig) -> Tensor:
    if config.reconstruction == "mmd":
        return mmd2(target, decoded)
    if config.reconstruction == "mse":
        return F.mse_loss(decoded, target)
    return mmd2(target, decoded) + F.mse_loss(decoded, target)


def _alignments(quantized: Mapping[Modality, Tensor], config: MMRQVAEConfig) -> list[Tensor]:
    if Modality.COLLABORATIVE not in quantized:
        return []
    collaborative = quantized[Modality.COLLABORATIVE]
    others = [quantized[j] for j in CONTENT_MODALITIES if j in quantized]
    if config.alignment == "mmd":
        return [mmd2(collaborative, other) for other in others]
    return [info_nce(collaborative, other, config.temperature) for other in others]


@torch.no_grad()
def _encode_all(tower: Tower, vectors: Tensor, rows: int = 4096) -> Tensor:
    return torch.cat([tower.encode(block) for block in torch.split(vectors, rows)])


def _as_floats(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in losses.items()}


class _MLP(nn.Module):
    """x -> W x + b + MLP(x), with unit variance in giving about unit variance out.

    W starts as a random projection, which keeps distances: an MLP alone loses half of their order
    (Kendall's tau) before the codebooks see them.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
        nn.init.normal_(self.linear.weight, std=inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) + self.mlp(x)
        return y
