"""Beginning a run, or taking up one that an earlier attempt or job left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.runtime.store import ObjectNotFound, ObjectStore
from services.trainer.state import StateMisfit, TrainingState, load_state
from services.voices.checkpoints import (
    Run,
    latest,
    list_checkpoints,
    move_aside,
    output_folder,
    read_run,
    state_key,
    write_run,
)

if TYPE_CHECKING:
    from services.runtime.jobs.context import JobContext


def begin_run(job: JobContext, store: ObjectStore, model_name: str, *, resume: bool) -> Run:
    """Makes the model's folder in the store this job's, once: a further attempt finds it so.

    Args:
        job: The job.
        store: Where.
        model_name: The model.
        resume: Whether the earlier run goes on; otherwise what is there moves aside.
    """
    earlier = read_run(store, model_name)
    if earlier is not None and earlier.job_id == job.id:
        return earlier
    if resume and earlier is not None:
        run = Run(job.id, job.parameters, earlier.best_epoch, earlier.best_score, scores=earlier.scores)
    else:
        if not resume and next(iter(store.list(f"{output_folder(model_name)}/")), None) is not None:
            job.log(f"The earlier run is listed as {move_aside(store, model_name, job.id[-8:])} now.")
        run = Run(job.id, job.parameters)
    write_run(store, model_name, run)
    return run


def find_state(job: JobContext, store: ObjectStore, model_name: str, base_fingerprint: str) -> TrainingState | None:
    """Returns the state of this run that is furthest on: the job's own folder has the latest, the store the safest.

    Raises:
        StateMisfit: It was made from another base model.
    """
    own = load_state(job.scratch / "state.pth")
    kept = _fetch_state(store, model_name, job.scratch / "state-kept.pth")
    states = [state for state in (own, kept) if state is not None]
    if not states:
        newest = latest(list_checkpoints(store, model_name))
        if newest is not None:
            job.log(f"The state to continue from is gone: {newest.name} stays as it is, and the training begins anew.")
        return None
    state = max(states, key=lambda state: (state.position.epoch, state.position.batch))
    if state.base_fingerprint != base_fingerprint:
        raise StateMisfit
    return state


def keep_state(store: ObjectStore, model_name: str, path: Path) -> None:
    """Puts a state where any machine finds it."""
    store.put(state_key(model_name), path)


def _fetch_state(store: ObjectStore, model_name: str, path: Path) -> TrainingState | None:
    try:
        store.fetch(state_key(model_name), path)
    except ObjectNotFound:
        return None
    return load_state(path)
