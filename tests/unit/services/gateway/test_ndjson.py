import asyncio

import pytest

from services.gateway.ndjson import Line, grouped, read_lines

DOCUMENT = b'{"a": 1}\n\n{"b": 2}\r\n  \n{"c": "a long line"}\n{"d": 4}'


async def chunks_of(data: bytes, size: int):
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_lines_do_not_depend_on_how_the_stream_is_cut(size):
    lines = [line async for line in read_lines(chunks_of(DOCUMENT, size), max_bytes=10)]

    assert lines == [
        Line(1, b'{"a": 1}'),
        Line(3, b'{"b": 2}'),
        Line(5, None),
        Line(6, b'{"d": 4}'),
    ]


async def test_the_end_of_a_document_is_no_line():
    assert [line async for line in read_lines(chunks_of(b"x\n", 1), max_bytes=9)] == [Line(1, b"x")]
    assert [line async for line in read_lines(chunks_of(b"", 1), max_bytes=9)] == []


async def lines_of(*data: bytes):
    for number, line in enumerate(data, start=1):
        yield Line(number, line)


async def test_groups_are_full_by_number_or_by_bytes():
    by_number = grouped(lines_of(*[b"x"] * 5), size=2, max_bytes=100, linger_s=1)
    by_bytes = grouped(lines_of(b"x" * 60, b"x" * 60, b"x"), size=9, max_bytes=100, linger_s=1)

    assert [len(group) async for group in by_number] == [2, 2, 1]
    assert [len(group) async for group in by_bytes] == [2, 1]


async def test_a_group_is_not_held_back_for_a_line_that_does_not_come():
    more = asyncio.Event()

    async def slow():
        yield Line(1, b"x")
        await more.wait()
        yield Line(2, b"y")

    groups = grouped(slow(), size=9, max_bytes=100, linger_s=0.01)

    assert await anext(groups) == [Line(1, b"x")]
    more.set()
    assert await anext(groups) == [Line(2, b"y")]
    assert await anext(groups, None) is None


async def test_an_error_of_the_stream_reaches_the_reader():
    async def broken():
        yield Line(1, b"x")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        async for _ in grouped(broken(), size=9, max_bytes=100, linger_s=1):
            pass
