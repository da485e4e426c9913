"""How the checkpoints of a model stand: their scores, which is the best, which the voice speaks with; promoting and deleting.

A list of a hundred checkpoints opens none of them: what is known of each is written into `run.json` when it is saved, and
into a small object beside it when it is compared.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.runtime.errors import FailedPrecondition
from services.runtime.store import ObjectNotFound, ObjectStore
from services.voices.checkpoints import (
    ROOT,
    CheckpointEntry,
    CheckpointNotFound,
    Run,
    current_key,
    entry_of,
    find_checkpoint,
    latest,
    list_checkpoints,
    newest_first,
    read_run,
    remove,
    scores_key,
)

if TYPE_CHECKING:
    from services.runtime.jobs import Job


class CheckpointInUse(FailedPrecondition):
    """A training goes on from there."""

    def __init__(self, entry: CheckpointEntry, job: Job) -> None:
        super().__init__(
            f"{entry.name} is the newest checkpoint of {entry.model_name}, which is being trained: stop the training first, or "
            "wait until it ends.",
            metadata={"job_id": job.id},
        )


@dataclass(frozen=True)
class Standing:
    """A checkpoint and what is known of it.

    Attributes:
        entry: The checkpoint.
        loss: Training loss of its epoch.
        eval_loss: Loss on held-out clips.
        similarity: Speaker similarity as its newest comparison measured it, 0 to 100.
        mfcc_score: MFCC score, likewise.
        best: Whether it has the lowest loss of its model.
        current: Whether it is what the voice speaks with: the promoted, else the best, else the newest.
    """

    entry: CheckpointEntry
    loss: float | None
    eval_loss: float | None
    similarity: float | None
    mfcc_score: float | None
    best: bool
    current: bool


def standings(store: ObjectStore, model_name: str | None = None) -> list[Standing]:
    """Lists the checkpoints of one model or of all, newest first, with what is known of them.

    It reads the store's list once, then two small objects for each model and one for each checkpoint that was compared.
    """
    prefix = f"{ROOT}{model_name}/" if model_name else ROOT
    keys: set[str] = set()
    models: dict[str, list[CheckpointEntry]] = defaultdict(list)
    for info in store.list(prefix):
        keys.add(info.key)
        if entry := entry_of(info):
            models[entry.model_name].append(entry)
    found: dict[str, Standing] = {}
    for model, entries in models.items():
        promoted = promoted_epoch(store, model) if current_key(model) in keys else None
        found |= {standing.entry.key: standing for standing in _of_model(store, model, entries, promoted, keys)}
    return [found[entry.key] for entry in newest_first(standing.entry for standing in found.values())]


def current_checkpoint(store: ObjectStore, model_name: str) -> CheckpointEntry | None:
    """Returns what a voice speaks with, or None when it has no checkpoint."""
    return next((standing.entry for standing in standings(store, model_name) if standing.current), None)


def promoted_epoch(store: ObjectStore, model_name: str) -> int | None:
    """Returns the epoch of the checkpoint that somebody promoted, or None when nobody did."""
    try:
        return int(json.loads(store.get(current_key(model_name)))["epoch"])
    except ObjectNotFound:
        return None


def promote(store: ObjectStore, name: str) -> CheckpointEntry:
    """Makes a checkpoint its voice's current one.

    Raises:
        InvalidArgument: The name is no key under `train/output/`.
        CheckpointNotFound: There is no such checkpoint.
    """
    entry = _find(store, name)
    # The epoch and not the key: a run that moves aside takes this along, and its keys change.
    store.put(current_key(entry.model_name), json.dumps({"epoch": entry.epoch}).encode(), "application/json")
    return entry


def delete(store: ObjectStore, name: str, training: Job | None) -> CheckpointEntry:
    """Deletes a checkpoint.

    Args:
        store: Where.
        name: Its key.
        training: The training that is active, whatever its model.

    Raises:
        InvalidArgument: The name is no key under `train/output/`.
        CheckpointNotFound: There is no such checkpoint.
        CheckpointInUse: It is the newest one of the model that is being trained.
    """
    entry = _find(store, name)
    if training is not None and training.subject == entry.model_name:
        newest = latest(list_checkpoints(store, entry.model_name))
        if newest is not None and newest.key == entry.key:
            raise CheckpointInUse(entry, training)
    if promoted_epoch(store, entry.model_name) == entry.epoch:
        store.delete(current_key(entry.model_name))  # or a later checkpoint of that epoch would count as promoted
    remove(store, entry)
    return entry


def keep_scores(store: ObjectStore, checkpoint: str, *, similarity: float, mfcc_score: float) -> None:
    """Keeps what a comparison measured, in place of what an earlier one did."""
    content = {"similarity": similarity, "mfcc_score": mfcc_score}
    store.put(scores_key(checkpoint), json.dumps(content).encode(), "application/json")


def _find(store: ObjectStore, name: str) -> CheckpointEntry:
    entry = entry_of(find_checkpoint(store, name))
    if entry is None:
        raise CheckpointNotFound(f"{name!r} is no checkpoint: choose one of those that training listed.")
    return entry


def _of_model(
    store: ObjectStore, model: str, entries: list[CheckpointEntry], promoted: int | None, keys: set[str]
) -> list[Standing]:
    run = read_run(store, model)
    best = _best_epoch(run, entries)
    epochs = {entry.epoch for entry in entries}
    current = next(epoch for epoch in (promoted, best, newest_first(entries)[0].epoch) if epoch in epochs)
    standing = []
    for entry in entries:
        losses = run.scores.get(str(entry.epoch), {}) if run else {}
        measured = _read_scores(store, entry.key) if scores_key(entry.key) in keys else {}
        standing.append(
            Standing(
                entry,
                loss=losses.get("train_loss"),
                eval_loss=losses.get("held_out_loss"),
                similarity=measured.get("similarity"),
                mfcc_score=measured.get("mfcc_score"),
                best=entry.epoch == best,
                current=entry.epoch == current,
            )
        )
    return standing


def _best_epoch(run: Run | None, entries: list[CheckpointEntry]) -> int | None:
    """Returns the epoch of the lowest loss among checkpoints, the earliest of equals; None when no losses were kept."""
    if run is None:
        return None
    losses = {}
    for entry in sorted(entries, key=lambda entry: entry.epoch):
        if scores := run.scores.get(str(entry.epoch)):
            losses[entry.epoch] = scores.get("held_out_loss", scores["train_loss"])
    if losses:
        return min(losses, key=lambda epoch: losses[epoch])
    # of a run that kept only this
    return run.best_epoch if any(entry.epoch == run.best_epoch for entry in entries) else None


def _read_scores(store: ObjectStore, checkpoint: str) -> dict[str, float]:
    try:
        scores: dict[str, float] = json.loads(store.get(scores_key(checkpoint)))
    except ObjectNotFound:  # deleted a moment ago
        return {}
    return scores
