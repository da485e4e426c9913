"""Files on their way: forms that tell how far they are, and downloads that appear only when they are whole."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

import httpx

from gateway.schemas.dataset import Uploaded, UploadedFile
from timbre.client.errors import ApiError

Progress: TypeAlias = Callable[[int, int | None], None]
"""Told how many bytes have passed, and of how many in all; None when the server does not say."""

UPLOAD_PATH, IMPORT_PATH = "/training/dataset/upload", "/training/dataset/import"
DATASET_EXPORT_PATH, CHECKPOINT_EXPORT_PATH = "/training/dataset/export", "/training/checkpoints/export"
STREAM_PATH = "/training/inference/stream"

# An upload is answered when the server has decoded the file; a piece of speech comes within a minute or never.
# By default the server gives a file an hour (TIMBRE_UPLOAD_TIMEOUT_SECONDS).
UPLOAD_TIMEOUT = httpx.Timeout(60, read=3660)
SPEECH_TIMEOUT = httpx.Timeout(30, read=90)


class CountedFile(io.FileIO):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        super().__init__(path, "rb")
        self._total = path.stat().st_size
        self._progress = progress

    def read(self, size: int | None = -1) -> bytes:
        """Reads up to `size` bytes."""
        data = super().read(-1 if size is None else size) or b""
        if self._progress and data:
            self._progress(min(self.tell(), self._total), self._total)
        return data


class ThreadedStream(httpx.AsyncByteStream):
    """A body that is read in a thread, so that the event loop does not wait for the disk."""

    def __init__(self, body: httpx.SyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Goes through the body."""
        pieces = iter(self._body)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece


class TimedStream(httpx.SyncByteStream):
    """A body that is read until a deadline, however much of it is still to come."""

    def __init__(self, body: httpx.SyncByteStream, deadline: float) -> None:
        self._body = body
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        """Goes through the body."""
        for piece in self._body:
            yield piece
            if time.monotonic() > self._deadline:
                raise TimeoutError

    def close(self) -> None:
        """Closes the connection."""
        self._body.close()


def uploaded(folder: str, results: list[UploadedFile], errors: list[ApiError]) -> Uploaded:
    """Puts the results of several files together.

    Raises:
        ApiError: None was stored; what the first was answered.
    """
    if errors and len(errors) == len(results):
        raise errors[0]
    return Uploaded(folder=folder, files=results)


def check_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Returns paths of files that can be read, before the first of them is sent.

    Raises:
        OSError: One cannot.
    """
    found = [Path(path) for path in paths]
    for path in found:
        with path.open("rb"):
            pass
    return found


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing that is in its place only when the block has ended well; a device or a pipe is written to."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as special:
            yield special
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            yield file
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def total_of(answer: httpx.Response) -> int | None:
    """Returns how long a body will be, when the server says so."""
    length = answer.headers.get("content-length", "")
    return int(length) if length.isdigit() else None
