"""LETTER (arXiv:2405.07314): an RQ-VAE of the text whose semantic IDs also know who buys what.

loss = squared error of the reconstruction + gamma * RQ-VAE loss (Eq. 5)
     + collaborative * InfoNCE(quantized z_i, projected E_c of i)
     + diversity * the mean over levels of `diversity_loss`

Their ranking-guided loss is one of the recommender, not of the semantic IDs, and is left out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.losses import info_nce, rq_vae_loss
from shared.modeling.mm_rq_vae import MMRQVAE, SETTLING
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress, Progress, ignore_progress
from shared.modeling.quantizer import STAGE, Tower, training_inputs
from shared.modeling.quantizer_config import MMRQVAEConfig
from shared.modeling.residual_quantizer import (
    Balance,
    Quantization,
    balanced_assignment,
    codebook_size_for,
    k_means,
    squared_distances,
)
from shared.modeling.seeding import seeded


@dataclass(frozen=True)
class LetterConfig:
    """collaborative, diversity: the weights of the two regularisers.

    clusters: of the codes of a level; at most half as many as codes, so that none is alone.
    """

    collaborative: float = 0.02
    diversity: float = 1e-4
    clusters: int = 10

    def __post_init__(self) -> None:
        for name in ("collaborative", "diversity"):
            if getattr(self, name) < 0:
                raise InvalidInputError.of(name, f"must not be negative: {getattr(self, name)}")
        if self.clusters < 1:
            raise InvalidInputError.of("clusters", f"must be at least 1, not {self.clusters}")


def train_letter(
    text: Tensor,
    collaborative: Tensor,
    quantizer: MMRQVAEConfig,
    config: LetterConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    device: str = "cpu",
) -> MMRQVAE:
    """An RQ-VAE of E_t [I, D_t], regularised by E_c [I, D_c] of the same items.

    quantizer: what it is like and how it is trained; its reconstruction, alignment and beta, of
    which there are none here, do not count. `on_progress` is called after every step. The global
    random state is left as it was.

    Raises InvalidInputError when there is no item, the item counts differ, or a value is not
    finite.
    """
    inputs, items = training_inputs(
        {Modality.TEXT: text, Modality.COLLABORATIVE: collaborative}, device
    )
    with seeded(quantizer.seed, device):
        size = quantizer.codebook_size or codebook_size_for(items)
        model = MMRQVAE({Modality.TEXT: text.shape[1]}, size, quantizer).to(device)
        return _fit(
            model, inputs[Modality.TEXT], inputs[Modality.COLLABORATIVE], config, on_progress
        )


def diversity_loss(codebook: Tensor, codes: Tensor, clusters: Tensor, temperature: float) -> Tensor:
    """Draws the code of each item to another one of its cluster, away from all others.

    -log exp(s(e, e_+)) / sum_{j != c} exp(s(e, e_j)), e the embedding of code c, e_+ drawn from
    those in c's cluster, s the cosine by the temperature; averaged over the items. A code alone in
    its cluster has no e_+ and does not count.

    codebook: [S, D]. codes: [n], of the items. clusters: [S], the cluster of each code.
    """
    itself = torch.eye(len(codebook), dtype=torch.bool, device=codebook.device)
    partners = (clusters.unsqueeze(1) == clusters) & ~itself
    paired = partners.any(dim=1)
    drawn = torch.multinomial(partners[paired].float(), 1).squeeze(1)
    directions = F.normalize(codebook, dim=1)
    similarity = (directions @ directions.T / temperature).masked_fill(itself, -torch.inf)
    losses = F.cross_entropy(similarity[paired], drawn, reduction="none")
    items = torch.bincount(codes, minlength=len(codebook))[paired]
    return (losses * items).sum() / items.sum().clamp(min=1)


@torch.no_grad()
def even_clusters(codebook: Tensor, clusters: int, iterations: int) -> Tensor:
    """[S]: which of about equally large k-means clusters each code [S, D] belongs to."""
    clusters = max(1, min(clusters, len(codebook) // 2))
    centres = k_means(codebook, clusters, iterations)
    return balanced_assignment(squared_distances(codebook, centres), Balance())


def _fit(
    model: MMRQVAE,
    text: Tensor,
    collaborative: Tensor,
    config: LetterConfig,
    on_progress: OnProgress,
) -> MMRQVAE:
    settings: MMRQVAEConfig = model.config
    tower = model.tower(Modality.TEXT)
    tower.fit_scale(text)
    if settings.k_means:
        tower.quantizer.initialise(_encode(tower, text), settings.k_means_iterations)
    projection = nn.Linear(collaborative.shape[1], settings.dimension).to(text.device)
    parameters = [*model.parameters(), *projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    steps_per_epoch = -(-len(text) // settings.batch_size)
    total = min(settings.epochs * steps_per_epoch, settings.max_steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for step in range(total):
        epoch, place = divmod(step, steps_per_epoch)
        if place == 0:
            batches = torch.randperm(len(text)).tensor_split(steps_per_epoch)
            due = epoch > 0 and epoch % settings.revival_epochs == 0
            if settings.revival and due and step < SETTLING * total:
                tower.quantizer.revive_dead_codes(_encode(tower, text))
            clusters = [
                even_clusters(codebook, config.clusters, settings.k_means_iterations)
                for codebook in tower.quantizer.codebooks
            ]
        rows = batches[place]
        losses = _losses(tower, text[rows], projection(collaborative[rows]), clusters, settings)
        weights = {"collaborative": config.collaborative, "diversity": config.diversity}
        loss = torch.stack([weights.get(name, 1.0) * term for name, term in losses.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        figures = {name: term.item() for name, term in losses.items()}
        on_progress(Progress(STAGE, step + 1, total, figures))
    return model.eval()


def _losses(
    tower: Tower,
    text: Tensor,
    collaborative: Tensor,
    clusters: list[Tensor],
    settings: MMRQVAEConfig,
) -> dict[str, Tensor]:
    """The terms without their weights. collaborative: projected, [n, D]."""
    balance = Balance(settings.sinkhorn_epsilon, settings.sinkhorn_iterations)
    target = tower.standardise(text)
    result: Quantization = tower.quantizer(
        tower.encoder(target), balance if settings.balanced else None
    )
    per_item = rq_vae_loss(result.residuals, result.code_embeddings, settings.alpha)
    diversities = [
        diversity_loss(codebook, result.codes[:, level], clusters[level], settings.temperature)
        for level, codebook in enumerate(tower.quantizer.codebooks)
    ]
    return {
        "reconstruction": F.mse_loss(tower.decoder(result.quantized), target),
        "quantization": settings.gamma * per_item / settings.dimension,
        "collaborative": info_nce(result.quantized, collaborative, settings.temperature),
        "diversity": torch.stack(diversities).mean(),
    }


@torch.no_grad()
def _encode(tower: Tower, vectors: Tensor, rows: int = 4096) -> Tensor:
    return torch.cat([tower.encode(block) for block in torch.split(vectors, rows)])
