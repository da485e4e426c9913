"""The service's side of jobs: starts a worker process for each, notices when one dies, ends those that will not stop."""

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
from pathlib import Path

from services.runtime.jobs.model import Job, JobState
from services.runtime.jobs.queue import JobQueue
from services.runtime.settings import JobSettings

logger = logging.getLogger(__name__)

# How often the queue is looked at when nothing wakes the supervisor earlier, in seconds.
_POLL_SECONDS = 0.5

# How many times longer than later a worker may be silent before its first sign of life.
_START_PATIENCE = 4


class Supervisor:
    """Keeps up to `slots` workers busy with jobs of the given kinds.

    Args:
        queue: Where the jobs are.
        module: Entry point of the worker, e.g. `services.dataset.work`.
        kinds: Kinds of job it takes.
        slots: How many jobs run at once.
        settings: Heartbeats and grace periods.
    """

    def __init__(self, queue: JobQueue, module: str, kinds: Sequence[str], slots: int, settings: JobSettings) -> None:
        self._queue = queue
        self._module = module
        self._kinds = tuple(kinds)
        self._slots = slots
        self._settings = settings
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._wake = asyncio.Event()
        self._host = socket.gethostname()
        self._seen: dict[str, tuple[float | None, float]] = {}

    def wake(self) -> None:
        """Says that there is something new in the queue."""
        self._wake.set()

    async def run(self) -> None:
        """Works until it is cancelled, then lets the workers save, and ends them."""
        try:
            while True:
                try:
                    await self._look()
                except asyncio.CancelledError:
                    raise
                except Exception:
                    # A database that is away for a moment must not end the loop that will need it again.
                    logger.exception("looking after jobs failed; trying again")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL_SECONDS)
                self._wake.clear()
        finally:
            await self._shut_down()

    async def _look(self) -> None:
        running = await asyncio.to_thread(self._queue.find, states=[JobState.RUNNING], limit=1000)
        running = [job for job in running if job.kind in self._kinds]
        for job in running:
            await self._look_after(job)
        held = {job.id for job in running}
        for job_id in [job_id for job_id, child in self._children.items() if child.returncode is not None]:
            if job_id not in held:
                del self._children[job_id]
        while len(self._children) < self._slots:
            job_or_none = await asyncio.to_thread(self._queue.claim, self._kinds)
            if job_or_none is None:
                break
            await self._start(job_or_none)

    async def _look_after(self, job: Job) -> None:
        child = self._children.get(job.id)
        if child is not None and child.returncode is not None:
            del self._children[job.id]
            await self._give_up(job, f"The worker process ended unexpectedly ({_describe(child.returncode)})")
        elif child is None and job.host == self._host and job.pid is not None and not _is_worker(job.pid, job.lease):
            await self._give_up(job, "The worker process is gone")
        elif self._is_silent(job):
            self._kill(job)
            await self._give_up(job, "The worker process fell silent")
        elif job.stop_requested_at is not None and time.time() - job.stop_requested_at > self._settings.stop_grace_seconds:
            self._kill(job)

    def _is_silent(self, job: Job) -> bool:
        # Measured on our own clock from when we saw the heartbeat change: clocks of machines differ.
        heartbeat, since = self._seen.get(job.id, (None, 0.0))
        if heartbeat != job.heartbeat_at or not since:
            self._seen[job.id] = (job.heartbeat_at, time.monotonic())
            return False
        # A process that we started and that lives may take a while to import what it needs on a busy machine.
        starting = job.pid is None and job.id in self._children
        return time.monotonic() - since > self._settings.heartbeat_timeout_seconds * (_START_PATIENCE if starting else 1)

    async def _give_up(self, job: Job, reason: str) -> None:
        logger.warning("job %s: %s", job.id, reason)
        self._seen.pop(job.id, None)
        await asyncio.to_thread(self._queue.give_up, job, max_crashes=self._settings.max_crashes, reason=reason)

    async def _start(self, job: Job) -> None:
        logger.info("job %s (%s, %s): attempt %d", job.id, job.kind, job.subject, job.attempt)
        # A session of its own: the worker outlives its service, and a terminal's Ctrl-C does not reach it.
        self._children[job.id] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, job.id, job.lease, start_new_session=True, stdin=asyncio.subprocess.DEVNULL
        )

    def _kill(self, job: Job) -> None:
        child = self._children.get(job.id)
        pid = child.pid if child is not None else job.pid
        if pid is not None and job.host == self._host and _is_worker(pid, job.lease):
            logger.warning("job %s: killing its worker process %d", job.id, pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    async def _shut_down(self) -> None:
        running = await asyncio.to_thread(self._queue.find, states=[JobState.RUNNING], limit=1000)
        # Workers that an earlier process of this service left behind end with this one too.
        ours = [job for job in running if job.kind in self._kinds]
        children = [child.pid for child in self._children.values() if child.returncode is None]
        await end_workers(ours, self._settings.drain_grace_seconds, also=children)
        for child in self._children.values():
            await child.wait()


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
