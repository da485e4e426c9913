"""Which content an ETag belongs to, and how often what breaks is continued."""

from __future__ import annotations

import hashlib
import io

import pytest
import urllib3

from services.runtime import s3_body
from services.runtime.s3_body import PART_BYTES, Digest
from services.runtime.store import StoreUnavailable


def md5(content: bytes) -> bytes:
    return hashlib.md5(content).digest()


def digest_of(content: bytes, part_bytes: int | None = PART_BYTES, step: int = 1_000_003) -> Digest:
    digest = Digest(part_bytes)
    for start in range(0, len(content), step):
        digest.update(content[start : start + step])
    return digest


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES])
def test_content_fits_the_etag_of_one_put_and_of_parts(size: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    changed = bytes([content[0] ^ 1]) + content[1:] if content else b"x"
    whole = md5(content).hex()
    assert digest_of(content, None).fits(whole, {})
    assert not digest_of(changed, None).fits(whole, {})
    parts = [md5(content[start : start + PART_BYTES]) for start in range(0, max(size, 1), PART_BYTES)]
    etag = f"{md5(b''.join(parts)).hex()}-{len(parts)}"
    assert digest_of(content).fits(etag, {})
    assert not digest_of(changed).fits(etag, {})
    if size <= PART_BYTES:
        assert digest_of(content).fits(whole, {})
        assert not digest_of(changed).fits(whole, {})


def test_what_cannot_be_told_fits() -> None:
    content = b"x" * (PART_BYTES + 1)
    assert digest_of(content).fits("something-else", {})
    assert digest_of(content).fits(f"{'0' * 32}-7", {})  # parts of another size
    encrypted = {"x-amz-server-side-encryption-aws-kms-key-id": "key"}
    assert digest_of(b"x").fits("0" * 32, encrypted)
    assert not digest_of(b"x").fits("0" * 32, {})


class Broken(io.RawIOBase):
    """A connection that breaks after so many bytes."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        if block := self._rest.read(size):
            return block
        raise ConnectionResetError("Connection reset by peer")

    def read1(self, size: int = -1) -> bytes:
        return self.read(size)


@pytest.mark.parametrize(
    ("breaks", "attempts", "read"), [(4, 4, True), (5, 4, False), (5, 12, True), (12, 12, True), (13, 12, False)]
)
def test_a_read_is_continued_as_often_as_the_store_is_patient(breaks: int, attempts: int, read: bool) -> None:
    """What counts is how often it broke in a row: every byte that comes begins the count anew."""
    content = b"0123456789"
    left = [content[:2], *[b""] * (breaks - 1), content[2:4], *[b""] * (breaks - 1), content[4:]]

    def ask(start: int, _length: int | None) -> urllib3.BaseHTTPResponse:
        assert start in (0, 2, 4)
        headers = {"Content-Length": str(len(content) - start)}
        return urllib3.HTTPResponse(Broken(left.pop(0)), headers=headers, preload_content=False)

    with s3_body.Body("key", ask(0, None), ask, start=0, check=False, pauses=[0.0] * attempts) as body:
        if read:
            assert body.read() == content
        else:
            with pytest.raises(StoreUnavailable, match="broke again and again in the middle of 'key'"):
                body.read()
