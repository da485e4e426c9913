"""An export is an LJSpeech archive that can be imported again, and never lies in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.dataset import layout
from services.dataset.archive import read_archive
from services.dataset.edits import DatasetClosed, Edits, write_edits
from services.dataset.export import CHUNK_BYTES, ExportOutdated, NothingToExport, export_zip
from services.dataset.manifest import Segment, read_segments, write_segments
from services.dataset.pipeline.archive import import_archive
from services.dataset.review import Change, update_segment
from services.dataset.unpack import ArchiveLimits
from services.runtime.jobs import JobContext
from services.runtime.store import ObjectStore
from tests.dataset.pipeline.conftest import job, store
from tests.dataset.pipeline.test_archive_job import KEY, make_archive
from timbre.demo.speech import Span

__all__ = ["job", "store"]

FOLDER = "datasets/voice"


def segments(store: ObjectStore, count: int, size: int = 1000) -> list[Segment]:
    row = Segment("", "a", 0.0, 9.0, 9.0, size, transcript="Olá.", normalised="Olá.")
    rows = [replace(row, id=layout.segment_id(n), start_s=9.0 * n, end_s=9.0 * n + 9) for n in range(1, count + 1)]
    for number, one in enumerate(rows):
        store.put(layout.segment_key(FOLDER, one.id), bytes([number % 256]) * size)
    write_segments(store, FOLDER, rows)
    return rows


def test_the_zip_holds_what_was_not_left_out(store: ObjectStore) -> None:
    rows = segments(store, 4)
    update_segment(store, FOLDER, rows[1].id, Change(excluded=True))
    update_segment(store, FOLDER, rows[2].id, Change(transcript="De uma | pessoa."))
    write_segments(store, FOLDER, [*read_segments(store, FOLDER)[:3], replace(rows[3], transcript=None, normalised=None)])
    packed = zipfile.ZipFile(io.BytesIO(b"".join(export_zip(store, FOLDER))))
    assert packed.testzip() is None
    assert packed.namelist() == ["metadata.csv", *(f"wavs/{rows[n].id}.wav" for n in (0, 2, 3))]
    assert packed.read(f"wavs/{rows[2].id}.wav") == bytes([2]) * 1000
    lines = packed.read("metadata.csv").decode()
    assert lines == "segment_00001|Olá.|Olá.\nsegment_00003|De uma pessoa.|De uma, pessoa.\n"


def test_it_comes_piece_by_piece(store: ObjectStore) -> None:
    rows = segments(store, 8, size=4 * CHUNK_BYTES)
    chunks = export_zip(store, FOLDER)
    first = next(chunks)
    store.put(layout.segment_key(FOLDER, rows[7].id), b"what was not read yet" * 100)
    sizes = [len(first), *(len(chunk) for chunk in chunks)]
    assert sum(sizes) < 7.2 * 4 * CHUNK_BYTES, "the last one was read late, as it was then"
    assert max(sizes) < 2 * CHUNK_BYTES + 4096
    chunks = export_zip(store, FOLDER)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # who hangs up leaves nothing behind


def test_an_export_can_be_imported(
    store: ObjectStore, job: Callable[..., JobContext], recording: tuple[Path, list[Span]], tmp_path: Path
) -> None:
    store.put(KEY, make_archive(recording, 4))
    import_archive(job("dataset.import", archive_key=KEY, language="pt"), store, max_bytes=1 << 30)
    path = tmp_path / "export.zip"
    path.write_bytes(b"".join(export_zip(store, FOLDER)))
    archive = read_archive(path, tmp_path, ArchiveLimits(), lambda _: None)
    assert archive.problems == ()
    assert [row.text for row in archive.rows] == [span.text for span in recording[1][:4]]


def test_what_cannot_be_exported(store: ObjectStore) -> None:
    with pytest.raises(NothingToExport, match="no segments"):
        next(export_zip(store, FOLDER))
    segments(store, 1)
    update_segment(store, FOLDER, "segment_00001", Change(excluded=True))
    with pytest.raises(NothingToExport):
        next(export_zip(store, FOLDER))
    write_edits(store, FOLDER, Edits(closed_by="job_1"))
    with pytest.raises(DatasetClosed):
        next(export_zip(store, FOLDER))


@pytest.mark.parametrize("change", ["moved", "gone", "half moved"])
def test_segments_that_move_meanwhile_break_it_off(store: ObjectStore, change: str) -> None:
    rows = segments(store, 4, size=2 * CHUNK_BYTES)
    chunks = export_zip(store, FOLDER)
    next(chunks)
    if change == "moved":
        write_segments(store, FOLDER, [replace(rows[0], start_s=0.5), *rows[1:]])
    elif change == "gone":
        store.delete(layout.segment_key(FOLDER, rows[3].id))
    else:
        write_edits(store, FOLDER, Edits(closed_by="job_1"))
    with pytest.raises(ExportOutdated, match="export the dataset again"):
        list(chunks)
    # Edits of text alone do not.
    if change == "half moved":
        write_edits(store, FOLDER, Edits())
        chunks = export_zip(store, FOLDER)
        next(chunks)
        update_segment(store, FOLDER, rows[1].id, Change(transcript="Depois."))
        assert list(chunks)
