"""Names of encoders' states."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def revision_of(name: str, files: Iterable[Path], preprocessing: Mapping[str, Any]) -> str:
    """`name-xxxxxxxxxxxx`: of the content of the files and of how inputs are prepared."""
    digest = hashlib.sha256(json.dumps(preprocessing, sort_keys=True).encode())
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{name}-{digest.hexdigest()[:12]}"
