"""Edits of several people and a job at once: nobody's is lost, over every kind of store, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.dataset import layout
from services.dataset.edits import DatasetClosed, Edits, read_edits, write_edits
from services.dataset.folding import Folding, fold
from services.dataset.manifest import Segment, read_page, read_segments, read_summary, write_segments
from services.dataset.review import (
    Change,
    SegmentChanged,
    SegmentNotFound,
    exclude_segments,
    get_segment,
    revision_of,
    update_segment,
)
from services.runtime.database import open_database
from services.runtime.errors import InvalidArgument
from services.runtime.jobs import JobQueue
from services.runtime.store import ObjectStore
from tests.dataset.dying import killed_at
from tests.fault_proxy import FaultProxy
from tests.servers import StoreAddress, s3_address

FOLDER = "datasets/voice"


def manifest(count: int) -> list[Segment]:
    row = Segment(
        "", "a", 0.0, 9.0, 9.0, 396_944, transcript="Olá.", normalised="Olá.", language="pt", confidence=0.5, fingerprint="e|7"
    )
    row = replace(row, flags=["forced_cut", "low_confidence"])
    return [replace(row, id=layout.segment_id(n), start_s=9.0 * n, end_s=9.0 * n + 9) for n in range(1, count + 1)]


@pytest.fixture
def store(store_address: StoreAddress) -> ObjectStore:
    return store_address.open()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'timbre.db'}"


@pytest.fixture
def queue(database_url: str) -> Iterator[JobQueue]:
    engine = open_database(database_url)
    yield JobQueue(engine)
    engine.dispose()


def test_an_edit_is_seen_at_once_and_leaves_the_manifest_alone(store: ObjectStore) -> None:
    write_segments(store, FOLDER, manifest(3))
    before = store.get(layout.manifest_key(FOLDER))
    row = update_segment(store, FOLDER, "segment_00002", Change(transcript="  São 2 \n horas. "))
    assert (row.transcript, row.normalised, row.language) == ("São 2 horas.", "São duas horas.", "pt")
    assert (row.edited, row.confidence, row.flags) == (True, None, ["forced_cut"])
    assert get_segment(store, FOLDER, "segment_00002") == row == read_segments(store, FOLDER)[1]
    assert store.get(layout.manifest_key(FOLDER)) == before
    assert update_segment(store, FOLDER, "segment_00002", Change(normalised="São duas.")).transcript == "São 2 horas."
    assert update_segment(store, FOLDER, "segment_00002", Change(excluded=True)).normalised == "São duas."
    assert [one.excluded for one in read_segments(store, FOLDER)] == [False, True, False]


def test_what_says_nothing_new_writes_nothing(store: ObjectStore) -> None:
    write_segments(store, FOLDER, manifest(2))
    row = get_segment(store, FOLDER, "segment_00001")
    assert update_segment(store, FOLDER, "segment_00001", Change(excluded=False)) == row
    assert update_segment(store, FOLDER, "segment_00001", Change()) == row
    assert store.stat(layout.edits_key(FOLDER)) is None
    # A text that is confirmed word for word is a person's from then on.
    assert update_segment(store, FOLDER, "segment_00001", Change(transcript="Olá.")).edited


def test_a_stale_revision_changes_nothing(store: ObjectStore) -> None:
    write_segments(store, FOLDER, manifest(2))
    seen = revision_of(get_segment(store, FOLDER, "segment_00001"))
    first = update_segment(store, FOLDER, "segment_00001", Change(transcript="Um."), seen)
    with pytest.raises(SegmentChanged, match="segment_00001 was changed meanwhile"):
        update_segment(store, FOLDER, "segment_00001", Change(transcript="Dois."), seen)
    assert get_segment(store, FOLDER, "segment_00001") == first
    # Back and forth is a change, too.
    update_segment(store, FOLDER, "segment_00001", Change(excluded=True))
    update_segment(store, FOLDER, "segment_00001", Change(excluded=False))
    with pytest.raises(SegmentChanged):
        update_segment(store, FOLDER, "segment_00001", Change(excluded=True), revision_of(first))


def test_what_is_not_there_and_what_is_too_long(store: ObjectStore) -> None:
    write_segments(store, FOLDER, manifest(2))
    for name in ("segment_00003", "Olá.", "", '"a"'):
        with pytest.raises(SegmentNotFound):
            update_segment(store, FOLDER, name, Change(excluded=True))
    with pytest.raises(InvalidArgument, match="2,000 characters"):
        Change(transcript="x" * 2001)
    with pytest.raises(SegmentNotFound, match="segment_00009"):
        exclude_segments(store, FOLDER, ["segment_00001", "segment_00009"], True)
    assert not any(row.excluded for row in read_segments(store, FOLDER))


@pytest.mark.parametrize("count", [3, 600])
def test_many_at_once(store: ObjectStore, count: int) -> None:
    write_segments(store, FOLDER, manifest(count + 1))
    ids = [layout.segment_id(n) for n in range(1, count + 1)]
    update_segment(store, FOLDER, ids[0], Change(transcript="De uma pessoa.", excluded=True))
    assert exclude_segments(store, FOLDER, ids, True) == count - 1
    rows = read_segments(store, FOLDER)
    assert [row.excluded for row in rows] == [True] * count + [False]
    assert rows[0].transcript == "De uma pessoa."
    assert exclude_segments(store, FOLDER, ids[:2], False) == 2
    assert read_summary(store, FOLDER).excluded == count - 2


def test_figures_and_revision_are_right_after_every_edit(store: ObjectStore) -> None:
    write_segments(store, FOLDER, [replace(row, transcript=None, normalised=None) for row in manifest(4)])
    assert (read_summary(store, FOLDER).transcribed, read_summary(store, FOLDER).flagged) == (0, 4)
    revisions = {read_page(store, FOLDER, offset=0, limit=1)[0]}
    update_segment(store, FOLDER, "segment_00001", Change(transcript="Um."))
    revisions.add(read_page(store, FOLDER, offset=0, limit=1)[0])
    summary = read_summary(store, FOLDER)
    assert (summary.transcribed, summary.flagged, summary.excluded) == (1, 4, 0)
    update_segment(store, FOLDER, "segment_00002", Change(excluded=True))
    revision, total, page = read_page(store, FOLDER, offset=1, limit=2)
    assert (total, [row.id for row in page], page[0].excluded) == (4, ["segment_00002", "segment_00003"], True)
    assert len(revisions | {revision}) == 3
    assert read_summary(store, FOLDER) == replace(summary, excluded=1)
    assert read_page(store, "datasets/nothing", offset=0, limit=9) == ("", 0, [])


def test_folding_writes_all_into_the_manifest(store: ObjectStore, queue: JobQueue) -> None:
    write_segments(store, FOLDER, manifest(3))
    update_segment(store, FOLDER, "segment_00002", Change(transcript="De uma pessoa."))
    rows = read_segments(store, FOLDER)
    fold(store, queue, FOLDER)
    assert store.stat(layout.edits_key(FOLDER)) is None
    assert read_segments(store, FOLDER) == rows
    assert "segment_00002|De uma pessoa.|De uma pessoa." in store.get(layout.metadata_key(FOLDER)).decode()
    assert json.loads(store.get(layout.summary_key(FOLDER)))["etag"] == store.stat(layout.manifest_key(FOLDER)).etag  # type: ignore[union-attr]
    fold(store, queue, FOLDER)  # nothing to do
    fold(store, queue, "datasets/nothing")


def test_an_edit_in_the_middle_of_folding_stays(store: ObjectStore, queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    write_segments(store, FOLDER, manifest(3))
    update_segment(store, FOLDER, "segment_00001", Change(transcript="Antes."))
    real = JobQueue.exclusive

    def late(self: JobQueue, *arguments: Any) -> Any:  # the rows are put together, the lock is not held yet
        update_segment(store, FOLDER, "segment_00001", Change(transcript="Depois."))
        update_segment(store, FOLDER, "segment_00003", Change(excluded=True))
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(JobQueue, "exclusive", late)
        fold(store, queue, FOLDER)
    assert [row.transcript for row in read_segments(store, FOLDER)] == ["Depois.", "Olá.", "Olá."]
    assert len(read_edits(store, FOLDER).rows) == 2
    fold(store, queue, FOLDER)
    assert [(row.transcript, row.excluded) for row in read_segments(store, FOLDER)][::2] == [("Depois.", False), ("Olá.", True)]
    assert store.stat(layout.edits_key(FOLDER)) is None


@pytest.mark.parametrize("number", range(6))
def test_killed_anywhere_in_folding(store: ObjectStore, queue: JobQueue, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write_segments(store, FOLDER, manifest(3))
    update_segment(store, FOLDER, "segment_00002", Change(transcript="De uma pessoa."))
    rows = read_segments(store, FOLDER)
    with killed_at(store, number, monkeypatch) as made:
        fold(store, queue, FOLDER)
    assert len(made) == min(number, 4)  # manifest, metadata, figures, and the edits are gone
    assert read_segments(store, FOLDER) == rows
    assert read_summary(store, FOLDER).segments == 3
    # What was folded, and what was left lying here, are the same edit: the next one goes on top.
    changed = update_segment(store, FOLDER, "segment_00002", Change(transcript="Noch einmal."))
    fold(store, queue, FOLDER)
    assert read_segments(store, FOLDER)[1] == changed
    assert "Noch einmal." in store.get(layout.metadata_key(FOLDER)).decode()
    assert store.stat(layout.edits_key(FOLDER)) is None


def test_an_old_edit_never_covers_a_newer_manifest(store: ObjectStore) -> None:
    """A reader that takes no lock may hold edits that have been folded, and changed again, by the time it reads the rows."""
    write_segments(store, FOLDER, manifest(1))
    update_segment(store, FOLDER, "segment_00001", Change(transcript="Alt."))
    old = read_edits(store, FOLDER)
    newer = update_segment(store, FOLDER, "segment_00001", Change(transcript="Neu."))
    write_segments(store, FOLDER, [newer])
    write_edits(store, FOLDER, old)
    assert read_segments(store, FOLDER) == [newer]
    # Nor does it belong to another recording that happens to be cut at the same place.
    recut = replace(newer, transcript=None, edited=False, edits=0, fingerprint="other|7")
    write_segments(store, FOLDER, [recut])
    write_edits(store, FOLDER, old)
    assert read_segments(store, FOLDER) == [recut]


def test_nobody_edits_while_numbers_change(store: ObjectStore) -> None:
    write_segments(store, FOLDER, manifest(2))
    update_segment(store, FOLDER, "segment_00001", Change(transcript="Um."))
    write_edits(store, FOLDER, replace(read_edits(store, FOLDER), closed_by="job_1"))
    with pytest.raises(DatasetClosed, match="job_1"):
        update_segment(store, FOLDER, "segment_00001", Change(excluded=True))
    with pytest.raises(DatasetClosed):
        exclude_segments(store, FOLDER, ["segment_00001"], True)
    assert read_segments(store, FOLDER)[0].transcript == "Um."
    # Another job's writing leaves it closed: only who moves the segments knows when that is done.
    write_segments(store, FOLDER, read_segments(store, FOLDER))
    assert read_edits(store, FOLDER).closed_by == "job_1"
    write_edits(store, FOLDER, Edits())
    assert update_segment(store, FOLDER, "segment_00001", Change(excluded=True)).excluded


# Edits every second segment of a dataset from the `first` on, and one segment that everybody edits, with the revision seen.
_EDITOR = """
import sys
from contextlib import nullcontext
from pydantic import SecretStr
from services.dataset.review import Change, SegmentChanged, get_segment, revision_of, update_segment
from services.runtime.database import connect
from services.runtime.jobs import JobQueue
from services.runtime.store import S3Credentials, open_store
url, database, first, rounds, readers_lock = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "True"
secret = S3Credentials("timbre-tests", SecretStr("a-secret-of-the-tests")) if url.startswith("s3:") else None
store, queue, folder = open_store(url, secret), JobQueue(connect(database)), "datasets/voice"
for number in range(first, first + 2 * rounds, 2):
    with queue.exclusive(folder):
        update_segment(store, folder, f"segment_{number:05d}", Change(transcript=f"Von {first}."))
    while True:
        with queue.exclusive(folder) if readers_lock else nullcontext():
            row = get_segment(store, folder, "segment_00001")
        count = int(row.transcript) if row.transcript.isdigit() else 0
        try:
            with queue.exclusive(folder):
                update_segment(store, folder, row.id, Change(transcript=str(count + 1)), revision_of(row))
            break
        except SegmentChanged:
            pass
"""


def test_editors_in_several_processes_and_somebody_who_folds(
    store: ObjectStore, store_address: StoreAddress, queue: JobQueue, database_url: str
) -> None:
    # nanio answers with the length of one version and the bytes of the next when an object is replaced while it is read,
    # which no S3 server for production does: over it, readers take the lock, too.
    readers_lock = store_address.kind == "nanio"
    write_segments(store, FOLDER, manifest(42))
    arguments = [sys.executable, "-c", _EDITOR, store_address.url, database_url]
    editors = [subprocess.Popen([*arguments, str(first), "20", str(readers_lock)]) for first in (2, 3)]
    try:
        while any(editor.poll() is None for editor in editors):
            if readers_lock:
                with queue.exclusive(FOLDER):
                    write_segments(store, FOLDER, read_segments(store, FOLDER))
            else:
                fold(store, queue, FOLDER)
                assert len(read_segments(store, FOLDER)) == 42
            time.sleep(0.02)
    finally:
        for editor in editors:
            assert editor.wait(60) == 0
    fold(store, queue, FOLDER)
    rows = read_segments(store, FOLDER)
    assert rows[0].transcript == "40", "every change that was answered as made counts"
    assert [row.transcript for row in rows[1:41]] == ["Von 2.", "Von 3."] * 20
    assert rows[41].transcript == "Olá."


async def test_the_service_folds_what_it_was_told_of_and_what_was_left(queue: JobQueue, tmp_path: Path) -> None:
    from services.runtime.store import open_store

    store = open_store((tmp_path / "objects").as_uri())
    for folder in (FOLDER, "datasets/left"):
        write_segments(store, folder, manifest(2))
    update_segment(store, "datasets/left", "segment_00001", Change(transcript="Von gestern."))
    folding = Folding(store, queue, quiet_seconds=0.05)
    running = asyncio.create_task(folding.run())
    await _until(lambda: "Von gestern." in store.get(layout.metadata_key("datasets/left")).decode())
    update_segment(store, FOLDER, "segment_00002", Change(transcript="Von heute."))
    folding.soon(FOLDER)
    await _until(lambda: "Von heute." in store.get(layout.metadata_key(FOLDER)).decode())
    await _until(lambda: store.stat(layout.edits_key(FOLDER)) is None)
    await _ended(running)


@pytest.mark.parametrize("outage", ["database", "store"])
async def test_an_outage_does_not_end_the_folding(
    queue: JobQueue, database_url: str, nanio_port: int, outage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultProxy(nanio_port) as proxy:
        store = s3_address("nanio", proxy.port).open()
        for folder in (FOLDER, "datasets/left"):
            write_segments(store, folder, manifest(2))
            update_segment(store, folder, "segment_00001", Change(transcript="Von gestern."))
        folding = Folding(store, queue, quiet_seconds=0.05)
        with proxy.down() if outage == "store" else _without_locks(database_url):
            running = asyncio.create_task(folding.run())
            folding.soon(FOLDER)
            await _until(lambda: caplog.text.count("Traceback") >= 3)
        for folder in (FOLDER, "datasets/left"):
            await _until(partial(_folded, store, folder))
        await _ended(running)


@contextmanager
def _without_locks(database_url: str) -> Iterator[None]:
    locks = Path(f"{database_url.removeprefix('sqlite:///')}.locks")
    locks.write_bytes(b"no folder")
    yield
    locks.unlink()


@pytest.mark.parametrize("key", [layout.manifest_key, layout.edits_key])
async def test_a_dataset_that_cannot_be_read_stops_no_other(
    queue: JobQueue, tmp_path: Path, key: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    from services.runtime.store import open_store

    store, broken = open_store((tmp_path / "objects").as_uri()), "datasets/broken"
    for folder in (FOLDER, broken):
        write_segments(store, folder, manifest(2))
        update_segment(store, folder, "segment_00001", Change(transcript="Von gestern."))
    whole = store.get(key(broken))
    store.put(key(broken), b"{not json")
    folding = Folding(store, queue, quiet_seconds=0.02)
    running = asyncio.create_task(folding.run())
    await _until(lambda: caplog.text.count(f"the edits of {broken} are not in its manifest yet") > 2)
    await _until(lambda: "Von gestern." in store.get(layout.metadata_key(FOLDER)).decode())
    store.put(key(broken), whole)
    await _until(lambda: "Von gestern." in store.get(layout.metadata_key(broken)).decode())
    await _ended(running)


def _folded(store: ObjectStore, folder: str) -> bool:
    return "Von gestern." in store.get(layout.metadata_key(folder)).decode()


async def _ended(running: asyncio.Task[None]) -> None:
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(reached):
            await asyncio.sleep(0.01)
