"""Made-up items in clusters, and what a full look at them finds."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from services.ranking.engines.engine import ItemRows, Selection
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality

ITEMS, DIMENSION, CLUSTERS = 3000, 16, 60
WIDTHS = {Modality.COLLABORATIVE: 5, Modality.TEXT: 7}
NOTHING = np.zeros(0, dtype=np.int64)


@dataclass
class Shop:
    """A catalogue as an engine is given it, and as this test remembers it."""

    encoder: ItemEncoder
    items: ItemRows
    states: torch.Tensor


def made_up_rows(encoder, count, seed):
    """Rows of items whose parts sum to their row of E*."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIMENSION))
    wanted = centres[random.integers(CLUSTERS, size=count)]
    wanted = wanted + 0.5 * random.normal(size=wanted.shape)
    wanted *= random.lognormal(0, 0.2, size=(count, 1))
    embeddings = {
        j: torch.from_numpy(random.normal(size=(count, width)).astype(np.float32))
        for j, width in WIDTHS.items()
    }
    weights = torch.from_numpy(random.dirichlet(np.ones(3), size=count).astype(np.float32))
    weights = 0.9 * weights + 1 / 30
    projected = [encoder.project(j, embeddings[j]).detach() for j in encoder.modalities]
    rest = torch.from_numpy(wanted.astype(np.float32))
    for place, part in enumerate(projected, start=1):
        rest = rest - weights[:, place : place + 1] * part
    return ItemRows(
        inputs=torch.from_numpy(random.normal(size=(count, DIMENSION)).astype(np.float32)),
        fused=torch.from_numpy(wanted.astype(np.float32)),
        sequence=torch.zeros(count, 0),
        weights=weights,
        target=rest / weights[:, :1],
        embeddings=embeddings,
    )


@pytest.fixture
def shop():
    generator = torch.Generator().manual_seed(1)
    encoder = ItemEncoder(
        {j: torch.zeros(1, width) for j, width in WIDTHS.items()},
        {j: torch.zeros(1, 2, dtype=torch.int64) for j in WIDTHS},
        {j: torch.zeros(2, 3, DIMENSION) for j in WIDTHS},
    ).requires_grad_(False)
    for j, width in WIDTHS.items():
        encoder.projection(j).weight.copy_(torch.randn(DIMENSION, width, generator=generator) / 4)
    items = made_up_rows(encoder, ITEMS, seed=2)
    noise = torch.randn(8, DIMENSION, generator=generator)
    return Shop(encoder, items, items.fused[::375].clone() + 0.3 * noise)


def full_look(fused, state, selection, hidden=()):
    """Rows of the best items, best first, straight from the definition."""
    scores = fused.double().numpy() @ state.double().numpy()
    wanted = np.ones(len(scores), dtype=bool)
    if selection.allowed is not None:
        wanted[:] = False
        wanted[: len(selection.allowed)] = selection.allowed[: len(scores)]
    wanted[list(hidden)] = False
    wanted[selection.excluded] = False
    rows = np.flatnonzero(wanted)
    return rows[np.argsort(-scores[rows], kind="stable")][: selection.k].tolist()


def selections(count, items=ITEMS, seed=0):
    """Of all kinds: no filter, filters that leave much, little and nothing; some seen items."""
    random = np.random.default_rng(seed)
    made = []
    for place in range(count):
        share = (None, 0.5, 0.02, 0.0)[place % 4]
        made.append(
            Selection(
                k=int(random.integers(1, 40)),
                allowed=None if share is None else random.random(items) < share,
                excluded=random.integers(items, size=place * 5),
            )
        )
    return made
