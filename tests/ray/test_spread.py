"""A segmentation and a transcription spread over two nodes of a Ray cluster; while the latter works, one of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile as sf

from services.dataset import layout
from services.dataset.manifest import Segment, read_segments, write_segments
from services.dataset.pipeline.segment import segment
from services.dataset.servicer import KINDS, SEGMENT, TRANSCRIBE
from services.dataset.settings import DatasetSettings
from services.dataset.transcribe import Transcript, transcribe_files
from services.runtime.database import open_database
from services.runtime.folder_store import FolderStore
from services.runtime.jobs import Job, JobContext, JobQueue, JobState
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.store import open_store
from tests.ray.cluster import Cluster
from timbre.demo.speech import Span

FOLDER = "datasets/voice"
CUT = "datasets/cut"
SEGMENTS = 96


@pytest.fixture
def settings(cluster: Cluster, whisper_standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSettings:
    chosen = {
        "TIMBRE_DATA_DIR": str(tmp_path / "data"),
        "TIMBRE_CACHE_DIR": str(whisper_standin),
        "TIMBRE_RUNNER": "ray",
        "TIMBRE_RAY_ADDRESS": cluster.address,
        "TIMBRE_RAY_PYTHON": sys.executable,
        "TIMBRE_RAY_UNITS": "2",
        "TIMBRE_RAY_RESOURCES": json.dumps({"dataset": {"custom": {"job": 1}}, "unit": {"custom": {"unit": 1}}}),
        "OMP_NUM_THREADS": "1",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return DatasetSettings()


async def until_ended(queue: JobQueue, job: Job, look: Callable[[Job], None] = lambda _job: None) -> Job:
    deadline = time.monotonic() + 120
    while not (now := await asyncio.to_thread(queue.get, job.id)).ended:
        assert time.monotonic() < deadline, (now, queue.log_lines(job.id))
        look(now)
        await asyncio.sleep(0.05)
    return now


async def test_segments_and_transcripts_are_the_same_as_here_though_a_node_dies(
    cluster: Cluster, settings: DatasetSettings, recording: tuple[Path, list[Span]], tmp_path: Path
) -> None:
    store = open_store(settings.storage_url)
    sound, rate = sf.read(recording[0])
    rows = []
    for number in range(1, SEGMENTS + 1):
        span = recording[1][number % 4]
        wav = tmp_path / f"{layout.segment_id(number)}.wav"
        sf.write(wav, sound[int(span.start_seconds * rate) : int(span.end_seconds * rate)], rate)
        store.put(layout.segment_key(FOLDER, wav.stem), wav, "audio/wav")
        seconds = span.end_seconds - span.start_seconds
        rows.append(Segment(wav.stem, "a", span.start_seconds, span.end_seconds, seconds, wav.stat().st_size))
    write_segments(store, FOLDER, rows)
    here = transcribe_files(
        [tmp_path / f"{row.id}.wav" for row in rows[:4]],
        model="tiny-demo",
        language="pt",
        cache_dir=settings.models_dir,
        workers=1,
    )
    expected = {path.stem: heard for path, heard in here}
    queue = JobQueue(open_database(settings.database_url))
    knobs = {"min_duration_seconds": 3.0, "max_duration_seconds": 8.0, "vad_threshold_db": -40.0}
    alone = FolderStore(tmp_path / "alone")
    for one in (store, alone):
        for name in "abc":
            one.put(layout.recording_key(CUT, name), recording[0])
    queue.submit(SEGMENT, CUT, {"folder": CUT, **knobs})
    claimed = queue.claim(KINDS)
    assert claimed is not None
    context = JobContext(queue, claimed, tmp_path / "scratch")
    undisturbed = segment(context, alone, 1)
    queue.finish(claimed.id, claimed.lease, JobState.SUCCEEDED)
    parameters = {"folder": FOLDER, "language": "pt", "model": "tiny-demo", "force": False}
    with cluster.reachable():
        for port, (name, resource) in enumerate({"left": "unit", "right": "unit", "work": "job"}.items(), 52410):
            cluster.start_node(name, port, resources={resource: 1})
            cluster.wait_for(name)
        task = asyncio.create_task(Supervisor(queue, "services.dataset.work", KINDS, 1, settings).run())
        cut = await until_ended(queue, queue.submit(SEGMENT, CUT, {"folder": CUT, **knobs}))
        job = queue.submit(TRANSCRIBE, FOLDER, parameters)
        killed = False

        def kill_once(now: Job) -> None:
            nonlocal killed
            if now.progress > 0.2 and not killed:
                killed = True
                cluster.kill_node("left")

        now = await until_ended(queue, job, kill_once)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert (cut.state, cut.attempt, cut.error, cut.result) == (JobState.SUCCEEDED, 1, "", undisturbed)
    for key in (info.key for info in alone.list(f"{CUT}/")):
        if key.endswith(".wav"):
            assert store.get(key) == alone.get(key), key
    unprinted = [[replace(row, fingerprint="") for row in read_segments(one, CUT)] for one in (store, alone)]
    assert unprinted[0] == unprinted[1]
    assert len(unprinted[0]) > 20
    assert killed
    assert (now.state, now.attempt, now.error) == (JobState.SUCCEEDED, 1, "")
    assert now.result == {"segments": SEGMENTS, "transcribed": SEGMENTS, "skipped": 0, "failed": {}}
    made = read_segments(store, FOLDER)
    for number, row in enumerate(made):
        heard = expected[rows[number % 4].id]
        assert isinstance(heard, Transcript)
        assert row.transcript == heard.text
        assert heard.text
        assert row == replace(made[number % 4], id=row.id), "the same audio, the same row, wherever it was heard"
