"""Deleting recordings and datasets: only when nobody works on them, and whole whenever it is cut short."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.dataset import layout, work
from services.dataset.manifest import Segment, read_segments, read_summary, write_segments
from services.dataset.recordings import list_recordings
from services.dataset.remove import DatasetBusy, NothingToDelete, check_idle, remove_dataset, remove_recording
from services.dataset.review import Change, update_segment
from services.dataset.settings import DatasetSettings
from services.runtime.database import open_database
from services.runtime.jobs import JobContext, JobQueue
from services.runtime.store import ObjectStore, open_store
from tests.dataset.dying import killed_at

FOLDER = "datasets/voice"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "objects").as_uri())


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    engine = open_database(f"sqlite:///{tmp_path / 'timbre.db'}")
    yield JobQueue(engine)
    engine.dispose()


@pytest.fixture
def dataset(store: ObjectStore) -> list[Segment]:
    """Two recordings with three segments each, beside another dataset whose name begins with that of this one."""
    row = Segment("", "", 0.0, 9.0, 9.0, 100, transcript="Olá.", normalised="Olá.")
    rows = [
        replace(row, id=layout.segment_id(n), source="ab"[(n - 1) // 3], start_s=9.0 * n, end_s=9.0 * n + 9)
        for n in range(1, 7)
    ]
    for folder in (FOLDER, "datasets/voice-2"):
        for source in "ab":
            store.put(layout.recording_key(folder, source), b"RIFF" * 100)
            facts = {"title": f"Título {source}", "url": None, "duration": 27.0, "added_at": "2026-11-23T14:30:00+00:00"}
            store.put(layout.provenance_key(folder, source), json.dumps(facts).encode())
        for one in rows:
            store.put(layout.segment_key(folder, one.id), one.id.encode())
        write_segments(store, folder, rows)
    return rows


def keys(store: ObjectStore, folder: str = FOLDER) -> set[str]:
    return {info.key for info in store.list(f"{folder}/")}


def test_a_recording_goes_with_its_segments(store: ObjectStore, dataset: list[Segment]) -> None:
    update_segment(store, FOLDER, "segment_00001", Change(transcript="De uma pessoa."))
    update_segment(store, FOLDER, "segment_00005", Change(excluded=True))
    assert remove_recording(store, FOLDER, "a") == 3
    assert [row.id for row in read_segments(store, FOLDER)] == ["segment_00004", "segment_00005", "segment_00006"]
    assert [one.source for one in list_recordings(store, FOLDER)] == ["b"]
    assert (read_summary(store, FOLDER).segments, read_summary(store, FOLDER).excluded) == (3, 1)
    assert not any("/a." in key or "segment_00001" in key for key in keys(store))
    assert len(keys(store, "datasets/voice-2")) == 13
    with pytest.raises(NothingToDelete, match="'a'"):
        remove_recording(store, FOLDER, "a")


def test_a_dataset_goes_with_all_that_is_its(store: ObjectStore, dataset: list[Segment]) -> None:
    store.put(f"{FOLDER}/child/raw/x.wav", b"another dataset, below this one")
    store.put(f"{FOLDER}/work/job_1/ready.json", b"{}")
    update_segment(store, FOLDER, "segment_00001", Change(transcript="De uma pessoa."))
    assert remove_dataset(store, FOLDER) == 6
    assert keys(store) == {f"{FOLDER}/child/raw/x.wav"}
    assert len(keys(store, "datasets/voice-2")) == 13
    with pytest.raises(NothingToDelete, match="datasets/voice"):
        remove_dataset(store, FOLDER)


@pytest.mark.parametrize("number", range(0, 14))
def test_killed_anywhere_a_deletion_is_repeated(
    store: ObjectStore, dataset: list[Segment], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for remove in (lambda: remove_recording(store, FOLDER, "a"), lambda: remove_dataset(store, FOLDER)):
        with killed_at(store, number, monkeypatch):
            remove()
        rows = read_segments(store, FOLDER)
        assert {layout.segment_key(FOLDER, row.id) for row in rows} <= keys(store), "what is listed is there"
        assert read_summary(store, FOLDER).segments == len(rows)
        with suppress(NothingToDelete):
            remove()
    assert keys(store) == set()


def test_nothing_is_deleted_under_a_job_or_a_training(store: ObjectStore, queue: JobQueue) -> None:
    check_idle(queue, FOLDER)
    job = queue.submit("dataset.segment", FOLDER, {"folder": FOLDER})
    with pytest.raises(DatasetBusy, match=job.id) as caught:
        check_idle(queue, FOLDER)
    assert caught.value.metadata == {"job_id": job.id}
    check_idle(queue, "datasets/voice-2")
    queue.cancel(job.id)
    check_idle(queue, FOLDER)
    training = queue.submit("trainer.train", "my_voice", {"dataset_folder": FOLDER})
    with pytest.raises(DatasetBusy, match=training.id):
        check_idle(queue, FOLDER)


def test_a_job_begins_when_the_deletion_before_it_is_done(store: ObjectStore, queue: JobQueue, tmp_path: Path) -> None:
    settings = DatasetSettings(data_dir=tmp_path)
    queue.submit("dataset.segment", FOLDER, {"folder": FOLDER})
    claimed = queue.claim(["dataset.segment"])
    assert claimed
    context = JobContext(queue, claimed, tmp_path)
    begun = threading.Event()

    def run(*_: Any) -> dict[str, Any]:
        begun.set()
        return {}

    thread = threading.Thread(target=work._begin, args=(run, settings, store, context))
    with queue.exclusive(FOLDER):
        thread.start()
        assert not begun.wait(0.2)
    assert begun.wait(30)
    thread.join()


def test_recordings_tell_where_they_come_from(store: ObjectStore, dataset: list[Segment]) -> None:
    update_segment(store, FOLDER, "segment_00005", Change(excluded=True))
    store.put(layout.recording_key(FOLDER, "by-hand"), b"x" * (44 + 2 * 22050))
    store.put(layout.recording_key(FOLDER, "odd"), b"x" * 44)
    store.put(layout.provenance_key(FOLDER, "odd"), b"[1]")
    first, second, by_hand, odd = list_recordings(store, FOLDER)
    assert (first.source, first.title, first.url, first.seconds) == ("a", "Título a", None, 27.0)
    assert first.added == datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
    assert (first.segments, first.excluded, second.segments, second.excluded) == (3, 0, 3, 1)
    assert (by_hand.title, by_hand.seconds, by_hand.segments) == ("by-hand", 1.0, 0)
    assert (odd.title, odd.seconds) == ("odd", 0.0)
    assert list_recordings(store, "datasets/nothing") == []
