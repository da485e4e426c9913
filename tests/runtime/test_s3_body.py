"""Which content an ETag belongs to."""

from __future__ import annotations

import hashlib

import pytest

from services.runtime.s3_body import PART_BYTES, Digest


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
