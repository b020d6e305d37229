"""One call of a service: a contract in, a contract or a typed error out."""

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from shared.errors import UnavailableError, from_problem
from shared.http import PROBLEM_JSON

Response = TypeVar("Response", bound=BaseModel)


class ServiceHttp:
    """The connection to one service."""

    def __init__(self, name: str, base_url: str, timeout_s: float) -> None:
        self._name = name
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout_s, trust_env=False)

    async def call(
        self,
        method: str,
        path: str,
        response: type[Response],
        *,
        body: BaseModel | None = None,
        params: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Send `body`, return the answer as `response`. A `path` with a host goes there.

        Raises:
            UnavailableError: the service cannot be reached, or does not answer in time.
            MmesidError: what the service answered with.
        """
        try:
            answer = await self._client.request(
                method,
                path,
                content=None if body is None else body.model_dump_json(exclude_unset=False),
                headers={"content-type": "application/json"},
                params=params,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s,
            )
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"The {self._name} service does not answer: {error or type(error).__name__}",
                retry_after_s=1,
            ) from error
        if answer.headers.get("content-type", "").startswith(PROBLEM_JSON):
            raise from_problem(answer.json())
        if answer.is_error:
            raise UnavailableError(
                f"The {self._name} service answered {answer.status_code}", retry_after_s=1
            )
        return response.model_validate_json(answer.content)

    async def close(self) -> None:
        await self._client.aclose()
