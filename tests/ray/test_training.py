"""A training over two nodes of a Ray cluster, one of which is killed while it works; none finds the other's disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import soundfile as sf
import torch

from services.runtime.database import open_database
from services.runtime.jobs import Job, JobContext, JobQueue, JobState
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.store import ObjectStore, open_store
from services.trainer.clips import Clip
from services.trainer.finetune import finetune
from services.trainer.options import TrainOptions
from services.trainer.servicer import KINDS, TRAIN
from services.trainer.settings import TrainerSettings
from services.voices.checkpoints import checkpoint_key
from services.xtts.checkpoint import load_checkpoint
from tests.ray.cluster import Cluster
from timbre.demo.speech import Span

OPTIONS = TrainOptions(epochs=8, batch_size=4, learning_rate=1e-3, save_every=2, dropout=0.0)
RESOURCES = {"trainer": {"custom": {"driver": 1}}, "trainer.worker": {"custom": {"train": 1}}}
KEPT = "TIMBRE_CACHE_DIR,TIMBRE_BASE_MODEL,TIMBRE_R*,TIMBRE_TRAINING_WORKERS,TIMBRE_HEARTBEAT_*,OMP_NUM_THREADS,PYTHONPATH"


@pytest.fixture
def settings(
    cluster: Cluster, model_cache: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TrainerSettings:
    chosen = {
        "TIMBRE_DATA_DIR": str(tmp_path / "data"),
        "TIMBRE_CACHE_DIR": str(model_cache),
        "TIMBRE_BASE_MODEL": "tiny",
        "TIMBRE_RUNNER": "ray",
        "TIMBRE_RAY_ADDRESS": cluster.address,
        "TIMBRE_RAY_PYTHON": sys.executable,
        "TIMBRE_RAY_RESOURCES": json.dumps(RESOURCES),
        "TIMBRE_RAY_ENVIRONMENT": KEPT,
        "TIMBRE_TRAINING_WORKERS": "2",
        "TIMBRE_HEARTBEAT_SECONDS": "0.2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return TrainerSettings()


@pytest.fixture
def store(settings: TrainerSettings) -> ObjectStore:
    return open_store(settings.storage_url)


@pytest.fixture
def queue(settings: TrainerSettings) -> Iterator[JobQueue]:
    engine = open_database(settings.database_url)
    yield JobQueue(engine)
    engine.dispose()


@pytest.fixture
def clips(store: ObjectStore, recording: tuple[Path, list[Span]], tmp_path: Path) -> list[Clip]:
    sound, rate = sf.read(recording[0])
    made = []
    for number, span in enumerate(recording[1][:9], 1):
        wav = tmp_path / f"segment_{number:05d}.wav"
        sf.write(wav, sound[int(span.start_seconds * rate) : int(span.end_seconds * rate)], rate)
        key = f"datasets/voice/segments/{wav.name}"
        store.put(key, wav)
        made.append(Clip(wav.stem, key, span.text, "a", span.end_seconds - span.start_seconds))
    return made


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
    deadline = time.monotonic() + 200
    while not condition(now := await asyncio.to_thread(queue.get, job.id)):
        assert time.monotonic() < deadline, (now, lines(queue, job))
        await asyncio.sleep(0.05)
    return now


def lines(queue: JobQueue, job: Job) -> list[str]:
    return [line.text for line in queue.log_lines(job.id)]


def submit(queue: JobQueue, clips: list[Clip], *, resume: bool = False) -> Job:
    values = {"clips": [asdict(clip) for clip in clips], "options": asdict(OPTIONS), "model_name": "both", "resume": resume}
    return queue.submit(TRAIN, "both", values)


def curve(queue: JobQueue, *jobs: str) -> dict[int, float]:
    return {point.step: point.value for job in jobs for point in queue.series(job, ["loss"])}


@pytest.fixture
def undisturbed(queue: JobQueue, store: ObjectStore, clips: list[Clip], tiny_base: Path, tmp_path: Path) -> dict[int, float]:
    """The losses of one process, this one."""
    torch.set_num_threads(1)
    queue.submit(TRAIN, "alone", {})
    job = queue.claim(KINDS)
    assert job is not None
    context = JobContext(queue, job, tmp_path)
    finetune(context, store, options=OPTIONS, clips=clips, base=tiny_base, base_name="tiny", model_name="alone")
    context.flush()
    queue.finish(job.id, job.lease, JobState.SUCCEEDED)
    return curve(queue, job.id)


async def test_stop_and_the_kill_of_a_node_change_no_loss(
    cluster: Cluster,
    settings: TrainerSettings,
    queue: JobQueue,
    store: ObjectStore,
    clips: list[Clip],
    undisturbed: dict[int, float],
    tmp_path: Path,
) -> None:
    disks = {name: tmp_path / f"disk-{name}" for name in ("left", "right", "third")}
    with cluster.reachable():
        cluster.start_node("driver", 52420, resources={"driver": 1}, data=tmp_path / "disk-driver")
        cluster.wait_for("driver")
        async with supervising(queue, settings):
            first = submit(queue, clips)
            await until(queue, first, lambda job: "no room" in job.message)
            for port, name in ((52421, "left"), (52422, "right")):
                cluster.start_node(name, port, resources={"train": 1}, data=disks[name])
                cluster.wait_for(name)
            await until(queue, first, lambda job: job.progress > 0.05)
            queue.cancel(first.id)
            stopped = await until(queue, first, lambda job: job.ended)
            second = submit(queue, clips, resume=True)
            await until(queue, second, lambda job: job.progress > 0.27)  # a quarter is when a checkpoint is made
            leader = next(name for name, disk in disks.items() if (disk / "scratch" / second.id / "events").exists())
            cluster.kill_node(leader)
            cluster.start_node("third", 52423, resources={"train": 1}, data=disks["third"])
            ended = await until(queue, second, lambda job: job.ended)
    said = lines(queue, first)
    assert said[0] == (
        "The Ray cluster has no room for 2 training workers with 1 CPU, 1 train each, its nodes have 0 train in all; "
        "the job waits."
    )
    assert (stopped.state, stopped.attempt) == (JobState.STOPPED, 1), said
    assert said[-1] == "Stopped."
    said = lines(queue, second)
    assert (ended.state, ended.attempt, ended.crashes) == (JobState.SUCCEEDED, 2, 0), said
    assert ended.result is not None
    assert ended.result["checkpoint"] == checkpoint_key("both", OPTIONS.epochs)
    continued = [line for line in said if line.startswith("Continuing after epoch ")]
    assert len(continued) == 2
    assert int(continued[1].split()[3]) >= OPTIONS.save_every
    made = curve(queue, first.id, second.id)
    assert list(made) == list(undisturbed)
    assert made == pytest.approx(undisturbed, abs=1e-4)
    weights = {}
    for name in ("alone", "both"):
        store.fetch(checkpoint_key(name, OPTIONS.epochs), tmp_path / f"{name}.pth")
        weights[name] = load_checkpoint(tmp_path / f"{name}.pth").gpt
    for name, value in weights["alone"].items():
        torch.testing.assert_close(weights["both"][name], value, rtol=0, atol=1e-3, msg=name)
    # To Ray Train these nodes, with one address, are one: only the leading worker clears up.
    assert not any((disk / "scratch" / first.id / "events").exists() for disk in disks.values())


async def test_a_cluster_without_room_fails_the_job_when_it_may_not_wait_longer(
    cluster: Cluster, settings: TrainerSettings, queue: JobQueue, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMBRE_TRAINING_WORKERS", "4")
    monkeypatch.setenv("TIMBRE_RUNNER_WAIT_SECONDS", "2")
    with cluster.reachable():
        async with supervising(queue, settings):
            job = submit(queue, clips)
            ended = await until(queue, job, lambda job: job.ended)
    assert ended.state is JobState.FAILED
    assert ended.error.startswith(
        "The Ray cluster has no room for 4 training workers with 1 CPU, 1 train each, its nodes have "
    )
    assert ended.error.endswith(" in all: given up after 2 seconds.")
