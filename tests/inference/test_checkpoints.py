from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from services.inference.checkpoints import CheckpointFiles
from services.runtime.errors import InvalidArgument
from services.runtime.folder_store import FolderStore
from services.runtime.store import ObjectInfo
from services.trainer.checkpoints import CheckpointNotFound

FOLDER = "train/output/my_voice/checkpoints"


class CountingStore(FolderStore):
    """Counts what is fetched."""

    fetched = 0

    def fetch(self, key: str, path: Path) -> ObjectInfo:
        self.fetched += 1
        return super().fetch(key, path)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path / "objects")
    for epoch in range(1, 6):
        store.put(f"{FOLDER}/checkpoint_epoch_{epoch}.pth", f"epoch {epoch}".encode())
    return store


def test_finds_by_key_and_by_short_name(store: CountingStore, tmp_path: Path) -> None:
    files = CheckpointFiles(store, tmp_path / "local", limit=2)
    key = f"{FOLDER}/checkpoint_epoch_3.pth"
    assert files.find(key).key == files.find(f"{FOLDER}/epoch_3.pth").key == key
    store.put(f"{FOLDER}/epoch_3.pth", b"really called so")
    assert files.find(f"{FOLDER}/epoch_3.pth").key == f"{FOLDER}/epoch_3.pth"
    for missing in (f"{FOLDER}/epoch_9.pth", f"{FOLDER}/epoch_.pth", FOLDER, "train/output/x.pth"):
        with pytest.raises(CheckpointNotFound):
            files.find(missing)
    for outside in ("", "base", "/train/output/x.pth", "train/output/../x.pth", "models/x.pth", "train/output/a b.pth"):
        with pytest.raises(InvalidArgument):
            files.find(outside)


def test_keeps_the_last_used_and_fetches_once(store: CountingStore, tmp_path: Path) -> None:
    files = CheckpointFiles(store, tmp_path / "local", limit=2)
    one, two, three = (files.find(f"{FOLDER}/epoch_{epoch}.pth") for epoch in (1, 2, 3))
    for age, info in enumerate((one, two)):
        path = files.fetch(info)
        os.utime(path, (1000 + age, 1000 + age))
    assert files.fetch(one).read_bytes() == b"epoch 1"  # used again: now the younger one
    assert store.fetched == 2
    files.fetch(three)
    assert len(list((tmp_path / "local").iterdir())) == 2
    assert {path.read_bytes() for path in (tmp_path / "local").iterdir()} == {b"epoch 1", b"epoch 3"}


def test_a_rewritten_checkpoint_is_fetched_again(store: CountingStore, tmp_path: Path) -> None:
    files = CheckpointFiles(store, tmp_path / "local", limit=3)
    key = f"{FOLDER}/checkpoint_epoch_1.pth"
    assert files.fetch(files.find(key)).read_bytes() == b"epoch 1"
    store.put(key, b"epoch 1, trained anew")
    assert files.fetch(files.find(key)).read_bytes() == b"epoch 1, trained anew"


def test_callers_at_once_share_one_transfer(store: CountingStore, tmp_path: Path) -> None:
    files = CheckpointFiles(store, tmp_path / "local", limit=2)
    info = files.find(f"{FOLDER}/epoch_1.pth")
    threads = [threading.Thread(target=files.fetch, args=(info,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.fetched == 1
