"""What is listed, kept, and set aside, without torch."""

from __future__ import annotations

import subprocess
import sys

from services.runtime.store import ObjectStore
from services.voices.checkpoints import (
    Run,
    checkpoint_key,
    list_checkpoints,
    move_aside,
    prune,
    read_run,
    state_key,
    write_run,
)


def _put(store: ObjectStore, model: str, *epochs: int) -> None:
    for epoch in epochs:
        store.put(checkpoint_key(model, epoch), b"x" * epoch)


def test_the_newest_is_first_and_models_are_told_apart(store: ObjectStore) -> None:
    _put(store, "voice", 10, 100, 20)
    _put(store, "voice2", 5)
    store.put("train/output/voice/checkpoints/notes.txt", b"")
    store.put(state_key("voice"), b"")
    assert [(entry.name, entry.epoch, entry.size_bytes) for entry in list_checkpoints(store, "voice")] == [
        ("checkpoint_epoch_20", 20, 20),
        ("checkpoint_epoch_100", 100, 100),
        ("checkpoint_epoch_10", 10, 10),
    ]
    everything = list_checkpoints(store)
    assert [entry.model_name for entry in everything] == ["voice2", "voice", "voice", "voice"]
    assert everything[0].key == "train/output/voice2/checkpoints/checkpoint_epoch_5.pth"
    assert list_checkpoints(store, "nobody") == []


def test_the_last_and_the_best_stay(store: ObjectStore) -> None:
    _put(store, "voice", 1, 2, 3, 4, 9, 10)
    assert prune(store, "voice", keep_last=2, keep_epochs=[2]) == [f"checkpoint_epoch_{epoch}" for epoch in (1, 3, 4)]
    assert sorted(entry.epoch for entry in list_checkpoints(store, "voice")) == [2, 9, 10]


def test_an_earlier_run_moves_aside_whole_also_in_two_goes(store: ObjectStore) -> None:
    _put(store, "voice", 1, 2)
    run = Run("job", {"epochs": 10}, best_epoch=2, best_score=0.5)
    write_run(store, "voice", run)
    # A first go that was cut off after one object.
    store.copy(checkpoint_key("voice", 1), checkpoint_key("voice.before-x", 1))
    store.delete(checkpoint_key("voice", 1))
    assert move_aside(store, "voice", "x") == "voice.before-x"
    assert list(store.list("train/output/voice/")) == []
    assert [entry.epoch for entry in list_checkpoints(store, "voice.before-x")] == [2, 1]
    assert read_run(store, "voice.before-x") == run
    assert read_run(store, "voice") is None


def test_listing_loads_no_torch() -> None:
    program = "import sys, services.voices.checkpoints, services.trainer.options; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
