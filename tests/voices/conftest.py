"""An object store in a folder, and a real queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.runtime.database import open_database
from services.runtime.folder_store import FolderStore
from services.runtime.jobs import JobQueue
from services.runtime.store import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    engine = open_database(f"sqlite:///{tmp_path / 'timbre.db'}")
    yield JobQueue(engine)
    engine.dispose()
