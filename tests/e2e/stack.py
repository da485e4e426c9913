"""A running `timbre serve`, as the end-to-end tests see it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from pydantic import SecretStr

from services.runtime.store import ObjectStore, S3Credentials, open_store
from timbre.serve import choose_places

ENDED = ("succeeded", "failed", "stopped")


@dataclass
class Stack:
    """A running `timbre serve`, and a client of its gateway."""

    data_dir: Path
    environment: dict[str, str]
    port: int = field(default_factory=lambda: choose_places("127.0.0.1", 0).port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "timbre.cli", "serve", "--data-dir", str(self.data_dir), "--port", str(self.port)]
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "serve.log").open("ab") as log:
            said = log.tell()
            self.process = subprocess.Popen(command, env={**os.environ, **self.environment}, stdout=log, stderr=log)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)
        # Its own word, which comes a moment after the gateway's: until then it takes the end of a process for a failed start.
        self._wait(lambda: b"Timbre is ready" in (self.data_dir / "serve.log").read_bytes()[said:])

    def wait_until_ready(self) -> None:
        self._wait(self._is_ready)

    def stop(self) -> None:
        assert self.process is not None
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)

    def log(self) -> str:
        return (self.data_dir / "serve.log").read_text()

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        response = self.client.post(path, json=body)
        assert response.status_code == status, response.text
        return response.json()

    def get(self, path: str, status: int = 200, **params: Any) -> Any:
        response = self.client.get(path, params=params)
        assert response.status_code == status, response.text
        return response.json()

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/training/jobs/{job_id}")
        return found

    def until(self, job_id: str, condition: Callable[[dict[str, Any]], object], seconds: float = 240) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            try:
                job = self.job(job_id)
                if condition(job):
                    return job
                assert job["state"] not in ENDED, f"{job}\n{self.job_log(job_id)}"
                assert time.monotonic() < deadline, f"{job}\n{self.log()[-5000:]}"
            except (httpx.HTTPError, AssertionError) as error:
                # A service that was killed is started again within a second.
                if "UNAVAILABLE" not in str(error) and not isinstance(error, httpx.HTTPError):
                    raise
            time.sleep(0.03)

    def done(self, job_id: str, seconds: float = 240) -> dict[str, Any]:
        job = self.until(job_id, lambda job: job["state"] in ENDED, seconds)
        assert job["state"] == "succeeded", f"{job}\n{self.job_log(job_id)}\n{self.log()[-5000:]}"
        return job

    def job_log(self, job_id: str) -> str:
        logs: str = self.get(f"/training/jobs/{job_id}/log")["logs"]
        return logs

    def service(self, name: str) -> psutil.Process:
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            if f"services.{name}" in process.cmdline():
                return process
        raise AssertionError(f"no {name} service runs")

    @property
    def store(self) -> ObjectStore:
        """Where the stack keeps its objects."""
        url = self.environment.get("TIMBRE_STORAGE_URL", (self.data_dir / "objects").absolute().as_uri())
        keys = [self.environment.get(f"TIMBRE_S3_{half}_KEY", "") for half in ("ACCESS", "SECRET")]
        return open_store(url, S3Credentials(keys[0], SecretStr(keys[1])) if all(keys) else None)

    def objects(self, prefix: str) -> dict[str, bytes]:
        store = self.store
        return {info.key: store.get(info.key) for info in store.list(f"{prefix}/")}

    def _wait(self, condition: Callable[[], bool]) -> None:
        assert self.process is not None
        deadline = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False
