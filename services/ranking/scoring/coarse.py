"""Small copies of E*, for scores that are nearly right: who the candidates are, not how good.

A copy is put back into float32 a block at a time, which stays in the processor's cache: this costs
less than what reading half or a quarter of the bytes saves, and needs nothing of the processor.
Where it multiplies int8 by itself, int8 is not put back at all.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from services.ranking.growing import GrowingTable

FLOAT16_BLOCK = 2048
INT8_BLOCK = 2**15
ROUNDING_BLOCK = 2**15
INT8_LIMIT = 127


class CoarseMatrix(Protocol):
    """A matrix [I, D] to score with; each row's order of items is nearly that of E*."""

    def put(self, rows: Tensor, values: Tensor) -> None:
        """values: rows of E* [n, D] in float32, known or new."""
        ...

    def score(self, states: Tensor, out: Tensor) -> None:
        """Write what o_LLM [B, D] scores, times some c_b > 0 for each request, to `out` [B, I]."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that the rows take."""
        ...


class Float16Matrix:
    """E* / max |E*| in float16, so that no value is out of its range."""

    def __init__(self, fused: Tensor, device: torch.device) -> None:
        """fused: E* [I, D]."""
        largest = max((float(block.abs().max()) for block in _blocks(fused)), default=0.0)
        self._scale = 1 / largest if largest > 0 else 1.0
        rows = torch.empty(fused.shape, dtype=torch.float16, device=device)
        for target, block in zip(_blocks(rows), _blocks(fused), strict=True):
            target.copy_(block * self._scale)
        self._rows = GrowingTable(rows)
        self._block = torch.empty((FLOAT16_BLOCK, fused.shape[1]), device=device)

    @property
    def bytes(self) -> int:
        return self._rows.rows.nbytes

    def put(self, rows: Tensor, values: Tensor) -> None:
        # Beyond the range is still the largest: its place among the candidates is what counts.
        limit = torch.finfo(torch.float16).max
        self._rows.put(rows, (values * self._scale).clamp(-limit, limit))

    def score(self, states: Tensor, out: Tensor) -> None:
        for start, block in _numbered(self._rows.rows, FLOAT16_BLOCK):
            widened = self._block[: len(block)].copy_(block)
            torch.mm(states, widened.T, out=out[:, start : start + len(block)])


class Int8Matrix:
    """E* in int8, a scale for each row: e ~ s q with s = max |e| / 127."""

    def __init__(self, fused: Tensor, device: torch.device) -> None:
        """fused: E* [I, D]."""
        rows = torch.empty(fused.shape, dtype=torch.int8, device=device)
        scales = torch.empty(len(fused), device=device)
        for target, scale, block in zip(
            _blocks(rows), _blocks(scales), _blocks(fused), strict=True
        ):
            rounded, own = _rounded(block.to(device))
            target.copy_(rounded)
            scale.copy_(own)
        self._rows = GrowingTable(rows)
        self._scales = GrowingTable(scales)
        self._multiplies_int8 = device.type == "cpu" and torch.cpu._is_vnni_supported()
        self._block = torch.empty((FLOAT16_BLOCK, fused.shape[1]), device=device)

    @property
    def bytes(self) -> int:
        return self._rows.rows.nbytes + self._scales.rows.nbytes

    def put(self, rows: Tensor, values: Tensor) -> None:
        rounded, scales = _rounded(values)
        self._rows.put(rows, rounded)
        self._scales.put(rows, scales)

    def score(self, states: Tensor, out: Tensor) -> None:
        if self._multiplies_int8:
            self._score_in_int8(states, out)
        else:
            self._score_in_float32(states, out)

    def _score_in_int8(self, states: Tensor, out: Tensor) -> None:
        rounded, _ = _rounded(states)
        for start, block in _numbered(self._rows.rows, INT8_BLOCK):
            end = start + len(block)
            products = torch._int_mm(rounded, block.T)
            torch.mul(products, self._scales.rows[start:end], out=out[:, start:end])

    def _score_in_float32(self, states: Tensor, out: Tensor) -> None:
        for start, block in _numbered(self._rows.rows, FLOAT16_BLOCK):
            end = start + len(block)
            widened = self._block[: len(block)].copy_(block)
            torch.mm(states, widened.T, out=out[:, start:end])
            out[:, start:end] *= self._scales.rows[start:end]


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """q [n, D] int8 and s [n] with rows ~ s q; a row of zeros has s = 1."""
    scales = rows.abs().amax(dim=1) / INT8_LIMIT
    scales = torch.where(scales > 0, scales, 1.0)
    return (rows / scales.unsqueeze(1)).round().to(torch.int8), scales


def _blocks(table: Tensor) -> Iterator[Tensor]:
    yield from torch.split(table, ROUNDING_BLOCK)


def _numbered(table: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """(first row, rows) of each block."""
    for start in range(0, len(table), size):
        yield start, table[start : start + size]
