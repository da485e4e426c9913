"""The job queue: accepting, looking up, claiming and ending jobs, each as one short transaction.

State machine:

    queued ──claim──▶ running ──finish──▶ succeeded | failed | stopped
      ▲ │                │
      │ └──cancel──▶ stopped
      └──release─────────┘   (its process shuts down, or died: it will be taken up again and continues)
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from services.runtime import idempotency, traces
from services.runtime.database import reading, writing
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.jobs.machine import machine_name, make_lease
from services.runtime.jobs.model import (
    ACTIVE,
    IDEMPOTENCY,
    JOB_LOG,
    JOB_SERIES,
    JOBS,
    REASON,
    Job,
    JobState,
    LogLine,
    SeriesPoint,
)
from services.runtime.locks import exclusive
from services.runtime.logs import request_id

# One fixed number for the advisory lock under which jobs are accepted and claimed on PostgreSQL.
_QUEUE_LOCK = 7_461_063

# How long an idempotency key is remembered; who asks again later asks for something new.
_REPEATED_WITHIN_SECONDS = 24 * 3600


# The reason of a job that failed because its workers died.
WORKER_LOST = "WORKER_LOST"


class JobNotFound(NotFound):
    """There is no job with this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id[:80]!r}: list the jobs to see which there are.")


class JobActive(FailedPrecondition):
    """A job that excludes the new one has not ended yet."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"{job.subject} is being worked on by job {job.id} ({job.kind}): wait for it or stop it first.",
            metadata={"job_id": job.id},
        )
        self.job = job


class JobEnded(FailedPrecondition):
    """The job has already ended."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"Job {job.id} has already ended ({job.state.value}).", metadata={"job_id": job.id})


class KeyReused(InvalidArgument):
    """An idempotency key came with two different requests."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"This Idempotency-Key was sent with another request (job {job.id}): send a new key with every new request.",
            metadata={"job_id": job.id},
        )


class LeaseLost(Exception):
    """The job was given to another worker; whoever held it must stop at once and write nothing more."""


class JobQueue:
    """Jobs in a database. Every method is one transaction and blocks for a moment: call it from a thread in async code."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def exclusive(self, subject: str, timeout: float = 60.0) -> AbstractContextManager[None]:
        """Holds what belongs to a subject against all others who ask for it so; see `services.runtime.locks`.

        Args:
            subject: What is to be changed.
            timeout: How long to wait for it, in seconds.

        Raises:
            Busy: Somebody else held it all that time.
        """
        return exclusive(self._engine, subject, timeout)

    # ── accepting and looking up ────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self,
        kind: str,
        subject: str,
        parameters: Mapping[str, Any],
        *,
        after_subjects: Sequence[str] = (),
        unless_active: str = "",
        check: Callable[[sa.Connection], None] | None = None,
    ) -> Job:
        """Accepts a job. It starts once every job that is active now on one of `after_subjects` has ended.

        A request that was accepted before, as its idempotency key says, is answered with the job of that time.

        Args:
            kind: What to do.
            subject: What to work on.
            parameters: JSON-like parameters.
            after_subjects: Subjects whose active jobs must end first, so that work on one thing happens in order.
            unless_active: A kind of which no other job may be active.
            check: A last look inside the same transaction; raises to refuse the job.

        Raises:
            JobActive: A job of the kind `unless_active` is active.
            KeyReused: The idempotency key came with a different request before.
        """
        now = time.time()
        with writing(self._engine, lock=_QUEUE_LOCK) as connection:
            if earlier := _accepted(connection, kind, subject, parameters):
                return earlier
            if unless_active and (row := connection.execute(_active().where(JOBS.c.kind == unless_active)).first()):
                raise JobActive(Job.from_row(row))
            if check:
                check(connection)
            after = connection.scalars(
                _active().with_only_columns(JOBS.c.id).where(JOBS.c.subject.in_(after_subjects)).order_by(JOBS.c.id)
            ).all()
            job = Job(
                id=f"{_id_at(now)}{secrets.token_hex(4)}",
                kind=kind,
                subject=subject,
                after=list(after),
                parameters=dict(parameters),
                state=JobState.QUEUED,
                progress=0.0,
                message="",
                remaining_seconds=None,
                attempt=0,
                crashes=0,
                stop_requested_at=None,
                lease="",
                host="",
                pid=None,
                heartbeat_at=None,
                error="",
                result=None,
                revision=1,
                created_at=now,
                started_at=None,
                ended_at=None,
                updated_at=now,
                request_id=request_id.get(),
                traceparent=traces.current.get(),
                idempotency=idempotency.fingerprint(),
            )
            connection.execute(sa.insert(JOBS).values(**job.to_row()))
        return job

    def accepted(self, kind: str, subject: str, parameters: Mapping[str, Any]) -> Job | None:
        """Returns the job that was accepted for the request under way when it came before, as its idempotency key says.

        Raises:
            KeyReused: The key came with a different request before.
        """
        with reading(self._engine) as connection:
            return _accepted(connection, kind, subject, parameters)

    def get(self, job_id: str) -> Job:
        """Returns a job.

        Raises:
            JobNotFound: There is none with this id.
        """
        row = None
        if "\0" not in job_id:  # which PostgreSQL refuses to compare with
            with reading(self._engine) as connection:
                row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job_id)).first()
        if row is None:
            raise JobNotFound(job_id)
        return Job.from_row(row)

    def find(
        self,
        *,
        kind: str = "",
        subject: str = "",
        states: Sequence[JobState] = (),
        updated_after: float = 0.0,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Job]:
        """Returns the jobs that match, newest first."""
        query = _matching(sa.select(JOBS), kind, subject, states).order_by(JOBS.c.id.desc()).limit(limit).offset(offset)
        if updated_after:
            query = query.where(JOBS.c.updated_at > updated_after)
        with reading(self._engine) as connection:
            return [Job.from_row(row) for row in connection.execute(query)]

    def count(self, *, kind: str = "", subject: str = "", states: Sequence[JobState] = ()) -> int:
        """Returns how many jobs match."""
        query = _matching(sa.select(sa.func.count()).select_from(JOBS), kind, subject, states)
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop: a queued one ends here, a running one when its worker has saved.

        Raises:
            JobNotFound: There is none with this id.
            JobEnded: It has already ended.
        """
        job = self.get(job_id)
        while not job.ended:
            changes: dict[str, Any] = {"stop_requested_at": job.stop_requested_at or time.time()}
            if job.state is JobState.QUEUED:
                changes |= {"state": JobState.STOPPED, "ended_at": time.time(), "remaining_seconds": None}
            with writing(self._engine) as connection:
                # Only if it has not moved on since it was read; otherwise look again.
                done = _update(connection, changes, JOBS.c.id == job_id, JOBS.c.revision == job.revision)
            job = self.get(job_id)
            if done:
                return job
        raise JobEnded(job)

    def log_lines(self, job_id: str, *, after: int = 0, tail: int = 0) -> list[LogLine]:
        """Returns log lines after a sequence number, oldest first; with `tail`, only that many of the last ones."""
        query = sa.select(JOB_LOG.c.sequence, JOB_LOG.c.created_at, JOB_LOG.c.text).where(
            JOB_LOG.c.job_id == job_id, JOB_LOG.c.sequence > after
        )
        query = query.order_by(JOB_LOG.c.sequence.desc()).limit(tail) if tail else query.order_by(JOB_LOG.c.sequence)
        with reading(self._engine) as connection:
            lines = [LogLine(*row) for row in connection.execute(query)]
        return lines[::-1] if tail else lines

    def series(self, job_id: str, names: Sequence[str] = ()) -> list[SeriesPoint]:
        """Returns the numeric series of a job, by name and step; all of them when no names are given."""
        columns = (JOB_SERIES.c.name, JOB_SERIES.c.step, JOB_SERIES.c.value, JOB_SERIES.c.created_at)
        query = sa.select(*columns).where(JOB_SERIES.c.job_id == job_id).order_by(JOB_SERIES.c.name, JOB_SERIES.c.step)
        if names:
            query = query.where(JOB_SERIES.c.name.in_(names))
        with reading(self._engine) as connection:
            return [SeriesPoint(*row) for row in connection.execute(query)]

    def last_values(self, job_id: str, names: Sequence[str]) -> dict[str, float]:
        """Returns the newest value of each of the named series that has one."""
        columns = (JOB_SERIES.c.name, JOB_SERIES.c.value)
        own = (JOB_SERIES.c.job_id == job_id, JOB_SERIES.c.name.in_(names))
        newest = sa.select(JOB_SERIES.c.name, sa.func.max(JOB_SERIES.c.step).label("step")).where(*own)
        last = newest.group_by(JOB_SERIES.c.name).subquery()
        same = sa.and_(JOB_SERIES.c.name == last.c.name, JOB_SERIES.c.step == last.c.step)
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(*columns).join(last, same).where(*own))
            return dict(tuple(row) for row in rows)

    # ── what a service does for its workers ─────────────────────────────────────────────────────────────────────────

    def claim(self, kinds: Sequence[str]) -> Job | None:
        """Takes the oldest queued job of these kinds that waits for nothing, and gives it a lease; None when there is none."""
        with reading(self._engine) as connection:  # most looks find nothing, and need no write lock
            if connection.execute(_queued(kinds).with_only_columns(JOBS.c.id).limit(1)).first() is None:
                return None
        with writing(self._engine, lock=_QUEUE_LOCK) as connection:
            active = set(connection.scalars(_active().with_only_columns(JOBS.c.id)))
            for row in connection.execute(_queued(kinds).order_by(JOBS.c.id)):
                job = Job.from_row(row)
                if active.isdisjoint(job.after):
                    now = time.time()
                    lease = make_lease()
                    changes = {
                        "state": JobState.RUNNING,
                        "lease": lease,
                        "host": machine_name(),
                        "pid": None,
                        "attempt": job.attempt + 1,
                        "heartbeat_at": now,
                        "started_at": job.started_at or now,
                    }
                    _update(connection, changes, JOBS.c.id == job.id)
                    row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job.id)).one()
                    return Job.from_row(row)
        return None

    def give_up(self, job: Job, *, max_crashes: int, reason: str) -> Job:
        """Takes a job from a worker that died: back to the queue, or ended if it was to stop or has died too often.

        Does nothing when the job has moved on since `job` was read.
        """
        crashes = job.crashes + 1
        changes: dict[str, Any] = {"state": JobState.QUEUED, "crashes": crashes}
        text = f"{reason}; the job is picked up again (attempt {job.attempt + 1})."
        if job.stop_requested_at is not None:
            changes = {"state": JobState.STOPPED, "ended_at": time.time()}
            text = f"{reason} after it was asked to stop."
        elif crashes >= max_crashes:
            error = f"{reason} {crashes} times in a row without making progress: read the log, mend the cause, start it again."
            changes = {"state": JobState.FAILED, "crashes": crashes, "error": error, "ended_at": time.time()}
            changes["result"] = {REASON: WORKER_LOST}
            text = error
        changes |= {"lease": "", "pid": None, "remaining_seconds": None}
        with writing(self._engine) as connection:
            if _update(connection, changes, JOBS.c.id == job.id, JOBS.c.lease == job.lease, JOBS.c.state == JobState.RUNNING):
                _append_log(connection, job.id, [(time.time(), text)])
        return self.get(job.id)

    # ── what a worker does; every call names its lease ──────────────────────────────────────────────────────────────

    def start(self, job_id: str, lease: str) -> Job:
        """Says which process works on a job.

        Raises:
            LeaseLost: The job was given to another worker.
        """
        self.report(job_id, lease, {"pid": os.getpid(), "host": machine_name()})
        return self.get(job_id)

    def report(
        self,
        job_id: str,
        lease: str,
        changes: Mapping[str, Any],
        *,
        lines: Sequence[tuple[float, str]] = (),
        points: Sequence[tuple[str, int, float, float]] = (),
    ) -> bool:
        """Writes heartbeat, changed columns, log lines `(time, text)` and series points `(name, step, value, time)` at once.

        Returns:
            Whether somebody asked the job to stop.

        Raises:
            LeaseLost: The job was given to another worker.
        """
        with writing(self._engine) as connection:
            own = (JOBS.c.id == job_id, JOBS.c.lease == lease, JOBS.c.state == JobState.RUNNING)
            # Every write moves the revision on only when there is something to see for a watcher.
            if not _update(connection, {**changes, "heartbeat_at": time.time()}, *own, visible=bool(changes)):
                raise LeaseLost(job_id)
            _append_log(connection, job_id, lines)
            _put_points(connection, job_id, points)
            stop = connection.scalar(sa.select(JOBS.c.stop_requested_at).where(JOBS.c.id == job_id))
        return stop is not None

    def finish(
        self,
        job_id: str,
        lease: str,
        state: JobState,
        *,
        result: Mapping[str, Any] | None = None,
        error: str = "",
        reason: str = "",
    ) -> None:
        """Ends a job.

        Args:
            job_id: Which.
            lease: Of the worker that ends it.
            state: How it ended.
            result: What it made, when it succeeded.
            error: Why it failed, in a sentence.
            reason: The same, for programs: the `reason` of a `TimbreError`.

        Raises:
            LeaseLost: The job was given to another worker.
        """
        changes: dict[str, Any] = {"state": state, "error": error, "ended_at": time.time(), "remaining_seconds": None}
        if state is JobState.SUCCEEDED:
            changes |= {"progress": 1.0, "result": dict(result or {})}
        elif reason:
            changes["result"] = {REASON: reason}
        self.report(job_id, lease, changes)

    def release(self, job_id: str, lease: str) -> None:
        """Gives a job back to the queue because its worker shuts down; it continues where it stood.

        Raises:
            LeaseLost: The job was given to another worker.
        """
        self.report(job_id, lease, {"state": JobState.QUEUED, "lease": "", "pid": None, "remaining_seconds": None})


def _id_at(seconds: float) -> str:
    """What the ids of jobs accepted at this time begin with; they sort by it."""
    return f"job_{int(seconds * 1_000_000):014x}"


def _accepted(connection: sa.Connection, kind: str, subject: str, parameters: Mapping[str, Any]) -> Job | None:
    key = idempotency.fingerprint()
    if not key:
        return None
    recent = JOBS.c.id > _id_at(time.time() - _REPEATED_WITHIN_SECONDS)  # few rows to look at, by the primary key
    row = connection.execute(sa.select(JOBS).where(recent, JOBS.c.parameters[IDEMPOTENCY].as_string() == key)).first()
    if row is None:
        return None
    job = Job.from_row(row)
    if (job.kind, job.subject, job.parameters) != (kind, subject, dict(parameters)):
        raise KeyReused(job)
    return job


def _active() -> sa.Select[Any]:
    return sa.select(JOBS).where(JOBS.c.state.in_(ACTIVE))


def _queued(kinds: Sequence[str]) -> sa.Select[Any]:
    return sa.select(JOBS).where(JOBS.c.state == JobState.QUEUED, JOBS.c.kind.in_(kinds))


def _matching(query: sa.Select[Any], kind: str, subject: str, states: Sequence[JobState]) -> sa.Select[Any]:
    if "\0" in kind + subject:  # which PostgreSQL refuses to compare with
        return query.where(sa.false())
    if kind:
        query = query.where(JOBS.c.kind == kind)
    if subject:
        query = query.where(JOBS.c.subject == subject)
    if states:
        query = query.where(JOBS.c.state.in_(states))
    return query


def _update(
    connection: sa.Connection, changes: Mapping[str, Any], *conditions: sa.ColumnElement[bool], visible: bool = True
) -> bool:
    values = dict(changes)
    if visible:
        values |= {"revision": JOBS.c.revision + 1, "updated_at": time.time()}
    return connection.execute(sa.update(JOBS).where(*conditions).values(**values)).rowcount == 1


def _append_log(connection: sa.Connection, job_id: str, lines: Sequence[tuple[float, str]]) -> None:
    if lines:
        rows = [{"job_id": job_id, "created_at": at, "text": text} for at, text in lines]
        connection.execute(sa.insert(JOB_LOG), rows)


def _put_points(connection: sa.Connection, job_id: str, points: Sequence[tuple[str, int, float, float]]) -> None:
    # A worker that continues after a crash may record a step again: the later value counts.
    for name in {name for name, *_ in points}:
        steps = {step: (value, at) for n, step, value, at in points if n == name}
        own = (JOB_SERIES.c.job_id == job_id, JOB_SERIES.c.name == name, JOB_SERIES.c.step.in_(list(steps)))
        connection.execute(sa.delete(JOB_SERIES).where(*own))
        rows = [{"job_id": job_id, "name": name, "step": s, "value": v, "created_at": at} for s, (v, at) in steps.items()]
        connection.execute(sa.insert(JOB_SERIES), rows)
