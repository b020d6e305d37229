"""The tensors of a safetensors file where they lie: mapped into memory, not read.

    8 bytes: n | n bytes of JSON: name -> dtype, shape, first and last byte | the tensors

A page is read from the disk when it is first used, all processes of a machine share it, and the
system may drop it again. The mapping is copy-on-write: what is written stays in this process.
"""

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import UnavailableError

LENGTH_BYTES = 8
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file that nobody changes while they are used.

    Raises UnavailableError where the file is missing, broken, or of a dtype that numpy lacks.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        start = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
        header = json.loads(data[LENGTH_BYTES:start])
        header.pop("__metadata__", None)
        return {name: _view(data, start, entry) for name, entry in header.items()}
    except (OSError, ValueError, KeyError) as error:
        raise UnavailableError(f"{path} cannot be read: {error!r}") from error


def _view(data: mmap.mmap, start: int, entry: dict[str, Any]) -> NDArray[Any]:
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    first, last = entry["data_offsets"]
    if start + last > len(data):
        raise ValueError("it ends too early")
    count = (last - first) // dtype.itemsize
    return np.frombuffer(data, dtype, count=count, offset=start + first).reshape(shape)
