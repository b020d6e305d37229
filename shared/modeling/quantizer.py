"""What gives an item its semantic IDs: one tower a modality, whatever way it was trained.

s_j [n, D_j] -> centre, scale -> encoder -> z_j [n, D] -> residual quantizer -> codes [n, L]
                                                          quantized z_j [n, D] -> decoder -> s_j
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.errors import InvalidInputError
from shared.modeling.modality import Modality
from shared.modeling.residual_quantizer import ResidualQuantizer

STAGE = "quantize"

# Inference runs in blocks of exactly this many rows (the last one padded): products of one shape
# round alike, so an item's codes do not depend on the items it is tokenized with.
BLOCK_ROWS = 32


class Tower(nn.Module):
    """One modality. `mean` [D_j] and `scale` [] standardise its raw embeddings.

    One scale for all dimensions keeps the order of distances, which is what is to be preserved.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        input_dimension: int,
        encoder: nn.Module,
        quantizer: ResidualQuantizer,
        decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(input_dimension))
        self.register_buffer("scale", torch.ones(()))
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder

    def fit_scale(self, vectors: Tensor) -> None:
        self.mean.copy_(vectors.mean(dim=0))
        deviation = (vectors - self.mean).square().mean().sqrt()
        self.scale.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def standardise(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) / self.scale

    def encode(self, vectors: Tensor) -> Tensor:
        """Raw embeddings [n, D_j] -> z [n, D]."""
        z: Tensor = self.encoder(self.standardise(vectors))
        return z

    def decode(self, z: Tensor) -> Tensor:
        """z [n, D] -> raw embeddings [n, D_j]."""
        standardised: Tensor = self.decoder(z)
        return standardised * self.scale + self.mean


class Quantizer(nn.Module):
    """`input_dimensions` says which modalities there are, and their D_j.

    Its kinds differ in the encoders and decoders of their towers, and in how they are trained.
    """

    config_type: ClassVar[type[Any]]

    def __init__(
        self, input_dimensions: Mapping[Modality, int], codebook_size: int, config: Any
    ) -> None:
        super().__init__()
        if not input_dimensions:
            raise InvalidInputError.of("embeddings", "name no modality")
        self.config = config
        self.codebook_size = codebook_size
        self.modalities = tuple(j for j in Modality if j in input_dimensions)
        self.input_dimensions = {j: input_dimensions[j] for j in self.modalities}
        self.towers = nn.ModuleDict(
            {j.value: self._new_tower(size) for j, size in self.input_dimensions.items()}
        )

    def _new_tower(self, input_dimension: int) -> Tower:
        raise NotImplementedError

    @property
    def levels(self) -> int:
        levels: int = self.config.levels
        return levels

    def tower(self, modality: Modality) -> Tower:
        """Raises InvalidInputError when the model was trained without this modality."""
        if modality not in self.modalities:
            raise InvalidInputError.of(
                "modality", f"{modality.value} is not one of {[j.value for j in self.modalities]}"
            )
        tower = self.towers[modality.value]
        assert isinstance(tower, Tower)
        return tower

    @torch.inference_mode()
    def codes(self, embeddings: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        """Semantic IDs, int64 [n, L] a modality, of raw embeddings [n, D_j]; any subset will do.

        The codes of an item do not depend on the other items of the call, nor on the other
        modalities. Raises InvalidInputError for an unknown modality or embeddings that do not fit.
        """
        return {j: self._codes(j, vectors) for j, vectors in embeddings.items()}

    @torch.inference_mode()
    def quantized(self, codes: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        """Quantized embeddings [n, D] a modality: the sums of the code embeddings of [n, L]."""
        return {j: self.tower(j).quantizer.decode(rows) for j, rows in codes.items()}

    @torch.inference_mode()
    def reconstructed(self, codes: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        """What the codes [n, L] tell of the raw embeddings: [n, D_j] a modality."""
        return {j: self.tower(j).decode(z) for j, z in self.quantized(codes).items()}

    def code_embeddings(self, modality: Modality) -> Tensor:
        """[L, S, D] trained code embeddings, a copy without gradient (for Sec. 4.3)."""
        return self.tower(modality).quantizer.codebooks.detach().clone()

    def save(self, folder: Path) -> None:
        """Write weights and config into `folder`, which is made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, str(_weights_file(folder, self.config.kind)))
        document = {
            "input_dimensions": {j.value: size for j, size in self.input_dimensions.items()},
            "codebook_size": self.codebook_size,
            "config": asdict(self.config),
        }
        config_file(folder, self.config.kind).write_text(json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` of this kind wrote, ready to tokenize on the CPU."""
        kind = cls.config_type.kind
        document = json.loads(config_file(folder, kind).read_text())
        dimensions = {Modality(name): size for name, size in document["input_dimensions"].items()}
        config = cls.config_type(**document["config"])
        model = cls(dimensions, document["codebook_size"], config)
        model.load_state_dict(load_file(str(_weights_file(folder, kind))))
        return model.eval()

    def _codes(self, modality: Modality, vectors: Tensor) -> Tensor:
        tower = self.tower(modality)
        field = f"embeddings.{modality.value}"
        vectors = _checked(field, vectors, self.input_dimensions[modality]).to(tower.mean)
        blocks = []
        for block in torch.split(vectors, BLOCK_ROWS):
            padded = F.pad(block, (0, 0, 0, BLOCK_ROWS - len(block)))
            blocks.append(tower.quantizer(tower.encode(padded)).codes[: len(block)])
        if not blocks or not len(vectors):
            return torch.empty(0, self.levels, dtype=torch.int64, device=vectors.device)
        return torch.cat(blocks)


def training_inputs(
    embeddings: Mapping[Modality, Tensor], device: str
) -> tuple[dict[Modality, Tensor], int]:
    """The embeddings [I, D_j] as float32 on the device, and how many items they are of.

    Raises InvalidInputError when there is no modality or item, the item counts differ, or a
    value is not finite.
    """
    inputs = {
        j: _checked(f"embeddings.{j.value}", vectors, vectors.shape[-1]).to(device, torch.float32)
        for j, vectors in embeddings.items()
    }
    counts = {j.value: len(vectors) for j, vectors in inputs.items()}
    if not counts:
        raise InvalidInputError.of("embeddings", "name no modality")
    if len(set(counts.values())) > 1 or not all(counts.values()):
        raise InvalidInputError.of("embeddings", f"must cover the same items: {counts}")
    return inputs, next(iter(counts.values()))


def config_file(folder: Path, kind: str) -> Path:
    """The file whose presence says that a saved quantizer is of this kind."""
    return folder / f"{kind}.json"


def _weights_file(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.safetensors"


def _checked(field: str, vectors: Tensor, dimension: int) -> Tensor:
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidInputError.of(field, f"must be [n, {dimension}], not {tuple(vectors.shape)}")
    if not bool(torch.isfinite(vectors).all()):
        raise InvalidInputError.of(field, "must be finite")
    return vectors
