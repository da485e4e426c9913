"""What a job function sees of the job it works on, and how that reaches the database."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.runtime.database import is_away, patiently
from services.runtime.jobs.model import Job
from services.runtime.jobs.queue import JobQueue, LeaseLost

logger = logging.getLogger(__name__)


class JobStopped(Exception):
    """Somebody asked the job to stop: save what is worth keeping and let this through."""


class JobReleased(Exception):
    """The process shuts down: save what is worth keeping and let this through; the job will be continued."""


class JobContext:
    """The job a worker process is on: its parameters, and how it tells about itself.

    Progress, log lines and series are kept in memory and written with the next heartbeat, so that calling these methods
    often costs nothing. What is worth keeping belongs into the object store, unit by unit.

    Attributes:
        id: The job's id.
        kind: What to do.
        parameters: What was asked for.
        attempt: How often the job was started, from 1.
        lease: What this worker's writes name; a further process of the worker needs it too.
        scratch: A folder of this job alone on the local disk; kept from attempt to attempt, removed when the job ends.
    """

    def __init__(
        self,
        queue: JobQueue,
        job: Job,
        scratch: Path,
        *,
        heartbeat_seconds: float = 1.0,
        doubt_seconds: float = 7.5,
    ) -> None:
        self.id = job.id
        self.kind = job.kind
        self.subject = job.subject
        self.parameters = job.parameters
        self.attempt = job.attempt
        self.scratch = scratch
        self.released = False
        self.stop_requested = False
        self._queue = queue
        self.lease = job.lease
        self._interval = heartbeat_seconds
        self._doubt = doubt_seconds
        self._heard_at = time.monotonic()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._changes: dict[str, Any] = {}
        self._lines: list[tuple[float, str]] = []
        self._points: list[tuple[str, int, float, float]] = []
        self._done = threading.Event()
        self._began = time.monotonic()
        self._best = job.progress
        self._first: float | None = None
        self._reporter = threading.Thread(target=self._report_always, name="heartbeat", daemon=True)

    def progress(self, fraction: float, message: str = "") -> None:
        """Says how much of the whole job is done, 0 to 1, and what it is doing; the time left is computed from it."""
        fraction = min(max(float(fraction), 0.0), 1.0)
        elapsed = time.monotonic() - self._began
        if self._first is None or fraction <= self._first:
            # A job that continues starts high, and some get ready for long: only what was done since tells the speed.
            self._first, self._began, elapsed = fraction, time.monotonic(), 0.0
        gained = fraction - self._first
        changes: dict[str, Any] = {
            "progress": fraction,
            "message": message,
            "remaining_seconds": (1.0 - fraction) / gained * elapsed if gained > 0 and elapsed > 0.5 else None,
        }
        if fraction > self._best:
            self._best = fraction
            changes["crashes"] = 0
        with self._lock:
            self._changes |= changes

    def log(self, line: str) -> None:
        """Adds a line to the job's log, which its users read: no host paths, no secrets.

        What no database takes (NUL, and halves of characters from the names of files) becomes a question mark.
        """
        line = line.encode(errors="replace").decode().replace("\0", "?")
        with self._lock:
            self._lines.append((time.time(), line))

    def record(self, step: int, **values: float) -> None:
        """Adds a point to each of the named series, such as `record(120, loss=0.7, learning_rate=1e-4)`.

        What is infinite or no number is left out: no plot shows it, and SQLite takes it for nothing.
        """
        now = time.time()
        points = [(name, step, float(value), now) for name, value in values.items() if math.isfinite(value)]
        with self._lock:
            self._points += points

    def check_stop(self) -> None:
        """Call this between units of work.

        Raises:
            JobStopped: Somebody asked the job to stop.
            JobReleased: The process shuts down.
        """
        self.confirm()
        if self.stop_requested:
            raise JobStopped(self.id)
        if self.released:
            raise JobReleased(self.id)

    def confirm(self) -> None:
        """Call this before something is written that others read.

        A worker that could not report for long, because the database was away or the process stood still, may have lost its
        job to another one: it waits here until it knows, and ends when it has.

        Raises:
            JobReleased: The process shuts down, and still does not know.
        """
        while time.monotonic() - self._heard_at > self._doubt:
            self._report()
            if time.monotonic() - self._heard_at > self._doubt:
                if self.released:
                    raise JobReleased(self.id)
                time.sleep(self._interval)

    @contextmanager
    def exclusive(self, subject: str = "", timeout: float = 600.0) -> Iterator[None]:
        """Holds a subject against others who change it (`JobQueue.exclusive`), if the job is its own still.

        A database that is away is waited for. One that goes away meanwhile raises at the end: who held the lock is not known
        then, and the job is taken up again.

        Args:
            subject: What is to be held; by default the job's own subject.
            timeout: How long to wait for it, in seconds.
        """
        with ExitStack() as held:
            patiently(lambda: held.enter_context(self._queue.exclusive(subject or self.subject, timeout)))
            self.confirm()
            yield

    def flush(self) -> None:
        """Writes what was reported so far, and a heartbeat.

        Raises:
            LeaseLost: The job was given to another worker.
        """
        with self._flushing:
            with self._lock:
                changes, lines, points = self._changes, self._lines, self._points
                self._changes, self._lines, self._points = {}, [], []
            try:
                self.stop_requested |= self._queue.report(self.id, self.lease, changes, lines=lines, points=points)
            except sa.exc.SQLAlchemyError as error:
                if not is_away(error):
                    raise  # it would be refused the next time, too, and whatever came after it
                with self._lock:  # not written: keep it for the next time
                    self._changes = changes | self._changes
                    self._lines[:0], self._points[:0] = lines, points
                raise
            self._heard_at = time.monotonic()

    def keep_reporting(self) -> Callable[[], None]:
        """Starts the heartbeat; returns what ends it."""
        self._reporter.start()

        def end() -> None:
            self._done.set()
            self._reporter.join()

        return end

    def _report_always(self) -> None:
        while not self._done.wait(self._interval):
            self._report()

    def _report(self) -> None:
        """Flushes; when the database is away, later, and when the job is lost, never again."""
        try:
            self.flush()
        except LeaseLost:
            # Another worker has the job: not one more byte may be written from here.
            os._exit(75)
        except sa.exc.SQLAlchemyError as error:
            logger.warning("the database %s", "is away; trying again" if is_away(error) else "refused a report", exc_info=True)
