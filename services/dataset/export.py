"""A dataset as a zip in LJSpeech form, made while it is read: neither memory nor disk ever holds it."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator

from services.dataset import layout
from services.dataset.edits import DatasetClosed, read_edits
from services.dataset.manifest import Segment, metadata_csv, read_segments
from services.runtime.errors import Conflict, NotFound
from services.runtime.store import ObjectNotFound, ObjectStore

CHUNK_BYTES = 256 * 1024
"""About how many bytes are given at once."""


class NothingToExport(NotFound):
    """The dataset has no segments."""


class ExportOutdated(Conflict):
    """Segments got other numbers while they were read."""

    def __init__(self, folder: str) -> None:
        super().__init__(f"The segments of {folder} were cut anew while they were read: export the dataset again.")


class _Sink(io.RawIOBase):
    """Takes what a zip file writes, for the one who asks next. It cannot seek, so sizes come behind each file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.waiting = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        self.waiting += len(data)
        return len(data)

    def take(self) -> bytes:
        taken, self._parts, self.waiting = b"".join(self._parts), [], 0
        return taken


def export_zip(store: ObjectStore, folder: str) -> Iterator[bytes]:
    """Goes through the bytes of a zip with `metadata.csv` and `wavs/`, without the segments that a person left out.

    Args:
        store: The object store.
        folder: The dataset.

    Raises:
        NothingToExport: There are no segments; before the first byte.
        DatasetClosed: Segments are getting other numbers; before the first byte.
        ExportOutdated: Segments got other numbers meanwhile; in the middle.
    """
    if closed_by := read_edits(store, folder).closed_by:
        raise DatasetClosed(folder, closed_by)
    rows = [row for row in read_segments(store, folder) if not row.excluded]
    if not rows:
        raise NothingToExport(f"{folder} has no segments to export: segment its recordings, or take some in again.")
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        with archive.open(_entry("metadata.csv"), "w") as entry:
            entry.write(metadata_csv(rows).encode())
        for row in rows:
            try:
                wav = store.open(layout.segment_key(folder, row.id))
            except ObjectNotFound:
                raise ExportOutdated(folder) from None
            with wav, archive.open(_entry(f"wavs/{row.id}.wav"), "w") as entry:
                while block := wav.read(CHUNK_BYTES):
                    entry.write(block)
                    if sink.waiting >= CHUNK_BYTES:
                        yield sink.take()
        _check_unmoved(store, folder, rows)
    yield sink.take()


def _check_unmoved(store: ObjectStore, folder: str, rows: list[Segment]) -> None:
    # Whoever moves segments closes the edits before, and opens them when the manifest says where they are now.
    closed = read_edits(store, folder).closed_by
    now = {row.id: row.stretch for row in read_segments(store, folder)}
    if closed or any(now.get(row.id) != row.stretch for row in rows):
        raise ExportOutdated(folder)


def _entry(name: str) -> zipfile.ZipInfo:
    # Not deflated: noise and speech shrink by a tenth, at a tenth of the speed.
    return zipfile.ZipInfo(name, time.gmtime()[:6])
