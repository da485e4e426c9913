"""Whether a training may start now."""

from __future__ import annotations

from typing import Any

from services.dataset.manifest import read_summary
from services.runtime.errors import FailedPrecondition, NotFound
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.store import ObjectStore
from services.voices.checkpoints import list_checkpoints

_ACTIVE = (JobState.QUEUED, JobState.RUNNING)


class DatasetNotFound(NotFound):
    """The dataset has no segments."""


class DatasetNotTranscribed(FailedPrecondition):
    """The dataset has no transcripts."""


class TrainingRunning(FailedPrecondition):
    """One training runs at a time."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"A training of {job.subject} is running: wait until it ends, or stop it first.", metadata={"job_id": job.id}
        )


class NoTrainingRunning(FailedPrecondition):
    """There is nothing to stop."""

    def __init__(self) -> None:
        super().__init__("No training is running: there is nothing to stop.")


class ModelExists(FailedPrecondition):
    """The model has checkpoints, and the request does not say what to do with them."""


class NothingToResume(FailedPrecondition):
    """The model has no checkpoints to continue from."""


def check_dataset(store: ObjectStore, queue: JobQueue, folder: str) -> None:
    """Refuses a dataset that has nothing to train on and will not have when its jobs are done.

    Raises:
        DatasetNotFound: It has no segments.
        DatasetNotTranscribed: It has segments without transcripts only.
    """
    summary = read_summary(store, folder)
    if summary.transcribed:
        return
    coming = {job.kind for job in queue.find(subject=folder, states=_ACTIVE)}
    if coming & {"dataset.transcribe", "dataset.import"}:
        return
    if not summary.segments and "dataset.segment" not in coming:
        raise DatasetNotFound(f"{folder} has no segments: download or upload recordings and segment them first.")
    raise DatasetNotTranscribed(f"{folder} has no transcripts: transcribe it first.")


def check_model(store: ObjectStore, parameters: dict[str, Any]) -> None:
    """Refuses to write over a model, or to resume one that is not there.

    Raises:
        ModelExists: It has checkpoints, and neither `resume` nor `overwrite` is set.
        NothingToResume: `resume` is set, and it has none.
    """
    model = parameters["model_name"]
    exists = bool(list_checkpoints(store, model))
    if exists and not parameters["resume"] and not parameters["overwrite"]:
        raise ModelExists(
            f"The model {model} has checkpoints: send resume: true to continue from the last one, or overwrite: true to "
            "begin anew (the old run moves aside, nothing is deleted)."
        )
    if parameters["resume"] and not exists:
        raise NothingToResume(f"The model {model} has no checkpoint to continue from: start it without resume.")
