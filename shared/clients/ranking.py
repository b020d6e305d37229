"""Client of the ranking service."""

import asyncio
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from shared.clients.http import ServiceHttp
from shared.clients.replicas import replicas_of
from shared.contracts.common import BundleReference, BundleStatus
from shared.contracts.empty import Done
from shared.contracts.ranking import RankRequest, RankResponse, UpsertItemsRequest
from shared.errors import NotFoundError
from shared.settings import ServiceUrls


class RankingClient:
    """Any replica answers a request. What changes what they serve goes to every one of them, and
    raises what one answers with when all others have done it."""

    def __init__(self, services: ServiceUrls) -> None:
        self._http = ServiceHttp("ranking", services.ranking, services.timeout_s)
        self._replicas = services.ranking_replicas

    async def rank(self, request: RankRequest) -> RankResponse:
        return await self._http.call("POST", "/rank", RankResponse, body=request)

    async def upsert(self, request: UpsertItemsRequest) -> None:
        await self._everywhere("PUT", "/items", Done, body=request)

    async def remove(self, catalog_id: str, item_id: str, *, version: int) -> None:
        """Stop recommending an item; one of a newer version stays."""
        await self._everywhere(
            "DELETE",
            f"/items/{quote(item_id, safe='')}",
            Done,
            params={"catalog_id": catalog_id, "version": version},
        )

    async def load_bundle(self, bundle: BundleReference, *, timeout_s: float) -> None:
        """Load a bundle beside the live one and warm it up; it is not served from yet."""
        await self._everywhere(
            "POST", "/bundles/load", BundleStatus, body=bundle, timeout_s=timeout_s
        )

    async def activate_bundle(self, bundle: BundleReference, *, timeout_s: float) -> None:
        """Serve from a loaded bundle."""
        await self._everywhere(
            "POST", "/bundles/activate", BundleStatus, body=bundle, timeout_s=timeout_s
        )

    async def close(self) -> None:
        await self._http.close()

    async def _everywhere(
        self,
        method: str,
        path: str,
        response: type[BaseModel],
        *,
        body: BaseModel | None = None,
        params: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        urls = [""] if self._replicas is None else await replicas_of(self._replicas)
        calls = [
            self._http.call(
                method, f"{url}{path}", response, body=body, params=params, timeout_s=timeout_s
            )
            for url in urls
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if errors:
            # That one does not have it is no reason to forget that another one could not be asked.
            raise min(errors, key=lambda error: isinstance(error, NotFoundError))
