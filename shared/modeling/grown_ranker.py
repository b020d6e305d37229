"""A trained ranker over a catalogue that has changed since, as serving does it.

Items that were there keep what was learned of them: E_c, E_x, q and their row of SASRec. Later ones
get these from the items most like them, and q = 0. All are read as what they are now.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from shared.modeling.evaluation import Scorer
from shared.modeling.inheritance import Inheritance
from shared.modeling.item_encoder import ENCODING_CHUNK
from shared.modeling.modality import Modality
from shared.modeling.quantizer import Quantizer
from shared.modeling.ranker import Ranker
from shared.modeling.sequences import ItemRows


@torch.inference_mode()
def grown_scorer(
    ranker: Ranker,
    quantizer: Quantizer,
    inheritance: Inheritance,
    content: Mapping[Modality, Tensor],
    device: str = "cpu",
) -> Scorer:
    """Scores [B, I] over today's items of a ranker loaded for serving, which moves to `device`.

    quantizer: the one it was trained with. content: E_t, E_v [I, D_j] by the encoders it was
    trained with; a modality that is not there is estimated for later items.

    Raises InvalidInputError where none of its items is left.
    """
    encoder, head, part = ranker.item_encoder, ranker.fusion_head, ranker.sequence_part
    embeddings = {
        j: content[j] if j in content else inheritance.table(encoder.embeddings(j))
        for j in encoder.modalities
    }
    codes = quantizer.codes(embeddings)
    target = inheritance.table(head.target_table)
    frequency = torch.where(
        inheritance.kept,
        head.normalized_frequency[inheritance.rows.clamp(min=0)],
        head.normalize(torch.zeros(())),
    )
    inputs, fused = [], []
    for rows in torch.split(torch.arange(len(target)), ENCODING_CHUNK):
        own = {j: table[rows] for j, table in embeddings.items()}
        inputs.append(encoder.encode(own, {j: table[rows] for j, table in codes.items()}))
        fused.append(head.fuse(target[rows], own, frequency[rows], encoder))
    input_table, matrix = torch.cat(inputs).to(device), torch.cat(fused)
    items = None
    if part is not None:
        items = inheritance.table(part.items)
        matrix = torch.cat([matrix, part.scoring_rows(items)], dim=1)
        items = items.to(device)
    matrix = matrix.to(device)
    decoder = ranker.to(device).serving_decoder()

    @torch.inference_mode()
    def score(histories: list[ItemRows]) -> Tensor:
        states = decoder.states(histories, input_table)
        if part is not None:
            own = part.states(histories, items).to(states)
            states = torch.cat([states, own], dim=1)
        return states @ matrix.T

    return score
