"""One training in two processes of this machine, by real workers: it computes what one process computes, whoever dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from services.runtime.database import open_database
from services.runtime.folder_store import FolderStore
from services.runtime.jobs import Job, JobContext, JobQueue, JobState
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.store import ObjectStore
from services.trainer.clips import Clip
from services.trainer.features import Example
from services.trainer.finetune import finetune
from services.trainer.launch import Plan, count_processes, launch
from services.trainer.local_group import TooFewGpus
from services.trainer.options import TrainOptions
from services.trainer.parallel import Share, share_of
from services.trainer.servicer import KINDS, TRAIN
from services.trainer.settings import TrainerSettings
from services.voices.checkpoints import checkpoint_key
from services.xtts.checkpoint import load_checkpoint

# Nine clips are trained on: with four a step the last of each epoch leaves one process without any.
OPTIONS = TrainOptions(epochs=6, batch_size=4, learning_rate=1e-3, save_every=2, dropout=0.0)


@pytest.fixture
def settings(tmp_path: Path, model_cache: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> TrainerSettings:
    chosen = {
        "TIMBRE_DATA_DIR": str(tmp_path / "data"),
        "TIMBRE_STORAGE_URL": (tmp_path / "store").as_uri(),
        "TIMBRE_CACHE_DIR": str(model_cache),
        "TIMBRE_BASE_MODEL": "tiny",
        "TIMBRE_TRAINING_WORKERS": "2",
        "TIMBRE_HEARTBEAT_SECONDS": "0.2",
        "OMP_NUM_THREADS": "1",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return TrainerSettings()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def queue(settings: TrainerSettings) -> Iterator[JobQueue]:
    engine = open_database(settings.database_url)
    yield JobQueue(engine)
    engine.dispose()


def submit(queue: JobQueue, clips: Sequence[Clip], model: str) -> Job:
    values = {"clips": [asdict(clip) for clip in clips], "options": asdict(OPTIONS), "model_name": model, "resume": False}
    return queue.submit(TRAIN, model, values)


@contextlib.asynccontextmanager
async def supervising(queue: JobQueue, settings: TrainerSettings) -> AsyncIterator[None]:
    task = asyncio.create_task(Supervisor(queue, "tests.trainer.training_worker", KINDS, 1, settings).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(queue: JobQueue, job: Job, condition: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 300
    while not condition(now := await asyncio.to_thread(queue.get, job.id)):
        assert time.monotonic() < deadline, (now, [line.text for line in queue.log_lines(job.id)])
        await asyncio.sleep(0.02)
    return now


def weights(store: ObjectStore, model: str, tmp_path: Path, epoch: int = OPTIONS.epochs) -> dict[str, Tensor]:
    path = tmp_path / f"{model}.pth"
    store.fetch(checkpoint_key(model, epoch), path)
    return load_checkpoint(path).gpt


def curve(queue: JobQueue, *jobs: str) -> dict[int, float]:
    return {point.step: point.value for job in jobs for point in queue.series(job, ["loss"])}


def followers(job: Job) -> list[psutil.Process]:
    assert job.pid is not None
    return [child for child in psutil.Process(job.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def assert_equal(one: dict[int, float], other: dict[int, float]) -> None:
    assert list(one) == list(other)
    for step, loss in one.items():
        assert other[step] == pytest.approx(loss, abs=1e-4), step


@pytest.fixture
def undisturbed(
    queue: JobQueue, store: ObjectStore, clips: list[Clip], tiny_base: Path, make_job: Callable[[], JobContext]
) -> dict[int, float]:
    """The losses of one process, this one."""
    job = make_job()
    finetune(job, store, options=OPTIONS, clips=clips, base=tiny_base, base_name="tiny", model_name="alone")
    job.flush()
    queue.finish(job.id, job.lease, JobState.SUCCEEDED)
    return curve(queue, job.id)


async def test_two_processes_compute_what_one_does(
    queue: JobQueue,
    settings: TrainerSettings,
    store: ObjectStore,
    clips: list[Clip],
    tmp_path: Path,
    undisturbed: dict[int, float],
) -> None:
    job = submit(queue, clips, "both")
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    lines = [line.text for line in queue.log_lines(job.id)]
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 1), lines
    assert lines[0] == "Training on the CPU with 1 thread in float32, 2 processes of this kind together."
    assert len(lines) == len(set(lines)), "one of them reports"
    assert_equal(undisturbed, curve(queue, job.id))
    assert undisturbed[18] < undisturbed[1] - 0.2
    one, two = weights(store, "alone", tmp_path), weights(store, "both", tmp_path)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-4, msg=name)


async def test_shutdown_death_and_stop_reach_all_processes_and_change_no_loss(
    queue: JobQueue,
    settings: TrainerSettings,
    store: ObjectStore,
    clips: list[Clip],
    tiny_base: Path,
    make_job: Callable[[], JobContext],
    undisturbed: dict[int, float],
) -> None:
    job = submit(queue, clips, "both")
    processes: list[psutil.Process] = []
    async with supervising(queue, settings):
        running = await until(queue, job, lambda job: job.progress > 0.05)
        processes += followers(running)
        os.kill(running.pid or 0, signal.SIGTERM)
        running = await until(queue, job, lambda job: job.attempt == 2 and job.progress > 0.35)
        processes += followers(running)
        processes[-1].kill()
        running = await until(queue, job, lambda job: job.attempt == 3 and job.progress > 0.5)
        processes += followers(running)
        queue.cancel(job.id)
        stopped = await until(queue, job, lambda job: job.ended)
    rest = make_job()  # what several began one can end
    finetune(rest, store, options=OPTIONS, clips=clips, base=tiny_base, base_name="tiny", model_name="both", resume=True)
    rest.flush()
    lines = [line.text for line in queue.log_lines(job.id)]
    assert (stopped.state, stopped.attempt) == (JobState.STOPPED, 3), lines
    assert len([line for line in lines if line.startswith("Saved after epoch ")]) == 2, lines
    assert len([line for line in lines if line.startswith("Continuing after epoch ")]) == 2, lines
    assert "The worker process ended unexpectedly (exit code 1); the job is picked up again (attempt 3)." in lines
    assert_equal(undisturbed, curve(queue, job.id, rest.id))
    assert len(processes) == 3
    assert not any(process.is_running() for process in processes)


def test_there_are_no_more_processes_than_clips_in_a_batch_and_with_use_deepspeed_one_a_gpu(
    settings: TrainerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_processes(settings, replace(OPTIONS, batch_size=1)) == 1
    assert count_processes(settings.model_copy(update={"training_workers": 8}), OPTIONS) == OPTIONS.batch_size
    one = settings.model_copy(update={"training_workers": 1})
    split = replace(OPTIONS, use_deepspeed=True)
    for gpus, processes in {0: 1, 1: 1, 3: 3, 8: OPTIONS.batch_size}.items():
        monkeypatch.setattr("torch.cuda.device_count", lambda gpus=gpus: gpus)
        assert count_processes(one, split) == processes
        assert count_processes(one, OPTIONS) == 1
        assert count_processes(one.model_copy(update={"runner": "ray"}), split) == 1


def test_more_processes_than_gpus_are_refused(
    settings: TrainerSettings, make_job: Callable[[], JobContext], clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(TooFewGpus, match="TIMBRE_TRAINING_WORKERS is 2, and this machine has 1 GPU: set it to 1"):
        launch(make_job(), settings, Plan(tuple(clips), OPTIONS, "both"))


def example(tokens: int, samples: int) -> Example:
    clip = Clip("segment_00001", "k", "t", "s", samples / 22_050)
    return Example(clip, torch.zeros(tokens), torch.zeros(-(-samples // 1024)), np.zeros(samples, np.int16))


def test_shares_make_up_the_batch_and_count_by_what_they_predict() -> None:
    batch = [example(9, 30 * 1024), example(19, 60 * 1024), example(29, 90 * 1024 - 1)]
    shares = [share_of(batch, rank, 4) for rank in range(4)]
    assert [share.clips for share in shares] == [(0,), (1,), (2,), (0,)]
    assert [share.text for share in shares] == [10 / 60, 20 / 60, 30 / 60, 0]
    assert [share.audio for share in shares] == [34 / 192, 64 / 192, 94 / 192, 0]
    assert share_of(batch, 0, 1) == Share((0, 1, 2), 1.0, 1.0)
