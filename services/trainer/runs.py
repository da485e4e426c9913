"""Trainings that were asked for: how far each came, its last losses, and how fast it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from services.runtime.errors import InvalidArgument
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.model import SeriesPoint
from services.runtime.jobs.queue import JobNotFound

TRAIN = "trainer.train"
"""The kind of their jobs."""

MAX_LIMIT = 100
DEFAULT_LIMIT = 20

_PAUSE_SECONDS = 60.0
_PAUSE_FACTOR = 20.0
"""Points that lie further apart than a minute, and than twenty times what is usual, have a pause between them: the training
was stopped, or its process died. What is shorter is part of the work: saving a checkpoint, measuring the held-out loss."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        job: The job.
        epochs: Finished epochs.
        last_loss: Newest training loss; None before one.
        last_eval_loss: Newest held-out loss; None before one.
        seconds_per_step: See `seconds_per_step`.
    """

    job: Job
    epochs: int
    last_loss: float | None
    last_eval_loss: float | None
    seconds_per_step: float | None


def list_runs(queue: JobQueue, model_name: str = "", limit: int = DEFAULT_LIMIT) -> list[Run]:
    """Returns the trainings of one model or of all, newest first.

    Raises:
        InvalidArgument: `limit` is not 1 to 100.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"limit is {limit}: it must be 1 to {MAX_LIMIT}.", fields={"limit": "out of range"})
    return [_run(queue, job) for job in queue.find(kind=TRAIN, subject=model_name, limit=limit)]


def find_run(queue: JobQueue, job_id: str) -> Job:
    """Returns the job of a training.

    Raises:
        JobNotFound: There is no such job, or it is another kind of work.
    """
    job = queue.get(job_id)
    if job.kind != TRAIN:
        raise JobNotFound(job_id)
    return job


def seconds_per_step(points: Sequence[SeriesPoint]) -> float | None:
    """Returns what a step takes, by the times at which one series was recorded; None without two points.

    Checkpoints and measurements between steps count, pauses do not.

    Args:
        points: Of one series, in order of their steps.
    """
    spans = [(later.step - one.step, later.created_at - one.created_at) for one, later in pairwise(points)]
    spans = [(steps, seconds) for steps, seconds in spans if steps > 0 and seconds >= 0]
    if not spans:
        return None
    usual = median(seconds for _, seconds in spans)
    worked = [span for span in spans if span[1] <= max(_PAUSE_SECONDS, _PAUSE_FACTOR * usual)]
    return sum(seconds for _, seconds in worked) / sum(steps for steps, _ in worked)


def _run(queue: JobQueue, job: Job) -> Run:
    last = queue.last_values(job.id, ("loss", "eval_loss"))
    epochs = int(job.parameters["epochs"])
    return Run(
        job,
        epochs=epochs if job.state is JobState.SUCCEEDED else int(job.progress * epochs + 1e-6),
        last_loss=last.get("loss"),
        last_eval_loss=last.get("eval_loss"),
        seconds_per_step=seconds_per_step(queue.series(job.id, ("loss",))),
    )
