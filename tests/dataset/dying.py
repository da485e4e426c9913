"""A process that is killed between two writes to the object store, played inside the test's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from services.runtime.store import ObjectStore


class Killed(BaseException):
    """What stands for SIGKILL: nothing catches it."""


@contextmanager
def killed_at(store: ObjectStore, number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Dies before the `number`th write, counted from 0; notes the writes that were made."""
    made: list[str] = []
    lock = threading.Lock()

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(type(store), name)

        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            with lock:
                if len(made) >= number:
                    raise Killed
                made.append(f"{name} {arguments[0]}")
            return real(self, *arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("put", "delete", "copy"):
            patch.setattr(type(store), name, watched(name))
        with suppress(Killed):
            yield made
