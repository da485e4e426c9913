"""Finds checkpoints in the object store and keeps local copies of the last ones used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.runtime.errors import Unavailable
from services.runtime.node_cache import NodeCache
from services.runtime.store import ObjectInfo, ObjectStore
from services.voices.checkpoints import find_checkpoint


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
        """Returns the checkpoint object that a request names: see `find_checkpoint`."""
        return find_checkpoint(self._store, name)

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
