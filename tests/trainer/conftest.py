"""Clips of a made-up voice in an object store, and jobs on a real queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
import torch

from services.runtime.database import open_database
from services.runtime.folder_store import FolderStore
from services.runtime.jobs import JobQueue
from services.runtime.jobs.context import JobContext
from services.runtime.store import ObjectStore
from services.trainer.clips import Clip
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import make_recording

MakeJob = Callable[..., JobContext]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Twelve sentences, each as a WAV."""
    folder = tmp_path_factory.mktemp("spoken")
    sentences = SENTENCES[:12]
    path = folder / "all.wav"
    spans = make_recording(path, sentences, pause_seconds=0.6)
    samples, rate = soundfile.read(path, dtype="int16")
    clips = []
    for number, span in enumerate(spans, 1):
        clip = folder / f"segment_{number:05d}.wav"
        soundfile.write(clip, samples[int(span.start_seconds * rate) : int(span.end_seconds * rate)], rate)
        clips.append((clip, span.text))
    return clips


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def clips(store: ObjectStore, spoken: list[tuple[Path, str]]) -> list[Clip]:
    """The sentences as clips in the store, from four recordings."""
    made = []
    for index, (path, text) in enumerate(spoken):
        key = f"datasets/voice/segments/{path.name}"
        store.put(key, path)
        seconds = soundfile.info(path).duration
        made.append(Clip(path.stem, key, text, f"recording{index // 3}", seconds, "pt", 20.0 + index % 5))
    return made


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    engine = open_database(f"sqlite:///{tmp_path / 'timbre.db'}")
    yield JobQueue(engine)
    engine.dispose()


@pytest.fixture
def make_job(queue: JobQueue, tmp_path: Path) -> MakeJob:
    """Makes the context of a new job, or of a further attempt of one."""

    def make(again: JobContext | None = None) -> JobContext:
        if again is None:
            queue.submit("trainer.train", "voice", {"model_name": "voice"})
            job = queue.claim(["trainer.train"])
            assert job is not None
        else:
            job = queue.get(again.id)
        scratch = tmp_path / "scratch" / job.id
        scratch.mkdir(parents=True, exist_ok=True)
        return JobContext(queue, job, scratch)

    return make


@pytest.fixture
def lines(queue: JobQueue) -> Callable[[JobContext], list[str]]:
    """Returns what a job has logged."""

    def read(job: JobContext) -> list[str]:
        job.flush()
        return [line.text for line in queue.log_lines(job.id)]

    return read
