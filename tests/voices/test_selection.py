"""Which checkpoint is the best and which is the current one, without torch and without opening one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.runtime.errors import InvalidArgument
from services.runtime.folder_store import FolderStore
from services.runtime.jobs import JobQueue
from services.voices.checkpoints import (
    CheckpointNotFound,
    Run,
    checkpoint_key,
    current_key,
    move_aside,
    prune,
    write_run,
)
from services.voices.selection import CheckpointInUse, current_checkpoint, delete, keep_scores, promote, standings


class CountingStore(FolderStore):
    """Counts the objects that are read, and the listings."""

    reads = 0

    def get(self, key: str) -> bytes:
        self.reads += 1
        return super().get(key)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


def save(store: FolderStore, model: str = "voice", **losses: tuple[float, float | None]) -> None:
    """Saves checkpoints as a training does: name e10 to training loss and held-out loss."""
    scores = {}
    for name, (loss, held_out) in losses.items():
        epoch = int(name[1:])
        store.put(checkpoint_key(model, epoch), b"x" * epoch)
        scores[str(epoch)] = {"train_loss": loss, **({} if held_out is None else {"held_out_loss": held_out})}
    write_run(store, model, Run("job", {"epochs": 100}, scores=scores))


def marks(store: FolderStore, model: str = "voice") -> tuple[list[int], list[int]]:
    """The epochs that are the best and that are current."""
    found = standings(store, model)
    return [one.entry.epoch for one in found if one.best], [one.entry.epoch for one in found if one.current]


def test_the_lowest_held_out_loss_is_best_and_current(store: CountingStore) -> None:
    save(store, e10=(3.0, 2.5), e20=(2.0, 2.25), e30=(1.0, 2.75))
    assert marks(store) == ([20], [20])
    by_epoch = {one.entry.epoch: one for one in standings(store)}
    assert (by_epoch[10].loss, by_epoch[10].eval_loss, by_epoch[10].similarity) == (3.0, 2.5, None)


def test_without_held_out_clips_the_training_loss_tells(store: CountingStore) -> None:
    save(store, e10=(3.0, None), e20=(1.0, None), e30=(2.0, None))
    assert marks(store) == ([20], [20])


def test_without_scores_the_newest_is_current(store: CountingStore) -> None:
    for epoch in (20, 10):
        store.put(checkpoint_key("voice", epoch), b"x")
    assert marks(store) == ([], [10])
    write_run(store, "voice", Run("job", {}, best_epoch=20, best_score=1.5))
    assert marks(store) == ([20], [20])


def test_the_promoted_one_is_current_until_it_is_deleted(store: CountingStore) -> None:
    save(store, e10=(3.0, 2.5), e20=(2.0, 2.25), e30=(1.0, 2.75))
    assert promote(store, "train/output/voice/checkpoints/epoch_10.pth").epoch == 10
    assert marks(store) == ([20], [10])
    entry = current_checkpoint(store, "voice")
    assert entry is not None
    assert entry.epoch == 10
    delete(store, entry.key, None)
    assert store.stat(current_key("voice")) is None
    assert marks(store) == ([20], [20])
    delete(store, checkpoint_key("voice", 20), None)
    assert marks(store) == ([30], [30])
    assert current_checkpoint(store, "nobody") is None


def test_a_promotion_moves_aside_with_its_run(store: CountingStore) -> None:
    save(store, e10=(3.0, 2.5), e20=(2.0, 2.25))
    promote(store, checkpoint_key("voice", 10))
    move_aside(store, "voice", "x")
    save(store, e10=(3.0, 2.0), e20=(2.0, 1.0))
    assert marks(store, "voice.before-x") == ([20], [10])
    assert marks(store) == ([20], [20])


def test_a_list_of_many_reads_little(store: CountingStore) -> None:
    for model in ("one", "two"):
        save(store, model, **{f"e{epoch}": (1.0, float(epoch)) for epoch in range(1, 101)})
    keep_scores(store, checkpoint_key("one", 7), similarity=81.5, mfcc_score=90.0)
    promote(store, checkpoint_key("two", 9))
    store.reads = 0
    found = standings(store)
    assert len(found) == 200
    assert store.reads == 4  # two runs, one promotion, one comparison
    assert [one.entry.key for one in found if one.similarity == 81.5] == [checkpoint_key("one", 7)]
    assert {one.entry.key for one in found if one.current} == {checkpoint_key("one", 1), checkpoint_key("two", 9)}


def test_what_goes_takes_its_scores_along(store: CountingStore) -> None:
    save(store, e10=(3.0, 2.5), e20=(2.0, 2.25))
    for epoch in (10, 20):
        keep_scores(store, checkpoint_key("voice", epoch), similarity=50.0, mfcc_score=60.0)
    prune(store, "voice", keep_last=1, keep_epochs=())
    delete(store, checkpoint_key("voice", 20), None)
    assert [info.key for info in store.list("train/output/voice/checkpoints/")] == []


def test_a_training_keeps_what_it_goes_on_from(store: CountingStore, queue: JobQueue) -> None:
    save(store, e10=(3.0, 2.5), e20=(2.0, 2.25))
    save(store, "other", e10=(3.0, 2.5))
    job = queue.submit("trainer.train", "voice", {})
    with pytest.raises(CheckpointInUse) as refused:
        delete(store, checkpoint_key("voice", 20), job)
    assert refused.value.metadata == {"job_id": job.id}
    delete(store, checkpoint_key("voice", 10), job)
    delete(store, checkpoint_key("other", 10), job)
    assert [one.entry.key for one in standings(store)] == [checkpoint_key("voice", 20)]


@pytest.mark.parametrize("name", ["train/output/voice/checkpoints/checkpoint_epoch_9.pth", "train/output/voice/run.json"])
def test_only_checkpoints_are_deleted_and_promoted(store: CountingStore, name: str) -> None:
    save(store, e10=(3.0, 2.5))
    for change in (lambda: delete(store, name, None), lambda: promote(store, name)):
        with pytest.raises(CheckpointNotFound):
            change()


@pytest.mark.parametrize("name", ["", "base", "../x", "datasets/v/segments.jsonl", "/train/output/v/checkpoints/x.pth"])
def test_names_outside_are_refused(store: CountingStore, name: str) -> None:
    with pytest.raises(InvalidArgument):
        promote(store, name)


def test_it_loads_no_torch() -> None:
    program = "import sys, services.voices.selection, services.inference.models; "
    check = "sys.exit(bool({'torch', 'numpy', 'sqlalchemy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program + check], check=True, timeout=60)
