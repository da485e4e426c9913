"""What a training keeps in the object store, and where. No torch: the service lists with this, the worker writes.

train/output/<model>/run.json                              what was asked, by which job, and which checkpoint is the best
train/output/<model>/checkpoints/checkpoint_epoch_10.pth   what speaks; the name, path and epoch that the API lists
train/output/<model>/checkpoints/checkpoint_epoch_10.scores.json   what its newest comparison measured
train/output/<model>/current.json                          the epoch that somebody promoted
train/output/<model>/state.pth                             what it takes to continue: weights, optimiser, position
train/output/<model>/events/                               TensorBoard event files
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from services.runtime.errors import NotFound
from services.runtime.keys import check_name
from services.runtime.store import ObjectInfo, ObjectNotFound, ObjectStore

ROOT = "train/output/"

BASE = "base"
"""The name of the base model where a checkpoint is asked for."""

_CHECKPOINT = re.compile(r"train/output/(?P<model>.+)/checkpoints/(?P<name>checkpoint_epoch_(?P<epoch>[0-9]{1,6}))\.pth")
_SHORT_NAME = re.compile(r"(epoch_\d+\.pth)")


class CheckpointNotFound(NotFound):
    """There is no checkpoint of that name."""


@dataclass(frozen=True)
class CheckpointEntry:
    """One checkpoint, as listed.

    Attributes:
        name: `checkpoint_epoch_100`.
        key: Its place in the store.
        epoch: Epochs trained, from 1.
        modified: When it was written, UTC.
        size_bytes: Size of the file.
        model_name: The model it belongs to.
    """

    name: str
    key: str
    epoch: int
    modified: datetime
    size_bytes: int
    model_name: str


@dataclass(frozen=True)
class Run:
    """What run.json says.

    Attributes:
        job_id: The job that wrote to the folder last.
        parameters: What the job was asked, as JSON values.
        best_epoch: Epoch of the best checkpoint; 0 while there is none.
        best_score: Its held-out loss, or its training loss when nothing was held out.
        completed: Whether the last epoch was reached.
        scores: For each epoch with a checkpoint, as text, what was measured: `train_loss`, `held_out_loss`.
        base_name: What it was trained from; empty when nobody kept that.
        device: What it was trained on, in words; likewise.
    """

    job_id: str
    parameters: dict[str, Any]
    best_epoch: int = 0
    best_score: float | None = None
    completed: bool = False
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    base_name: str = ""
    device: str = ""


def output_folder(model_name: str) -> str:
    """Where a model's training writes: `train/output/<model>`."""
    return f"{ROOT}{model_name}"


def checkpoint_key(model_name: str, epoch: int) -> str:
    """Where the checkpoint of an epoch lies."""
    return f"{ROOT}{model_name}/checkpoints/checkpoint_epoch_{epoch}.pth"


def state_key(model_name: str) -> str:
    """Where the state to continue from lies."""
    return f"{ROOT}{model_name}/state.pth"


def events_key(model_name: str, name: str) -> str:
    """Where a TensorBoard event file lies."""
    return f"{ROOT}{model_name}/events/{name}"


def current_key(model_name: str) -> str:
    """Where it is kept which checkpoint somebody promoted."""
    return f"{ROOT}{model_name}/current.json"


def scores_key(checkpoint: str) -> str:
    """Where it is kept what the newest comparison of a checkpoint measured."""
    return f"{checkpoint.removesuffix('.pth')}.scores.json"


def _run_key(model_name: str) -> str:
    return f"{ROOT}{model_name}/run.json"


def find_checkpoint(store: ObjectStore, name: str) -> ObjectInfo:
    """Returns the checkpoint object that a request names.

    Args:
        store: Where.
        name: Its key. `epoch_100.pth` finds `checkpoint_epoch_100.pth` in the same folder, too: the documented API
            writes both.

    Raises:
        InvalidArgument: It is no key under `train/output/`.
        CheckpointNotFound: There is no such object.
    """
    check_name(name, field="checkpoint", under=(ROOT,))
    folder, _, file = name.rpartition("/")
    names = [name, f"{folder}/checkpoint_{file}"] if _SHORT_NAME.fullmatch(file) else [name]
    for key in names:
        info = store.stat(key)
        if info is not None:
            return info
    raise CheckpointNotFound(f"There is no checkpoint {name!r}: choose one of those that training listed.")


def is_checkpoint(key: str) -> bool:
    """Whether a key is one that checkpoints have."""
    return _CHECKPOINT.fullmatch(key) is not None


def entry_of(info: ObjectInfo) -> CheckpointEntry | None:
    """Returns an object as a checkpoint, or None when it is something else."""
    match = _CHECKPOINT.fullmatch(info.key)
    if match is None:
        return None
    return CheckpointEntry(match["name"], info.key, int(match["epoch"]), info.modified, info.size, match["model"])


def list_checkpoints(store: ObjectStore, model_name: str | None = None) -> list[CheckpointEntry]:
    """Lists the checkpoints of one model or of all, newest first."""
    prefix = f"{ROOT}{model_name}/checkpoints/" if model_name else ROOT
    return newest_first(entry for info in store.list(prefix) if (entry := entry_of(info)))


def newest_first(entries: Iterable[CheckpointEntry]) -> list[CheckpointEntry]:
    """Returns checkpoints in the order in which they are listed."""
    return sorted(entries, key=lambda entry: (entry.modified, entry.epoch), reverse=True)


def read_run(store: ObjectStore, model_name: str) -> Run | None:
    """Returns what is known of the model's last run, or None when there was none."""
    try:
        content = json.loads(store.get(_run_key(model_name)))
    except ObjectNotFound:
        return None
    names = {field.name for field in fields(Run)}
    return Run(**{name: value for name, value in content.items() if name in names})


def write_run(store: ObjectStore, model_name: str, run: Run) -> None:
    """Writes what is known of the model's run."""
    store.put(_run_key(model_name), json.dumps(asdict(run), indent=2).encode(), "application/json")


def move_aside(store: ObjectStore, model_name: str, tag: str) -> str:
    """Moves everything of a model's earlier run to another model name; nothing is deleted.

    It can be interrupted and called again: run.json, by which the run is recognised, moves last.

    Args:
        store: Where.
        model_name: The model.
        tag: Ends the other name; the same at every call for one run.

    Returns:
        The name under which the earlier run is listed now.
    """
    aside = f"{model_name}.before-{tag}"
    old, new = f"{output_folder(model_name)}/", f"{output_folder(aside)}/"
    keys = [info.key for info in store.list(old)]
    for key in sorted(keys, key=lambda key: key == _run_key(model_name)):
        store.copy(key, new + key.removeprefix(old))
        store.delete(key)
    return aside


def prune(store: ObjectStore, model_name: str, *, keep_last: int, keep_epochs: Iterable[int]) -> list[str]:
    """Deletes the older checkpoints of a model.

    Args:
        store: Where.
        model_name: The model.
        keep_last: How many of the highest epochs stay.
        keep_epochs: Epochs that stay whatever their age: the best, the promoted.

    Returns:
        The names of those that went.
    """
    entries = sorted(list_checkpoints(store, model_name), key=lambda entry: entry.epoch)
    kept = set(keep_epochs) | {entry.epoch for entry in entries[-keep_last:]}
    gone = [entry for entry in entries if entry.epoch not in kept]
    for entry in gone:
        remove(store, entry)
    return [entry.name for entry in gone]


def remove(store: ObjectStore, entry: CheckpointEntry) -> None:
    """Deletes a checkpoint and what is kept beside it."""
    store.delete(entry.key)
    store.delete(scores_key(entry.key))


def latest(entries: Sequence[CheckpointEntry]) -> CheckpointEntry | None:
    """Returns the checkpoint of the highest epoch."""
    return max(entries, key=lambda entry: entry.epoch, default=None)
