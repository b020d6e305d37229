"""Images by URL, without letting a URL reach into the private network.

A name may resolve to a public address when it is checked and to a private one when it is used, so
the address that was checked is the one connected to; the Host header and the TLS server name keep
the original name. Every redirect goes through the same check.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from shared.errors import FieldProblem, InvalidInputError, UnavailableError
from shared.images import ImageLimits, require_bytes_within

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]

MAX_REDIRECTS = 3
# IPv6 prefixes that carry an IPv4 address in their low 32 bits: NAT64, IPv4-compatible.
CARRYING_IPV4 = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))


@dataclass(frozen=True)
class FetchPolicy:
    timeout_s: float = 5.0
    allow_private_hosts: bool = False


async def resolve(host: str, port: int) -> Sequence[Address]:
    """All addresses of a host.

    Raises:
        socket.gaierror: the name has none, or the name server does not answer.
    """
    rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(row[4][0]).partition("%")[0]) for row in rows]


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet, seen through IPv4-in-IPv6 forms."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and any(address in network for network in CARRYING_IPV4):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


async def fetch_image(
    url: str,
    *,
    client: httpx.AsyncClient,
    limits: ImageLimits,
    policy: FetchPolicy,
    field: str = "image_url",
    resolve: Resolver = resolve,
) -> bytes:
    """The bytes behind an http or https URL; `policy.timeout_s` bounds the whole of it.

    Raises:
        InvalidInputError: the URL is malformed, leads to an address that is not public, to no
            host, or is answered with a status of 4xx: trying again will not help.
        PayloadTooLargeError: more bytes than the limit.
        UnavailableError: the host does not answer, or says that it cannot now.
    """
    try:
        async with asyncio.timeout(policy.timeout_s):
            target = _parse(url, field)
            for _ in range(MAX_REDIRECTS + 1):
                request = await _pinned_request(target, client, policy, field, resolve)
                answer = await _get(request, client, limits, field)
                if isinstance(answer, bytes):
                    return answer
                target = _parse(str(target.join(answer)), field)
    except TimeoutError as error:
        raise _unavailable(field, f"no answer within {policy.timeout_s:g} s") from error
    except httpx.HTTPError as error:
        raise _unavailable(field, str(error) or type(error).__name__) from error
    raise InvalidInputError.of(field, f"more than {MAX_REDIRECTS} redirects")


def _parse(url: str, field: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInputError.of(field, f"is no URL: {error}") from error
    if parsed.scheme not in ("http", "https"):
        raise InvalidInputError.of(field, "the scheme must be http or https")
    if not parsed.host:
        raise InvalidInputError.of(field, "names no host")
    if parsed.userinfo:
        raise InvalidInputError.of(field, "must carry no user name or password")
    return parsed


async def _pinned_request(
    target: httpx.URL,
    client: httpx.AsyncClient,
    policy: FetchPolicy,
    field: str,
    resolve: Resolver,
) -> httpx.Request:
    """A request to the address that was checked, under the name that was asked for."""
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        addresses = await resolve(target.host, port)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise _unavailable(field, f"the name server did not answer: {error}") from error
        raise InvalidInputError.of(field, f"the host {target.host} is not known") from error
    except UnicodeError as error:
        raise InvalidInputError.of(field, f"{target.host!r} is no host name") from error
    if not policy.allow_private_hosts and not all(map(is_public, addresses)):
        raise InvalidInputError.of(field, f"the host {target.host} has an address not public")
    return client.build_request(
        "GET",
        target.copy_with(host=str(addresses[0])),
        headers={
            "Host": target.netloc.decode("ascii"),
            "Accept": "image/*",
            "Accept-Encoding": "identity",  # a small compressed body must not unfold in memory
        },
        extensions={"sni_hostname": target.host},
    )


async def _get(
    request: httpx.Request, client: httpx.AsyncClient, limits: ImageLimits, field: str
) -> bytes | str:
    """The body, or the place that the answer redirects to."""
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        if response.has_redirect_location:
            return response.headers["Location"]
        if response.status_code >= 500 or response.status_code in (408, 425, 429):
            raise _unavailable(field, f"the host answered {response.status_code}")
        if response.status_code != 200:
            raise InvalidInputError.of(field, f"the host answered {response.status_code}")
        declared = response.headers.get("Content-Length", "")
        if declared.isdigit():
            require_bytes_within(int(declared), field=field, limits=limits)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            require_bytes_within(len(body), field=field, limits=limits)
        return bytes(body)
    finally:
        await response.aclose()


def _unavailable(field: str, cause: str) -> UnavailableError:
    return UnavailableError(
        f"{field}: {cause}", fields=[FieldProblem(field, cause)], retry_after_s=5
    )
