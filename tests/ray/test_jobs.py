"""Jobs through the real queue, supervisor and a Ray cluster; where they are killed, what is done stays done."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from services.runtime.database import open_database
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.settings import JobSettings
from tests.ray.cluster import Cluster

KINDS = ("t.count", "t.ignore", "t.refuse")
NO_ROOM = "The Ray cluster has no room yet; the job waits."


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSettings:
    chosen = {
        "TIMBRE_DATA_DIR": str(tmp_path / "data"),
        "TIMBRE_RUNNER": "ray",
        "TIMBRE_RAY_ADDRESS": cluster.address,
        "TIMBRE_RAY_PYTHON": sys.executable,
        "TIMBRE_HEARTBEAT_SECONDS": "0.2",
        "TIMBRE_HEARTBEAT_TIMEOUT_SECONDS": "6",
        "TIMBRE_STOP_GRACE_SECONDS": "2",
        "TIMBRE_S3_SECRET_KEY": "a-secret-of-the-store",
        "PYTHONPATH": str(Path(__file__).parents[1] / "runtime" / "jobs"),
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return JobSettings()


@pytest.fixture
def queue(settings: JobSettings) -> Iterator[JobQueue]:
    engine = open_database(settings.database_url)
    yield JobQueue(engine)
    engine.dispose()


@contextlib.asynccontextmanager
async def supervising(queue: JobQueue, settings: JobSettings) -> AsyncIterator[None]:
    task = asyncio.create_task(Supervisor(queue, "counting_worker", KINDS, 2, settings).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(queue: JobQueue, job: Job, condition: Callable[[Job], bool], seconds: float = 60) -> Job:
    deadline = time.monotonic() + seconds
    while True:
        now = await asyncio.to_thread(queue.get, job.id)
        if condition(now):
            return now
        assert time.monotonic() < deadline, (now, [line.text for line in queue.log_lines(job.id)])
        await asyncio.sleep(0.05)


def count_job(queue: JobQueue, folder: Path, total: int, seconds: float) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return queue.submit("t.count", str(folder), {"folder": str(folder), "total": total, "seconds": seconds})


def units(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "done.log").read_text().split()]


async def test_a_job_waits_for_the_cluster_runs_and_reports_and_a_new_service_takes_it_over(
    cluster: Cluster, queue: JobQueue, settings: JobSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    job = count_job(queue, tmp_path / "a", total=30, seconds=0.1)
    async with supervising(queue, settings):
        await until(queue, job, lambda job: "cannot be reached" in job.message)
        refused = queue.submit("t.refuse", "x", {})
        with cluster.reachable():
            await until(queue, job, lambda job: job.progress > 0.1)
    # The worker goes on without its service, and without the way to it.
    with cluster.reachable():
        async with supervising(queue, settings):
            ended = await until(queue, job, lambda job: job.ended)
            refused = await until(queue, refused, lambda job: job.ended)
    assert (ended.state, ended.attempt, ended.result) == (JobState.SUCCEEDED, 1, {"total": 30, "scratch": True})
    lines = [line.text for line in queue.log_lines(job.id)]
    assert "The Ray cluster cannot be reached" in lines[0]
    # on a busy machine Ray itself may take so long to begin that it is told
    assert [line for line in lines[1:] if line != NO_ROOM] == [f"unit {number}" for number in range(30)]
    assert len(queue.series(job.id)) == 30
    assert (refused.state, refused.error) == (JobState.FAILED, "The well is dry: bring water.")
    assert "a-secret-of-the-store" not in caplog.text


async def test_stop_lets_a_worker_save_and_ends_one_that_will_not(
    cluster: Cluster, queue: JobQueue, settings: JobSettings, tmp_path: Path
) -> None:
    with cluster.reachable():
        willing = count_job(queue, tmp_path / "a", total=10_000, seconds=0.02)
        unwilling = queue.submit("t.ignore", "x", {})
        async with supervising(queue, settings):
            await until(queue, willing, lambda job: job.progress > 0)
            await until(queue, unwilling, lambda job: bool(queue.log_lines(job.id)))
            worker = cluster.process_of(queue.get(unwilling.id).lease)
            queue.cancel(willing.id)
            queue.cancel(unwilling.id)
            stopped = [await until(queue, job, lambda job: job.ended) for job in (willing, unwilling)]
    assert [(job.state, job.attempt) for job in stopped] == [(JobState.STOPPED, 1)] * 2
    assert queue.log_lines(willing.id)[-1].text == "Stopped."
    assert not worker.is_running()


async def test_kill_of_a_worker_and_of_a_node_redo_no_finished_unit(
    cluster: Cluster, queue: JobQueue, settings: JobSettings, tmp_path: Path
) -> None:
    with cluster.reachable():
        job = count_job(queue, tmp_path / "a", total=40, seconds=0.4)
        async with supervising(queue, settings):
            running = await until(queue, job, lambda job: job.progress > 0.1)
            cluster.process_of(running.lease).kill()
            await until(queue, job, lambda job: job.attempt == 2 and job.progress > 0.4, seconds=120)
            cluster.start_node("two", 52401)
            cluster.kill_node("one")
            ended = await until(queue, job, lambda job: job.ended, seconds=180)
    assert (ended.state, ended.result) == (JobState.SUCCEEDED, {"total": 40, "scratch": True})
    deaths = ended.attempt - 1
    assert deaths >= 2  # on a busy machine a worker that takes long to start may be given up once more
    assert sorted(set(units(tmp_path / "a"))) == list(range(40))
    assert len(units(tmp_path / "a")) <= 40 + deaths  # the unit under way at a death may have been done, and not yet kept
    lines = [line.text for line in queue.log_lines(job.id) if "picked up" in line.text]
    assert len(lines) == deaths
    assert lines[0] == "The worker on the Ray cluster ended unexpectedly (failed); the job is picked up again (attempt 2)."
