from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from services.dataset import layout
from services.dataset.manifest import read_segments
from services.dataset.pipeline.archive import NothingImported, import_archive
from services.runtime.jobs import JobContext
from services.runtime.store import ObjectStore
from timbre.demo.speech import Span

FOLDER = "datasets/voice"
KEY = "uploads/token/voice.zip"
MakeJob = Callable[..., JobContext]


def make_archive(recording: tuple[Path, list[Span]], count: int, broken: tuple[int, ...] = ()) -> bytes:
    path, spans = recording
    samples, rate = sf.read(path, dtype="float32")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        rows = []
        for number, span in enumerate(spans[:count], start=1):
            clip = io.BytesIO()
            sf.write(clip, samples[int(span.start_seconds * rate) : int(span.end_seconds * rate)], rate, format="FLAC")
            data = b"not audio" if number in broken else clip.getvalue()
            archive.writestr(f"voice/wavs/LJ{number:03d}.flac", data)
            rows.append(f"LJ{number:03d}|{span.text}|{span.text}")
        archive.writestr("voice/metadata.csv", "\n".join(rows))
    return packed.getvalue()


def run(store: ObjectStore, job: MakeJob, data: bytes) -> dict[str, object]:
    store.put(KEY, data)
    context = job("dataset.import", archive_key=KEY, language="pt")
    return import_archive(context, store, max_bytes=1 << 30)


def test_clips_become_segments_with_the_transcripts_of_a_person(
    store: ObjectStore, job: MakeJob, recording: tuple[Path, list[Span]]
) -> None:
    result = run(store, job, make_archive(recording, 4))
    rows = read_segments(store, FOLDER)
    assert (result["imported"], result["problems"]) == (4, [])
    assert [row.id for row in rows] == [layout.segment_id(n) for n in range(1, 5)]
    assert [row.transcript for row in rows] == [span.text for span in recording[1][:4]]
    assert all(row.edited and row.normalised and row.language == "pt" for row in rows)
    audio, rate = sf.read(io.BytesIO(store.get(layout.segment_key(FOLDER, rows[0].id))))
    assert (rate, audio.ndim) == (22050, 1)
    assert np.abs(audio).max() < 1
    assert len(audio) / rate == pytest.approx(rows[0].seconds, abs=1e-3)
    assert len(store.get(layout.metadata_key(FOLDER)).decode().splitlines()) == 4
    assert store.stat(KEY) is None
    assert list(store.list(f"{FOLDER}/work/")) == []


def test_the_same_clips_a_second_time_change_nothing(
    store: ObjectStore, job: MakeJob, recording: tuple[Path, list[Span]]
) -> None:
    run(store, job, make_archive(recording, 2))
    again = run(store, job, make_archive(recording, 3))
    assert (again["imported"], again["present"]) == (1, 2)
    assert len(read_segments(store, FOLDER)) == 3


def test_a_broken_clip_is_named_and_the_rest_comes_in(
    store: ObjectStore, job: MakeJob, recording: tuple[Path, list[Span]]
) -> None:
    result = run(store, job, make_archive(recording, 3, broken=(2,)))
    assert result["imported"] == 2
    assert "LJ002 was left out" in str(result["problems"])
    with pytest.raises(NothingImported, match="None of 1 clips"):
        run(store, job, make_archive(recording, 1, broken=(1,)))
    assert len(read_segments(store, FOLDER)) == 2
