import base64
import io
import json
import struct
import zlib

import pytest

pytestmark = pytest.mark.integration

TITLE = {"title": "A mug"}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("fields", "status", "field", "cause"),
    [
        ({"image_base64": encoded(b"no picture")}, 422, "image_base64", "not a readable"),
        ({"image_base64": "%%%"}, 422, "image_base64", "base64"),
        ({"image_base64": encoded(png_of(10_000, 10_000))}, 413, "image_base64", "pixels"),
        ({"image_url": "http://127.0.0.1/x.png"}, 422, "image_url", "not public"),
        ({"image_url": "http://localhost/x.png"}, 422, "image_url", "not public"),
        ({"image_url": "http://169.254.169.254/latest"}, 422, "image_url", "not public"),
        ({"image_url": "file:///etc/passwd"}, 422, "image_url", "http"),
        ({"image_url": "http://a.example/x", "image_base64": "eA=="}, 422, "body", "not both"),
        ({"title": ""}, 422, "title", "at least 1"),
        ({"title": " \n"}, 422, "title", "blank"),
        ({"title": "a\x00b"}, 422, "title", "NUL"),
        ({"item_id": "a\x00b"}, 422, "item_id", "NUL"),
        ({"attributes": {"note": "a\x00b"}}, 422, "attributes.note", "NUL"),
        ({"item_id": " x"}, 422, "item_id", "blank"),
        ({"item_id": "x" * 201}, 422, "item_id", "200"),
        ({"colour": "blue"}, 422, "colour", "Extra"),
        ({"categories": "Kitchen"}, 422, "categories", "array"),
    ],
)
async def test_a_wrong_field_of_an_item_is_named_with_the_cause(
    client, is_problem, fields, status, field, cause
):
    answer = await client.post("/v1/items", json={**TITLE, **fields})

    is_problem(answer, status, field, cause)
    assert (await client.get("/v1/items")).json()["items"] == []


async def test_numbers_that_are_not_finite_are_refused(client, is_problem):
    answer = await client.post(
        "/v1/items",
        content=b'{"title": "A mug", "attributes": {"price": NaN}}',
        headers={"Content-Type": "application/json"},
    )

    is_problem(answer, 422, "attributes.price", "finite")


async def test_a_picture_cut_off_is_broken(client, is_problem, draw):
    whole = draw(size=(64, 64), kind="JPEG")

    answer = await client.post(
        "/v1/items", json={**TITLE, "image_base64": encoded(whole[: len(whole) // 2])}
    )

    is_problem(answer, 422, "image_base64")
    assert answer.json()["type"] == "urn:mmesid:problem:broken-image"


async def test_an_image_with_too_many_bytes_is_refused(start_gateway, is_problem, draw):
    gateway = await start_gateway(images={"max_bytes": 100})

    as_json = await gateway.client.post(
        "/v1/items", json={**TITLE, "image_base64": encoded(draw(size=(500, 500)))}
    )
    as_file = await gateway.client.post(
        "/v1/items",
        data={"item": json.dumps(TITLE)},
        files={"image": ("x.png", draw(size=(500, 500)), "image/png")},
    )

    is_problem(as_json, 413, "image_base64", "100 bytes")
    is_problem(as_file, 413, "image", "100 bytes")


@pytest.mark.parametrize("declared", [True, False])
async def test_ten_megabytes_of_json_are_too_large(client, is_problem, declared):
    document = b'{"title": "' + b"x" * 10_000_000 + b'"}'

    async def streamed():
        for start in range(0, len(document), 100_000):
            yield document[start : start + 100_000]

    for path in ("/v1/items", "/v1/events", "/v1/recommendations"):
        answer = await client.post(
            path,
            content=document if declared else streamed(),
            headers={"Content-Type": "application/json"},
        )
        is_problem(answer, 413, "body", "larger than")


@pytest.mark.parametrize("path", ["/v1/items", "/v1/events", "/v1/recommendations"])
async def test_malformed_json_is_answered_with_its_place(client, is_problem, path):
    answer = await client.post(
        path,
        content=b'{"title": "A mug",\n "k": }',
        headers={"Content-Type": "application/json"},
    )

    is_problem(answer, 422, "body", "line 2 column 7")


@pytest.mark.parametrize("path", ["/v1/items", "/v1/events", "/v1/recommendations"])
async def test_no_json_at_all_is_a_problem(client, is_problem, path):
    nothing = await client.post(path, headers={"Content-Type": "application/json"})
    a_list = await client.post(path, json=[1, 2])

    is_problem(nothing, 422)
    is_problem(a_list, 422, "body")


@pytest.mark.parametrize("path", ["/v1/items", "/v1/events"])
async def test_another_kind_of_body_is_refused(client, is_problem, path):
    answer = await client.post(
        path, content=b"<item/>", headers={"Content-Type": "application/xml"}
    )

    is_problem(answer, 415, "Content-Type", "application/json")


async def test_wrong_forms_are_named(client, is_problem, png):
    file = {"image": ("x.png", io.BytesIO(png), "image/png")}
    item = {"item": json.dumps(TITLE)}

    is_problem(await client.post("/v1/items", files=file), 422, "item", "lacks")
    is_problem(
        await client.post("/v1/items", data={"item": "{"}, files=file), 422, "body", "line 1"
    )
    is_problem(
        await client.post("/v1/items", data=item, files={"image": (None, "no file")}),
        422,
        "image",
        "must be a file",
    )
    is_problem(
        await client.post("/v1/items", data={"item": [json.dumps(TITLE)] * 2}, files=file),
        422,
        "item",
        "more than once",
    )
    is_problem(
        await client.post("/v1/items", data=item, files={"picture": ("x.png", png)}),
        422,
        "picture",
    )
    both = {"item": json.dumps({**TITLE, "image_url": "https://shop.example/x.png"})}
    is_problem(await client.post("/v1/items", data=both, files=file), 422, "image")
    is_problem(
        await client.post(
            "/v1/items",
            content=b"--x\r\nbroken",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        ),
        422,
    )


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({}, "body"),
        ({"title": None}, "title"),
        ({"title": " "}, "title"),
        ({"attributes": None}, "attributes"),
        ({"title": "a\x00"}, "title"),
        ({"version": 7}, "version"),
        ({"image_base64": encoded(b"no picture")}, "image_base64"),
    ],
)
async def test_a_wrong_patch_changes_nothing(client, is_problem, patch, field):
    await client.post("/v1/items", json={"item_id": "mug", **TITLE})

    answer = await client.patch("/v1/items/mug", json=patch)

    is_problem(answer, 422, field)
    assert (await client.get("/v1/items/mug")).json()["version"] == 1


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "YWZ0ZXI6LTE"}, "cursor"),  # after:-1
        ({"cursor": "é"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"status": "lost"}, "status"),
    ],
)
async def test_wrong_parameters_of_a_page_are_named(client, is_problem, params, field):
    is_problem(await client.get("/v1/items", params=params), 422, field)


async def test_wrong_parameters_of_similar_items_are_named(client, is_problem):
    await client.post("/v1/items", json={"item_id": "mug", **TITLE})

    is_problem(await client.get("/v1/items/mug/similar", params={"k": 0}), 422, "k")
    is_problem(
        await client.get("/v1/items/mug/similar", params={"modality": "smell"}), 422, "modality"
    )
    is_problem(await client.get("/v1/items/a%00b"), 422, "item_id")
