"""The vector store that the settings name."""

from qdrant_client import AsyncQdrantClient

from shared.settings import VectorSettings
from shared.vectors.server import ServerVectorStore
from shared.vectors.store import VectorStore


def open_vector_store(settings: VectorSettings) -> VectorStore:
    """The embedded engine is imported only where it is used: a server needs no copy of it."""
    if settings.mode == "server":
        client = AsyncQdrantClient(
            url=settings.url, api_key=settings.api_key, check_compatibility=False
        )
        return ServerVectorStore(client)
    from shared.vectors.edge import EdgeVectorStore

    return EdgeVectorStore(settings.folder)
