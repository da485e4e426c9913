"""A checkpoint as a zip of the folder that stock coqui-tts loads, made on this machine and streamed while it is packed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import zipfile
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path

from services.inference.checkpoint_files import CheckpointFiles
from services.inference.settings import InferenceSettings
from services.runtime.store import ObjectInfo

_BLOCK_BYTES = 1024 * 1024
_ABANDONED_SECONDS = 24 * 3600.0
_PREFIX = ".export-"


def export_zip(settings: InferenceSettings, files: CheckpointFiles, checkpoint: ObjectInfo) -> Generator[bytes, None, None]:
    """Makes the folder, and gives its zip piece by piece; the folder is removed when the last piece is taken, or none is.

    Args:
        settings: Which base model, and where there is room for the folder.
        files: Where the checkpoint is had from.
        checkpoint: Which one.

    Yields:
        Up to about 1 MiB.

    Raises:
        ObjectNotFound: The checkpoint was deleted in the meantime.
        NotACheckpoint: The file is something else.
        CheckpointMisfit: It was trained from another base model.
    """
    # These import torch.
    from services.xtts.base import resolve_base
    from services.xtts.checkpoint import load_checkpoint
    from services.xtts.export import export_folder

    settings.models_dir.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(settings.models_dir)
    base = resolve_base(settings.base_model, settings.models_dir, accept_license=settings.accept_xtts_license)
    with tempfile.TemporaryDirectory(dir=settings.models_dir, prefix=_PREFIX) as scratch:
        with files.hold(checkpoint) as path:
            loaded = load_checkpoint(path)
            folder = Path(scratch) / f"{loaded.model_name}-epoch-{loaded.epoch}"
            export_folder(loaded, base, folder)
        yield from _zipped(folder)


async def on_a_thread(parts: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """Gives what a generator gives, which works on a thread meanwhile; it is closed when nobody reads on."""
    step: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, parts, None))
            content = await asyncio.shield(step)
            if content is None:
                return
            yield content
    finally:
        if step is not None:
            await asyncio.gather(step, return_exceptions=True)  # a generator at work cannot be closed
        await asyncio.to_thread(parts.close)


def _zipped(folder: Path) -> Iterator[bytes]:
    """Packs a folder without compression: weights do not get smaller."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]  # needs only write()
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo.from_file(path, f"{folder.name}/{path.name}")
            # The size is written behind the file; that it may be over 4 GiB must be said in front.
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                    yield sink.take()
    yield sink.take()


class _Sink:
    """What a zip is written to: keeps bytes until they are taken, and cannot go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._parts.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def _remove_abandoned(folder: Path) -> None:
    """Removes what an export left that was killed."""
    limit = time.time() - _ABANDONED_SECONDS
    for path in folder.glob(f"{_PREFIX}*"):
        if path.stat().st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True)
