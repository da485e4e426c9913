"""One at a time, over all processes and machines that share a database: for what is read, changed and written again.

A process that is killed holds nothing any more: the locks are the operating system's and PostgreSQL's own, not rows.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from services.runtime.errors import Unavailable

# One fixed number that keeps these advisory locks apart from whatever else locks in the same PostgreSQL.
_LOCK_CLASS = 7_461_064
_LOCK_NOT_AVAILABLE = "55P03"
_POLL_SECONDS = 0.005


class Busy(Unavailable):
    """Somebody else has held the lock for longer than the caller wanted to wait."""


@contextmanager
def exclusive(engine: sa.Engine, name: str, timeout: float) -> Iterator[None]:
    """Holds the lock of a name; not reentrant. It blocks: call it from a thread in async code.

    On PostgreSQL it is an advisory lock of a transaction of its own. SQLite has only one lock for the whole database, and
    heartbeats need that one; but it also has only one machine, so there it is a locked file beside the database.

    Args:
        engine: The database that everybody shares.
        name: What is locked.
        timeout: How long to wait for it, in seconds.

    Raises:
        Busy: Somebody held it all that time.
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            _lock_in_database(connection, name, timeout)
            yield
            return
    database = engine.url.database
    assert database, "a database in memory belongs to one process, which needs no lock of this kind"
    folder = Path(f"{database}.locks")
    folder.mkdir(exist_ok=True)
    # The file stays: one that is removed could be locked by two, each under its own inode.
    descriptor = os.open(folder / hashlib.sha256(name.encode()).hexdigest()[:32], os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock_file(descriptor, name, timeout)
        yield
    finally:
        os.close(descriptor)


def _lock_in_database(connection: sa.Connection, name: str, timeout: float) -> None:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)
    connection.execute(sa.text(f"SET LOCAL lock_timeout = {max(1, round(timeout * 1000))}"))
    try:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_CLASS, number)))
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", "") == _LOCK_NOT_AVAILABLE:
            raise _busy(name) from None
        raise


def _lock_file(descriptor: int, name: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(name) from None
            time.sleep(_POLL_SECONDS)


def _busy(name: str) -> Busy:
    return Busy(f"{name} is being changed by somebody else: try again in a moment.")
