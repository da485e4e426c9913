"""Replicas of every service and of the gateway over one PostgreSQL and one S3 server, and a client that changes gateways."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from services.runtime.database import open_database
from services.runtime.jobs import JobQueue, JobState
from services.runtime.jobs.machine import end_left_behind
from services.runtime.store import ObjectStore
from tests.ports import free_port
from tests.servers import ACCESS_KEY, SECRET_KEY, new_database, postgres_server, s3_address, s3_server

SERVICES = ("dataset", "trainer", "inference")
ENDED = ("succeeded", "failed", "stopped")
POD = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Process numbers of its own, of which the first takes all others along, as in a container."""


@dataclass
class Replica:
    """One process of a service or of the gateway, or a pod with one in it.

    Attributes:
        name: What it is, with its number.
        command: What starts it.
        environment: Its variables.
        log: File of its output.
        port: Where it listens.
        process: Itself, while it lives.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_pod(self) -> bool:
        """Whether it has process numbers of its own."""
        return self.command[0] == POD[0]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)

    def wait_until_up(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 60) -> None:
        """Asks it to end, and waits until it has."""
        assert self.process is not None
        # The first process of a pod is the service itself, below the one that made the pod.
        inside = psutil.Process(self.process.pid).children() if self.is_pod else [self.process]
        for process in inside:
            process.send_signal(signal.SIGTERM)
        self.process.wait(seconds)


@dataclass
class Cluster:
    """Everything that runs.

    Attributes:
        replicas: By name: `dataset-1`, …, `gateway-3`.
        urls: Of the gateways.
        queue: The jobs.
        store: The objects.
        s3_log: What the S3 server wrote about requests.
        folder: For the data folders and logs.
    """

    replicas: dict[str, Replica]
    urls: list[str]
    queue: JobQueue
    store: ObjectStore
    s3_log: Path
    folder: Path

    def of(self, service: str) -> list[Replica]:
        return [replica for name, replica in self.replicas.items() if name.startswith(f"{service}-")]

    def workers(self) -> list[psutil.Process]:
        """The processes that work on jobs, wherever they run."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if any(word.startswith("services.") and word.endswith(".work") for word in words) and self._is_ours(process):
                found.append(process)
        return found

    def owner(self, worker: psutil.Process) -> Replica | None:
        """The replica that started a worker, if it lives."""
        above = {process.pid for process in worker.parents()}
        return next((one for one in self.replicas.values() if one.process and one.process.pid in above), None)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("TIMBRE_DATA_DIR", "").startswith(str(self.folder))
        except psutil.Error:
            return False


@dataclass
class Client:
    """A client that goes on with another gateway when one does not answer, and repeats what may be repeated.

    Attributes:
        urls: Of the gateways.
        patience: How long it tries, in seconds.
        troubles: Answers that it did not get, or that told it to come again.
    """

    urls: list[str]
    patience: float = 60.0
    troubles: list[str] = field(default_factory=list)
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=120))

    def close(self) -> None:
        self._http.close()

    def post(self, path: str, **request: Any) -> Any:
        return self.ask("POST", path, headers={"Idempotency-Key": secrets.token_hex(8)}, **request)

    def get(self, path: str, **params: Any) -> Any:
        return self.ask("GET", path, params=params)

    def ask(self, method: str, path: str, **request: Any) -> Any:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                answer = self._http.request(method, random.choice(self.urls) + path, **request)
                if answer.status_code not in (502, 503, 504):
                    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
                    return answer.json()
                trouble = answer.text
            except httpx.TransportError as error:
                trouble = type(error).__name__
            self.troubles.append(f"{method} {path}: {trouble}")
            assert time.monotonic() < deadline, self.troubles[-1]
            time.sleep(0.3)

    def until(self, job_id: str, condition: Callable[[dict[str, Any]], object], seconds: float = 240) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not condition(job := self.get(f"/training/jobs/{job_id}")):
            assert job["state"] not in ENDED, f"{job}\n{self.get(f'/training/jobs/{job_id}/log')['logs']}"
            assert time.monotonic() < deadline, job
            time.sleep(0.2)
        found: dict[str, Any] = job
        return found

    def done(self, job_id: str, seconds: float = 240) -> dict[str, Any]:
        job = self.until(job_id, lambda job: job["state"] in ENDED, seconds)
        assert job["state"] == "succeeded", f"{job}\n{self.get(f'/training/jobs/{job_id}/log')['logs']}"
        return job


@contextmanager
def cluster(folder: Path, count: int, settings: dict[str, str], services: tuple[str, ...] = SERVICES) -> Iterator[Cluster]:
    """Runs so many replicas of each; the last ones of dataset and trainer are pods, where that is possible.

    Args:
        folder: For everything on the disk.
        count: Replicas of each.
        settings: Further environment variables.
        services: Which services; of the others there is nothing.
    """
    with ExitStack() as stack:
        for name in ("s3", "run", "logs"):
            (folder / name).mkdir(0o700, parents=True)
        server = stack.enter_context(postgres_server(folder / "run"))
        address = s3_address("moto", stack.enter_context(s3_server("moto", folder / "s3")))
        database = new_database(server).render_as_string(hide_password=False)
        engine = open_database(database)
        stack.callback(engine.dispose)
        ports = {name: [free_port() for _ in range(count)] for name in (*SERVICES, "gateway")}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TIMBRE_")},
            "TIMBRE_DATABASE_URL": database,
            "TIMBRE_STORAGE_URL": address.url,
            "TIMBRE_S3_ACCESS_KEY": ACCESS_KEY,
            "TIMBRE_S3_SECRET_KEY": SECRET_KEY,
            **{f"TIMBRE_{name.upper()}_ADDRESS": ",".join(f"127.0.0.1:{port}" for port in ports[name]) for name in SERVICES},
            **settings,
        }
        replicas: dict[str, Replica] = {}
        for name in (*services, "gateway"):
            for number, port in enumerate(ports[name], start=1):
                replicas[f"{name}-{number}"] = _replica(folder, name, number, port, environment, pod=number == count)
        urls = [f"http://127.0.0.1:{port}" for port in ports["gateway"]]
        made = Cluster(replicas, urls, JobQueue(engine), address.open(), folder / "s3" / "log", folder)
        stack.callback(_end, made)
        for replica in replicas.values():
            replica.start()
        yield made


def _replica(folder: Path, name: str, number: int, port: int, environment: dict[str, str], *, pod: bool) -> Replica:
    pod = pod and name in ("dataset", "trainer") and may_unshare()
    # Replicas on one machine share their data folder; a pod has its own.
    own = {"TIMBRE_DATA_DIR": str(folder / (f"{name}-{number}" if pod else "data"))}
    if name == "gateway":
        own |= {"TIMBRE_PORT": str(port)}
    else:
        own |= {f"TIMBRE_{name.upper()}_LISTEN": f"127.0.0.1:{port}"}
    command = [*(POD if pod else ()), sys.executable, "-m", "gateway" if name == "gateway" else f"services.{name}"]
    full = f"{name}-{number}"
    return Replica(full, command, {**environment, **own}, folder / "logs" / full, port)


def may_unshare() -> bool:
    """Whether this user may make namespaces."""
    return subprocess.run([*POD, "true"], capture_output=True, check=False).returncode == 0


def _end(made: Cluster) -> None:
    for replica in made.replicas.values():
        if replica.process and replica.process.poll() is None:
            replica.kill()
    asyncio.run(end_left_behind(made.queue.find(states=[JobState.RUNNING], limit=1000), 0))
