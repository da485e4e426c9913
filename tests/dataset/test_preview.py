"""A preview shows exactly what the segmentation job makes, and reads a recording only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from services.dataset import layout
from services.dataset.manifest import read_segments
from services.dataset.pipeline.segment import segment
from services.dataset.preview import MAX_POINTS, Previews, RecordingNotFound, RecordingUnreadable
from services.dataset.review import Change, update_segment
from services.dataset.segment import SegmentOptions
from services.runtime.jobs import JobContext
from services.runtime.store import ObjectStore
from tests.dataset.pipeline.conftest import job, store
from timbre.demo.speech import Span

__all__ = ["job", "store"]

FOLDER = "datasets/voice"
MakeJob = Callable[..., JobContext]


@pytest.fixture
def previews(store: ObjectStore, tmp_path: Path, recording: tuple[Path, list[Span]]) -> Previews:
    store.put(layout.recording_key(FOLDER, "interview"), recording[0])
    return Previews(store, tmp_path / "preview")


def cut(store: ObjectStore, job: MakeJob, options: SegmentOptions) -> list[tuple[float, float, tuple[str, ...], bool]]:
    knobs = {
        "min_duration_seconds": options.min_seconds,
        "max_duration_seconds": options.max_seconds,
        "vad_threshold_db": options.threshold_db,
    }
    segment(job("dataset.segment", **knobs), store, 1)
    return [(row.start_s, row.end_s, tuple(row.flags), row.edited) for row in read_segments(store, FOLDER)]


@pytest.mark.parametrize(
    "options",
    [
        SegmentOptions(),
        SegmentOptions(3, 5, -40),
        SegmentOptions(10, 10, -20),
        SegmentOptions(15, 20, -60),
    ],
)
def test_it_is_what_the_job_makes(store: ObjectStore, job: MakeJob, previews: Previews, options: SegmentOptions) -> None:
    shown = previews.preview(FOLDER, "interview", options)
    planned = [(one.start_s, one.end_s, one.flags, one.edited) for one in shown.segments]
    assert planned == cut(store, job, options)
    assert len(planned) >= 2
    lengths = [one.seconds for one in shown.segments]
    assert lengths == pytest.approx([row.seconds for row in read_segments(store, FOLDER)], abs=1e-3)


def test_texts_of_people_stay_in_the_preview_as_in_the_job(store: ObjectStore, job: MakeJob, previews: Previews) -> None:
    cut(store, job, SegmentOptions())
    update_segment(store, FOLDER, "segment_00002", Change(transcript="De uma pessoa."))
    options = SegmentOptions(3, 5, -40)
    shown = previews.preview(FOLDER, "interview", options)
    planned = [(one.start_s, one.end_s, one.flags, one.edited) for one in shown.segments]
    assert [edited for *_, edited in planned].count(True) == 1
    assert planned == cut(store, job, options)


def test_a_recording_is_read_once_for_all_knobs(
    store: ObjectStore, previews: Previews, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    fetch = type(store).fetch

    def counted(self: Any, key: str, path: Path) -> Any:
        fetched.append(key)
        return fetch(self, key, path)

    monkeypatch.setattr(type(store), "fetch", counted)
    key = layout.recording_key(FOLDER, "interview")
    some = previews.preview(FOLDER, "interview", SegmentOptions())
    others = previews.preview(FOLDER, "interview", SegmentOptions(3, 5, -30))
    assert len(others.segments) > len(some.segments)
    assert fetched == [key]
    store.copy(key, layout.recording_key(FOLDER, "other"))
    previews.preview(FOLDER, "other", SegmentOptions())
    previews.preview(FOLDER, "interview", SegmentOptions())
    assert len(fetched) == 2
    store.copy(key, key)  # another version
    previews.preview(FOLDER, "interview", SegmentOptions())
    assert len(fetched) == 3
    small = Previews(store, previews._scratch, cache_bytes=1)
    for source in ("interview", "interview", "other", "interview"):
        small.preview(FOLDER, source, SegmentOptions())
    assert len(fetched) == 6
    assert list(previews._scratch.iterdir()) == []


def test_the_curves_are_of_the_recording(
    store: ObjectStore, previews: Previews, recording: tuple[Path, list[Span]], tmp_path: Path
) -> None:
    samples, rate = sf.read(recording[0], dtype="float32")
    shown = previews.preview(FOLDER, "interview", SegmentOptions())
    assert shown.duration_seconds == pytest.approx(len(samples) / rate)
    assert shown.peaks.max() == pytest.approx(np.abs(samples).max())
    assert len(shown.peaks) == len(shown.levels_db) <= MAX_POINTS
    assert shown.step_seconds * len(shown.peaks) == pytest.approx(shown.duration_seconds, abs=shown.step_seconds)
    loud = int(recording[1][3].start_seconds + 0.5)
    window = slice(int(loud / shown.step_seconds), int((loud + 1) / shown.step_seconds))
    assert shown.levels_db[window].max() > -40
    spans = [(span.start_seconds, span.end_seconds) for span in shown.speech]
    assert all(start < end for start, end in spans)
    assert any(start <= loud + 0.5 <= end for start, end in spans)
    long = tmp_path / "long.wav"
    sf.write(long, np.tile(samples, 4), rate, subtype="PCM_16")
    store.put(layout.recording_key(FOLDER, "long"), long)
    assert len(previews.preview(FOLDER, "long", SegmentOptions()).peaks) <= MAX_POINTS


def test_what_is_no_recording(store: ObjectStore, previews: Previews, tmp_path: Path) -> None:
    with pytest.raises(RecordingNotFound, match="nobody"):
        previews.preview(FOLDER, "nobody", SegmentOptions())
    store.put(layout.recording_key(FOLDER, "broken"), b"RIFF no sound at all")
    with pytest.raises(RecordingUnreadable, match="broken is not a WAV"):
        previews.preview(FOLDER, "broken", SegmentOptions())
    silence = tmp_path / "silence.wav"
    sf.write(silence, np.zeros(22050), 22050)
    store.put(layout.recording_key(FOLDER, "silence"), silence)
    sf.write(silence, np.zeros(0), 22050)
    store.put(layout.recording_key(FOLDER, "nothing"), silence)
    for source in ("silence", "nothing"):
        shown = previews.preview(FOLDER, source, SegmentOptions())
        assert (shown.speech, shown.segments) == ([], [])
