"""Copies of big objects on the disk of a node, shared by the processes on it and bounded in bytes.

Processes meet in a folder and nowhere else; what each of them does is held by locks of the kernel, which let go of it
however the process ends:

    NAME                   a copy, whole: it got its name only when all of it was on the disk
    NAME (locked, shared)  somebody uses it, and it stays
    NAME.want (locked)     somebody fetches it, and room for so many bytes is taken; without a lock, its fetcher is dead
    .NAME.….part           what has come of it so far
    room.lock              held while room is made
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from services.runtime.errors import Unavailable
from services.runtime.store import ObjectInfo, ObjectStore

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_WANT = ".want"
_ROOM = "room.lock"


class ObjectChanged(Unavailable):
    """Another object took its place while it was being fetched."""


class NodeCache:
    """Files by name, of which those that were not used for longest are removed when there is no room.

    Args:
        folder: For the copies, made when missing; nothing else may be in it. Several processes may share it, on a file
            system that has `flock`.
        limit_bytes: Most that the copies may take together. What is in use stays also when that is more.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes

    @contextmanager
    def hold(self, name: str, size: int, fetch: Callable[[Path], object]) -> Iterator[Path]:
        """Gives a copy, fetching it when it is not there; it is not removed before the context ends.

        Of several callers at once, in whatever processes, one fetches and the others wait.

        Args:
            name: Of letters, digits, `_` and `-`, and another one for every version of the content.
            size: Of the content, bytes; room is made for it before it comes.
            fetch: Writes the file of the path it is given, which must appear there only when it is whole, by way of a hidden
                file beside it (as `write_atomically` does).

        Raises:
            Whatever `fetch` raises.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a copy")
        path = self._folder / name
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            held = _lock(path, fcntl.LOCK_SH)
            if held is not None:
                break
            self._fill(path, size, fetch)
        with held:
            os.utime(held.fileno())  # the last use
            yield path

    @contextmanager
    def hold_object(self, store: ObjectStore, info: ObjectInfo) -> Iterator[Path]:
        """Gives a copy of an object as it was when `info` was read; it is not removed before the context ends.

        Raises:
            ObjectNotFound: It was deleted in the meantime.
            ObjectChanged: It was written anew in the meantime.
        """

        def fetch(path: Path) -> None:
            coming = path.with_name(f".{path.name}.part")
            if store.fetch(info.key, coming).etag != info.etag:
                coming.unlink()
                raise ObjectChanged(f"{info.key!r} was written anew while it was fetched: try again.")
            os.replace(coming, path)

        version = hashlib.sha256(f"{info.key}\n{info.etag}".encode()).hexdigest()[:32]
        with self.hold(version, info.size, fetch) as path:
            yield path

    def _fill(self, path: Path, size: int, fetch: Callable[[Path], object]) -> None:
        """Fetches a copy, unless another process did so while we waited for it."""
        want = path.with_name(f"{path.name}{_WANT}")
        claim = _lock(want, fcntl.LOCK_EX, create=True)
        if claim is None:
            return
        with claim:
            try:
                if not path.exists():
                    self._remove_parts(path.name)
                    os.ftruncate(claim.fileno(), size)  # takes no blocks: it says how much is to come
                    self._make_room()
                    fetch(path)
            finally:
                want.unlink(missing_ok=True)

    def _make_room(self) -> None:
        with (self._folder / _ROOM).open("a") as room:
            fcntl.flock(room, fcntl.LOCK_EX)
            self._remove_abandoned()
            found = self._found()
            total = sum(stat.st_size for stat in found.values())
            for path in sorted(found, key=lambda path: found[path].st_mtime_ns):
                if total <= self._limit:
                    return
                if path.suffix != _WANT and _remove_unless_locked(path):
                    total -= found[path].st_size
                    logger.info("removed the copy %s to make room", path.name)
            if total > self._limit:
                logger.warning("copies that are in use take %d bytes, more than the %d allowed", total, self._limit)

    def _found(self) -> dict[Path, os.stat_result]:
        """Copies, and what is to become some."""
        found = {}
        for path in self._folder.iterdir():
            if path.name != _ROOM and not path.name.startswith("."):
                with suppress(FileNotFoundError):  # fetched, or removed, this moment
                    found[path] = path.stat()
        return found

    def _remove_abandoned(self) -> None:
        """Removes what processes that died while fetching left behind."""
        for want in self._folder.glob(f"*{_WANT}"):
            if _remove_unless_locked(want):
                self._remove_parts(want.name.removesuffix(_WANT))
                logger.info("removed what a process that died had fetched of %s", want.name.removesuffix(_WANT))

    def _remove_parts(self, name: str) -> None:
        for part in self._folder.glob(f".{name}.*"):
            part.unlink(missing_ok=True)


def _lock(path: Path, kind: int, *, create: bool = False) -> IO[bytes] | None:
    """Opens and locks a file; None when there is none, or it was removed meanwhile."""
    try:
        file = path.open("ab" if create else "rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, kind)
        if _is_at(file, path):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _remove_unless_locked(path: Path) -> bool:
    """Removes a file that nobody has locked; returns whether it is gone."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return True
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if _is_at(file, path):  # and not one that took its place
            path.unlink()
            return True
        return False


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is still the one of that path."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file.fileno()), there)
