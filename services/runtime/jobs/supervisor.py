"""The service's side of jobs: has a worker started for each, notices when one dies, ends those that will not stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.runtime.jobs import scratch
from services.runtime.jobs.model import Job, JobState
from services.runtime.jobs.queue import JobQueue, LeaseLost
from services.runtime.jobs.runners import Runner, WorkerState, open_runner
from services.runtime.settings import JobSettings

logger = logging.getLogger(__name__)

# How often the queue is looked at when nothing wakes the supervisor earlier, in seconds.
_POLL_SECONDS = 0.5

# How often folders of jobs that ended elsewhere are removed from the local disk, in seconds.
_SWEEP_SECONDS = 300.0

# How many times longer than later a worker may be silent before its first sign of life.
_START_PATIENCE = 4


@dataclass
class _Waiting:
    """A job whose worker has no process yet: since when it waits, why and since when it is that, and what was said of it."""

    since: float
    reason: str = ""
    reason_since: float = 0.0
    said: str = ""


class Supervisor:
    """Keeps up to `slots` workers busy with jobs of the given kinds.

    Args:
        queue: Where the jobs are.
        module: Entry point of the worker, e.g. `services.dataset.work`.
        kinds: Kinds of job it takes.
        slots: How many jobs run at once.
        settings: Heartbeats, grace periods, and where workers run.
    """

    def __init__(self, queue: JobQueue, module: str, kinds: Sequence[str], slots: int, settings: JobSettings) -> None:
        self._queue = queue
        self._kinds = tuple(kinds)
        self._slots = slots
        self._settings = settings
        self._runner: Runner = open_runner(module, settings)
        self._wake = asyncio.Event()
        self._seen: dict[str, tuple[float | None, float]] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._stopping: dict[str, float] = {}
        self._swept_at = -_SWEEP_SECONDS

    def wake(self) -> None:
        """Says that there is something new in the queue."""
        self._wake.set()

    async def run(self) -> None:
        """Works until it is cancelled, then lets the workers save, and ends them."""
        try:
            while True:
                try:
                    await _whole(self._look())
                    await self._sweep()
                except asyncio.CancelledError:
                    raise
                except Exception:
                    # A database that is away for a moment must not end the loop that will need it again.
                    logger.exception("looking after jobs failed; trying again")
                    self._seen.clear()  # who could not look has not seen anybody fall silent
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL_SECONDS)
                self._wake.clear()
        finally:
            await self._shut_down()

    async def _shut_down(self) -> None:
        try:
            running = await self._find_running()
        except sa.exc.DBAPIError:
            logger.exception("the database cannot be reached; only workers that were started here are ended")
            running = []
        for job in await self._runner.shut_down(running):
            with contextlib.suppress(LeaseLost):  # it did so itself
                await asyncio.to_thread(self._queue.release, job.id, job.lease)

    async def _find_running(self) -> list[Job]:
        running = await asyncio.to_thread(self._queue.find, states=[JobState.RUNNING], limit=1000)
        return [job for job in running if job.kind in self._kinds]

    async def _look(self) -> None:
        running = await self._find_running()
        held = {job.id for job in running}
        self._seen = {job_id: seen for job_id, seen in self._seen.items() if job_id in held}
        self._waiting = {job_id: waiting for job_id, waiting in self._waiting.items() if job_id in held}
        self._stopping = {job_id: since for job_id, since in self._stopping.items() if job_id in held}
        for job in running:
            with contextlib.suppress(LeaseLost):  # it ended, or another service was quicker
                await self._look_after(job)
        load = self._runner.load(running)
        while load < self._slots:
            job_or_none = await asyncio.to_thread(self._queue.claim, self._kinds)
            if job_or_none is None:
                break
            logger.info(
                "job %s (%s, %s): attempt %d", job_or_none.id, job_or_none.kind, job_or_none.subject, job_or_none.attempt
            )
            await self._runner.start(job_or_none)
            load += 1

    async def _sweep(self) -> None:
        if time.monotonic() - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            await asyncio.to_thread(scratch.sweep, self._settings.data_dir, self._queue)

    async def _look_after(self, job: Job) -> None:
        quiet = self._quiet_seconds(job)
        seen = await self._runner.look(job, quiet)
        if seen.state in (WorkerState.ALIVE, WorkerState.GONE):  # one that waits is not asked about at every look
            self._waiting.pop(job.id, None)
        # A process that lives may take a while to import what it needs on a busy machine.
        patience = self._settings.heartbeat_timeout_seconds * (_START_PATIENCE if seen.state is WorkerState.STARTING else 1)
        if seen.state is WorkerState.GONE:
            await self._give_up(job, seen.reason)
        elif seen.state is WorkerState.WAITING:
            await self._wait(job, seen.reason)
        elif quiet > patience:
            await self._runner.kill(job)
            await self._give_up(job, "The worker process fell silent")
        elif job.stop_requested_at is not None:
            await self._press(job)

    async def _press(self, job: Job) -> None:
        """Kills a worker that takes too long to stop; one that nobody reaches any more loses its job, upon which it ends."""
        asked = time.monotonic() - self._stopping.setdefault(job.id, time.monotonic())
        grace = self._settings.stop_grace_seconds
        if asked > grace:
            await self._runner.kill(job)
        if asked > grace + self._settings.heartbeat_timeout_seconds:
            await self._give_up(job, "The worker did not stop")

    def _quiet_seconds(self, job: Job) -> float:
        # Measured on our own clock from when we saw the heartbeat change: clocks of machines differ.
        heartbeat, since = self._seen.get(job.id, (None, 0.0))
        if heartbeat != job.heartbeat_at or not since:
            self._seen[job.id] = (job.heartbeat_at, time.monotonic())
            return 0.0
        return time.monotonic() - since

    async def _wait(self, job: Job, reason: str) -> None:
        """Keeps a job alive whose worker has no process yet, says why in its log, and ends it when it has waited too long."""
        now = time.monotonic()
        waiting = self._waiting.setdefault(job.id, _Waiting(since=now))
        if waiting.reason != reason:
            waiting.reason, waiting.reason_since = reason, now
        limit = self._settings.runner_wait_seconds
        if limit and now - waiting.since > limit:
            error = f"{reason}: given up after {limit:g} seconds."
            await self._runner.kill(job)
            await asyncio.to_thread(self._queue.report, job.id, job.lease, {}, lines=[(time.time(), error)])
            known = "CLUSTER_UNAVAILABLE"  # nowhere else does a worker wait for a process
            await asyncio.to_thread(self._queue.finish, job.id, job.lease, JobState.FAILED, error=error, reason=known)
            return
        changes: dict[str, str] = {}
        # Some seconds pass between any submission and its start: nobody has to read of those.
        if waiting.said != reason and now - waiting.reason_since > self._settings.heartbeat_timeout_seconds / 3:
            waiting.said = reason
            changes = {"message": reason} if job.message != reason else {}  # another replica may have said so
        lines = [(time.time(), f"{reason}; the job waits.")] if changes else []
        if await asyncio.to_thread(self._queue.report, job.id, job.lease, changes, lines=lines):
            await self._runner.kill(job)
            await asyncio.to_thread(self._queue.finish, job.id, job.lease, JobState.STOPPED)

    async def _give_up(self, job: Job, reason: str) -> None:
        logger.warning("job %s: %s", job.id, reason)
        self._seen.pop(job.id, None)
        await asyncio.to_thread(self._queue.give_up, job, max_crashes=self._settings.max_crashes, reason=reason)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Awaits work that is not to be cancelled half way: a job that was claimed must have its worker before that is ended."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
