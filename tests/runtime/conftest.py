"""Object stores of each kind, a folder and buckets on two S3 servers with processes of their own; databases likewise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.runtime.store import ObjectStore
from tests.servers import StoreAddress, new_database, postgres_server, s3_address, s3_server


@pytest.fixture(scope="session")
def moto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a moto server: the whole API with conditions, but no check of signatures."""
    with s3_server("moto", tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture(scope="session")
def nanio_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a nanio server: checks signatures and digests, but knows no conditional writes."""
    with s3_server("nanio", tmp_path_factory.mktemp("nanio")) as port:
        yield port


@pytest.fixture
def nanio_endpoint(nanio_port: int) -> str:
    return f"http://127.0.0.1:{nanio_port}"


@pytest.fixture(params=["folder", "moto", "nanio"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path) -> StoreAddress:
    """An empty store of each kind in turn."""
    if request.param == "folder":
        return StoreAddress("folder", (tmp_path / "objects").as_uri(), None)
    return s3_address(request.param, request.getfixturevalue(f"{request.param}_port"))


@pytest.fixture
def store(store_address: StoreAddress) -> ObjectStore:
    return store_address.open()


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
