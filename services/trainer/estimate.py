"""What a training would take, from what earlier ones on this installation took: nothing is guessed that was not measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.runtime.jobs import JobQueue
from services.runtime.store import ObjectStore
from services.trainer.clips import Clip, split_held_out
from services.trainer.options import TrainOptions
from services.trainer.runs import TRAIN, seconds_per_step
from services.voices.checkpoints import latest, list_checkpoints, read_run, state_key

_RUNS = 50
"""Trainings that are looked through, newest first."""

_XTTS_V2_GPT_PARAMETERS = 441_000_000
"""Of the GPT of XTTS-v2, in float32: what a checkpoint of it holds, but for a minute of audio."""

_STATE_COPIES = 3
"""The state to continue from holds the weights and AdamW's two moments of them."""


@dataclass(frozen=True)
class Estimate:
    """What a training would take.

    Attributes:
        steps: Optimiser steps; those that are left when it resumes.
        clips: Clips that it trains on.
        hours: Length of all clips.
        disk_bytes: Most that it takes in the store; None when that cannot be told.
        seconds: How long it takes; None when nothing like it was measured yet.
        basis: What the estimate is based on, in a sentence.
    """

    steps: int
    clips: int
    hours: float
    disk_bytes: int | None
    seconds: float | None
    basis: str


@dataclass(frozen=True)
class Pace:
    """How fast a training went.

    Attributes:
        model_name: The model.
        device: What it ran on.
        batch_size: Clips a step.
        seconds: What a step took.
    """

    model_name: str
    device: str
    batch_size: int
    seconds: float


def estimate(
    store: ObjectStore, queue: JobQueue, parameters: dict[str, Any], clips: Sequence[Clip], base_name: str
) -> Estimate:
    """Estimates a training.

    Args:
        store: Where models are.
        queue: The jobs.
        parameters: As `services.trainer.requests.training_parameters` makes them.
        clips: What the dataset has to train on.
        base_name: What it would be trained from.
    """
    options = TrainOptions(epochs=parameters["epochs"], batch_size=parameters["batch_size"])
    trained = len(split_held_out(clips, options.held_out).train)
    done = latest(list_checkpoints(store, parameters["model_name"])) if parameters["resume"] else None
    epochs = max(0, options.epochs - (done.epoch if done else 0))
    steps = math.ceil(trained / options.batch_size) * epochs
    pace = nearest_pace(store, queue, base_name, options.batch_size) if clips else None
    return Estimate(
        steps=steps,
        clips=trained,
        hours=sum(clip.seconds for clip in clips) / 3600,
        disk_bytes=_disk_bytes(store, queue, base_name, options),
        # The work of a step grows with its clips.
        seconds=steps * pace.seconds * options.batch_size / pace.batch_size if pace else None,
        basis=_basis(len(clips), pace, options.batch_size, base_name),
    )


def nearest_pace(store: ObjectStore, queue: JobQueue, base_name: str, batch_size: int) -> Pace | None:
    """Returns how fast a training from the same base went, on the device of the newest such training.

    Of several the one with the nearest batch size counts, and of those the newest; None when none was measured.
    """
    paces: list[Pace] = []
    for job, device in _measured(store, queue, base_name):
        if paces and device != paces[0].device:
            continue
        seconds = seconds_per_step(queue.series(job.id, ("loss",)))
        if seconds is not None:
            paces.append(Pace(job.subject, device, int(job.parameters["batch_size"]), seconds))
    return min(paces, key=lambda pace: abs(math.log(pace.batch_size / batch_size)), default=None)


def _measured(store: ObjectStore, queue: JobQueue, base_name: str) -> Any:
    """Goes through the trainings of which it is known what they ran on, newest first: the last one of each model."""
    seen = set()
    for job in queue.find(kind=TRAIN, limit=_RUNS):
        if job.subject in seen:
            continue
        seen.add(job.subject)
        run = read_run(store, job.subject)
        if run is not None and run.job_id == job.id and run.base_name == base_name and run.device:
            yield job, run.device


def _disk_bytes(store: ObjectStore, queue: JobQueue, base_name: str, options: TrainOptions) -> int | None:
    """Returns what the checkpoints that stay and the state take: as those of an earlier model, or by the weights."""
    saves = math.ceil(options.epochs / options.epochs_between_checkpoints)
    kept = min(saves, options.keep_last + 1)  # the newest, and the best
    for job, _ in _measured(store, queue, base_name):
        made = latest(list_checkpoints(store, job.subject))
        if made is not None:
            state = store.stat(state_key(job.subject))
            return kept * made.size_bytes + (state.size if state else _STATE_COPIES * made.size_bytes)
    if base_name == "xtts_v2":
        return (kept + _STATE_COPIES) * 4 * _XTTS_V2_GPT_PARAMETERS
    return None


def _basis(clips: int, pace: Pace | None, batch_size: int, base_name: str) -> str:
    if not clips:
        return "The dataset is being transcribed: how much there is to train on will be known when that has ended."
    if pace is None:
        return f"No training from {base_name} was measured on this installation yet: the first one will tell how long it takes."
    seconds, model, device = f"{pace.seconds:.3g}", pace.model_name, pace.device
    if pace.batch_size == batch_size:
        return f"{seconds} s a step, as the training of {model} on {device} took at batch size {batch_size}."
    return (
        f"{seconds} s a step, as the training of {model} on {device} took at batch size {pace.batch_size}, "
        f"in proportion for batch size {batch_size}."
    )
