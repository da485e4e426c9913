"""A store and a database of each kind in turn, empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.store import ObjectStore
from tests.servers import StoreAddress, new_database


@pytest.fixture
def nanio_endpoint(nanio_port: int) -> str:
    return f"http://127.0.0.1:{nanio_port}"


@pytest.fixture
def store(store_address: StoreAddress) -> ObjectStore:
    return store_address.open()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'timbre.db'}"
    return new_database(request.getfixturevalue("postgres")).render_as_string(hide_password=False)
