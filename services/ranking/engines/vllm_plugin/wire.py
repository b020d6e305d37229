"""What crosses the boundary of vLLM's process, as it crosses it.

A request brings bytes beside its token ids and takes a small tensor back; changed items bring
their rows. Nothing else: the tables stay inside.
"""

from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from services.ranking.engines.engine import ItemRows, Query, Selection, TopK
from shared.modeling.modality import Modality

EMBEDDINGS = "embeddings."


def pack_query(query: Query) -> dict[str, Any]:
    """For `PoolingParams.extra_kwargs`: a filter is a bitmap of one bit a row."""
    selection = query.selection
    packed: dict[str, Any] = {
        "history": query.history.tobytes(),
        "k": selection.k,
        "excluded": selection.excluded.tobytes(),
        "explain": selection.explain,
    }
    if selection.allowed is not None:
        packed["allowed"] = np.packbits(selection.allowed).tobytes()
        packed["rows"] = len(selection.allowed)
    return packed


def unpack_query(packed: dict[str, Any]) -> Query:
    allowed = None
    if "allowed" in packed:
        bits = np.frombuffer(packed["allowed"], dtype=np.uint8)
        allowed = np.unpackbits(bits, count=packed["rows"]).astype(np.bool_)
    excluded = np.frombuffer(packed["excluded"], dtype=np.int64).copy()
    history = np.frombuffer(packed["history"], dtype=np.int64)
    return Query(history, Selection(packed["k"], allowed, excluded, packed["explain"]))


def pack_best(best: TopK) -> Tensor:
    """[2 + parts, n] float64: rows, scores, then the parts; a row number is exact below 2^53."""
    return torch.from_numpy(np.vstack([best.rows.astype(np.float64), best.scores, best.parts.T]))


def unpack_best(packed: Tensor) -> TopK:
    table = packed.numpy()
    return TopK(rows=table[0].astype(np.int64), scores=table[1], parts=table[2:].T)


def pack_items(rows: Tensor, items: ItemRows) -> bytes:
    tensors = {
        "rows": rows,
        "inputs": items.inputs,
        "fused": items.fused,
        "sequence": items.sequence,
        "weights": items.weights,
        "target": items.target,
        **{f"{EMBEDDINGS}{j.value}": table for j, table in items.embeddings.items()},
    }
    data: bytes = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
    return data


def unpack_items(data: bytes) -> tuple[Tensor, ItemRows]:
    tensors = load(data)
    return tensors["rows"], ItemRows(
        inputs=tensors["inputs"],
        fused=tensors["fused"],
        sequence=tensors["sequence"],
        weights=tensors["weights"],
        target=tensors["target"],
        embeddings={
            Modality(name.removeprefix(EMBEDDINGS)): tensor
            for name, tensor in tensors.items()
            if name.startswith(EMBEDDINGS)
        },
    )
