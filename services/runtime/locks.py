"""One at a time, over all processes and machines that share a database: for what is read, changed and written again.

A process that is killed holds nothing any more: the locks are the operating system's and PostgreSQL's own, not rows.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from services.runtime.errors import Unavailable

# One fixed number that keeps these advisory locks apart from whatever else locks in the same PostgreSQL.
_LOCK_CLASS = 7_461_064
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.005, 0.05


class Busy(Unavailable):
    """Somebody else has held the lock for longer than the caller wanted to wait."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is being changed by somebody else: try again in a moment.")


@contextmanager
def exclusive(engine: sa.Engine, name: str, timeout: float) -> Iterator[None]:
    """Holds the lock of a name; not reentrant. It blocks: call it from a thread in async code.

    On PostgreSQL it is an advisory lock of a transaction of its own. SQLite has only one lock for the whole database, and
    heartbeats need that one; but it also has only one machine, so there it is a locked file beside the database.

    Args:
        engine: The database that everybody shares.
        name: What is locked.
        timeout: How long to wait for it, in seconds; 0 tries once.

    Raises:
        Busy: Somebody held it all that time.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE_SECONDS
    digest = hashlib.sha256(name.encode()).digest()
    with (_in_database if engine.dialect.name == "postgresql" else _in_file)(engine, digest) as take:
        while not take():
            if time.monotonic() >= deadline:
                raise Busy(name)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        yield


@contextmanager
def _in_database(engine: sa.Engine, digest: bytes) -> Iterator[Callable[[], bool]]:
    number = int.from_bytes(digest[:4], "big", signed=True)
    with engine.connect() as connection:
        # Not one of the pool's any more: whoever holds a lock needs one of those as well, and would wait for those who wait.
        connection.detach()
        with connection.begin():
            yield lambda: bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK_CLASS, number))))


@contextmanager
def _in_file(engine: sa.Engine, digest: bytes) -> Iterator[Callable[[], bool]]:
    database = engine.url.database
    assert database, "a database in memory belongs to one process, which needs no lock of this kind"
    folder = Path(f"{database}.locks")
    folder.mkdir(exist_ok=True)
    # The file stays: one that is removed could be locked by two, each under its own inode.
    descriptor = os.open(folder / digest.hex()[:32], os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield lambda: _take_file(descriptor)
    finally:
        os.close(descriptor)


def _take_file(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
