"""The files inside a zip or a tar, one after the other, from archives that nobody vouches for.

Links and devices are refused, and an archive that unpacks to far more than it should is given up while it unpacks, whatever
its headers claim. Where a file is written is for the caller to decide; its name has been checked to lead nowhere else.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from services.runtime.errors import InvalidArgument

# Names and attributes of the entry that follows: tarfile reads them into memory whole.
_TAR_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_TAR_HEADER_BYTES = 1 << 20
# Small archives of silence shrink by more than any ratio; this much is always allowed.
_FREE_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_BYTES_A_ZIP_ENTRY = 1024
_ZIP_END = b"PK\x05\x06"
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, NotImplementedError)


class ArchiveRefused(InvalidArgument):
    """An archive is not what it should be: damaged, malicious, too large, or no LJSpeech dataset."""


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may unpack to.

    Attributes:
        max_bytes: All of it together.
        max_files: Entries of any kind.
        max_ratio: How many times its own size, beyond the first 64 MiB; audio hardly shrinks to a fifth.
    """

    max_bytes: int = 20 << 30
    max_files: int = 100_000
    max_ratio: float = 50.0


@dataclass(frozen=True)
class Entry:
    """A regular file in an archive, to be opened before the next one is asked for."""

    name: str
    position: float
    open: Callable[[], IO[bytes]]


def unpack(path: Path, limits: ArchiveLimits) -> Iterator[Entry]:
    """Goes through the files of an archive.

    Args:
        path: A zip, or a tar that may be compressed with gzip, bzip2 or xz; told by content, not by name.
        limits: How large it may become.

    Raises:
        ArchiveRefused: It is damaged, too large, or has an entry that is no file or leads out of it.
    """
    size = path.stat().st_size
    budget = _Budget(min(limits.max_bytes, int(size * limits.max_ratio) + _FREE_BYTES), limits.max_files)
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        entries = _zip_entries(file, limits, budget) if start.startswith(b"PK") else _tar_entries(file, start, size, budget)
        for entry in entries:
            name = entry.name
            if name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name or name[1:2] == ":":
                raise ArchiveRefused(f"The archive has an entry {name[:80]!r}, whose name leads out of it.")
            yield entry


@dataclass
class _Budget:
    """What may still be unpacked."""

    bytes: int
    files: int

    def count(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise ArchiveRefused("The archive unpacks to far more than its size suggests, or than is allowed.")

    def count_file(self) -> None:
        self.files -= 1
        if self.files < 0:
            raise ArchiveRefused("The archive has more files than are allowed.")


class _Inflated(io.RawIOBase):
    """A decompressed stream whose every byte is counted, also of what is skipped."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with damage_reported((*_DAMAGE, OSError)):  # by an OSError gzip and bz2 tell of damage
            block = self._stream.read(len(buffer))
        self._budget.count(len(block))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextlib.contextmanager
def damage_reported(damage: tuple[type[Exception], ...] = _DAMAGE) -> Iterator[None]:
    """Turns what the libraries raise over a damaged archive into a sentence, around every read from it."""
    try:
        yield
    except damage as error:
        raise ArchiveRefused("The archive is damaged, incomplete, or of a kind that cannot be read.") from error


# Zip


def _zip_entries(file: BinaryIO, limits: ArchiveLimits, budget: _Budget) -> Iterator[Entry]:
    with damage_reported():
        # zipfile reads the whole directory into memory.
        if _zip_directory_bytes(file) > limits.max_files * _BYTES_A_ZIP_ENTRY:
            raise ArchiveRefused("The archive has more files than are allowed.")
        archive = zipfile.ZipFile(file)
    with archive:
        entries = archive.infolist()
        for number, entry in enumerate(entries):
            budget.count_file()
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise _special(entry.filename)
            if entry.flag_bits & 1:
                raise ArchiveRefused("The archive is encrypted: send it without a password.")
            yield Entry(entry.filename, number / len(entries), partial(_zip_open, archive, entry, budget))


def _zip_open(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: _Budget) -> IO[bytes]:
    with damage_reported():
        return cast(IO[bytes], _Inflated(archive.open(entry), budget))


def _zip_directory_bytes(file: BinaryIO) -> int:
    """Returns how large the directory of a zip says it is, found as zipfile finds it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 22 - 65535))
    tail = file.read()
    at = len(tail) - 22
    if at < 0 or tail[at : at + 4] != _ZIP_END or tail[-2:] != b"\0\0":
        at = tail.rfind(_ZIP_END)
    if at < 0:
        raise zipfile.BadZipFile
    (directory,) = struct.unpack_from("<L", tail, at + 12)
    locator = tail[max(0, at - 20) : at]
    if locator[:4] == b"PK\x06\x07":
        file.seek(struct.unpack_from("<Q", locator, 8)[0])
        directory = max(directory if directory != 0xFFFFFFFF else 0, struct.unpack_from("<Q", file.read(56), 40)[0])
    file.seek(0)
    return int(directory)


# Tar


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses headers whose extra data would not fit into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _BoundedTarInfo:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _TAR_HEADERS and found.size > _MAX_TAR_HEADER_BYTES:
            raise ArchiveRefused("The archive has a header that is far too long.")
        return found


def _tar_entries(file: BinaryIO, start: bytes, size: int, budget: _Budget) -> Iterator[Entry]:
    stream = cast(BinaryIO, io.BufferedReader(_Inflated(_decompressed(file, start), budget), _BLOCK_BYTES))
    with contextlib.ExitStack() as stack:
        with damage_reported():
            archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedTarInfo))
        while True:
            with damage_reported():
                member = archive.next()
            if member is None:
                return
            budget.count_file()
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise _special(member.name)
            yield Entry(member.name, file.tell() / size, partial(_tar_open, archive, member))


def _tar_open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    with damage_reported():
        opened = archive.extractfile(member)
    assert opened is not None  # it is a regular file
    return opened


def _decompressed(file: BinaryIO, start: bytes) -> IO[bytes]:
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(file))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(file))
    if start.startswith(b"\xfd7zXZ\0"):
        return cast(IO[bytes], lzma.open(file))
    return file


def _special(name: str) -> ArchiveRefused:
    return ArchiveRefused(f"The archive has an entry {name[:80]!r} that is a link or a device; it must have files only.")
