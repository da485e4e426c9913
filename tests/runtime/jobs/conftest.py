"""A queue for the job tests: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.runtime.database import open_database
from services.runtime.jobs import JobQueue


@pytest.fixture
def queue(database_url: str) -> Iterator[JobQueue]:
    """A queue on a fresh database."""
    engine = open_database(database_url)
    yield JobQueue(engine)
    engine.dispose()
