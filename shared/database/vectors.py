"""Vectors as bytes: float16, little endian, without a header."""

import numpy as np
from numpy.typing import NDArray


def to_bytes(vector: NDArray[np.floating]) -> bytes:
    """[D] floats -> 2 D bytes."""
    return np.asarray(vector).astype("<f2").tobytes()


def from_bytes(data: bytes) -> NDArray[np.float32]:
    """2 D bytes -> [D] float32."""
    return np.frombuffer(data, dtype="<f2").astype(np.float32)
