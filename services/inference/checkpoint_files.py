"""Finds checkpoints in the object store and keeps local copies of the last ones used."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from services.runtime.node_cache import NodeCache
from services.runtime.store import ObjectInfo, ObjectStore
from services.voices.checkpoints import find_checkpoint


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

    def hold(self, info: ObjectInfo) -> AbstractContextManager[Path]:
        """Gives a local copy of a checkpoint, which stays for as long as the context does: see `NodeCache.hold_object`."""
        return self._cache.hold_object(self._store, info)

    def fetch(self, info: ObjectInfo) -> None:
        """Has a copy come, so that `hold` need not wait for it; raises as `hold` does."""
        with self.hold(info):
            pass
