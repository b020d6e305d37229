"""What the ranker's training makes smaller: the loss over every target of a batch of windows."""

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.losses import (
    full_softmax_loss,
    info_nce,
    sampled_bce_loss,
    sampled_softmax_loss,
)
from shared.modeling.modality import CONTENT_MODALITIES, Modality
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_config import RankerConfig, RankerLoss
from shared.modeling.window_batches import WindowBatch


def batch_loss(ranker: Ranker, batch: WindowBatch, config: RankerConfig) -> Tensor:
    """The mean loss over every target of a batch of windows."""
    device = ranker.device
    valid = batch.valid.to(device)
    rows, places = torch.unique(batch.context, return_inverse=True)
    embedded = ranker.item_encoder(rows.to(device))
    items = F.dropout(embedded[places.to(device)], config.item_dropout, ranker.training)
    states = ranker.prefix_states(items)[valid]
    states = F.dropout(states, config.state_dropout, ranker.training)
    targets = batch.targets.to(device)[valid]
    encoder, head = ranker.item_encoder, ranker.fusion_head
    if config.loss == RankerLoss.FULL:
        return _full_loss(head, states, encoder, targets)
    met = head.met_rows()
    number = len(met)
    sampled = met[torch.randint(number, (config.negatives,), device=device)]
    candidates, fused_place = torch.unique(torch.cat([sampled, targets]), return_inverse=True)
    fused = head.fused_rows(candidates, encoder)
    negative = states @ fused[fused_place[: config.negatives]].T
    positive = (states * fused[fused_place[config.negatives :]]).sum(dim=1)
    hits = sampled == targets.unsqueeze(1)
    if config.loss == RankerLoss.BCE:
        return sampled_bce_loss(positive, negative, hits=hits)
    log_expected = torch.full((1,), config.negatives / number, device=device).log()
    return sampled_softmax_loss(
        positive, negative, log_expected_count=log_expected.expand(config.negatives), hits=hits
    )


def _full_loss(head: FusionHead, states: Tensor, encoder: ItemEncoder, targets: Tensor) -> Tensor:
    met = head.met_rows()
    if len(met) < encoder.number_of_items:
        fused = head.fused_rows(met, encoder)
        return full_softmax_loss(states, fused, torch.searchsorted(met, targets))
    if head.projects_states(len(states), encoder):
        return F.cross_entropy(head.scores_without_projection(states, encoder), targets)
    return full_softmax_loss(states, head.fused_matrix(encoder), targets)


def alignment_loss(encoder: ItemEncoder, batch: WindowBatch, temperature: float) -> Tensor:
    """InfoNCE (Eq. 14, 15) of projected E_c with projected text and images, of a batch's items.

    Raises InvalidInputError when there is no collaborative modality to align them with.
    """
    if Modality.COLLABORATIVE not in encoder.modalities:
        raise InvalidInputError.of("ranker.alignment", "needs the collaborative modality")
    rows = torch.unique(batch.context[batch.valid])
    projected = {
        j: encoder.project(j, encoder.embeddings(j)[rows.to(encoder.embeddings(j).device)])
        for j in encoder.modalities
    }
    collaborative = projected[Modality.COLLABORATIVE]
    losses = [
        info_nce(collaborative, projected[j], temperature)
        for j in CONTENT_MODALITIES
        if j in projected
    ]
    return torch.stack(losses).sum() if losses else collaborative.new_zeros(())
