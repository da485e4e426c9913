"""Where workers run: the seam between the supervisor of jobs and what starts their processes.

    Supervisor ─ Runner ─┬─▶ LocalRunner: a process on this machine
                         └─▶ RayRunner (ray_runner.py): a job of a Ray cluster, maybe on another machine

Progress, log lines and the wish to stop go through the database whatever the runner is, so a runner only starts workers,
says what became of them and ends those that are late.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.runtime.jobs import machine
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
        self._children: dict[str, asyncio.subprocess.Process] = {}  # by lease
        self._unheld: dict[str, float] = {}  # leases that our children hold no longer, and since when

    def load(self, running: Sequence[Job]) -> int:
        """Returns how many workers live that were started here, or that a service of this machine left behind when it died.

        The latter count for every replica of that machine, until they end.
        """
        held = {job.lease for job in running}
        self._children = {lease: child for lease, child in self._children.items() if child.returncode is None or lease in held}
        self._end_unheld(held)
        adopted = [job for job in running if job.lease not in self._children and machine.left_behind(job) is not None]
        return len(self._children) + len(adopted)

    def _end_unheld(self, held: Collection[str]) -> None:
        """Kills workers that lost their job, to any replica, and have not ended by themselves: they hang, or are stopped."""
        now = time.monotonic()
        self._unheld = {lease: self._unheld.get(lease, now) for lease in self._children if lease not in held}
        for lease, since in self._unheld.items():
            if now - since > self._settings.heartbeat_timeout_seconds:
                logger.warning("killing worker process %d, which lost its job", self._children[lease].pid)
                machine.kill_worker(self._children[lease].pid, lease)

    async def start(self, job: Job) -> None:
        """Starts a process."""
        # A session of its own: the worker outlives its service, and a terminal's Ctrl-C does not reach it.
        self._children[job.lease] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, job.id, job.lease, start_new_session=True, stdin=asyncio.subprocess.DEVNULL
        )

    async def look(self, job: Job, quiet_seconds: float) -> Sighting:  # noqa: ARG002 - a process is there or not
        """Says whether the process is there; of one on another machine only its heartbeat tells."""
        child = self._children.get(job.lease)
        if child is not None and child.returncode is not None:
            del self._children[job.lease]
            return Sighting(WorkerState.GONE, f"The worker process ended unexpectedly ({_describe(child.returncode)})")
        if job.pid is not None:
            # Of a child that has just ended we are told in a moment how, which says more.
            gone = child is None and machine.is_here(job) and machine.worker_of(job) is None
            return Sighting(WorkerState.GONE, "The worker process is gone") if gone else ALIVE
        owner = machine.owner_of(job)
        # A service starts the worker before it looks again, so that a job of ours without one is an earlier process's.
        alone = child is None and machine.is_here(job) and (owner == os.getpid() or not machine.is_alive(owner))
        if alone and machine.worker_of(job) is None:
            return Sighting(WorkerState.GONE, "The service ended before the worker began")
        return Sighting(WorkerState.STARTING)

    async def kill(self, job: Job) -> None:
        """Kills the process and all that it started."""
        child = self._children.get(job.lease)
        pid = child.pid if child is not None else machine.worker_of(job)
        if pid is not None:
            logger.warning("job %s: killing its worker process %d", job.id, pid)
            machine.kill_worker(pid, job.lease)

    async def shut_down(self, running: Sequence[Job]) -> list[Job]:
        """Lets the processes save and ends them, and those that a service of this machine left behind when it died."""
        children = {lease: child for lease, child in self._children.items() if child.returncode is None}
        workers = {lease: child.pid for lease, child in children.items()}
        workers |= {job.lease: pid for job in running if (pid := machine.left_behind(job)) is not None}
        await machine.end_workers([(pid, lease) for lease, pid in workers.items()], self._settings.drain_grace_seconds)
        for child in children.values():
            await child.wait()
        # Most have done so themselves; those were killed, or had not begun to listen.
        return [job for job in running if job.lease in workers]


def _describe(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
