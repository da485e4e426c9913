from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.machine import wait_for_exit
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.logs import request_id
from services.runtime.settings import JobSettings

KINDS = ("t.count", "t.crash", "t.refuse", "t.break", "t.full", "t.ignore")


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> JobSettings:
    chosen = {
        "TIMBRE_DATA_DIR": str(tmp_path / "data"),
        "TIMBRE_DATABASE_URL": database_url,
        "TIMBRE_HEARTBEAT_SECONDS": "0.1",
        "TIMBRE_HEARTBEAT_TIMEOUT_SECONDS": "3",
        "TIMBRE_STOP_GRACE_SECONDS": "1",
        "TIMBRE_DRAIN_GRACE_SECONDS": "5",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return JobSettings()


@contextlib.asynccontextmanager
async def supervising(queue: JobQueue, settings: JobSettings, slots: int = 2) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(queue, "counting_worker", KINDS, slots, settings)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(queue: JobQueue, job: Job, condition: Callable[[Job], bool], seconds: float = 30) -> Job:
    deadline = time.monotonic() + seconds
    while True:
        now = await asyncio.to_thread(queue.get, job.id)
        if condition(now):
            return now
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.02)


def count_job(queue: JobQueue, folder: Path, total: int = 5, seconds: float = 0.02) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return queue.submit("t.count", str(folder), {"folder": str(folder), "total": total, "seconds": seconds})


def units(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "done.log").read_text().split()]


async def test_a_job_runs_in_its_own_process_and_reports(queue: JobQueue, settings: JobSettings, tmp_path: Path) -> None:
    job = count_job(queue, tmp_path / "a")
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.result, ended.attempt) == (JobState.SUCCEEDED, {"total": 5, "scratch": True}, 1)
    assert ended.pid not in (None, os.getpid())
    assert [line.text for line in queue.log_lines(job.id)] == [f"unit {i}" for i in range(5)]
    assert len(queue.series(job.id)) == 5
    assert not (settings.data_dir / "scratch" / job.id).exists()


async def test_kill_of_the_worker_redoes_no_finished_unit(queue: JobQueue, settings: JobSettings, tmp_path: Path) -> None:
    job = count_job(queue, tmp_path / "a", total=12, seconds=0.1)
    async with supervising(queue, settings):
        running = await until(queue, job, lambda job: job.progress > 0.2)
        assert running.pid is not None
        os.kill(running.pid, signal.SIGKILL)
        ended = await until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert units(tmp_path / "a") == list(range(12))
    assert any("signal 9" in line.text for line in queue.log_lines(job.id))


async def test_a_worker_outlives_its_service_and_is_not_run_twice(
    queue: JobQueue, settings: JobSettings, tmp_path: Path
) -> None:
    job = count_job(queue, tmp_path / "a", total=20, seconds=0.1)
    # A service in a process of its own, killed while its worker works.
    program = (
        "import asyncio; from services.runtime.settings import JobSettings; from services.runtime.database import connect;"
        "from services.runtime.jobs import JobQueue; from services.runtime.jobs.supervisor import Supervisor;"
        "s = JobSettings(); q = JobQueue(connect(s.database_url));"
        f"asyncio.run(Supervisor(q, 'counting_worker', {KINDS!r}, 2, s).run())"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as service:
        before = await until(queue, job, lambda job: job.progress > 0.1)
        service.kill()
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.attempt, ended.pid) == (JobState.SUCCEEDED, 1, before.pid)
    assert units(tmp_path / "a") == list(range(20))


async def test_service_and_worker_killed_together(queue: JobQueue, settings: JobSettings, tmp_path: Path) -> None:
    job = count_job(queue, tmp_path / "a", total=12, seconds=0.1)
    held = queue.claim(KINDS)
    assert held is not None
    worker = subprocess.Popen([sys.executable, "-m", "counting_worker", job.id, held.lease], start_new_session=True)
    await until(queue, job, lambda job: job.progress > 0.2)
    worker.kill()
    worker.wait()
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert units(tmp_path / "a") == list(range(12))


async def test_a_claim_whose_worker_never_began_is_taken_up(queue: JobQueue, settings: JobSettings, tmp_path: Path) -> None:
    job = count_job(queue, tmp_path / "a")
    assert queue.claim(KINDS) is not None  # and the service dies before it starts the process
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)


async def test_stop_is_cooperative(queue: JobQueue, settings: JobSettings, tmp_path: Path) -> None:
    job = count_job(queue, tmp_path / "a", total=1000, seconds=0.02)
    async with supervising(queue, settings):
        running = await until(queue, job, lambda job: job.progress > 0)
        queue.cancel(job.id)
        ended = await until(queue, job, lambda job: job.ended)
        await wait_for_exit(running, timeout_seconds=5)
    assert ended.state is JobState.STOPPED
    assert units(tmp_path / "a") == list(range(len(units(tmp_path / "a"))))


async def test_a_worker_that_will_not_stop_is_killed(queue: JobQueue, settings: JobSettings, tmp_path: Path) -> None:
    job = queue.submit("t.ignore", "x", {})
    async with supervising(queue, settings):
        await until(queue, job, lambda job: bool(queue.log_lines(job.id)))
        queue.cancel(job.id)
        ended = await until(queue, job, lambda job: job.ended)
    assert ended.state is JobState.STOPPED
    assert ended.attempt == 1


async def test_shutdown_gives_the_job_back_and_leaves_no_process(
    queue: JobQueue, settings: JobSettings, tmp_path: Path
) -> None:
    job = count_job(queue, tmp_path / "a", total=15, seconds=0.1)
    async with supervising(queue, settings):
        running = await until(queue, job, lambda job: job.progress > 0.1)
    given_back = queue.get(job.id)
    assert (given_back.state, given_back.crashes) == (JobState.QUEUED, 0)
    assert running.pid is not None
    assert not Path(f"/proc/{running.pid}").exists()
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 2)
    assert units(tmp_path / "a") == list(range(15))


@pytest.mark.parametrize(
    ("kind", "sentence", "reason"),
    [
        ("t.refuse", "The well is dry: bring water.", "FAILED_PRECONDITION"),
        ("t.break", "The job failed unexpectedly (ValueError): the log of the service says where.", "INTERNAL"),
        ("t.full", "A disk of this machine is full; free some space and try again.", "DISK_FULL"),
        ("t.crash", "times in a row without making progress", "WORKER_LOST"),
    ],
)
async def test_failures_are_sentences(
    queue: JobQueue, settings: JobSettings, monkeypatch: pytest.MonkeyPatch, kind: str, sentence: str, reason: str
) -> None:
    settings.max_crashes = 2
    job = queue.submit(kind, "x", {})
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    assert ended.state is JobState.FAILED
    assert sentence in ended.error
    assert ended.reason == reason
    assert "secret" not in ended.error
    assert all("secret" not in line.text for line in queue.log_lines(job.id))


async def test_the_log_lines_of_a_worker_name_the_request_that_asked_for_its_job(
    queue: JobQueue, settings: JobSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    token = request_id.set("asked-by-me-42")
    job = queue.submit("t.break", "x", {"a": 1})
    request_id.reset(token)
    async with supervising(queue, settings):
        ended = await until(queue, job, lambda job: job.ended)
    assert f"[asked-by-me-42] job {job.id} failed" in capfd.readouterr().out
    assert (ended.request_id, ended.parameters) == ("asked-by-me-42", {"a": 1})
