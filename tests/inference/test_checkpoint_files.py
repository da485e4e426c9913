from __future__ import annotations

from pathlib import Path

import pytest

from services.inference.checkpoint_files import CheckpointFiles
from services.runtime.errors import InvalidArgument
from services.runtime.folder_store import FolderStore
from services.runtime.node_cache import NodeCache, ObjectChanged
from services.runtime.store import ObjectInfo
from services.voices.checkpoints import CheckpointNotFound

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


@pytest.fixture
def files(store: CountingStore, tmp_path: Path) -> CheckpointFiles:
    return CheckpointFiles(store, NodeCache(tmp_path / "local", 1000))


def test_finds_by_key_and_by_short_name(store: CountingStore, files: CheckpointFiles) -> None:
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


def read(files: CheckpointFiles, info: ObjectInfo) -> bytes:
    with files.hold(info) as path:
        return path.read_bytes()


def test_is_fetched_once_and_again_when_it_was_rewritten(store: CountingStore, files: CheckpointFiles) -> None:
    key = f"{FOLDER}/checkpoint_epoch_1.pth"
    files.fetch(files.find(key))
    assert read(files, files.find(key)) == b"epoch 1"
    assert store.fetched == 1
    store.put(key, b"epoch 1, trained anew")
    assert read(files, files.find(key)) == b"epoch 1, trained anew"
    assert store.fetched == 2


def test_another_content_is_never_taken_for_the_one_that_was_found(store: CountingStore, files: CheckpointFiles) -> None:
    key = f"{FOLDER}/checkpoint_epoch_1.pth"
    found = files.find(key)
    store.put(key, b"epoch 1, trained anew")
    with pytest.raises(ObjectChanged, match="written anew while it was fetched"):
        files.fetch(found)
    assert read(files, files.find(key)) == b"epoch 1, trained anew"
