"""Where workers run: the seam between the supervisor of jobs and what starts their processes.

    Supervisor ─ Runner ─┬─▶ LocalRunner: a process on this machine
                         └─▶ RayRunner (ray_runner.py): a job of a Ray cluster, maybe on another machine

Progress, log lines and the wish to stop go through the database whatever the runner is, so a runner only starts workers,
says what became of them and ends those that are late.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from services.runtime.jobs.model import Job
from services.runtime.settings import JobSettings

logger = logging.getLogger(__name__)


class WorkerState(Enum):
    """What a runner knows of a worker."""

    ALIVE = "alive"  # as far as can be told: its heartbeat says the rest
    STARTING = "starting"  # its process is there and has not reported yet
    WAITING = "waiting"  # it has no process yet, and will get one
    GONE = "gone"


@dataclass(frozen=True)
class Sighting:
    """What became of a worker, and why in a phrase: of one that waits or is gone."""

    state: WorkerState
    reason: str = ""


ALIVE = Sighting(WorkerState.ALIVE)


class Runner(Protocol):
    """Starts workers and tells what became of them."""

    def load(self, running: Sequence[Job]) -> int:
        """Returns how many workers of this service's own are under way, given the jobs that are running."""

    async def start(self, job: Job) -> None:
        """Starts the worker of a job that was just claimed."""

    async def look(self, job: Job, quiet_seconds: float) -> Sighting:
        """Says what became of the worker of a running job whose heartbeat was last heard so long ago."""

    async def kill(self, job: Job) -> None:
        """Ends the worker of a job at once, if it can be reached."""

    async def shut_down(self, running: Sequence[Job]) -> list[Job]:
        """Ends what must not outlive the service; returns the jobs that are to be given back to the queue."""


def open_runner(module: str, settings: JobSettings) -> Runner:
    """Returns the runner that the settings name.

    Args:
        module: Entry point of the worker, e.g. `services.dataset.work`.
        settings: Which runner, and its own settings.
    """
    if settings.runner == "ray":
        from services.runtime.jobs.ray_runner import RayRunner

        return RayRunner(module, settings)
    return LocalRunner(module, settings)


class LocalRunner:
    """Workers as processes on this machine.

    Args:
        module: Entry point of the worker.
        settings: Grace periods.
    """

    def __init__(self, module: str, settings: JobSettings) -> None:
        self._module = module
        self._settings = settings
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._host = socket.gethostname()

    def load(self, running: Sequence[Job]) -> int:
        """Returns how many processes were started here and live, or have jobs that still count as running."""
        held = {job.id for job in running}
        for job_id in [job_id for job_id, child in self._children.items() if child.returncode is not None]:
            if job_id not in held:
                del self._children[job_id]
        return len(self._children)

    async def start(self, job: Job) -> None:
        """Starts a process."""
        # A session of its own: the worker outlives its service, and a terminal's Ctrl-C does not reach it.
        self._children[job.id] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, job.id, job.lease, start_new_session=True, stdin=asyncio.subprocess.DEVNULL
        )

    async def look(self, job: Job, quiet_seconds: float) -> Sighting:  # noqa: ARG002 - a process is there or not
        """Says whether the process is there; of one on another machine only its heartbeat tells."""
        child = self._children.get(job.id)
        if child is not None and child.returncode is not None:
            del self._children[job.id]
            return Sighting(WorkerState.GONE, f"The worker process ended unexpectedly ({_describe(child.returncode)})")
        if child is not None:
            return ALIVE if job.pid is not None else Sighting(WorkerState.STARTING)
        if job.host == self._host and job.pid is not None and not _is_worker(job.pid, job.lease):
            return Sighting(WorkerState.GONE, "The worker process is gone")
        return ALIVE

    async def kill(self, job: Job) -> None:
        """Kills the process and all that it started."""
        child = self._children.get(job.id)
        pid = child.pid if child is not None else job.pid
        if pid is not None and job.host == self._host and _is_worker(pid, job.lease):
            logger.warning("job %s: killing its worker process %d", job.id, pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    async def shut_down(self, running: Sequence[Job]) -> list[Job]:
        """Lets the processes save and ends them, those that an earlier process of this service left behind too."""
        children = [child.pid for child in self._children.values() if child.returncode is None]
        await end_workers(running, self._settings.drain_grace_seconds, also=children)
        for child in self._children.values():
            await child.wait()
        return []  # each worker gives its own job back


async def end_workers(jobs: Iterable[Job], grace_seconds: float, also: Iterable[int] = ()) -> None:
    """Ends the workers of these jobs on this machine: by SIGTERM, upon which they save, and those that are late by SIGKILL.

    Args:
        jobs: Running jobs; those whose worker is elsewhere, or gone, are passed over.
        grace_seconds: How long they may take to save.
        also: Further worker processes.
    """
    host = socket.gethostname()
    pids = {job.pid for job in jobs if job.host == host and job.pid is not None and _is_worker(job.pid, job.lease)} | set(also)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while pids and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        pids = {pid for pid in pids if _is_alive(pid)}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _describe(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _is_worker(pid: int, lease: str) -> bool:
    """Whether this process is the one that holds the lease: numbers of processes are used again."""
    try:
        return _is_alive(pid) and lease.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def wait_for_exit(job: Job, *, timeout_seconds: float) -> None:
    """Waits until the worker process of a job is gone, if it ran on this machine; gives up after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while (
        job.pid is not None
        and job.host == socket.gethostname()
        and _is_worker(job.pid, job.lease)
        and time.monotonic() < deadline
    ):
        await asyncio.sleep(0.02)
