"""The object store in a folder of a local or shared file system.

An object is a file at its key. It is written into a hidden folder beside the objects, synced, and renamed into place
(or linked, for an exclusive create), so that after a kill or a power cut an object is the old one, the new one or
absent.
"""

from __future__ import annotations

import errno
import io
import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO, cast

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.files import fill, write_atomically
from services.runtime.keys import check_key
from services.runtime.store import DEFAULT_CONTENT_TYPE, ObjectExists, ObjectInfo, ObjectNotFound, StoreUnavailable

log = logging.getLogger(__name__)

# `~` is not allowed in a key, so no object can be in there and no listing shows it.
_SCRATCH = ".tmp~"
# A writer touches its file with every block; a day without that means its process is gone.
_ABANDONED_SECONDS = 24 * 3600.0
_BLOCK_BYTES = 1 << 20
_MAX_PART_BYTES = 255  # NAME_MAX of every common file system
# Another process may remove a folder that became empty between our making it and our renaming into it.
_PLACE_ATTEMPTS = 20


class FolderStore:
    """An `ObjectStore` in a folder.

    Symbolic links are not followed: a key whose path goes through one is refused, and listings leave links out.

    Args:
        root: The folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root.resolve()
        self._scratch = self._root / _SCRATCH
        self._scratch.mkdir(exist_ok=True)
        _remove_abandoned(self._scratch)

    def put(self, key: str, source: bytes | Path | BinaryIO, content_type: str = DEFAULT_CONTENT_TYPE) -> ObjectInfo:
        """See `ObjectStore.put`."""
        del content_type  # a folder has no place for it
        target = self._path(key)
        with self._written(key, source) as temporary:
            info = _info(key, temporary.stat())
            self._place(key, lambda: os.replace(temporary, target))
        return info

    def create(self, key: str, source: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> ObjectInfo:
        """See `ObjectStore.create`."""
        del content_type  # a folder has no place for it
        target = self._path(key)
        with self._written(key, source) as temporary:
            info = _info(key, temporary.stat())
            self._place(key, lambda: os.link(temporary, target))
        return info

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        with self._opened(key) as file:
            return file.read()

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """See `ObjectStore.open`."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"start {start} and length {length} must not be negative")
        file = self._opened(key)
        file.seek(start)
        if length is None:
            return file
        return cast(BinaryIO, io.BufferedReader(_Slice(file, length), _BLOCK_BYTES))

    def fetch(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.fetch`."""
        with self._opened(key) as file:
            info = _info(key, os.fstat(file.fileno()))
            write_atomically(path, file)
        return info

    def stat(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return _info(key, path.stat())
        except FileNotFoundError:
            return None

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        if prefix:
            check_key(prefix.removesuffix("/"), field="prefix")
        folder = prefix.rpartition("/")[0]
        return _walk(self._root / folder, f"{folder}/" if folder else "", prefix, start_after)

    def copy(self, source_key: str, key: str) -> ObjectInfo:
        """See `ObjectStore.copy`."""
        with self._opened(source_key) as file:
            return self.put(key, file)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`; folders that become empty go too."""
        path = self._path(key)
        with _translated(key):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
        for folder in itertools.takewhile(lambda parent: parent != self._root, path.parents):
            try:
                folder.rmdir()
            except OSError:
                return

    def _path(self, key: str) -> Path:
        path = self._root / check_key(key)
        if any(len(part) > _MAX_PART_BYTES for part in path.parts):
            raise InvalidArgument(f"A part of the key {key[:80]!r}... is longer than {_MAX_PART_BYTES} characters.")
        if os.path.realpath(path) != str(path):
            raise InvalidArgument(f"The key {key!r} leads through a symbolic link, which the store does not follow.")
        return path

    def _opened(self, key: str) -> BinaryIO:
        path = self._path(key)
        with _translated(key):
            try:
                return path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectNotFound(key) from None

    @contextmanager
    def _written(self, key: str, source: bytes | Path | BinaryIO) -> Iterator[Path]:
        """Writes and syncs a temporary file, and removes it afterwards if it is still there."""
        with _translated(key):
            descriptor, name = tempfile.mkstemp(dir=self._scratch)
        temporary = Path(name)
        try:
            with _translated(key), os.fdopen(descriptor, "wb") as target:
                fill(target, source)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _place(self, key: str, move: Callable[[], None]) -> None:
        parent = (self._root / key).parent
        with _translated(key):
            for _ in range(_PLACE_ATTEMPTS):
                try:
                    parent.mkdir(parents=True, exist_ok=True)
                except FileExistsError:
                    if parent.is_file():
                        raise
                    continue  # it was there, and went at the same moment
                except FileNotFoundError:
                    continue  # what it was to lie in went at the same moment
                try:
                    return move()
                except FileExistsError:
                    raise ObjectExists(key) from None
                except FileNotFoundError:
                    continue
        raise StoreUnavailable(f"The folder of {key!r} is removed again and again by others; try again.")


class _Slice(io.RawIOBase):
    """The next `length` bytes of a file, which it closes with itself."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._file.read(min(len(buffer), self._left))
        buffer[: len(block)] = block
        self._left -= len(block)
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()


def _walk(folder: Path, below: str, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
    """Lists the objects of a folder in byte order of their whole keys, as S3 does.

    A folder sorts as its name with a slash, so that `a.wav` comes before `a/b.wav`, and `a0` behind both.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
                for entry in entries
                if not entry.is_symlink() and _is_part(entry.name)
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in names:
        key = below + name
        if name.endswith("/"):
            wanted = key.startswith(prefix) or prefix.startswith(key)
            if wanted and (key > start_after or start_after.startswith(key)):
                yield from _walk(folder / entry.name, key, prefix, start_after)
        elif key.startswith(prefix) and key > start_after:
            try:
                yield _info(key, entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue


def _is_part(name: str) -> bool:
    try:
        check_key(name)
    except InvalidArgument:
        return False
    return True


def _info(key: str, stat: os.stat_result) -> ObjectInfo:
    modified = datetime.fromtimestamp(stat.st_mtime_ns / 1e9, UTC)
    return ObjectInfo(key, stat.st_size, f"{stat.st_mtime_ns:x}-{stat.st_size:x}", modified)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreUnavailable("The storage disk is full; free some space and try again.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreUnavailable(f"The store may not write or read {key!r}; check the owner of its folder.") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            message = f"{key!r} cannot be stored: a folder and an object would have the same name; choose another."
            raise FailedPrecondition(message, reason="NAME_CONFLICT") from error
        raise


def _remove_abandoned(scratch: Path) -> None:
    limit = time.time() - _ABANDONED_SECONDS
    for path in scratch.iterdir():
        try:
            if path.stat().st_mtime < limit:
                path.unlink()
                log.info("removed a file that an interrupted write had left behind")
        except FileNotFoundError:
            continue  # its writer is done
