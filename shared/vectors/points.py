"""How an item is written as a point, for both engines.

The engine keeps vectors of unit length, as cosine similarity wants them. The length goes to the
payload, so that the vector comes back as it was given.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from shared.vectors.store import VectorPoint

ITEM_ID = "item_id"
LENGTHS = "vector_lengths"
NAMESPACE = UUID("6d6d6573-6964-5000-8000-000000000000")
BATCH = 512


def point_id(item_id: str) -> str:
    """The same item has the same id in every collection."""
    return str(uuid5(NAMESPACE, item_id))


def payload_of(point: VectorPoint) -> dict[str, Any]:
    lengths = {name: float(np.linalg.norm(vector)) for name, vector in point.vectors.items()}
    return {**point.payload, ITEM_ID: point.item_id, LENGTHS: lengths}


def point_of(payload: Mapping[str, Any], vectors: Mapping[str, Any]) -> VectorPoint:
    """The item as it was given, from what the engine kept."""
    lengths = payload[LENGTHS]
    return VectorPoint(
        item_id=payload[ITEM_ID],
        vectors={name: _scaled(vector, lengths[name]) for name, vector in vectors.items()},
        payload={key: value for key, value in payload.items() if key not in (ITEM_ID, LENGTHS)},
    )


def _scaled(unit: Any, length: float) -> NDArray[np.float32]:
    return np.asarray(unit, dtype=np.float32) * np.float32(length)
