"""What is told of a job while it is followed, and how that is read from server-sent events."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

import httpx

from gateway.schemas.jobs import Job

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

EVENT_STREAM = "text/event-stream"

# The server sends a comment every 15 s when nothing else happens: silence beyond this is a dead connection.
_SILENCE_SECONDS = 45.0

FOLLOW_RETRIES = 24
"""How often in a row a connection that broke is made again: more than a minute, in which a server has restarted."""


@dataclass(frozen=True)
class Changed:
    """A job as it stands now."""

    job: Job


@dataclass(frozen=True)
class LogLine:
    """A line of a job's log.

    Attributes:
        sequence: Its position, from 1.
        time: When it was written, UTC.
        text: What it says.
    """

    sequence: int
    time: datetime
    text: str


@dataclass(frozen=True)
class Ended:
    """The job has ended, and nothing more comes."""

    state: str


Event: TypeAlias = Changed | LogLine | Ended


def events_path(job_id: str) -> str:
    """Returns where a job is followed."""
    return f"/training/jobs/{quote(job_id, safe='')}/events"


def follow_timeout(deadline: float | None = None) -> httpx.Timeout:
    """Returns how long a stream may be silent.

    Args:
        deadline: When, by `time.monotonic()`, nobody waits for more.
    """
    left = _SILENCE_SECONDS if deadline is None else deadline - time.monotonic()
    return httpx.Timeout(10, read=min(_SILENCE_SECONDS, max(left, 0.01)))


def read_event(sent: ServerSentEvent) -> Event | None:
    """Returns what an event tells; None for kinds that only later servers have."""
    match sent.event:
        case "job":
            return Changed(Job.model_validate_json(sent.data, extra="ignore"))
        case "log":
            row = json.loads(sent.data)
            return LogLine(row["sequence"], datetime.fromisoformat(row["time"]), row["text"])
        case "end":
            return Ended(json.loads(sent.data)["state"])
    return None
