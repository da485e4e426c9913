"""Databases for the job tests: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.runtime.database import open_database
from services.runtime.jobs import JobQueue
from tests.servers import new_database, postgres_server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.URL]:
    """A PostgreSQL server for this session."""
    with postgres_server(tmp_path_factory.mktemp("run")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'timbre.db'}"
    return new_database(request.getfixturevalue("postgres")).render_as_string(hide_password=False)


@pytest.fixture
def queue(database_url: str) -> Iterator[JobQueue]:
    """A queue on a fresh database."""
    engine = open_database(database_url)
    yield JobQueue(engine)
    engine.dispose()
