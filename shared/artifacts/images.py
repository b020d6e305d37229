"""Item images by the SHA-256 of their bytes: the same picture is stored once."""

import hashlib

from shared.artifacts.store import ArtifactStore


class ImageStore:
    """The images of one catalogue."""

    def __init__(self, store: ArtifactStore, catalog_id: str) -> None:
        self._store = store
        self._catalog_id = catalog_id

    def put(self, data: bytes) -> str:
        """Store an image and return its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        if not self._store.exists(path):
            self._store.write(path, data)
        return sha256

    def get(self, sha256: str) -> bytes:
        """Raises NotFoundError where there is no such image."""
        return self._store.read(self._path(sha256))

    def _path(self, sha256: str) -> str:
        return f"{self._catalog_id}/images/{sha256[:2]}/{sha256}"
