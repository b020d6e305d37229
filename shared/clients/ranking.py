"""Client of the ranking service."""

from urllib.parse import quote

from shared.clients.http import ServiceHttp
from shared.contracts.common import BundleReference, BundleStatus
from shared.contracts.empty import Done
from shared.contracts.ranking import RankRequest, RankResponse, UpsertItemsRequest
from shared.settings import ServiceUrls


class RankingClient:
    def __init__(self, services: ServiceUrls) -> None:
        self._http = ServiceHttp("ranking", services.ranking, services.timeout_s)

    async def rank(self, request: RankRequest) -> RankResponse:
        return await self._http.call("POST", "/rank", RankResponse, body=request)

    async def upsert(self, request: UpsertItemsRequest) -> Done:
        return await self._http.call("PUT", "/items", Done, body=request)

    async def remove(self, catalog_id: str, item_id: str, *, version: int) -> Done:
        """Stop recommending an item; one of a newer version stays."""
        return await self._http.call(
            "DELETE",
            f"/items/{quote(item_id, safe='')}",
            Done,
            params={"catalog_id": catalog_id, "version": version},
        )

    async def load_bundle(self, bundle: BundleReference, *, timeout_s: float) -> BundleStatus:
        """Load a bundle beside the live one and warm it up; it is not served from yet."""
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
