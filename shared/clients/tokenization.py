"""Client of the tokenization service."""

from typing import Any
from urllib.parse import quote

from shared.clients.http import ServiceHttp
from shared.contracts.common import BundleReference, BundleStatus
from shared.contracts.empty import Done
from shared.contracts.tokenization import (
    IndexRequest,
    SimilarResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from shared.modeling.modality import Modality
from shared.settings import ServiceUrls


class TokenizationClient:
    def __init__(self, services: ServiceUrls) -> None:
        self._http = ServiceHttp("tokenization", services.tokenization, services.timeout_s)

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResponse:
        return await self._http.call("POST", "/tokenize", TokenizeResponse, body=request)

    async def index(self, request: IndexRequest) -> Done:
        return await self._http.call("PUT", "/items", Done, body=request)

    async def remove(self, catalog_id: str, item_id: str, *, version: int) -> Done:
        """Take an item from the index; one indexed with a newer version stays."""
        return await self._http.call(
            "DELETE",
            f"/items/{quote(item_id, safe='')}",
            Done,
            params={"catalog_id": catalog_id, "version": version},
        )

    async def similar(
        self, catalog_id: str, item_id: str, *, k: int, modality: Modality | None = None
    ) -> SimilarResponse:
        params: dict[str, Any] = {"catalog_id": catalog_id, "k": k}
        if modality is not None:
            params["modality"] = modality.value
        return await self._http.call(
            "GET", f"/items/{quote(item_id, safe='')}/similar", SimilarResponse, params=params
        )

    async def load_bundle(self, bundle: BundleReference, *, timeout_s: float) -> BundleStatus:
        """Load a bundle beside the live one and make its index; it is not served from yet."""
        return await self._http.call(
            "POST", "/bundles/load", BundleStatus, body=bundle, timeout_s=timeout_s
        )

    async def activate_bundle(self, bundle: BundleReference, *, timeout_s: float) -> BundleStatus:
        """Serve from a loaded bundle."""
        return await self._http.call(
            "POST", "/bundles/activate", BundleStatus, body=bundle, timeout_s=timeout_s
        )

    async def close(self) -> None:
        await self._http.close()
