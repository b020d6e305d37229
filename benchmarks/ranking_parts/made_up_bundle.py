"""A bundle with random weights in the true layout: all that ranking reads of one.

Its LoRA adapter is real, with B other than 0, so that merging it changes the model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.ranking_parts.shapes import Shape
from shared.artifacts.bundle import (
    Bundle,
    Catalogue,
    Manifest,
    write_catalogue,
    write_manifest,
    write_sids,
)
from shared.modeling.base_model import load_base
from shared.modeling.base_source import BaseKind
from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality
from shared.modeling.prompt import PromptTemplate
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_config import LoraSpec

LEVELS, CODES = 4, 256
TAIL = 0.8
"""The item of popularity rank r is met in proportion to (r + 1) ** -TAIL."""

GROWTH = 30
"""How many items a returning user's history may grow by before the prompt cuts it."""

SMALL_PROFILE = {Modality.COLLABORATIVE: 64, Modality.TEXT: 384, Modality.VISUAL: 1280}
NARROW = {Modality.COLLABORATIVE: 32, Modality.TEXT: 64, Modality.VISUAL: 128}
MANY_ITEMS = 200_000
LORA_STD = 0.02


def widths_of(items: int) -> Mapping[Modality, int]:
    """D_j: those of the small profile, or less where a catalogue would not fit into memory."""
    return SMALL_PROFILE if items <= MANY_ITEMS else NARROW


def popularity(items: int) -> NDArray[np.float64]:
    """[items], sums to 1: long-tailed, and in no order of the rows."""
    weight = np.arange(1, items + 1, dtype=np.float64) ** -TAIL
    np.random.default_rng(0).shuffle(weight)
    share: NDArray[np.float64] = weight / weight.sum()
    return share


@dataclass(frozen=True)
class MadeUp:
    """llm_bytes: the LLM's weights, merged. table_bytes: E*, or the input embeddings."""

    bundle: Bundle
    llm_bytes: int
    table_bytes: int


@torch.no_grad()
def write_made_up_bundle(folder: Path, shape: Shape, items: int, *, seed: int = 0) -> MadeUp:
    """Write a bundle of `items` items into a new folder. The shape's checkpoint must exist."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    embeddings = {
        j: torch.randn(items, d, generator=generator) for j, d in widths_of(items).items()
    }
    ranker = made_up_ranker(shape, embeddings, seed=seed)
    ranker.save(folder / "ranker")
    encoder = ranker.item_encoder
    item_ids = [f"item-{row}" for row in range(items)]
    write_catalogue(
        folder,
        Catalogue(
            item_ids=item_ids,
            item_versions=np.ones(items, dtype=np.int64),
            frequency=ranker.fusion_head.frequency.numpy(),
            input_table=ranker.input_table().numpy(),
            fused=ranker.fused_matrix().numpy(),
            embeddings={j: encoder.embeddings(j).numpy() for j in encoder.modalities},
            imputed={j: np.zeros(items, dtype=np.bool_) for j in encoder.modalities},
        ),
    )
    write_sids(folder, item_ids, {j: encoder.codes(j).numpy() for j in encoder.modalities})
    write_manifest(folder, _manifest(folder.name))
    return MadeUp(
        bundle=Bundle(folder),
        llm_bytes=_llm_bytes(ranker),
        table_bytes=4 * items * encoder.dimension,
    )


def _llm_bytes(ranker: Ranker) -> int:
    """Without the adapter, tied weights once."""
    return sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in ranker.language_model.named_parameters()
        if ".lora_" not in name
    )


def made_up_ranker(shape: Shape, embeddings: Mapping[Modality, Tensor], *, seed: int = 0) -> Ranker:
    """Random weights over E_j [I, D_j] and random codes; its adapter changes the model."""
    base = load_base(shape.base)
    vocabulary, dimension = base.model.get_input_embeddings().weight.shape
    items = len(next(iter(embeddings.values())))
    generator = torch.Generator().manual_seed(seed)
    encoder = ItemEncoder(
        embeddings,
        {j: torch.randint(CODES, (items, LEVELS), generator=generator) for j in embeddings},
        {j: torch.randn(LEVELS, CODES, dimension, generator=generator) for j in embeddings},
    )
    frequency = torch.from_numpy(np.ceil(popularity(items) * 20 * items).astype(np.int64))
    ranker = Ranker(
        base,
        encoder,
        FusionHead(frequency, encoder.modalities, dimension),
        PromptTemplate.from_tokenizer(
            base.tokenizer, vocabulary_size=vocabulary, max_history=shape.history + GROWTH
        ),
        shape.base,
        lora=LoraSpec(),
        train_base=shape.base.kind == BaseKind.TINY,
    )
    for parameter in _lora_b(ranker):
        nn.init.normal_(parameter, std=LORA_STD)
    return ranker.eval()


def _lora_b(ranker: Ranker) -> Iterator[nn.Parameter]:
    for name, parameter in ranker.language_model.named_parameters():
        if ".lora_B." in name:
            yield parameter


def _manifest(version: str) -> Manifest:
    return Manifest(
        catalog_id="benchmark",
        version=version,
        created_at=datetime.now(UTC),
        parent=None,
        dataset={},
        encoders={},
        config={},
        metrics={},
        libraries={},
        files={},
    )
