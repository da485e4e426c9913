"""The units of a job that are finished, kept in the object store so that no attempt does one twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from services.runtime.store import ObjectNotFound, ObjectStore


class Units:
    """Small JSON objects below `<folder>/work/<job>/`, one for each finished unit.

    Args:
        store: Where they are kept.
        prefix: Key prefix of the job, with its final slash.
        confirm: Makes sure that the job is this worker's still: `JobContext.confirm`.
    """

    def __init__(self, store: ObjectStore, prefix: str, confirm: Callable[[], None]) -> None:
        self._store = store
        self.prefix = prefix
        self._confirm = confirm

    def finish(self, name: str, content: Any) -> None:
        """Keeps what a unit made. Once this returns, the unit is done for good."""
        self._confirm()
        self._store.put(f"{self.prefix}{name}.json", json.dumps(content, ensure_ascii=False).encode(), "application/json")

    def get(self, name: str) -> Any:
        """Returns what a unit made, or None while it has not finished."""
        try:
            return from_json(self._store.get(f"{self.prefix}{name}.json"))
        except ObjectNotFound:
            return None

    def finished(self, group: str) -> dict[str, Any]:
        """Returns what the finished units of a group (`<group>/<name>`) made, by name."""
        start = f"{self.prefix}{group}/"
        return {
            info.key[len(start) :].removesuffix(".json"): from_json(self._store.get(info.key))
            for info in self._store.list(start)
            if info.key.endswith(".json")
        }

    def forget(self, group: str) -> None:
        """Forgets the units of a group."""
        for info in list(self._store.list(f"{self.prefix}{group}/")):
            self._store.delete(info.key)

    def clear(self) -> None:
        """Forgets all units, when their job has ended."""
        for info in list(self._store.list(self.prefix)):
            self._store.delete(info.key)
