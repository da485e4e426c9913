"""People edit while jobs run: a job merges what it made into what is there by then, and keeps every text of a person."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from services.dataset import layout
from services.dataset.edits import DatasetClosed, read_edits
from services.dataset.manifest import Segment, read_segments, write_segments
from services.dataset.pipeline import segment as module
from services.dataset.pipeline.archive import import_archive
from services.dataset.pipeline.segment import segment
from services.dataset.pipeline.transcribe import transcribe
from services.dataset.remove import remove_recording
from services.dataset.review import Change, update_segment
from services.dataset.transcribe import Transcript
from services.runtime.jobs import JobContext, JobReleased, JobStopped
from services.runtime.store import ObjectStore
from tests.dataset.pipeline.test_archive_job import KEY, make_archive
from timbre.demo.speech import Span

FOLDER = "datasets/voice"
KNOBS = {"min_duration_seconds": 7.0, "max_duration_seconds": 12.0, "vad_threshold_db": -40.0}
SHORT = {**KNOBS, "min_duration_seconds": 3.0, "max_duration_seconds": 5.0}
MakeJob = Callable[..., JobContext]


@pytest.fixture
def two_recordings(store: ObjectStore, recording: tuple[Path, list[Span]], tmp_path: Path) -> None:
    path, _ = recording
    samples, rate = sf.read(path, dtype="int16")
    half = tmp_path / "half.wav"
    sf.write(half, samples[: len(samples) // 2], rate)
    store.put(layout.recording_key(FOLDER, "b"), path)
    store.put(layout.recording_key(FOLDER, "a"), half)


def audio_of(store: ObjectStore, row: Segment) -> bytes:
    return store.get(layout.segment_key(FOLDER, row.id))


def hearing(edit: Callable[[], None]) -> Callable[..., Generator[tuple[str, Transcript], None, None]]:
    """Hears the same in every segment, and lets somebody edit in the middle of it."""

    def hear(folder: str, names: Sequence[str], **_: Any) -> Generator[tuple[str, Transcript], None, None]:
        for number, name in enumerate(names):
            if number == len(names) // 2:
                edit()
            yield name, Transcript("Da máquina.", "pt", -0.1, 0.0, 1.0)

    return hear


@pytest.mark.parametrize("stopped", [False, True])
def test_edits_during_a_transcription(store: ObjectStore, job: MakeJob, tmp_path: Path, stopped: bool) -> None:
    row = Segment("", "a", 0.0, 9.0, 9.0, 396_944, flags=["padded"])
    write_segments(
        store, FOLDER, [replace(row, id=layout.segment_id(n), start_s=9.0 * n, end_s=9.0 * n + 9) for n in range(1, 9)]
    )
    context = job("dataset.transcribe", language="pt", model="none", force=False)

    def edit() -> None:
        update_segment(store, FOLDER, "segment_00001", Change(transcript="De uma pessoa."))  # heard already
        update_segment(store, FOLDER, "segment_00008", Change(transcript="Também."))  # not yet
        update_segment(store, FOLDER, "segment_00002", Change(excluded=True))
        context.stop_requested = stopped

    if stopped:
        with pytest.raises(JobStopped):
            transcribe(context, store, tmp_path, 1, hearing(edit))
    else:
        transcribe(context, store, tmp_path, 1, hearing(edit))
    rows = {row.id: row for row in read_segments(store, FOLDER)}
    assert (rows["segment_00001"].transcript, rows["segment_00001"].edited) == ("De uma pessoa.", True)
    assert (rows["segment_00008"].transcript, rows["segment_00008"].edited) == ("Também.", True)
    assert rows["segment_00001"].confidence is None
    second = rows["segment_00002"]
    assert (second.transcript, second.excluded, second.edited) == ("Da máquina.", True, False)
    assert rows["segment_00007"].transcript == (None if stopped else "Da máquina.")
    assert store.stat(layout.edits_key(FOLDER)) is None, "the job took them into the manifest"
    assert "segment_00001|De uma pessoa.|De uma pessoa.\n" in store.get(layout.metadata_key(FOLDER)).decode()
    # Again, with force: the machine redoes its own only.
    forced = job("dataset.transcribe", language="pt", model="none", force=True)
    transcribe(forced, store, tmp_path, 1, hearing(lambda: None))
    again = {row.id: row.transcript for row in read_segments(store, FOLDER) if row.edited}
    assert again == {"segment_00001": "De uma pessoa.", "segment_00008": "Também."}


def while_writing(monkeypatch: pytest.MonkeyPatch, edit: Callable[[], None]) -> list[int]:
    """Lets somebody edit once, when the first batch of segments is written; counts the batches."""
    real = module.write_batch
    batches: list[int] = []

    def write_batch(*arguments: Any) -> Any:
        batches.append(len(arguments[1]))
        if len(batches) == 1:
            edit()
        return real(*arguments)

    monkeypatch.setattr(module, "write_batch", write_batch)
    return batches


def test_a_text_for_a_segment_that_was_to_give_way_is_kept(
    store: ObjectStore, job: MakeJob, two_recordings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    chosen = read_segments(store, FOLDER)[1]
    audio = audio_of(store, chosen)
    batches = while_writing(monkeypatch, lambda: _edit(store, chosen.id))
    result = segment(job("dataset.segment", **SHORT), store, 1)
    rows = read_segments(store, FOLDER)
    kept = next(row for row in rows if row.edited)
    assert (kept.transcript, kept.stretch) == ("De uma pessoa.", chosen.stretch)
    assert audio_of(store, kept) == audio
    assert result["segments"] == len(rows)
    assert len(batches) > 2, "the others were placed anew around it"
    for row in rows:
        info = sf.info(Path(store._root) / layout.segment_key(FOLDER, row.id))  # type: ignore[attr-defined]
        assert info.duration == pytest.approx(row.seconds, abs=1e-3)
    assert store.stat(layout.edits_key(FOLDER)) is None
    assert list(store.list(f"{FOLDER}/work/")) == []
    # As if it had been edited before.
    again = segment(job("dataset.segment", **SHORT), store, 1)
    assert again["changed_sources"] == 0
    assert read_segments(store, FOLDER) == rows


def _edit(store: ObjectStore, name: str) -> None:
    update_segment(store, FOLDER, name, Change(transcript="De uma pessoa.", excluded=True))


def test_edits_of_segments_that_stay_are_kept(
    store: ObjectStore, job: MakeJob, two_recordings: None, recording: tuple[Path, list[Span]], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    before = read_segments(store, FOLDER)
    update_segment(store, FOLDER, before[0].id, Change(transcript="Vorher."))
    store.put(layout.recording_key(FOLDER, "c"), recording[0])

    def edit() -> None:
        update_segment(store, FOLDER, before[0].id, Change(transcript="Nachher."))
        update_segment(store, FOLDER, before[1].id, Change(excluded=True))
        _edit(store, before[2].id)

    batches = while_writing(monkeypatch, edit)
    segment(job("dataset.segment", **KNOBS), store, 1)
    rows = {row.stretch: row for row in read_segments(store, FOLDER)}
    assert rows[before[0].stretch].transcript == "Nachher."
    assert (rows[before[1].stretch].excluded, rows[before[1].stretch].edited) == (True, False)
    assert (rows[before[2].stretch].transcript, rows[before[2].stretch].excluded) == ("De uma pessoa.", True)
    assert len(batches) == len({row.id for row in rows.values() if row.source == "c"}) // 16 + 1, "nothing was written twice"


def test_an_edit_between_two_attempts(
    store: ObjectStore, job: MakeJob, two_recordings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    chosen = read_segments(store, FOLDER)[1]
    audio = audio_of(store, chosen)
    context = job("dataset.segment", **SHORT)
    calls = 0

    def check_stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # both recordings are planned, and a batch is written
            raise JobReleased(context.id)

    with monkeypatch.context() as patch:
        patch.setattr(context, "check_stop", check_stop)
        with pytest.raises(JobReleased):
            segment(context, store, 1)
    _edit(store, chosen.id)
    segment(context, store, 1)
    rows = read_segments(store, FOLDER)
    kept = next(row for row in rows if row.edited)
    assert (kept.stretch, audio_of(store, kept)) == (chosen.stretch, audio)
    for row in rows:
        info = sf.info(Path(store._root) / layout.segment_key(FOLDER, row.id))  # type: ignore[attr-defined]
        assert info.duration == pytest.approx(row.seconds, abs=1e-3)


def test_nobody_edits_what_is_half_moved(
    store: ObjectStore, job: MakeJob, two_recordings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    rows = read_segments(store, FOLDER)
    _edit(store, rows[1].id)
    copies = 0
    copy = type(store).copy

    def failing_copy(self: Any, source_key: str, key: str) -> Any:
        nonlocal copies
        copies += "/staged/" in source_key
        if copies == 3:
            raise OSError("the disk is gone")
        return copy(self, source_key, key)

    broken = job("dataset.segment", **SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "copy", failing_copy)
        with pytest.raises(OSError, match="the disk is gone"):
            segment(broken, store, 1)
    assert read_edits(store, FOLDER).closed_by == broken.id
    assert read_segments(store, FOLDER)[1].transcript == "De uma pessoa."
    with pytest.raises(DatasetClosed, match=broken.id):
        _edit(store, rows[0].id)
    with pytest.raises(DatasetClosed):
        remove_recording(store, FOLDER, "a")
    segment(job("dataset.segment", **SHORT), store, 1)  # the next job of the kind brings it to its end
    after = read_segments(store, FOLDER)
    assert [row.transcript for row in after if row.edited] == ["De uma pessoa."]
    for row in after:
        info = sf.info(Path(store._root) / layout.segment_key(FOLDER, row.id))  # type: ignore[attr-defined]
        assert info.duration == pytest.approx(row.seconds, abs=1e-3)
    _edit(store, after[0].id)


def test_an_import_keeps_edits_and_free_numbers_apart(
    store: ObjectStore, job: MakeJob, two_recordings: None, recording: tuple[Path, list[Span]], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    remove_recording(store, FOLDER, "a")  # leaves a gap at the beginning
    before = read_segments(store, FOLDER)
    assert layout.segment_number(before[-1].id) > len(before)
    audio = {row.id: audio_of(store, row) for row in before}
    store.put(KEY, make_archive(recording, 3))
    context = job("dataset.import", archive_key=KEY, language="pt")
    monkeypatch.setattr(context, "check_stop", lambda: _edit(store, before[0].id))
    import_archive(context, store, max_bytes=1 << 30)
    rows = read_segments(store, FOLDER)
    assert len(rows) == len({row.id for row in rows}) == len(before) + 3
    assert {row.id: audio_of(store, row) for row in rows[: len(before)]} == audio
    assert (rows[0].transcript, rows[0].excluded) == ("De uma pessoa.", True)
    assert [row.transcript for row in rows[-3:]] == [span.text for span in recording[1][:3]]
