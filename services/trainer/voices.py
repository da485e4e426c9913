"""The voices there are: every model that has checkpoints or was trained, and where it stands."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from services.runtime.jobs import Job, JobQueue
from services.runtime.store import ObjectStore
from services.trainer.runs import TRAIN
from services.voices.checkpoints import read_run
from services.voices.history import Utterance, newest_of_models
from services.voices.selection import Standing, standings

_JOBS = 1_000
"""Trainings that are looked through for the newest of each model."""

_DEFAULT_LANGUAGE = "pt"


@dataclass(frozen=True)
class Voice:
    """One voice.

    Attributes:
        name: Name of the model.
        checkpoints: Its checkpoints, newest first.
        newest: Its newest training; None when that is not known any more.
        dataset_folder: What it was trained on last; empty when nobody kept that.
        language: Of that.
        last_loss: Newest training loss.
        last_eval_loss: Newest held-out loss.
        updated_at: When a checkpoint was written or a training changed last, seconds since 1970.
        sample: The newest thing that it said.
    """

    name: str
    checkpoints: list[Standing]
    newest: Job | None
    dataset_folder: str
    language: str
    last_loss: float | None
    last_eval_loss: float | None
    updated_at: float
    sample: Utterance | None

    @property
    def current(self) -> str:
        """Key of its current checkpoint; empty when it has none."""
        return next((one.entry.key for one in self.checkpoints if one.current), "")

    @property
    def best(self) -> str:
        """Key of its best checkpoint; empty when nobody kept losses."""
        return next((one.entry.key for one in self.checkpoints if one.best), "")


def list_voices(store: ObjectStore, queue: JobQueue) -> list[Voice]:
    """Lists the voices, the one that changed last first."""
    checkpoints: dict[str, list[Standing]] = defaultdict(list)
    for standing in standings(store):
        checkpoints[standing.entry.model_name].append(standing)
    newest: dict[str, Job] = {}
    for job in queue.find(kind=TRAIN, limit=_JOBS):
        newest.setdefault(job.subject, job)
    names = {*checkpoints, *newest}
    samples = newest_of_models(store, names)
    found = [_voice(store, queue, name, checkpoints[name], newest.get(name), samples.get(name)) for name in names]
    return sorted(found, key=lambda voice: (-voice.updated_at, voice.name))


def _voice(
    store: ObjectStore, queue: JobQueue, name: str, checkpoints: list[Standing], newest: Job | None, sample: Utterance | None
) -> Voice:
    run = None if newest else read_run(store, name)
    parameters = newest.parameters if newest else run.parameters if run else {}
    last = queue.last_values(newest.id, ("loss", "eval_loss")) if newest else {}
    times = [one.entry.modified.timestamp() for one in checkpoints[:1]] + ([newest.updated_at] if newest else [])
    # A training that has recorded nothing yet leaves the losses of the newest checkpoint standing.
    known = checkpoints[0] if checkpoints else None
    return Voice(
        name,
        checkpoints,
        newest,
        dataset_folder=parameters.get("dataset_folder", ""),
        language=parameters.get("language", _DEFAULT_LANGUAGE),
        last_loss=last.get("loss", known.loss if known else None),
        last_eval_loss=last.get("eval_loss", known.eval_loss if known else None),
        updated_at=max(times),
        sample=sample,
    )
