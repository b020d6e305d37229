"""Images by URL: what a URL may reach, and what each refusal says."""

import asyncio
import socket
from ipaddress import ip_address

import httpx
import pytest

from shared.errors import InvalidInputError, PayloadTooLargeError, UnavailableError
from shared.image_fetch import FetchPolicy, fetch_image, is_public, resolve
from shared.images import ImageLimits

LIMITS = ImageLimits(max_bytes=1000)
HOSTS = {
    "cdn.example": ["93.184.216.34"],
    "inside.example": ["10.0.0.5"],
    "both.example": ["93.184.216.34", "127.0.0.1"],
}


async def known_hosts(host, port):
    if host not in HOSTS:
        return await resolve(host, port)
    return [ip_address(address) for address in HOSTS[host]]


@pytest.fixture
def seen():
    return []


async def fetch(url, answer, seen, **policy):
    """The bytes that `answer(request)` leads to; every request sent is put into `seen`."""

    def handler(request):
        seen.append(request)
        return answer(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await fetch_image(
            url, client=client, limits=LIMITS, policy=FetchPolicy(**policy), resolve=known_hosts
        )


def ok(request):
    return httpx.Response(200, stream=httpx.ByteStream(b"bytes"))


def redirect_to(place):
    def answer(request):
        return httpx.Response(302, headers={"Location": place})

    return answer


async def test_the_checked_address_is_connected_to_under_the_name_asked_for(seen):
    assert await fetch("https://cdn.example:8443/a.jpg?x=1", ok, seen) == b"bytes"
    assert str(seen[0].url) == "https://93.184.216.34:8443/a.jpg?x=1"
    assert seen[0].headers["Host"] == "cdn.example:8443"
    assert seen[0].extensions["sni_hostname"] == "cdn.example"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://localhost:9000/a.jpg",
        "http://[::1]/a.jpg",
        "http://2130706433/a.jpg",
        "http://0.0.0.0/a.jpg",
        "http://169.254.169.254/latest/meta-data",
        "http://192.168.1.1/",
        "http://[::ffff:10.0.0.1]/a.jpg",
        "http://[64:ff9b::7f00:1]/a.jpg",
        "http://[2002:7f00:1::]/a.jpg",
        "http://inside.example/a.jpg",
        "http://both.example/a.jpg",
    ],
)
async def test_addresses_that_are_not_public_are_refused_without_a_request(url, seen):
    with pytest.raises(InvalidInputError, match=r"image_url: .* not public"):
        await fetch(url, ok, seen)
    assert seen == []


async def test_a_setting_allows_private_addresses(seen):
    assert await fetch("http://inside.example/a.jpg", ok, seen, allow_private_hosts=True)
    assert seen[0].url.host == "10.0.0.5"


async def test_a_redirect_into_the_private_network_is_refused(seen):
    with pytest.raises(InvalidInputError, match=r"inside\.example has an address not public"):
        await fetch("http://cdn.example/a.jpg", redirect_to("http://inside.example/b"), seen)
    assert [request.headers["Host"] for request in seen] == ["cdn.example"]


async def test_a_redirect_to_another_scheme_is_refused(seen):
    with pytest.raises(InvalidInputError, match="scheme must be http or https"):
        await fetch("http://cdn.example/a.jpg", redirect_to("file:///etc/passwd"), seen)


async def test_a_relative_redirect_is_followed_on_the_same_host(seen):
    def answer(request):
        return ok(request) if request.url.path == "/b.jpg" else redirect_to("/b.jpg")(request)

    assert await fetch("http://cdn.example/a.jpg", answer, seen) == b"bytes"
    assert [request.headers["Host"] for request in seen] == ["cdn.example", "cdn.example"]


async def test_redirects_in_a_circle_end(seen):
    with pytest.raises(InvalidInputError, match="more than 3 redirects"):
        await fetch("http://cdn.example/a.jpg", redirect_to("/a.jpg"), seen)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("ftp://cdn.example/a.jpg", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("a.jpg", "scheme"),
        ("http://", "no host"),
        ("http://user:secret@cdn.example/a.jpg", "user name"),
        ("http://cdn.example:port/", "no URL"),
    ],
)
async def test_malformed_urls_are_refused_with_the_cause(url, cause, seen):
    with pytest.raises(InvalidInputError, match=f"image_url: .*{cause}"):
        await fetch(url, ok, seen)
    assert seen == []


async def test_a_body_above_the_limit_is_cut_off_while_it_streams(seen):
    sent = []

    async def body():
        for _ in range(100):
            sent.append(500)
            yield bytes(500)

    with pytest.raises(PayloadTooLargeError, match="image_url: has more than 1000 bytes"):
        await fetch("http://cdn.example/", lambda _: httpx.Response(200, content=body()), seen)
    assert len(sent) == 3


async def test_a_declared_length_above_the_limit_is_refused(seen):
    def answer(request):
        return httpx.Response(200, headers={"Content-Length": "1001"}, content=b"x")

    with pytest.raises(PayloadTooLargeError):
        await fetch("http://cdn.example/", answer, seen)


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, InvalidInputError), (403, InvalidInputError), (204, InvalidInputError),
     (500, UnavailableError), (503, UnavailableError), (429, UnavailableError)],
)  # fmt: skip
async def test_what_may_pass_is_told_apart_from_what_will_not(status, error, seen):
    with pytest.raises(error, match=f"image_url: the host answered {status}") as caught:
        await fetch("http://cdn.example/", lambda _: httpx.Response(status), seen)
    assert caught.value.fields[0].field == "image_url"


async def test_a_host_that_does_not_answer_is_unavailable(seen):
    def answer(request):
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(UnavailableError, match="image_url: refused"):
        await fetch("http://cdn.example/", answer, seen)


@pytest.mark.parametrize(
    ("errno", "error"),
    [(socket.EAI_NONAME, InvalidInputError), (socket.EAI_AGAIN, UnavailableError)],
)
async def test_an_unknown_name_is_told_apart_from_a_silent_name_server(errno, error):
    async def failing(host, port):
        raise socket.gaierror(errno, "name resolution")

    async with httpx.AsyncClient(transport=httpx.MockTransport(ok)) as client:
        with pytest.raises(error, match="image_url"):
            await fetch_image(
                "http://cdn.example/",
                client=client,
                limits=LIMITS,
                policy=FetchPolicy(),
                resolve=failing,
            )


async def test_the_time_limit_holds_for_the_whole_fetch():
    class Silent(httpx.AsyncByteStream):
        async def __aiter__(self):
            await asyncio.Event().wait()
            yield b""

    def answer(request):
        return httpx.Response(200, stream=Silent())

    with pytest.raises(UnavailableError, match=r"no answer within 0\.05 s"):
        await fetch("http://cdn.example/", answer, [], timeout_s=0.05)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", ["224.0.0.1", "100.64.0.1", "fe80::1", "fc00::1", "ff02::1"])
def test_other_addresses_are_not_public(address):
    assert not is_public(ip_address(address))
