"""A PostgreSQL that breaks connections off, or is away for some seconds: jobs survive, callers are told to come back."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from timbre.jobs.v1 import jobs_pb2 as pb
from timbre.jobs.v1 import jobs_pb2_grpc

from services.runtime.database import DatabaseUnavailable, is_away, open_database
from services.runtime.errors import recognise
from services.runtime.interceptors import ChassisInterceptor
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.servicer import JobsServicer
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.server import SERVER_OPTIONS
from services.runtime.settings import JobSettings
from tests.fault_proxy import Fault, FaultProxy
from tests.servers import new_database, socket_of

KINDS = ("t.count", "t.change")


@pytest.fixture
def proxy(postgres: sa.URL) -> Iterator[FaultProxy]:
    with FaultProxy(socket_of(postgres)) as made:
        yield made


@pytest.fixture
def direct(postgres: sa.URL) -> sa.URL:
    """A fresh database, without the proxy."""
    return new_database(postgres)


@pytest.fixture
def url(direct: sa.URL, proxy: FaultProxy) -> str:
    """The same database through the proxy."""
    through = sa.URL.create(
        direct.drivername, direct.username, direct.password, "127.0.0.1", proxy.port, direct.database, {"sslmode": "disable"}
    )
    return through.render_as_string(hide_password=False)


@pytest.fixture
def watcher(direct: sa.URL) -> Iterator[JobQueue]:
    """Looks at the jobs whatever the proxy does."""
    engine = open_database(direct.render_as_string(hide_password=False))
    yield JobQueue(engine)
    engine.dispose()


@pytest.fixture
def settings(url: str, watcher: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSettings:
    chosen = {
        "TIMBRE_DATA_DIR": str(tmp_path / "data"),
        "TIMBRE_DATABASE_URL": url,
        "TIMBRE_HEARTBEAT_SECONDS": "0.1",
        "TIMBRE_HEARTBEAT_TIMEOUT_SECONDS": "30",
        "TIMBRE_DRAIN_GRACE_SECONDS": "5",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return JobSettings()


@contextlib.asynccontextmanager
async def supervising(settings: JobSettings) -> AsyncIterator[None]:
    engine = open_database(settings.database_url)
    task = asyncio.create_task(Supervisor(JobQueue(engine), "counting_worker", KINDS, 1, settings).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        engine.dispose()


async def until(queue: JobQueue, job: Job, condition: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 90
    while not condition(now := await asyncio.to_thread(queue.get, job.id)):
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.02)
    return now


def count_job(queue: JobQueue, folder: Path, total: int, seconds: float) -> Job:
    folder.mkdir()
    return queue.submit("t.count", "x", {"folder": str(folder), "total": total, "seconds": seconds})


def check(ended: Job, queue: JobQueue, folder: Path, total: int) -> None:
    """The job ended right, in one attempt, each unit was done once and told once."""
    assert (ended.state, ended.attempt, ended.result) == (JobState.SUCCEEDED, 1, {"total": total, "scratch": True})
    assert [int(line) for line in (folder / "done.log").read_text().split()] == list(range(total))
    assert [line.text for line in queue.log_lines(ended.id)] == [f"unit {number}" for number in range(total)]
    assert [point.step for point in queue.series(ended.id)] == list(range(total))


async def test_a_job_goes_on_while_connections_break(
    watcher: JobQueue, settings: JobSettings, proxy: FaultProxy, tmp_path: Path
) -> None:
    job = count_job(watcher, tmp_path / "a", total=40, seconds=0.05)
    async with supervising(settings):
        await until(watcher, job, lambda job: job.progress > 0.1)
        for _ in range(5):
            await asyncio.to_thread(proxy.drop)
            await asyncio.sleep(0.2)
        ended = await until(watcher, job, lambda job: job.ended)
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 1)
    assert [int(line) for line in (tmp_path / "a" / "done.log").read_text().split()] == list(range(40))


async def test_a_job_goes_on_while_the_database_is_away(
    watcher: JobQueue, settings: JobSettings, proxy: FaultProxy, tmp_path: Path
) -> None:
    job = count_job(watcher, tmp_path / "a", total=60, seconds=0.05)
    async with supervising(settings):
        await until(watcher, job, lambda job: job.progress > 0.1)
        with proxy.down():
            before = watcher.get(job.id).progress
            await asyncio.sleep(1.5)
            assert watcher.get(job.id).progress == before
        ended = await until(watcher, job, lambda job: job.ended)
    check(ended, watcher, tmp_path / "a", 60)


async def test_the_end_of_a_job_waits_for_the_database(
    watcher: JobQueue, settings: JobSettings, proxy: FaultProxy, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    job = count_job(watcher, folder, total=20, seconds=0.05)
    async with supervising(settings):
        await until(watcher, job, lambda job: job.progress > 0.1)
        with proxy.down():
            while not (folder / "19").exists():
                await asyncio.sleep(0.02)
            await asyncio.sleep(1)
            assert watcher.get(job.id).state is JobState.RUNNING
        ended = await until(watcher, job, lambda job: job.ended)
    check(ended, watcher, folder, 20)


@pytest.mark.parametrize(("away_at", "attempts"), [("begun", 1), ("held", 2)])
async def test_a_lock_waits_for_the_database_and_one_that_was_lost_is_taken_anew(
    watcher: JobQueue, settings: JobSettings, proxy: FaultProxy, tmp_path: Path, away_at: str, attempts: int
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    job = watcher.submit("t.change", "x", {"folder": str(folder)})
    async with supervising(settings):
        for step in ("begun", "held"):
            await until(watcher, job, lambda _, step=step: (folder / step).exists())
            if step == away_at:
                with proxy.down():
                    (folder / f"{step}.go").touch()
                    await asyncio.sleep(2)
                    assert watcher.get(job.id).state is JobState.RUNNING
            (folder / f"{step}.go").touch()
        ended = await until(watcher, job, lambda job: job.ended)
    assert (ended.state, ended.result) == (JobState.SUCCEEDED, {"attempt": attempts}), ended.error


async def test_an_end_that_was_written_but_not_confirmed_is_one(
    watcher: JobQueue, settings: JobSettings, proxy: FaultProxy, tmp_path: Path
) -> None:
    folder = tmp_path / "a"
    job = count_job(watcher, folder, total=5, seconds=0.05)
    held = await asyncio.to_thread(watcher.claim, KINDS)
    assert held is not None
    proxy.inject(Fault("reset", once=b"succeeded.*COMMIT"))
    worker = subprocess.Popen([sys.executable, "-m", "counting_worker", job.id, held.lease], start_new_session=True)
    ended = await until(watcher, job, lambda job: job.ended)
    assert await asyncio.to_thread(worker.wait, 60) == 0
    assert proxy.left == 0
    check(ended, watcher, folder, 5)
    assert not (settings.data_dir / "scratch" / job.id).exists()


async def test_callers_are_told_to_come_back(watcher: JobQueue, url: str, proxy: FaultProxy) -> None:
    job = watcher.submit("t.count", "x", {})
    engine = open_database(url)
    server = grpc.aio.server(interceptors=[ChassisInterceptor()], options=SERVER_OPTIONS)
    jobs_pb2_grpc.add_JobsServiceServicer_to_server(JobsServicer(JobQueue(engine)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = jobs_pb2_grpc.JobsServiceStub(channel)
        watching = stub.WatchJob(pb.WatchJobRequest(job_id=job.id))
        assert (await watching.read()).job.id == job.id
        with proxy.down():
            for call in (stub.GetJob(pb.GetJobRequest(job_id=job.id)), stub.CancelJob(pb.CancelJobRequest(job_id=job.id))):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert caught.value.details() == "The job database cannot be reached; try again in a moment."
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watching.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await stub.GetJob(pb.GetJobRequest(job_id=job.id))).job.id == job.id
        await asyncio.to_thread(proxy.drop)
        assert (await stub.GetJob(pb.GetJobRequest(job_id=job.id))).job.id == job.id
    await server.stop(0)
    engine.dispose()


def test_a_mistake_is_not_taken_for_an_absence(tmp_path: Path, direct: sa.URL) -> None:
    for url in (f"sqlite:///{tmp_path / 'a.db'}", direct.render_as_string(hide_password=False)):
        engine = open_database(url)
        with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as caught:
            connection.execute(sa.text("SELECT nothing FROM nowhere"))
        assert not is_away(caught.value)
        assert recognise(caught.value) is None
        engine.dispose()


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(sa.exc.OperationalError) as caught:
            connection.exec_driver_sql("CREATE TABLE big AS SELECT randomblob(1000000) AS x")
    found = recognise(caught.value)
    assert isinstance(found, DatabaseUnavailable)
    assert "disk of the job database is full" in found.message
    engine.dispose()


async def test_a_worker_whose_database_is_away_at_its_start_waits(
    watcher: JobQueue, settings: JobSettings, proxy: FaultProxy, tmp_path: Path
) -> None:
    job = count_job(watcher, tmp_path / "a", total=3, seconds=0.01)
    held = await asyncio.to_thread(watcher.claim, KINDS)
    assert held is not None
    with proxy.down():
        worker = subprocess.Popen([sys.executable, "-m", "counting_worker", job.id, held.lease], start_new_session=True)
        await asyncio.sleep(3)
        assert worker.poll() is None
        assert not (tmp_path / "a" / "done.log").exists()
    ended = await until(watcher, job, lambda job: job.ended)
    assert await asyncio.to_thread(worker.wait, 60) == 0
    check(ended, watcher, tmp_path / "a", 3)
