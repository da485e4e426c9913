"""Finds checkpoints in the object store and keeps local copies of the last ones used."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.runtime.errors import NotFound, Unavailable
from services.runtime.keys import check_name
from services.runtime.node_cache import NodeCache
from services.runtime.store import ObjectInfo, ObjectStore

BASE = "base"
"""The name of the base model where a checkpoint is asked for."""

CHECKPOINT_PREFIX = "train/output/"

_SHORT_NAME = re.compile(r"(epoch_\d+\.pth)")


class CheckpointNotFound(NotFound):
    """There is no checkpoint of that name."""


class CheckpointChanged(Unavailable):
    """Another checkpoint took its place while it was being fetched."""


class CheckpointFiles:
    """Checkpoints as local files, fetched when needed.

    Args:
        store: Where checkpoints come from.
        cache: Keeps the copies.
    """

    def __init__(self, store: ObjectStore, cache: NodeCache) -> None:
        self._store = store
        self._cache = cache

    def find(self, name: str) -> ObjectInfo:
        """Returns the checkpoint object that a request names.

        Args:
            name: Its key. `epoch_100.pth` finds `checkpoint_epoch_100.pth` in the same folder, too: the documented API
                writes both.

        Raises:
            InvalidArgument: It is no key under `train/output/`.
            CheckpointNotFound: There is no such object.
        """
        check_name(name, field="checkpoint", under=(CHECKPOINT_PREFIX,))
        folder, _, file = name.rpartition("/")
        names = [name, f"{folder}/checkpoint_{file}"] if _SHORT_NAME.fullmatch(file) else [name]
        for key in names:
            info = self._store.stat(key)
            if info is not None:
                return info
        raise CheckpointNotFound(f"There is no checkpoint {name!r}: choose one of those that training listed.")

    @contextmanager
    def hold(self, info: ObjectInfo) -> Iterator[Path]:
        """Gives a local copy of a checkpoint, which stays for as long as the context does.

        Raises:
            ObjectNotFound: It was deleted in the meantime.
            CheckpointChanged: It was written anew in the meantime.
        """

        def fetch(path: Path) -> None:
            coming = path.with_name(f".{path.name}.part")
            if self._store.fetch(info.key, coming).etag != info.etag:
                coming.unlink()
                raise CheckpointChanged(f"The checkpoint {info.key!r} was written anew while it was fetched: try again.")
            os.replace(coming, path)

        version = hashlib.sha256(f"{info.key}\n{info.etag}".encode()).hexdigest()[:32]
        with self._cache.hold(version, info.size, fetch) as path:
            yield path

    def fetch(self, info: ObjectInfo) -> None:
        """Has a copy come, so that `hold` need not wait for it; raises as `hold` does."""
        with self.hold(info):
            pass
