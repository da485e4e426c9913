"""Taking an upload: a stream of messages to a file on the local disk."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from timbre.dataset.v1 import dataset_pb2 as pb

from services.runtime.errors import InvalidArgument

UploadRequest = pb.UploadRecordingRequest | pb.UploadArchiveRequest


class UploadTooLarge(InvalidArgument):
    """The upload is larger than allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The file is larger than {limit / 1024**2:g} MiB: send it in smaller parts.", reason="TOO_LARGE")


@asynccontextmanager
async def scratch_for_uploads(data_dir: Path) -> AsyncIterator[Path]:
    """A folder for one upload, removed afterwards; or by a later upload, when the process is killed before that.

    Each is locked as long as its process lives, so that several may share a data folder.
    """
    folder, held = await asyncio.to_thread(_make_scratch, data_dir / "uploads")
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        os.close(held)


def _make_scratch(root: Path) -> tuple[Path, int]:
    """Makes a folder and locks it, after removing those of processes that died."""
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root, fcntl.LOCK_EX):
        for left in root.iterdir():
            with suppress(OSError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=root))
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
    return folder, held


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


async def receive(requests: AsyncIterator[UploadRequest], scratch: Path, limit: int) -> tuple[pb.UploadHeader, Path]:
    """Writes the chunks of an upload to a file, without holding more than one in memory.

    Args:
        requests: The header, then chunks.
        scratch: Where the file is made.
        limit: Largest size in bytes.

    Returns:
        The header and the file.

    Raises:
        UploadTooLarge: More than `limit` bytes came.
        InvalidArgument: No header came first, or no bytes came.
    """
    header: pb.UploadHeader | None = None
    path = scratch / "upload"
    size = 0
    with path.open("wb") as file:
        async for request in requests:
            if request.WhichOneof("part") == "header":
                header = request.header
                continue
            if header is None:
                raise InvalidArgument("An upload begins with its header: send that before the first chunk.")
            size += len(request.chunk)
            if size > limit:
                raise UploadTooLarge(limit)
            await asyncio.to_thread(file.write, request.chunk)
    if header is None or not size:
        raise InvalidArgument("The upload is empty: send a file with audio in it.", fields={"file": "it is empty"})
    return header, path
