"""Jobs as rows: the tables, and a job as Python code sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

METADATA = sa.MetaData()

# No parameter of a job is called so.
_REQUEST_ID, _TRACEPARENT, IDEMPOTENCY = "_request_id", "_traceparent", "_idempotency"
REASON = "_reason"

JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(40)),
    sa.Column("subject", sa.String(200)),
    sa.Column("after", sa.JSON),
    sa.Column("parameters", sa.JSON),
    sa.Column("state", sa.String(10)),
    sa.Column("progress", sa.Float),
    sa.Column("message", sa.Text),
    sa.Column("remaining_seconds", sa.Float),
    sa.Column("attempt", sa.Integer),
    sa.Column("crashes", sa.Integer),
    sa.Column("stop_requested_at", sa.Float),
    sa.Column("lease", sa.String(40)),
    sa.Column("host", sa.String(255)),
    sa.Column("pid", sa.Integer),
    sa.Column("heartbeat_at", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("result", sa.JSON),
    sa.Column("revision", sa.Integer),
    sa.Column("created_at", sa.Float),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("updated_at", sa.Float),
)
JOB_LOG = sa.Table(
    "job_log",
    METADATA,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.String(40)),
    sa.Column("created_at", sa.Float),
    sa.Column("text", sa.Text),
)
JOB_SERIES = sa.Table(
    "job_series",
    METADATA,
    sa.Column("job_id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Float),
    sa.Column("created_at", sa.Float),
)


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


ACTIVE = (JobState.QUEUED, JobState.RUNNING)
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


@dataclass(frozen=True)
class Job:
    """One row of `jobs`. Times are seconds since 1970 (UTC).

    Attributes:
        id: Unique; sorts by creation time.
        kind: What it does, e.g. `dataset.segment`; decides which service's workers take it.
        subject: What it works on; later jobs can wait for all earlier ones on the same subject.
        after: Ids of jobs that must have ended before this one starts.
        parameters: What it was asked to do.
        state: Where it stands.
        progress: Share done, 0 to 1.
        message: What it is doing, in words.
        remaining_seconds: Estimated time to the end.
        attempt: How often it was started.
        crashes: How often in a row its worker died without making progress.
        stop_requested_at: When somebody asked it to stop.
        lease: Token of the worker that holds it; each of its writes names it, so that one that lost its job writes nothing.
        host: Machine of that worker.
        pid: Process of that worker.
        heartbeat_at: When that worker last said that it lives.
        error: What went wrong, in a sentence.
        result: What it made; absent until it succeeded.
        revision: Counts the changes of the row.
        created_at: When it was accepted.
        started_at: When a worker first began.
        ended_at: When it ended.
        updated_at: When the row last changed.
        request_id: The request that asked for it, as log lines name it; kept beside the parameters in the row.
        traceparent: Its place in a trace, likewise.
        idempotency: What stands for the idempotency key of that request, likewise.
        reason: What went wrong, for programs; kept in the row where the result of a success would be.
    """

    id: str
    kind: str
    subject: str
    after: list[str]
    parameters: dict[str, Any]
    state: JobState
    progress: float
    message: str
    remaining_seconds: float | None
    attempt: int
    crashes: int
    stop_requested_at: float | None
    lease: str
    host: str
    pid: int | None
    heartbeat_at: float | None
    error: str
    result: dict[str, Any] | None
    revision: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    updated_at: float
    request_id: str = ""
    traceparent: str = ""
    idempotency: str = ""
    reason: str = ""

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> Job:
        """Makes a job of a row of `jobs`."""
        values = dict(row._mapping)
        parameters = dict(values["parameters"])
        values |= {"request_id": parameters.pop(_REQUEST_ID, ""), "traceparent": parameters.pop(_TRACEPARENT, "")}
        values["idempotency"] = parameters.pop(IDEMPOTENCY, "")
        if values["state"] == JobState.FAILED:
            values |= {"reason": (values["result"] or {}).get(REASON, ""), "result": None}
        return cls(**{**values, "state": JobState(values["state"]), "parameters": parameters})

    def to_row(self) -> dict[str, Any]:
        """Returns the columns of a row of `jobs`."""
        values = dict(vars(self))
        origin = {_REQUEST_ID: values.pop("request_id"), _TRACEPARENT: values.pop("traceparent")}
        origin[IDEMPOTENCY] = values.pop("idempotency")
        if reason := values.pop("reason"):
            values["result"] = {REASON: reason}
        values["parameters"] = {**self.parameters, **{name: text for name, text in origin.items() if text}}
        return values

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in ENDED


@dataclass(frozen=True)
class LogLine:
    """One line of a job's log."""

    sequence: int
    created_at: float
    text: str


@dataclass(frozen=True)
class SeriesPoint:
    """One point of a numeric series of a job."""

    name: str
    step: int
    value: float
    created_at: float
