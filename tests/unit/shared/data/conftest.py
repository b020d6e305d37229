import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of the data set under test; text becomes UTF-8, `.gz` is packed."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return write_file


@pytest.fixture
def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 10)).save(stream, format="JPEG")
    return stream.getvalue()


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data sets; without it, the test is skipped."""
    folder = os.environ.get("MMESID_DATA_DIR")
    if not folder:
        pytest.skip("MMESID_DATA_DIR is not set")
    return Path(folder)
