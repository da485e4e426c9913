"""Several replicas of a service on one database: each a process of its own, on one machine or, as pods are, in namespaces."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.machine import end_left_behind
from services.runtime.jobs.scratch import folder_of, sweep
from services.runtime.settings import JobSettings

PROGRAM = """
import asyncio, signal, sys
from services.runtime.database import connect
from services.runtime.jobs import JobQueue
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.settings import JobSettings

async def main() -> None:
    settings = JobSettings()
    queue = JobQueue(connect(settings.database_url))
    task = asyncio.create_task(Supervisor(queue, "counting_worker", ["t.count"], 1, settings).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])

asyncio.run(main())
"""
POD = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Process numbers of its own, of which the first takes all others along; the host name is that of everybody else here."""

# Replicas on several machines need a database that all of them reach.
pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

Replicas = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> JobSettings:
    chosen = {
        "TIMBRE_DATA_DIR": str(tmp_path / "data"),
        "TIMBRE_DATABASE_URL": database_url,
        "TIMBRE_HEARTBEAT_SECONDS": "0.1",
        "TIMBRE_HEARTBEAT_TIMEOUT_SECONDS": "3",
        "TIMBRE_STOP_GRACE_SECONDS": "1",
        "TIMBRE_DRAIN_GRACE_SECONDS": "10",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return JobSettings()


@pytest.fixture
def start_replica(settings: JobSettings, queue: JobQueue) -> Iterator[Replicas]:
    """Starts replicas with one slot each; a data folder for each that is a pod."""
    started: list[subprocess.Popen[bytes]] = []

    def start(pod: bool = False) -> subprocess.Popen[bytes]:
        folder = settings.data_dir / f"pod-{len(started)}" if pod else settings.data_dir
        command = [*(POD if pod else ()), sys.executable, "-c", PROGRAM]
        started.append(subprocess.Popen(command, env={**os.environ, "TIMBRE_DATA_DIR": str(folder)}))
        return started[-1]

    yield start
    for replica in started:
        replica.kill()
        replica.wait()
    asyncio.run(end_left_behind(queue.find(states=[JobState.RUNNING]), 0))


def until(queue: JobQueue, job: Job, condition: Callable[[Job], bool], seconds: float = 60) -> Job:
    deadline = time.monotonic() + seconds
    while not condition(now := queue.get(job.id)):
        assert time.monotonic() < deadline, now
        time.sleep(0.02)
    return now


def count_job(queue: JobQueue, folder: Path, total: int, seconds: float = 0.1) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return queue.submit("t.count", str(folder), {"folder": str(folder), "total": total, "seconds": seconds})


def units(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "done.log").read_text().split()]


def owner(job: Job, *replicas: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """The replica that started the worker of a job."""
    return next(replica for replica in replicas if psutil.Process(job.pid).ppid() == replica.pid)


def under_way(job: Job) -> bool:
    return job.progress > 0 and job.pid is not None


def test_a_replica_that_stops_leaves_the_workers_of_another_alone(
    queue: JobQueue, start_replica: Replicas, tmp_path: Path
) -> None:
    first, second = start_replica(), start_replica()
    jobs = [count_job(queue, tmp_path / name, 30) for name in "ab"]
    running = [until(queue, job, under_way) for job in jobs]
    assert {owner(job, first, second) for job in running} == {first, second}  # one slot each
    first.send_signal(signal.SIGTERM)
    first.wait(20)
    ended = [until(queue, job, lambda job: job.ended) for job in jobs]
    kept = [before.pid == after.pid for before, after in zip(running, ended, strict=True)]
    assert sorted(kept) == [False, True]
    assert [job.attempt for job in ended] == [1 if same else 2 for same in kept]
    assert [(job.state, job.crashes) for job in ended] == [(JobState.SUCCEEDED, 0)] * 2
    assert [units(tmp_path / name) for name in "ab"] == [list(range(30))] * 2


def test_a_pod_takes_its_worker_along_and_another_continues(queue: JobQueue, start_replica: Replicas, tmp_path: Path) -> None:
    pods = [start_replica(pod=True), start_replica(pod=True)]
    job = count_job(queue, tmp_path / "a", 60)
    running = until(queue, job, lambda job: job.progress > 0.25)
    # The other one has looked by now: it shares the host name, and must not think that it could see this process.
    assert (running.attempt, running.crashes) == (1, 0)
    number = 0 if worker_of(job, pods[0]) else 1
    pods[number].kill()
    ended = until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert ended.host != running.host
    assert units(tmp_path / "a") == list(range(60))


def worker_of(job: Job, replica: subprocess.Popen[bytes]) -> psutil.Process | None:
    children = psutil.Process(replica.pid).children(recursive=True)
    return next((child for child in children if job.id in child.cmdline()), None)


def test_a_worker_that_was_left_behind_takes_up_a_slot_until_it_ends(
    queue: JobQueue, start_replica: Replicas, tmp_path: Path
) -> None:
    first = start_replica()
    job = count_job(queue, tmp_path / "a", 30)
    running = until(queue, job, under_way)
    first.kill()
    first.wait()
    later = count_job(queue, tmp_path / "b", 1)
    second = start_replica()
    started = until(queue, later, lambda job: job.started_at is not None)
    ended = queue.get(job.id)
    assert (ended.state, ended.attempt, ended.pid) == (JobState.SUCCEEDED, 1, running.pid)
    assert started.started_at is not None
    assert ended.ended_at is not None
    assert started.started_at >= ended.ended_at
    until(queue, later, lambda job: job.ended)
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0


def test_a_worker_that_stood_still_loses_its_job_and_is_ended(queue: JobQueue, start_replica: Replicas, tmp_path: Path) -> None:
    start_replica()
    start_replica()
    job = count_job(queue, tmp_path / "a", 30)
    running = until(queue, job, under_way)
    assert running.pid is not None
    worker = psutil.Process(running.pid)
    worker.suspend()
    ended = until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert units(tmp_path / "a") == list(range(30))
    worker.wait(20)


def test_a_stop_is_heard_by_a_worker_whose_service_is_gone(queue: JobQueue, start_replica: Replicas, tmp_path: Path) -> None:
    first = start_replica()
    job = count_job(queue, tmp_path / "a", 1000)
    until(queue, job, under_way)
    first.kill()
    queue.cancel(job.id)
    assert until(queue, job, lambda job: job.ended).state is JobState.STOPPED


def test_folders_of_jobs_that_ended_elsewhere_are_removed(queue: JobQueue, settings: JobSettings) -> None:
    running, stopped = (queue.submit("t.count", "x", {}) for _ in range(2))
    queue.cancel(stopped.id)
    folders = [folder_of(settings.data_dir, job_id) for job_id in (running.id, stopped.id, "job_of_another_database")]
    for folder in folders:
        folder.mkdir(parents=True)
    sweep(settings.data_dir, queue)
    assert [folder.exists() for folder in folders] == [True, False, True]


def test_a_job_whose_worker_has_hardly_begun_is_given_back(queue: JobQueue, start_replica: Replicas, tmp_path: Path) -> None:
    job = count_job(queue, tmp_path / "a", 30)
    replica = start_replica()
    until(queue, job, lambda job: job.attempt == 1)
    replica.send_signal(signal.SIGTERM)
    assert replica.wait(20) == 0
    given_back = queue.get(job.id)
    assert (given_back.state, given_back.crashes, given_back.pid) == (JobState.QUEUED, 0, None)
