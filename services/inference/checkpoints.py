"""Finds checkpoints in the object store and keeps local copies of the last ones used."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict
from pathlib import Path

from services.runtime.store import ObjectInfo, ObjectStore
from services.trainer.checkpoints import find_checkpoint

BASE = "base"
"""The name of the base model where a checkpoint is asked for."""


class CheckpointFiles:
    """Checkpoints as local files: fetched when needed, by one caller at a time each, the least recently used removed.

    Args:
        store: Where checkpoints come from.
        folder: For the copies; nothing else may be in it.
        limit: Most files that are kept.
    """

    def __init__(self, store: ObjectStore, folder: Path, limit: int) -> None:
        self._store = store
        self._folder = folder
        self._limit = limit
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._registry = threading.Lock()

    def find(self, name: str) -> ObjectInfo:
        """Returns the checkpoint object that a request names: see `find_checkpoint`."""
        return find_checkpoint(self._store, name)

    def fetch(self, info: ObjectInfo) -> Path:
        """Returns a local copy of a checkpoint, which may be removed when others are fetched: open it at once.

        Raises:
            ObjectNotFound: It was deleted in the meantime.
        """
        version = hashlib.sha256(f"{info.key}\n{info.etag}".encode()).hexdigest()[:32]
        path = self._folder / f"{version}.pth"
        with self._registry:
            lock = self._locks[path]
        with lock:
            if path.exists():
                os.utime(path)
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._store.fetch(info.key, path)
                self._remove_oldest(keep=path)
        return path

    def _remove_oldest(self, keep: Path) -> None:
        with self._registry:
            others = sorted((p for p in self._folder.glob("*.pth") if p != keep), key=lambda p: p.stat().st_mtime)
            for path in others[: max(0, len(others) + 1 - self._limit)]:
                path.unlink(missing_ok=True)
                self._locks.pop(path, None)
