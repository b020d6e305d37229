"""What the paper reads off a trained ranker: collapse (Sec. 5.3) and forgetting (Sec. 3.2, 5.5);
and how its semantic IDs use their codebooks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.kendall import behavioural_target_distances, kendall_tau
from shared.modeling.modality import Modality
from shared.modeling.residual_quantizer import code_statistics
from shared.modeling.sequences import ItemRows
from shared.modeling.spectrum import Spectrum, sampled_rows, spectrum_of

INPUT, TARGET, FUSED = "input", "target", "fused"
"""The spectra of the input embeddings (Eq. 16), of E_x and of E* (Eq. 18)."""


@dataclass(frozen=True)
class KeptDistances:
    """How much of the order of E_j's distances the sums of code embeddings keep.

    quantized, fine_tuned: Kendall's tau (Eq. 9) before and after fine-tuning; None where E_j has no
    order to keep. distances: between how many pairs of a behavioural and a target item.
    """

    quantized: float | None
    fine_tuned: float | None
    distances: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "quantized": self.quantized,
            "fine-tuned": self.fine_tuned,
            "distances": self.distances,
        }


@dataclass(frozen=True)
class Analysis:
    """A part is empty where a model has nothing of the kind.

    spectra: of E_j under the name of its modality, of "input", "target" and "fused", and of the
    fine-tuned sums of code embeddings under "codes_<modality>". codes: of each modality the figures
    of `code_statistics`, and `size`, S.
    """

    spectra: Mapping[str, Spectrum] = field(default_factory=dict)
    codes: Mapping[Modality, Mapping[str, Any]] = field(default_factory=dict)
    tau: Mapping[Modality, KeptDistances] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "spectra": {name: spectrum.as_dict() for name, spectrum in self.spectra.items()},
            "codes": {modality.value: dict(figures) for modality, figures in self.codes.items()},
            "tau": {modality.value: kept.as_dict() for modality, kept in self.tau.items()},
        }


@torch.inference_mode()
def analyse(
    encoder: ItemEncoder,
    head: FusionHead,
    code_embeddings: Mapping[Modality, Tensor],
    histories: Sequence[ItemRows],
    targets: NDArray[np.int64],
) -> Analysis:
    """Of a trained item encoder and fusion head, which know E_j and the codes.

    code_embeddings: [L, S, D] a modality, those that fine-tuning started from. histories, targets:
    the pairs whose distances are compared, as `behavioural_target_distances` takes them.
    """
    device = head.target_table.device
    code_embeddings = {j: table.to(device) for j, table in code_embeddings.items()}
    rows = sampled_rows(encoder.number_of_items).to(device)
    spectra = {j.value: spectrum_of(encoder.embeddings(j)) for j in encoder.modalities}
    spectra[INPUT] = spectrum_of(encoder(rows))
    spectra[TARGET] = spectrum_of(head.target_table)
    if head.modalities:
        spectra[FUSED] = spectrum_of(head.fused_rows(rows, encoder))
    if not encoder.form.coded:
        return Analysis(spectra)
    tau = {}
    for j in encoder.modalities:
        quantized = sums_of_codes(code_embeddings[j], encoder.codes(j))
        fine_tuned = sums_of_codes(encoder.code_embeddings[j], encoder.codes(j))
        spectra[f"codes_{j.value}"] = spectrum_of(fine_tuned)
        tau[j] = kept_distances(encoder.embeddings(j), quantized, fine_tuned, histories, targets)
    codes = {j: encoder.codes(j) for j in encoder.modalities}
    return Analysis(spectra, code_use(codes, code_embeddings), tau)


def kept_distances(
    original: Tensor,
    quantized: Tensor,
    fine_tuned: Tensor,
    histories: Sequence[ItemRows],
    targets: NDArray[np.int64],
) -> KeptDistances:
    """original: E_j [I, D_j]. quantized, fine_tuned: [I, D], before and after fine-tuning."""
    distances = behavioural_target_distances(original, histories, targets)
    if len(distances) < 2 or np.ptp(distances) == 0:
        return KeptDistances(None, None, len(distances))

    def tau(table: Tensor) -> float:
        return kendall_tau(distances, behavioural_target_distances(table, histories, targets))

    return KeptDistances(tau(quantized), tau(fine_tuned), len(distances))


def code_use(
    codes: Mapping[Modality, Tensor], code_embeddings: Mapping[Modality, Tensor]
) -> dict[Modality, dict[str, Any]]:
    """How the codes [I, L] use codebooks [L, S, D]: `code_statistics`, and `size`, S."""
    sizes = {j: table.shape[1] for j, table in code_embeddings.items()}
    return {j: {"size": sizes[j], **code_statistics(codes[j], sizes[j])} for j in codes}


def sums_of_codes(code_embeddings: Tensor, codes: Tensor) -> Tensor:
    """[L, S, D] and codes [I, L] -> [I, D], level by level: no [I, L, D] is laid out."""
    sums = code_embeddings[0][codes[:, 0]]
    for level in range(1, len(code_embeddings)):
        sums += code_embeddings[level][codes[:, level]]
    return sums
