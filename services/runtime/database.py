"""The database that holds jobs: opening it, bringing its schema up to date."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from services.runtime import telemetry
from services.runtime.errors import FailedPrecondition, Unavailable, add_recogniser

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
# One fixed number for the advisory lock that keeps two processes from migrating, or submitting, at once on PostgreSQL.
_MIGRATION_LOCK = 7_461_062

# libpq's own defaults wait for minutes for a server whose machine is gone. In seconds, the last in milliseconds.
_PATIENCE: Mapping[str, int] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

# What statements begin with; SQLite's waiting for the write lock is in "begin".
_OPERATIONS = ("select", "insert", "update", "delete", "begin")


# How long work that nobody waits for waits for a database that is away, in seconds; after that its job is done anew.
_AWAY_SECONDS = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0

Done = TypeVar("Done")


class SchemaTooNew(FailedPrecondition):
    """The database was written by a newer Timbre."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or cannot work for the moment."""


def is_away(error: BaseException) -> bool:
    """Returns whether an error says that the database is away, locked or full, and not that a statement is wrong."""
    if isinstance(error, sa.exc.TimeoutError):  # every connection of the pool is busy
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, sa.exc.InterfaceError):
        return True
    # SQLite calls a wrong statement an operational error, too.
    wrong = getattr(error.orig, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR
    return isinstance(error, sa.exc.OperationalError) and not wrong


def patiently(call: Callable[[], Done]) -> Done:
    """Asks the database, and again while it is away: what a worker has done is not to be lost to a restart of it.

    Meanwhile the heartbeat is missing; if the job is given to another worker for that, the lease is lost when it is back.
    """
    pause, deadline = _FIRST_PAUSE, time.monotonic() + _AWAY_SECONDS
    while True:
        try:
            return call()
        except sa.exc.SQLAlchemyError as error:
            if not is_away(error) or time.monotonic() > deadline:
                raise
            logger.warning("the database cannot be reached; trying again in %.1f s: %s", pause, error)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _recognise(error: BaseException) -> DatabaseUnavailable | None:
    if not is_away(error):
        return None
    full = "full" in str(getattr(error, "orig", "")) or getattr(getattr(error, "orig", None), "sqlstate", None) == "53100"
    if full:
        return DatabaseUnavailable("The disk of the job database is full; free some space and try again.")
    return DatabaseUnavailable("The job database cannot be reached; try again in a moment.")


add_recogniser(_recognise)


def open_database(url: str) -> sa.Engine:
    """Opens the database and brings its schema up to date.

    Args:
        url: SQLAlchemy URL, `sqlite:///…` or `postgresql+psycopg://…`.

    Raises:
        SchemaTooNew: The database was written by a newer Timbre.
    """
    engine = connect(url)
    try:
        migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def connect(url: str) -> sa.Engine:
    """Opens the database as it is. SQLite is put into WAL mode, and the folder of its file is made."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        patience = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
        engine = sa.create_engine(parsed, pool_pre_ping=True, connect_args=patience)
    else:
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": 30.0, "check_same_thread": False})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    if telemetry.measuring():
        sa.event.listen(engine, "before_cursor_execute", _begin_timing)
        sa.event.listen(engine, "after_cursor_execute", _end_timing)
    return engine


def _begin_timing(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
    if context is not None:
        context.began = time.perf_counter()


def _end_timing(_connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:
    word = statement.split(None, 1)[0].lower()
    if context is not None:
        operation = word if word in _OPERATIONS else "other"
        telemetry.observe("timbre_database_seconds", time.perf_counter() - context.began, operation)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # SQLAlchemy begins transactions itself (see _begin_sqlite), so that DDL is transactional too.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that turns into a writer fails with SQLITE_BUSY at once; an immediate one waits its turn.
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for reading: on SQLite it never waits for writers."""
    with engine.connect().execution_options(reading=True) as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine, lock: int | None = None) -> Iterator[sa.Connection]:
    """A transaction that is committed at the end. With a `lock` number, one at a time holds it, on any database."""
    with engine.begin() as connection:
        if lock is not None and connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
        yield connection


def migrate(engine: sa.Engine) -> None:
    """Brings the schema up to date; safe to call from several processes at once.

    Raises:
        SchemaTooNew: The database was written by a newer Timbre.
    """
    # Worker processes open the database without migrating it, and start faster for it.
    known = known_revisions()
    with reading(engine) as connection:
        if _revision(connection) == known[-1]:
            return
    # Half a second to import, which a service that starts on an up-to-date database need not wait for.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine, lock=_MIGRATION_LOCK) as connection:
        current = _revision(connection)
        if current == known[-1]:  # another process was faster
            return
        if current is not None and current not in known:
            raise SchemaTooNew(
                f"The database has schema {current}, which this version of Timbre does not know: "
                "start the newer version, or name another database by TIMBRE_DATABASE_URL."
            )
        logger.info("bringing the database from schema %s to %s", current or "none", known[-1])
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def known_revisions() -> list[str]:
    """Returns the schema revisions this version knows, oldest first; their files are named by them."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def _revision(connection: sa.Connection) -> str | None:
    """Returns the schema that a database has; None when it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found
