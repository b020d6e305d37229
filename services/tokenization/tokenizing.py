"""Vectors to semantic IDs; vectors that are missing come from the nearest content neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from services.tokenization.bundle_index import LEARNED
from services.tokenization.content import ContentQuery
from services.tokenization.served_bundle import ServedBundle
from shared.contracts.common import Neighbour
from shared.contracts.tokenization import TokenizedItem, TokenizeItem
from shared.errors import InvalidInputError, UnavailableError
from shared.modeling.imputation import NEIGHBOURS, blend, neighbour_weights
from shared.modeling.modality import CONTENT_MODALITIES, Modality
from shared.vectors.store import Hit


@dataclass
class _Item:
    """An item of the request on its way: what it brought, and what was estimated."""

    item_id: str
    own: dict[Modality, NDArray[np.float32]]
    missing: list[Modality]
    imputed: dict[Modality, NDArray[np.float32]] = field(default_factory=dict)
    neighbours: list[Neighbour] = field(default_factory=list)

    @property
    def content(self) -> dict[Modality, NDArray[np.float32]]:
        return {j: self.own[j] for j in CONTENT_MODALITIES if j in self.own}


async def tokenize(bundle: ServedBundle, items: Sequence[TokenizeItem]) -> list[TokenizedItem]:
    """Semantic IDs of every item, in order.

    An item of the bundle keeps the E_c that was learned for it. All other vectors that an item
    does not bring are imputed from neighbours the bundle has learned those modalities of.

    Raises:
        InvalidInputError: a vector does not fit, or an item brings no content to impute from.
        UnavailableError: no item of the index can serve as a neighbour.
    """
    pending = [_checked(bundle, place, item) for place, item in enumerate(items)]
    await _impute(bundle, [item for item in pending if item.missing])
    codes = await bundle.codes([{**item.own, **item.imputed} for item in pending])
    return [
        TokenizedItem(
            item_id=item.item_id,
            codes=own_codes,
            imputed={modality: vector.tolist() for modality, vector in item.imputed.items()},
            neighbours=item.neighbours,
        )
        for item, own_codes in zip(pending, codes, strict=True)
    ]


def _checked(bundle: ServedBundle, place: int, item: TokenizeItem) -> _Item:
    own = bundle.own_vectors(f"items.{place}", item.item_id, item.vectors)
    missing = [modality for modality in bundle.dimensions if modality not in own]
    pending = _Item(item.item_id, own, missing)
    if missing and not pending.content:
        content = " or ".join(j.value for j in CONTENT_MODALITIES if j in bundle.dimensions)
        raise InvalidInputError.of(
            f"items.{place}.vectors",
            f"need a {content} vector: {missing[0].value} is imputed from similar items",
        )
    return pending


async def _impute(bundle: ServedBundle, items: Sequence[_Item]) -> None:
    hits = await bundle.index.nearest(
        [
            ContentQuery(
                item.content,
                NEIGHBOURS,
                exclude=[item.item_id],
                where=[(LEARNED, modality.value) for modality in item.missing],
            )
            for item in items
        ]
    )
    wanted = sorted({hit.item_id for neighbours in hits for hit in neighbours})
    vectors = await bundle.index.vectors_of(wanted, list(bundle.dimensions)) if wanted else {}
    for item, neighbours in zip(items, hits, strict=True):
        known = [hit for hit in neighbours if hit.item_id in vectors]
        _impute_from(known, item, vectors, bundle.means)


def _impute_from(
    neighbours: Sequence[Hit],
    item: _Item,
    vectors: Mapping[str, Mapping[str, NDArray[np.float32]]],
    means: Mapping[Modality, NDArray[np.float32]],
) -> None:
    if not neighbours:
        names = " and ".join(modality.value for modality in item.missing)
        raise UnavailableError(
            f"Item {item.item_id}: no indexed item has the {names} vectors to impute from"
        )
    similarities = torch.tensor([hit.similarity for hit in neighbours], dtype=torch.float64)
    weights = neighbour_weights(similarities)
    for modality in item.missing:
        rows = np.stack([vectors[hit.item_id][modality.value] for hit in neighbours])
        around = torch.from_numpy(means[modality]).double()
        estimate = blend(torch.from_numpy(rows).double(), weights, around)
        # At the precision vectors are stored with: an item's semantic IDs do not depend on whether
        # the vector was read back.
        item.imputed[modality] = estimate.numpy().astype(np.float16).astype(np.float32)
    item.neighbours = [
        Neighbour(item_id=hit.item_id, weight=weight)
        for hit, weight in zip(neighbours, weights.tolist(), strict=True)
    ]
