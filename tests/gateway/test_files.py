"""`/files/…`: ranges, conditions, and what is never served."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.objects import RangeNotSatisfiable, Span, parse_range
from services.runtime.store import ObjectInfo, open_store

DATA = bytes(range(256)) * 2000


@pytest.fixture
def info(stack: Any) -> ObjectInfo:
    store = open_store(stack.settings.storage_url)
    for key in ("datasets/v/raw/a.wav", "train/output/m/c.pth", "inference.wav", "inferences/a.wav"):
        store.put(key, b"secret")
    return store.put("inference/a.wav", DATA)


def loop(function: Any) -> Any:
    return pytest.mark.asyncio(loop_scope="session")(function)


@loop
async def test_the_whole_file(stack: Any, info: ObjectInfo) -> None:
    answer = await stack.client.get("/files/inference/a.wav")
    assert answer.status_code == 200
    assert answer.content == DATA
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["etag"] == f'"{info.etag}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = await stack.client.head("/files/inference/a.wav")
    assert (head.status_code, head.content) == (200, b"")
    same = ("content-type", "content-length", "etag", "accept-ranges", "last-modified")
    assert all(head.headers[name] == answer.headers[name] for name in same)


@loop
@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=511900-", 511_900, 512_000),
        ("bytes=-100", 511_900, 512_000),
        ("bytes=-999999", 0, 512_000),
        ("bytes=0-999999", 0, 512_000),
        ("bytes=0-", 0, 512_000),
    ],
)
async def test_a_part(stack: Any, info: ObjectInfo, wanted: str, start: int, end: int) -> None:
    answer = await stack.client.get("/files/inference/a.wav", headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/512000"
    assert answer.headers["content-length"] == str(end - start)


@loop
@pytest.mark.parametrize("wanted", ["bytes=512000-", "bytes=600000-700000", "bytes=-0"])
async def test_a_part_outside(stack: Any, info: ObjectInfo, wanted: str) -> None:
    answer = await stack.client.get("/files/inference/a.wav", headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */512000"
    assert isinstance(answer.json()["detail"], str)


@loop
@pytest.mark.parametrize("wanted", ["bytes=5-1", "lines=0-1", "bytes=a-b", "bytes=0-1,5-6", "bytes=-", "bytes"])
async def test_ranges_to_ignore(stack: Any, info: ObjectInfo, wanted: str) -> None:
    answer = await stack.client.get("/files/inference/a.wav", headers={"Range": wanted})
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


@loop
async def test_conditions(stack: Any, info: ObjectInfo) -> None:
    url, etag = "/files/inference/a.wav", f'"{info.etag}"'
    modified = (await stack.client.head(url)).headers["last-modified"]
    for headers, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f'"x", W/{etag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": modified}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"Range": "bytes=0-1", "If-Range": etag}, 206),
        ({"Range": "bytes=0-1", "If-Range": modified}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": f"W/{etag}"}, 200),
    ):
        answer = await stack.client.get(url, headers=headers)
        assert answer.status_code == status, headers
        assert answer.headers["etag"] == etag
        assert status != 304 or not answer.content


@loop
@pytest.mark.parametrize(
    "path",
    [
        "inference/none.wav",
        "inference/",
        "inference",
        "",
        "inference.wav",
        "inferences/a.wav",
        "datasets/v/raw/a.wav",
        "train/output/m/c.pth",
        "inference/../datasets/v/raw/a.wav",
        "inference/%2e%2e/datasets/v/raw/a.wav",
        "inference%2f..%2fdatasets/v/raw/a.wav",
        "inference/%252e%252e/datasets/v/raw/a.wav",
        "inference/..%5cdatasets/v/raw/a.wav",
        "inference//a.wav",
        "/inference/a.wav",
        "inference/./a.wav",
        "inference/a.wav%00",
        "inference/a.wav/",
        "inference/%ff%fe",
        "%2fetc%2fpasswd",
        "inference/" + "a" * 3000,
    ],
)
async def test_what_is_never_served(stack: Any, info: ObjectInfo, path: str) -> None:
    host, port = stack.client.base_url.host, stack.client.base_url.port
    # written by hand, since clients tidy up such paths
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /files/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.split()[1] == b"404", answer[:200]
    assert b"secret" not in answer
    assert b'"detail"' in answer


@pytest.mark.parametrize("size", [0, 1, 10])
def test_ranges_never_leave_the_file(size: int) -> None:
    for first in (*range(12), ""):
        for last in (*range(12), ""):
            try:
                span = parse_range(f"bytes={first}-{last}", size)
            except RangeNotSatisfiable:
                continue
            if span is not None:
                assert span.length >= 1
                assert span.start >= 0
                assert span.start + span.length <= size
    assert parse_range("bytes=2-3", 10) == Span(2, 2)


@loop
async def test_the_audio_of_datasets(stack: Any, info: ObjectInfo) -> None:
    store = open_store(stack.settings.storage_url)
    for key in ("datasets/v/segments/segment_00001.wav", "datasets/a/b/raw/x.wav"):
        kept = store.put(key, DATA)
        answer = await stack.client.get("/training/dataset/audio", params={"path": key})
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, DATA, "audio/wav")
        assert answer.headers["etag"] == f'"{kept.etag}"'
        part = await stack.client.get(f"/training/dataset/audio?path={key}", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, DATA[10:20])
        head = await stack.client.head(f"/training/dataset/audio?path={key}")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(DATA)))
        fresh = await stack.client.get(f"/training/dataset/audio?path={key}", headers={"If-None-Match": f'"{kept.etag}"'})
        assert fresh.status_code == 304


@loop
@pytest.mark.parametrize(
    "path",
    [
        "datasets/v/segments/none.wav",
        "datasets/v/segments.jsonl",
        "datasets/v/metadata.csv",
        "datasets/v/raw/a.json",
        "datasets/v/work/job_1/staged/segment_00001.wav",
        "datasets/segments/a.wav",
        "inference/a.wav",
        "train/output/m/c.pth",
        "datasets/v/raw/../../../train/output/m/raw/c.wav",
        "datasets/../inference/raw/a.wav",
        "/datasets/v/raw/a.wav",
        "datasets//v/raw/a.wav",
        "datasets/v/raw/a.wav\x00",
        "datasets/v/raw/a.wav\n",
        "datasets/v/raw/" + "a" * 3000 + ".wav",
        "",
    ],
)
async def test_what_is_no_audio_of_a_dataset(stack: Any, info: ObjectInfo, path: str) -> None:
    store = open_store(stack.settings.storage_url)
    for key in ("datasets/v/segments.jsonl", "datasets/v/metadata.csv", "datasets/v/raw/a.json", "inference/raw/a.wav"):
        store.put(key, b"secret")
    store.put("datasets/v/work/job_1/staged/segment_00001.wav", b"secret")
    answer = await stack.client.get("/training/dataset/audio", params={"path": path})
    assert answer.status_code == 404
    assert b"secret" not in answer.content
    assert (await stack.client.get("/training/dataset/audio")).status_code == 422
