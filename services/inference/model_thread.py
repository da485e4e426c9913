"""The line in front of the model: one request at a time, a bounded number waiting, each with a deadline."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from services.inference.engine.interface import SpeechCancelled
from services.runtime.errors import DeadlineExceeded, ResourceExhausted

Result = TypeVar("Result")
Item = TypeVar("Item")

Cancelled = Callable[[], bool]
"""Says whether anybody still waits for the work; cheap, to be asked often."""

_FIRST_GUESS_SECONDS = 5.0
"""What a request takes, before any has been timed."""


class QueueFull(ResourceExhausted):
    """As many requests wait as may."""


class NotInTime(DeadlineExceeded):
    """The work was not done within its deadline, and has been stopped."""


class ModelThread:
    """Runs work on a thread of its own, one piece after the other, in the order it came.

    Models are used by this thread only: nothing about them has to be safe for several.

    Args:
        queue_limit: How much work may wait while one piece runs.
    """

    def __init__(self, queue_limit: int) -> None:
        self.queue_limit = queue_limit
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._lock = threading.Lock()
        self._unfinished = 0
        self._usual_seconds = _FIRST_GUESS_SECONDS

    @property
    def queued_count(self) -> int:
        """Number of requests that wait."""
        return max(0, self._unfinished - 1)

    async def run(self, work: Callable[[Cancelled], Result], seconds: float) -> Result:
        """Does a piece of work when its turn comes.

        Args:
            work: Gets a function that tells it to stop: when the deadline has passed, or when the task that awaits this was
                cancelled, because the client hung up.
            seconds: Deadline from now, waiting included.

        Raises:
            QueueFull: Too many wait.
            NotInTime: The deadline passed.
        """
        self._take_place()
        stop = threading.Event()
        deadline = time.monotonic() + seconds

        def cancelled() -> bool:
            return stop.is_set() or time.monotonic() >= deadline

        context = contextvars.copy_context()  # carries the request id into the log lines
        future = self._executor.submit(context.run, self._turn, work, cancelled)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except (TimeoutError, SpeechCancelled) as error:
            raise NotInTime(
                f"The speech was not ready within {seconds:.3g} s, and the work on it was stopped: shorten the text, or try "
                "again when the model is loaded and less is going on."
            ) from error
        finally:
            stop.set()

    async def stream(
        self, work: Callable[[Cancelled, Callable[[Item], None]], None], seconds: float
    ) -> AsyncGenerator[Item, None]:
        """Does a piece of work like `run`, and yields what it emits as soon as it does.

        Args:
            work: Gets the function that tells it to stop, and one to be called with each item.
            seconds: Deadline from now, for the whole.

        Raises:
            QueueFull: Too many wait.
            NotInTime: The deadline passed.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Item | None] = asyncio.Queue()

        def emit(item: Item | None) -> None:
            loop.call_soon_threadsafe(items.put_nowait, item)

        task = asyncio.create_task(self.run(lambda cancelled: work(cancelled, emit), seconds))
        task.add_done_callback(lambda _: items.put_nowait(None))
        try:
            while (item := await items.get()) is not None:
                yield item
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # what it raised has been raised above

    def close(self) -> None:
        """Drops what waits, and returns when the work under way has ended."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _take_place(self) -> None:
        with self._lock:
            if self._unfinished > self.queue_limit:
                raise QueueFull(
                    f"{self.queued_count} requests wait for the model already: try again in a moment.",
                    retry_after_seconds=max(1.0, round(self._usual_seconds * self._unfinished)),
                )
            self._unfinished += 1

    def _leave(self, _future: Future[Any]) -> None:
        with self._lock:
            self._unfinished -= 1

    def _turn(self, work: Callable[[Cancelled], Result], cancelled: Cancelled) -> Result:
        if cancelled():
            raise SpeechCancelled
        began = time.monotonic()
        try:
            return work(cancelled)
        finally:
            self._usual_seconds += 0.3 * (time.monotonic() - began - self._usual_seconds)
