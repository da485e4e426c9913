"""Work spread over the cores: a pool of fresh processes that never outlives the one that started it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Has the kernel end this process when its parent dies, in whatever way; Linux only, elsewhere nothing.

    Args:
        parent: Process number of the parent, as the parent knows it.
        by: The signal it is sent.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def _prepare(parent: int) -> None:
    die_with_parent(parent)
    # A terminal's Ctrl-C, and the SIGTERM that its process group gets, are for the parent to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class PoolBroken(Exception):
    """A process of a pool died: killed from outside, or out of memory.

    Attributes:
        tasks: What was under way; one of them may be the reason.
    """

    def __init__(self, tasks: Sequence[Any]) -> None:
        super().__init__(f"a process of the pool died with {len(tasks)} tasks under way")
        self.tasks = list(tasks)


@contextmanager
def process_pool(workers: int) -> Iterator[Executor]:
    """A pool of spawned processes; when the block is left by an exception, what has not begun is dropped.

    One worker is a thread: a job has a process to itself already, and a second one would only cost its start.
    """
    pool: Executor
    if workers == 1:
        pool = ThreadPoolExecutor(1, thread_name_prefix="pool")
    else:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def map_bounded(
    pool: Executor, function: Callable[..., Result], tasks: Iterable[tuple[Task, tuple[Any, ...]]], window: int
) -> Iterator[tuple[Task, Result]]:
    """Calls a function for each `(task, arguments)`, in a pool, with at most `window` under way at once.

    The tasks are taken from their iterator only when there is room, so that making one may cost disk or memory.

    Yields:
        Each task with its result, as they finish.

    Raises:
        PoolBroken: A process died. `tasks` can be gone on with in another pool.
    """
    pending: dict[Future[Result], Task] = {}
    for task, arguments in tasks:
        try:
            pending[pool.submit(function, *arguments)] = task
        except BrokenExecutor:
            raise PoolBroken([*pending.values(), task]) from None
        if len(pending) >= window:
            yield from _take_done(pending)
    while pending:
        yield from _take_done(pending)


def _take_done(pending: dict[Future[Result], Task]) -> Iterator[tuple[Task, Result]]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        try:
            result = future.result()
        except BrokenExecutor:
            raise PoolBroken(list(pending.values())) from None
        yield pending.pop(future), result
