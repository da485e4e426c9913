"""Work under the lock of a dataset, for async code: however many wait for one dataset, the rest of the service goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from services.runtime.jobs import JobQueue
from services.runtime.locks import Busy

_PAUSE_SECONDS = 0.05

T = TypeVar("T")


class Turns:
    """Takes the locks of datasets. Of those who wait for the same one here, the first asks for it, and the others for nothing.

    Args:
        queue: For the locks of the datasets.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, folder: str, timeout: float, work: Callable[..., T], *arguments: Any) -> T:
        """Works in a thread under the lock of a dataset. Who waits has no thread, and ends when it is cancelled.

        Args:
            folder: The dataset.
            timeout: How long to wait for the lock, in seconds; the work itself may last longer.
            work: What is to be done.
            arguments: Of the work.

        Raises:
            Busy: Somebody else held it all that time.
        """

        def attempt() -> T:
            with self._queue.exclusive(folder, 0):
                return work(*arguments)

        deadline = asyncio.get_running_loop().time() + timeout
        turn = self._turns.setdefault(folder, asyncio.Lock())
        try:
            async with asyncio.timeout_at(deadline):
                await turn.acquire()
        except TimeoutError:
            raise Busy(folder) from None
        try:
            while True:
                try:
                    return await asyncio.to_thread(attempt)
                except Busy:
                    if asyncio.get_running_loop().time() >= deadline:
                        raise
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            turn.release()
