"""JSON of `/training/jobs…`, `/healthz` and `/readyz`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.schemas.base import Answer, JobId, Moment
from gateway.schemas.fields import Number, Offset, Text

JobState = Literal["queued", "running", "succeeded", "failed", "stopped"]
PageSize = Annotated[int, Number(1, 1000, whole=True, from_text=True)]
LineCount = Annotated[int, Number(1, 1_000_000, whole=True, from_text=True)]
Kind = Annotated[Text, Field(examples=["dataset.segment"])]
Subject = Annotated[Text, Field(examples=["datasets/my_voice"])]

__all__ = ["Health", "Job", "JobLog", "JobState", "Jobs", "Kind", "LineCount", "Offset", "PageSize", "Readiness", "Subject"]


class Job(Answer):
    """One piece of background work."""

    id: JobId
    kind: Annotated[str, Field(examples=["dataset.segment"])]
    """`dataset.download`, `dataset.import`, `dataset.segment`, `dataset.transcribe` or `trainer.train`."""
    subject: Annotated[str, Field(examples=["datasets/my_voice"])]
    """What it works on: a dataset folder, or a model name for training."""
    state: Annotated[JobState, Field(examples=["running"])]
    progress: Annotated[float, Field(ge=0, le=100, examples=[42.5])]
    """Percentage that is done; 100 only when it succeeded."""
    message: Annotated[str, Field(examples=["cutting interview.wav"])]
    """What it is doing, in words; may be empty."""
    remaining_seconds: Annotated[float | None, Field(examples=[37.0])]
    """Estimated time until the end; null when that cannot be told."""
    attempts: Annotated[int, Field(examples=[1])]
    """How often it was started: above 1 after its worker died or was shut down."""
    stop_requested: Annotated[bool, Field(examples=[False])]
    """Whether somebody asked it to stop."""
    error: Annotated[str | None, Field(examples=[None])]
    """What went wrong, in a sentence; null unless it failed."""
    error_reason: Annotated[str | None, Field(examples=[None])] = None
    """What went wrong, for programs: a stable name in capitals; null unless it failed in a way that has one."""
    parameters: Annotated[dict[str, Any], Field(examples=[{"folder": "datasets/my_voice"}])]
    """What it was asked to do."""
    result: Annotated[dict[str, Any] | None, Field(examples=[None])]
    """What it made; null until it succeeded."""
    created_at: Moment
    started_at: Moment | None
    """When a worker first began; null before."""
    ended_at: Moment | None
    """When it ended; null before."""


class Jobs(Answer):
    """Jobs, newest first."""

    jobs: list[Job]
    total: Annotated[int, Field(examples=[17])]
    """How many match in all, on this page or not."""


class JobLog(Answer):
    """The log of a job."""

    job_id: JobId
    logs: Annotated[str, Field(examples=["Epoch 1/100 - Loss: 5.7012\nEpoch 2/100 - Loss: 5.1204"])]
    """Its lines."""
    last_sequence: Annotated[int, Field(examples=[2])]
    """Position of the last line: give it as `after` to get what comes later. 0 when there is none."""


class Health(Answer):
    """The gateway is up."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """The gateway and every service behind it are ready."""

    status: Literal["ready"] = "ready"
    services: Annotated[dict[str, str], Field(examples=[{"dataset": "serving", "trainer": "serving", "inference": "serving"}])]
    """Name of a service to `serving`, `not serving` (it loads its model, or stops) or `unreachable`."""
