"""The content of an S3 object on its way: what breaks is continued, and what came is held against its digest."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

import urllib3

from services.runtime.s3_connection import translated
from services.runtime.store import StoreUnavailable

# S3 takes 10,000 parts of 5 MiB or more; 8 MiB allows objects of 80 GB. One part at a time is in memory.
PART_BYTES = 8 << 20

_DIGEST = re.compile(r"[0-9a-f]{32}")
_DIGEST_OF_PARTS = re.compile(r"[0-9a-f]{32}-[0-9]+")
# With keys of its owner or of a key server, the ETag of an object is no digest of its content.
_ENCRYPTED = ("x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-aws-kms-key-id")


class Spoiled(StoreUnavailable):
    """What came is not what was stored: bytes were changed on the way, or the server mixed two versions."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key!r} is not what was stored: the object store, or the way to it, changes bytes; try again "
            "(checksums=off in TIMBRE_STORAGE_URL is for servers whose ETags are no MD5)."
        )


Request = Callable[[int, int | None], urllib3.BaseHTTPResponse]
"""Asks for an object from a byte on, so many or to its end."""


class Digest:
    """Follows content, and tells whether an ETag belongs to it.

    The ETag of an object that was put at once is the MD5 of its content; that of one put in parts is the MD5 of the parts'
    MD5s, and their number. Parts have the size that ours have, or nothing can be said.

    Args:
        part_bytes: Size of the parts; None takes all of it for one.
    """

    def __init__(self, part_bytes: int | None = PART_BYTES) -> None:
        self.size = 0
        self._part_bytes = part_bytes or sys.maxsize
        self._part = _md5()
        self._parts: list[bytes] = []  # that are full

    def update(self, block: bytes | memoryview) -> None:
        """Adds the next bytes."""
        view = memoryview(block)
        while view:
            begun = view[: self._part_bytes - self.size % self._part_bytes]
            self._part.update(begun)
            self.size += len(begun)
            if self.size % self._part_bytes == 0:
                self._parts.append(self._part.digest())
                self._part = _md5()
            view = view[len(begun) :]

    def fits(self, etag: str, headers: Mapping[str, str]) -> bool:
        """Returns whether the content is the one that the ETag is of, as far as that can be told.

        Args:
            etag: Without quotes.
            headers: Of the answer that it came with.
        """
        if any(name in headers for name in _ENCRYPTED):
            return True
        last = [self._part.digest()] if self.size % self._part_bytes or not self.size else []
        parts = [*self._parts, *last]
        if _DIGEST.fullmatch(etag) and len(parts) == 1:
            return etag == parts[0].hex()
        if _DIGEST_OF_PARTS.fullmatch(etag) and etag.endswith(f"-{len(parts)}"):
            return etag == f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"
        return True


def _md5(content: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(content, usedforsecurity=False)


class Followed:
    """A file whose bytes are digested as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = Digest()

    def read(self, size: int = -1) -> bytes:
        """Reads as the file does."""
        block = self._file.read(size)
        self.digest.update(block)
        return block


class Body(io.RawIOBase):
    """The body of an answer as a stream, which gives its connection back when closed.

    Args:
        key: Of what object, for errors.
        response: The answer, of which nothing has been read.
        request: Asks again.
        start: First byte of the answer in the object.
        check: Whether it is the whole object, and is to be held against its ETag.
        pauses: Before each time that it is continued, in a row without anything having come.

    Raises, while it is read:
        Spoiled: The content is not what was once stored.
        StoreUnavailable: The connection broke again and again, or the object was replaced before it was continued.
    """

    def __init__(
        self,
        key: str,
        response: urllib3.BaseHTTPResponse,
        request: Request,
        *,
        start: int,
        check: bool,
        pauses: Sequence[float],
    ) -> None:
        self._key = key
        self._response = response
        self._request = request
        self._next = start
        self._end = start + int(response.headers["Content-Length"])
        self._etag = response.headers.get("ETag", "")
        self._digest = Digest(PART_BYTES if "-" in self._etag else None) if check else None
        self._pauses = pauses
        self._failures = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads the next bytes, over another connection if need be."""
        while True:
            try:
                block = self._response.read1(len(buffer))  # what has come, even if the rest does not
            except urllib3.exceptions.HTTPError as error:
                self._continue(error)
                continue
            if block or self._next == self._end or not len(buffer):
                break
            self._continue(urllib3.exceptions.IncompleteRead(self._next, self._end - self._next))
        if block:
            self._failures = 0
            self._next += len(block)
            buffer[: len(block)] = block
        if self._digest is not None:
            self._digest.update(block)
            if not block and len(buffer) and not self._digest.fits(self._etag.strip('"'), self._response.headers):
                raise Spoiled(self._key)
        return len(block)

    def close(self) -> None:
        """Gives the connection back; with an unread rest it would be useless for the next request."""
        if not self.closed:
            self._response.close()
            self._response.release_conn()
        super().close()

    def _continue(self, error: Exception) -> None:
        """Asks for the rest."""
        self._response.close()
        if self._failures == len(self._pauses):
            raise StoreUnavailable(
                f"The connection to the object store broke again and again in the middle of {self._key!r}; try again later."
            ) from error
        time.sleep(self._pauses[self._failures])
        self._failures += 1
        with translated(self._key):
            self._response = self._request(self._next, self._end - self._next)
        if self._response.headers.get("ETag", "") != self._etag:
            raise StoreUnavailable(f"{self._key!r} was replaced while it was being read; read it again.") from error
