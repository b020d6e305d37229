"""The replicas of a service behind one name, as the name resolves now."""

import asyncio
import socket

import httpx

from shared.errors import UnavailableError


async def replicas_of(url: str) -> list[str]:
    """The URL once for each address that its host resolves to, sorted.

    Raises UnavailableError where it resolves to none.
    """
    parsed = httpx.URL(url)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(parsed.host, parsed.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise UnavailableError(f"{url} names no replica: {error.strerror}") from error
    return sorted({str(parsed.copy_with(host=address[0])) for *_, address in found})
