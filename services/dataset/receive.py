"""Taking an upload: a stream of messages to a file on the local disk."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from timbre.dataset.v1 import dataset_pb2 as pb

from services.runtime.errors import InvalidArgument

UploadRequest = pb.UploadRecordingRequest | pb.UploadArchiveRequest


class UploadTooLarge(InvalidArgument):
    """The upload is larger than allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The file is larger than {limit / 1024**2:g} MiB: send it in smaller parts.", reason="TOO_LARGE")


@contextmanager
def scratch_for_uploads(data_dir: Path) -> Iterator[Path]:
    """A folder for one upload, removed afterwards."""
    root = data_dir / "uploads"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
