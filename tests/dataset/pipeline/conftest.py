"""A folder store and a queue, and a way to run a job function as its worker would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.runtime.database import open_database
from services.runtime.jobs import JobContext, JobQueue
from services.runtime.store import ObjectStore, open_store

FOLDER = "datasets/voice"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """An empty object store."""
    return open_store((tmp_path / "objects").as_uri())


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., JobContext]]:
    """Makes the context of a job with the given parameters on a real queue; the same job again for `again=True`."""
    engine = open_database(f"sqlite:///{tmp_path / 'jobs.db'}")
    queue = JobQueue(engine)

    def make(kind: str, scratch: Path | None = None, **parameters: Any) -> JobContext:
        queue.submit(kind, FOLDER, {"folder": FOLDER, **parameters})
        claimed = queue.claim([kind])
        assert claimed is not None
        place = scratch or tmp_path / "scratch" / claimed.id
        place.mkdir(parents=True, exist_ok=True)
        return JobContext(queue, claimed, place)

    yield make
    engine.dispose()
