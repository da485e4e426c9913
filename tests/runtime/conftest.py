"""Object stores of every kind: a folder, and buckets on two S3 servers that run as processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.runtime.store import ObjectStore, S3Credentials, open_store

ACCESS_KEY = "timbre-tests"
SECRET_KEY = "a-secret-of-the-tests"
_START_SECONDS = 30.0


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is, so that other processes can open it too."""

    kind: str
    url: str
    credentials: S3Credentials | None

    @property
    def exclusive(self) -> bool:
        """Whether the server decides between creators of the same moment; nanio knows no conditional writes."""
        return self.kind != "nanio"

    def open(self) -> ObjectStore:
        return open_store(self.url, self.credentials)


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A moto server: the whole API with conditions, but no check of signatures."""

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    yield from _serve(command, tmp_path_factory.mktemp("moto"))


@pytest.fixture(scope="session")
def nanio_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A nanio server: checks signatures and digests, but knows no conditional writes."""
    folder = tmp_path_factory.mktemp("nanio")

    def command(port: int) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(port), "--data-dir", str(folder / "data")]
        return [sys.executable, "-m", "nanio", "serve", *options, "--no-access-log"]

    yield from _serve(command, folder)


@pytest.fixture(params=["folder", "moto", "nanio"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path) -> StoreAddress:
    """An empty store of each kind in turn."""
    if request.param == "folder":
        return StoreAddress("folder", (tmp_path / "objects").as_uri(), None)
    endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    bucket = f"timbre-{uuid.uuid4().hex[:16]}"
    return StoreAddress(request.param, f"s3://{bucket}?endpoint={endpoint}", S3Credentials(ACCESS_KEY, SecretStr(SECRET_KEY)))


@pytest.fixture
def store(store_address: StoreAddress) -> ObjectStore:
    return store_address.open()


def _serve(command: Callable[[int], list[str]], folder: Path) -> Iterator[str]:
    port = _free_port()
    environment = {**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command(port), stdout=log, stderr=log, env=environment)
        try:
            _wait_until_open(port, server, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_open(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the server did not start:\n{log.read_text()}")
