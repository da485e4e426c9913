"""Local files that appear only when they are whole."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO, BinaryIO

_BLOCK_BYTES = 1 << 20


def write_atomically(path: Path, source: bytes | Path | BinaryIO) -> None:
    """Writes a file under a temporary name beside its place, syncs it, and renames it.

    Args:
        path: Where to; its folder is made when missing.
        source: The content; an open binary file is streamed from its present position to its end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as target:
            fill(target, source)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def fill(target: IO[bytes], source: bytes | Path | BinaryIO) -> None:
    """Streams `source` into a new file that is open for writing, and syncs it.

    The file gets mode 644 in place of the 600 of temporary files, and a time of change to the nanosecond: the kernel's
    own stamp has ticks of some milliseconds, and two writes inside one must be told apart.
    """
    if isinstance(source, bytes):
        target.write(source)
    elif isinstance(source, Path):
        with source.open("rb") as file:
            shutil.copyfileobj(file, target, _BLOCK_BYTES)
    else:
        shutil.copyfileobj(source, target, _BLOCK_BYTES)
    target.flush()
    os.fchmod(target.fileno(), 0o644)
    now = time.time_ns()
    os.utime(target.fileno(), ns=(now, now))
    os.fsync(target.fileno())
