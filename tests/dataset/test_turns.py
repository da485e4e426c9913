"""Turns at a dataset: one at a time, and nobody who has gone keeps another waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.dataset.turns import Turns
from services.runtime.database import open_database
from services.runtime.jobs import JobQueue
from services.runtime.locks import Busy

FOLDER = "datasets/voice"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    engine = open_database(f"sqlite:///{tmp_path / 'timbre.db'}")
    yield JobQueue(engine)
    engine.dispose()


async def test_all_take_their_turn(queue: JobQueue) -> None:
    turns, inside, most = Turns(queue), [], []

    def work(number: int) -> int:
        inside.append(number)
        most.append(len(inside))
        inside.remove(number)
        return number

    done = await asyncio.gather(*(turns.take(FOLDER, 60, work, number) for number in range(20)))
    assert done == list(range(20))
    assert set(most) == {1}


async def test_who_is_cancelled_waits_no_longer_and_does_nothing(queue: JobQueue) -> None:
    turns, done = Turns(queue), []
    with queue.exclusive(FOLDER):
        waiting = [asyncio.create_task(turns.take(FOLDER, 60, done.append, number)) for number in range(3)]
        await asyncio.sleep(0.1)
        for task in waiting[:2]:
            task.cancel()
        assert [type(one) for one in await asyncio.gather(*waiting[:2], return_exceptions=True)] == [
            asyncio.CancelledError,
            asyncio.CancelledError,
        ]
    await waiting[2]
    assert done == [2]


async def test_the_wait_ends_whoever_holds_it(queue: JobQueue) -> None:
    turns, begun, release = Turns(queue), threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return release.wait(60)

    with queue.exclusive(FOLDER), pytest.raises(Busy, match=FOLDER):  # another process
        await turns.take(FOLDER, 0.1, work)
    ours = asyncio.create_task(turns.take(FOLDER, 60, work))
    await asyncio.to_thread(begun.wait, 60)
    with pytest.raises(Busy, match=FOLDER):
        await turns.take(FOLDER, 0.1, work)
    release.set()
    assert await ours, "the work itself may last longer"


async def test_an_error_gives_the_turn_on(queue: JobQueue) -> None:
    turns = Turns(queue)
    with pytest.raises(ZeroDivisionError):
        await turns.take(FOLDER, 1, lambda: 1 // 0)
    assert await turns.take(FOLDER, 30, lambda: "next") == "next"
