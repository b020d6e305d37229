"""Client of the embedding service."""

from shared.clients.http import ServiceHttp
from shared.contracts.embedding import EmbedRequest, EmbedResponse, Encoders
from shared.modeling.modality import Modality
from shared.settings import ServiceUrls


class EmbeddingClient:
    def __init__(self, services: ServiceUrls) -> None:
        self._http = ServiceHttp("embedding", services.embedding, services.timeout_s)

    async def embed(
        self, request: EmbedRequest, *, timeout_s: float | None = None
    ) -> EmbedResponse:
        return await self._http.call(
            "POST", "/embed", EmbedResponse, body=request, timeout_s=timeout_s
        )

    async def encoders(self) -> Encoders:
        return await self._http.call("GET", "/encoders", Encoders)

    async def revisions(self) -> dict[Modality, str]:
        """Of the encoders, by what they embed."""
        encoders = await self.encoders()
        return {Modality.TEXT: encoders.text.revision, Modality.VISUAL: encoders.image.revision}

    async def close(self) -> None:
        await self._http.close()
