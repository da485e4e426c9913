"""What a runner does without its cluster, and what is not loaded without need. A real cluster: tests/ray."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.runtime.database import open_database
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.ray_runner import environment_of, resources_of
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.settings import JobSettings, RayResources
from tests.ports import free_port


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSettings:
    """A cluster that is not there."""
    monkeypatch.setenv("TIMBRE_RAY_ADDRESS", f"http://127.0.0.1:{free_port()}")
    return JobSettings(data_dir=tmp_path, runner="ray", heartbeat_seconds=0.1, heartbeat_timeout_seconds=1.5)


async def supervise(settings: JobSettings, queue: JobQueue, job: Job, condition: Callable[[Job], bool]) -> Job:
    task = asyncio.create_task(Supervisor(queue, "counting_worker", ["t.count"], 1, settings).run())
    try:
        async with asyncio.timeout(20):
            while not condition(now := await asyncio.to_thread(queue.get, job.id)):
                await asyncio.sleep(0.05)
        return now
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_without_its_cluster_a_job_waits_and_says_why(settings: JobSettings) -> None:
    queue = JobQueue(open_database(settings.database_url))
    job = queue.submit("t.count", "x", {})
    waiting = await supervise(settings, queue, job, lambda job: bool(job.message))
    assert waiting.state is JobState.RUNNING
    lines = [line.text for line in queue.log_lines(job.id)]
    assert lines == [
        "The Ray cluster cannot be reached: see that it runs and that TIMBRE_RAY_ADDRESS names its head; the job waits."
    ]
    # The service has ended: what the cluster never got is anybody's again.
    assert (queue.get(job.id).state, queue.get(job.id).crashes) == (JobState.QUEUED, 0)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("text/html", b"<html>Please sign in.</html>", "The Ray cluster refuses the job (HTTP 200)"),  # no cluster at all
        ("application/json", b'{"status": "PENDING"}', "The Ray cluster has no room yet"),
    ],
)
async def test_what_the_cluster_answers_is_told(settings: JobSettings, kind: str, body: bytes, said: str) -> None:
    class Head(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Head) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.ray_address = f"http://127.0.0.1:{server.server_port}"
        queue = JobQueue(open_database(settings.database_url))
        job = queue.submit("t.count", "x", {})
        waiting = await supervise(settings, queue, job, lambda job: bool(job.message))
        settings.runner_wait_seconds = 1
        ended = await supervise(settings, queue, job, lambda job: job.ended)
        server.shutdown()
    assert waiting.message.startswith(said)
    assert ended.error.startswith(said)
    assert ended.error.endswith("given up after 1 seconds.")


async def test_a_job_that_waits_can_be_stopped(settings: JobSettings) -> None:
    queue = JobQueue(open_database(settings.database_url))
    job = queue.submit("t.count", "x", {})
    await supervise(settings, queue, job, lambda job: job.state is JobState.RUNNING)
    task = asyncio.create_task(supervise(settings, queue, job, lambda job: job.ended))
    await asyncio.sleep(1)
    await asyncio.to_thread(queue.cancel, job.id)
    assert (await task).state is JobState.STOPPED


async def test_by_policy_a_job_waits_for_so_long(settings: JobSettings) -> None:
    settings.runner_wait_seconds = 1
    queue = JobQueue(open_database(settings.database_url))
    job = queue.submit("t.count", "x", {})
    ended = await supervise(settings, queue, job, lambda job: job.ended)
    assert ended.state is JobState.FAILED
    assert ended.error.startswith("The Ray cluster cannot be reached")
    assert ended.error.endswith("given up after 1 seconds.")
    assert ended.reason == "CLUSTER_UNAVAILABLE"


def test_resources_are_of_the_kind_or_its_service_or_one_core() -> None:
    wanted = {"dataset": RayResources(cpus=2), "dataset.transcribe": RayResources(gpus=1), "trainer": RayResources(gpus=2)}
    assert resources_of("dataset.segment", wanted).cpus == 2
    assert resources_of("dataset.transcribe", wanted).gpus == 1
    assert resources_of("trainer.train", wanted).gpus == 2
    assert resources_of("other", wanted) == RayResources(cpus=1, gpus=0)


def test_workers_get_what_they_need_of_the_environment(settings: JobSettings) -> None:
    ours = {"TIMBRE_S3_SECRET_KEY": "s", "TIMBRE_RAY_TOKEN": "t", "AWS_REGION": "r", "HOME": "/root", "PATH": "/bin"}
    assert environment_of(settings, ours) == {
        "TIMBRE_S3_SECRET_KEY": "s",
        "AWS_REGION": "r",
        "TIMBRE_DATABASE_URL": settings.database_url,
        "TIMBRE_STORAGE_URL": settings.storage_url,
    }


def test_resources_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMBRE_RAY_RESOURCES", '{"trainer": {"cpus": 4, "gpus": 1, "custom": {"a100": 1}}}')
    monkeypatch.setenv("TIMBRE_RAY_ENVIRONMENT", "TIMBRE_*, HF_HOME")
    settings = JobSettings()
    assert settings.ray_resources["trainer"] == RayResources(cpus=4, gpus=1, custom={"a100": 1})
    assert settings.ray_environment == ("TIMBRE_*", "HF_HOME")


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_no_service_loads_ray(runner: str, tmp_path: Path) -> None:
    program = (
        "import sys; from services.runtime.jobs import JobQueue; from services.runtime.jobs.supervisor import Supervisor;"
        "from services.runtime.settings import JobSettings; from services.runtime.database import connect;"
        "import services.dataset.__main__, services.trainer.__main__;"
        f"s = JobSettings(runner={runner!r}); Supervisor(JobQueue(connect(s.database_url)), 'x', [], 1, s);"
        "print([name for name in ('ray', 'httpx', 'services.runtime.jobs.ray_runner') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    environment = {"TIMBRE_DATA_DIR": str(tmp_path)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    loaded = {"local": [], "ray": ["httpx", "services.runtime.jobs.ray_runner"]}
    assert ran.stdout.strip() == str(loaded[runner])
