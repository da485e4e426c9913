from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from services.dataset import layout
from services.dataset.manifest import Segment, read_segments, read_summary, write_segments
from services.dataset.pipeline import segment as module
from services.dataset.pipeline.segment import segment
from services.dataset.pipeline.spread import cut_on_cluster
from services.dataset.settings import DatasetSettings
from services.runtime.folder_store import FolderStore
from services.runtime.jobs import JobContext, JobReleased, JobStopped
from services.runtime.store import ObjectStore
from timbre.demo.speech import Span

FOLDER = "datasets/voice"
KNOBS = {"min_duration_seconds": 7.0, "max_duration_seconds": 12.0, "vad_threshold_db": -40.0}
MakeJob = Callable[..., JobContext]


@pytest.fixture
def two_recordings(store: ObjectStore, recording: tuple[Path, list[Span]], tmp_path: Path) -> None:
    path, _ = recording
    samples, rate = sf.read(path, dtype="int16")
    half = tmp_path / "half.wav"
    sf.write(half, samples[: len(samples) // 2], rate)
    store.put(layout.recording_key(FOLDER, "b"), path)
    store.put(layout.recording_key(FOLDER, "a"), half)


def snapshot(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list(f"{FOLDER}/segments/")}


def test_segments_are_written_numbered_and_listed(
    store: ObjectStore, job: MakeJob, two_recordings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS_A_WORKER", 1)  # so that processes share the work
    result = segment(job("dataset.segment", **KNOBS), store, 2)
    rows = read_segments(store, FOLDER)
    assert result["segments"] == len(rows) > 4
    assert [row.id for row in rows] == [layout.segment_id(n) for n in range(1, len(rows) + 1)]
    assert [row.source for row in rows] == sorted(row.source for row in rows)
    for row in rows:
        info = sf.info(Path(store._root) / layout.segment_key(FOLDER, row.id))  # type: ignore[attr-defined]
        assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
        assert 7.0 <= info.duration <= 12.0 + 1e-3
        assert row.seconds == pytest.approx(info.duration, abs=1e-3)
        assert row.bytes == store.stat(layout.segment_key(FOLDER, row.id)).size  # type: ignore[union-attr]
        assert row.loudness == pytest.approx(-20, abs=0.6) or row.loudness < -20  # type: ignore[operator]
        assert row.transcript is None
    assert read_summary(store, FOLDER).segments == len(rows)
    assert list(store.list(f"{FOLDER}/work/")) == []


def test_nodes_that_find_only_the_store_make_the_same(
    store: ObjectStore, job: MakeJob, two_recordings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs on the nodes of a cluster, without one: each call opens the store by the environment."""
    segment(job("dataset.segment", **KNOBS), store, 1)
    rows, made = read_segments(store, FOLDER), snapshot(store)
    other = FolderStore(tmp_path / "other")
    for name in "ab":
        with store.open(layout.recording_key(FOLDER, name)) as recording:
            other.put(layout.recording_key(FOLDER, name), recording.read())
    monkeypatch.setenv("TIMBRE_STORAGE_URL", (tmp_path / "other").as_uri())
    monkeypatch.setenv("TIMBRE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("services.runtime.ray_pool.ray_pool", lambda _resources: ThreadPoolExecutor(2))
    settings = DatasetSettings(ray_units=2)
    context = job("dataset.segment", **KNOBS)
    segment(context, other, 1, partial(cut_on_cluster, settings))
    assert snapshot(other) == made
    assert [replace(row, fingerprint="") for row in read_segments(other, FOLDER)] == [
        replace(row, fingerprint="") for row in rows
    ]
    assert len(list((settings.models_dir / "recordings").glob("[0-9a-f]*"))) == 2, "each is fetched once"
    assert list(context.scratch.rglob("*.wav")) == [], "and not by the job itself"
    # Again, cut otherwise: what is in use waits until all is there.
    shorter = {**KNOBS, "min_duration_seconds": 3.0, "max_duration_seconds": 5.0}
    segment(job("dataset.segment", **shorter), other, 1, partial(cut_on_cluster, settings))
    segment(job("dataset.segment", **shorter), store, 1)
    assert snapshot(other) == snapshot(store)
    assert list(other.list(f"{FOLDER}/work/")) == []


def test_again_changes_nothing_and_new_sources_are_added(
    store: ObjectStore, job: MakeJob, two_recordings: None, recording: tuple[Path, list[Span]]
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    before, rows = snapshot(store), read_segments(store, FOLDER)
    again = segment(job("dataset.segment", **KNOBS), store, 1)
    assert again["changed_sources"] == 0
    assert snapshot(store) == before
    store.put(layout.recording_key(FOLDER, "0-first-by-name"), recording[0])
    added = segment(job("dataset.segment", **KNOBS), store, 1)
    assert added["changed_sources"] == 1
    after = read_segments(store, FOLDER)
    assert after[: len(rows)] == rows
    assert {row.source for row in after[len(rows) :]} == {"0-first-by-name"}
    assert {key: value for key, value in snapshot(store).items() if key in before} == before


def test_other_knobs_move_numbers_and_keep_what_a_person_edited(store: ObjectStore, job: MakeJob, two_recordings: None) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    rows = read_segments(store, FOLDER)
    edited = replace(rows[1], transcript="Por uma pessoa.", edited=True)
    write_segments(store, FOLDER, [rows[0], edited, *rows[2:]])
    audio = store.get(layout.segment_key(FOLDER, edited.id))
    segment(job("dataset.segment", min_duration_seconds=3.0, max_duration_seconds=5.0, vad_threshold_db=-40.0), store, 1)
    after = read_segments(store, FOLDER)
    assert len(after) > len(rows)
    kept = next(row for row in after if row.edited)
    assert replace(kept, id=edited.id) == edited
    assert store.get(layout.segment_key(FOLDER, kept.id)) == audio
    assert {info.key for info in store.list(f"{FOLDER}/segments/")} == {layout.segment_key(FOLDER, row.id) for row in after}
    spans = [(row.source, row.start_s, row.end_s) for row in after]
    assert spans == sorted(spans)
    assert all(one[0] != two[0] or one[2] <= two[1] + 1e-6 for one, two in pairwise(spans))


@pytest.mark.parametrize("interruption", [JobStopped, JobReleased])
def test_interrupted_it_leaves_what_was_there(
    store: ObjectStore, job: MakeJob, two_recordings: None, interruption: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    before, rows = snapshot(store), read_segments(store, FOLDER)
    context = job("dataset.segment", **{**KNOBS, "min_duration_seconds": 3.0, "max_duration_seconds": 5.0})
    calls = 0

    def check_stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # both recordings are planned, and a batch is written
            raise interruption(context.id)

    monkeypatch.setattr(context, "check_stop", check_stop)
    with pytest.raises(interruption):
        segment(context, store, 1)
    assert read_segments(store, FOLDER) == rows
    assert {key: value for key, value in snapshot(store).items() if key in before} == before
    left = [info.key for info in store.list(f"{FOLDER}/work/")]
    assert bool(left) == (interruption is JobReleased)
    if interruption is JobReleased:
        planned: list[str] = []
        monkeypatch.setattr(module, "plan_recording", lambda *args: planned.append(args[0]))
        segment(context, store, 1)  # the same job goes on
        assert planned == []
        assert len(read_segments(store, FOLDER)) > len(rows)


def test_the_last_step_may_be_repeated_by_the_next_job(
    store: ObjectStore, job: MakeJob, two_recordings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(job("dataset.segment", **KNOBS), store, 1)
    other = {**KNOBS, "min_duration_seconds": 3.0, "max_duration_seconds": 5.0}
    copies = 0
    copy = type(store).copy

    def failing_copy(self: Any, source_key: str, key: str) -> Any:
        nonlocal copies
        copies += 1
        if copies == 5:
            raise OSError("the disk is gone")
        return copy(self, source_key, key)

    monkeypatch.setattr(type(store), "copy", failing_copy)
    with pytest.raises(OSError, match="the disk is gone"):
        segment(job("dataset.segment", **other), store, 1)
    monkeypatch.undo()
    assert segment(job("dataset.segment", **other), store, 1)["changed_sources"] == 0
    rows = read_segments(store, FOLDER)
    assert {info.key for info in store.list(f"{FOLDER}/segments/")} == {layout.segment_key(FOLDER, row.id) for row in rows}
    for row in rows:
        info = sf.info(Path(store._root) / layout.segment_key(FOLDER, row.id))  # type: ignore[attr-defined]
        assert info.duration == pytest.approx(row.seconds, abs=1e-3)


def test_a_broken_recording_is_reported_and_the_rest_is_cut(store: ObjectStore, job: MakeJob, two_recordings: None) -> None:
    store.put(layout.recording_key(FOLDER, "broken"), b"RIFF no sound at all")
    result = segment(job("dataset.segment", **KNOBS), store, 1)
    assert list(result["failed"]) == ["broken"]
    assert {row.source for row in read_segments(store, FOLDER)} == {"a", "b"}


def test_a_dataset_without_speech_is_an_error(store: ObjectStore, job: MakeJob, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    sf.write(silence, [0.0] * 22050 * 10, 22050)
    store.put(layout.recording_key(FOLDER, "silence"), silence)
    with pytest.raises(module.NothingToSegment, match="vad_threshold"):
        segment(job("dataset.segment", **KNOBS), store, 1)


def test_rows_are_json_lines_with_the_documented_fields(store: ObjectStore) -> None:
    write_segments(
        store, FOLDER, [Segment("segment_00001", "a", 0.0, 8.0, 8.0, 100, transcript="Olá | mundo\n2", normalised="Olá")]
    )
    line = store.get(layout.manifest_key(FOLDER)).decode()
    for name in (
        "id",
        "source",
        "start_s",
        "end_s",
        "loudness",
        "snr_db",
        "clipping",
        "transcript",
        "confidence",
        "flags",
        "excluded",
    ):
        assert f'"{name}":' in line
    assert store.get(layout.metadata_key(FOLDER)).decode() == "segment_00001|Olá mundo 2|Olá\n"
