"""The embedding service as its callers meet it."""

import asyncio
import base64
import http.server
import math
import struct
import threading
import zlib
from io import BytesIO

import httpx
import pytest
from PIL import Image, ImageDraw

from shared.clients.embedding import EmbeddingClient
from shared.contracts.embedding import EmbedInput, EmbedRequest
from shared.errors import InvalidInputError, OverloadedError


def picture(colour, size=(120, 120)):
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((20, 20, size[0] - 20, size[1] - 20), fill=colour)
    stream = BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def in_base64(data):
    return base64.b64encode(data).decode()


def png_of_100_megapixels():
    def chunk(kind, body):
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(10_000 * 1251), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


CUT_OFF = picture("red")[:900]


@pytest.fixture
async def client(service, urls_of):
    client = EmbeddingClient(urls_of(service))
    yield client
    await client.close()


@pytest.fixture
async def raw(service):
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def image_host():
    """A web server that has one picture, and nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/red.jpg"
            self.send_response(200 if found else 404)
            self.end_headers()
            if found:
                self.wfile.write(picture("red"))

        def log_message(self, *_):
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def embed(client, *inputs):
    response = await client.embed(EmbedRequest(inputs=[EmbedInput(**given) for given in inputs]))
    assert len(response.outputs) == len(inputs)
    return response.outputs


def similarity(one, other):
    return sum(x * y for x, y in zip(one, other, strict=True))


async def test_text_image_and_both_come_out_in_order(client):
    red = in_base64(picture("red"))
    text, image, both = await embed(
        client,
        {"text": "running shoes"},
        {"image_base64": red},
        {"text": "running shoes", "image_base64": red},
    )
    assert (len(text.text), text.visual) == (384, None)
    assert (image.text, len(image.visual)) == (None, 1280)
    assert similarity(both.text, text.text) == pytest.approx(1, abs=1e-5)
    assert similarity(both.visual, image.visual) == pytest.approx(1, abs=1e-5)


async def test_the_encoders_tell_what_the_vectors_are(client):
    encoders = await client.encoders()
    response = await client.embed(EmbedRequest(inputs=[EmbedInput(text="lamp")]))
    assert (encoders.text.source, encoders.image.source) == ("minilm", "efficientnet-lite0")
    assert encoders.text.dimension == len(response.outputs[0].text)
    assert response.text_revision == encoders.text.revision
    assert response.image_revision == encoders.image.revision


async def test_near_meanings_are_near(client):
    jogging, shoes, lamp = await embed(
        client, {"text": "trainers for jogging"}, {"text": "running shoes"}, {"text": "table lamp"}
    )
    assert similarity(jogging.text, shoes.text) > similarity(lamp.text, shoes.text) + 0.2


async def test_an_image_by_url_is_the_image_sent(client, image_host):
    by_url, sent = await embed(
        client,
        {"image_url": f"{image_host}/red.jpg"},
        {"image_base64": in_base64(picture("red"))},
    )
    assert similarity(by_url.visual, sent.visual) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "slug", "field", "cause"),
    [
        ({"image_base64": in_base64(CUT_OFF)}, "broken-image", "image_base64", "truncated"),
        ({"image_base64": in_base64(b"no image")}, "broken-image", "image_base64", "readable JPEG"),
        ({"image_base64": "?"}, "invalid-input", "image_base64", "not base64"),
        ({"image_base64": in_base64(bytes(200_001))}, "payload-too-large", "image_base64", "bytes"),
        (
            {"image_base64": in_base64(png_of_100_megapixels())},
            "payload-too-large",
            "image_base64",
            "50000000 pixels (10000 x 10000)",
        ),
        ({"image_url": "ftp://localhost/a.jpg"}, "invalid-input", "image_url", "scheme"),
        ({"image_url": "http://localhost:9/a.jpg"}, "unavailable", "image_url", "failed"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
async def test_an_input_at_fault_has_its_problem_and_the_others_their_vectors(
    client, given, slug, field, cause
):
    bad, good = await embed(client, {"text": "shoes", **given}, {"text": "shoes"})
    assert bad.text is bad.visual is None
    assert bad.problem.type == f"urn:mmesid:problem:{slug}"
    assert [error.field for error in bad.problem.errors] == [field]
    assert cause in bad.problem.errors[0].message
    assert good.problem is None
    assert math.isclose(similarity(good.text, good.text), 1, abs_tol=1e-5)


async def test_a_url_that_the_host_does_not_know_is_the_inputs_fault(client, image_host):
    (output,) = await embed(client, {"image_url": f"{image_host}/blue.jpg"})
    assert output.problem.errors[0].message == "the host answered 404"


async def test_private_hosts_are_refused_unless_allowed(gated, urls_of, image_host):
    client = EmbeddingClient(urls_of(gated))
    (output,) = await embed(client, {"image_url": f"{image_host}/red.jpg"})
    await client.close()
    assert "not public" in output.problem.detail


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [{}]}, "inputs.0"),
        ({"inputs": [{"text": "a"}, {"image_base64": "", "image_url": ""}]}, "inputs.1"),
        ({"inputs": [{"texts": "a"}]}, "inputs.0.texts"),
        ({"inputs": [{"text": "a"}] * 257}, "inputs"),
    ],
)
async def test_a_request_against_the_contract_names_the_field(raw, body, field):
    answer = await raw.post("/embed", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("declared", [True, False])
async def test_a_huge_body_is_refused(raw, declared):
    body = b'{"inputs": [{"text": "' + b"a" * 4_000_000

    async def streamed():
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    answer = await raw.post(
        "/embed",
        content=body if declared else streamed(),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:mmesid:problem:payload-too-large"


async def test_health_and_metrics(raw, client):
    await embed(client, {"text": "shoes"})
    assert (await raw.get("/health/live")).json() == {"status": "live"}
    ready = (await raw.get("/health/ready")).json()
    assert ready["status"] == "ready"
    assert ready["encoders"]["text"]["dimension"] == 384
    metrics = (await raw.get("/metrics")).text
    assert 'mmesid_embedding_batch_size_count{modality="text"}' in metrics


async def waiting_inputs(serving):
    async with httpx.AsyncClient(base_url=serving.url, trust_env=False) as raw:
        return (await raw.get("/health/ready")).json()["waiting"]


async def busy_with(client, serving, text):
    """A request that the encoder holds, so that what follows has to wait."""
    request = asyncio.create_task(embed(client, {"text": text}))
    while not serving.text.batches:
        await asyncio.sleep(0.01)
    return request


async def test_requests_that_arrive_together_share_a_batch(gated, urls_of):
    client = EmbeddingClient(urls_of(gated))
    first = await busy_with(client, gated, "first")
    later = [asyncio.create_task(embed(client, {"text": "x" * n})) for n in range(1, 11)]
    while await waiting_inputs(gated) < len(later):
        await asyncio.sleep(0.01)
    gated.text.gate.set()
    outputs = await asyncio.gather(first, *later)
    await client.close()
    assert [len(batch) for batch in gated.text.batches] == [1, 10]
    assert [output.text[0] for (output,) in outputs] == [5, *range(1, 11)]


async def test_a_request_that_finds_no_room_is_told_when_to_come_back(gated, urls_of):
    client = EmbeddingClient(urls_of(gated))
    first = await busy_with(client, gated, "first")
    with pytest.raises(OverloadedError) as caught:
        await embed(client, *[{"text": "x"}] * 13)
    assert caught.value.retry_after_s >= 1
    assert await waiting_inputs(gated) == 0, "the request that was refused left inputs behind"
    gated.text.gate.set()
    await first
    (after,) = await embed(client, {"text": "xyz"})
    await client.close()
    assert after.text == [3, 0]


async def test_an_encoder_that_is_not_known_stops_the_start():
    from services.embedding.app import create_app
    from shared.settings import EncoderSettings, Settings

    app = create_app(Settings(encoders=EncoderSettings(text="word2vec")))
    with pytest.raises(InvalidInputError, match=r"encoders\.text: 'word2vec'"):
        async with app.router.lifespan_context(app):
            pass
