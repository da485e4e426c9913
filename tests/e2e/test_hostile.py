"""What a hostile caller tries, over real sockets, at a real `timbre serve` with its doors locked: each row has its status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest
from fastapi.routing import APIRoute

from gateway.app import create_app
from gateway.settings import GatewaySettings
from tests.e2e.hostile import bodies, names, tokens
from tests.e2e.hostile.target import AUDIO, BIG, SECRET, UPLOAD_BYTES, Row, Target
from tests.e2e.stack import Stack


def every_row() -> Iterable[Row]:
    for module in (tokens, names, bodies):
        yield from module.rows()


ROWS = list(every_row())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """`timbre serve` as one would run it for others, only less patient."""
    data = tmp_path_factory.mktemp("hostile")
    for key, size in ((AUDIO, 100), (BIG, 30_000_000)):
        file = data / "objects" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))
    environment = {
        "TIMBRE_AUTH": "jwt",
        "TIMBRE_JWT_SECRET": SECRET,
        "TIMBRE_BASE_MODEL": "tiny",
        "TIMBRE_UPLOAD_MAX_BYTES": str(UPLOAD_BYTES),
        "TIMBRE_HEAD_TIMEOUT_SECONDS": "1",
        "TIMBRE_BODY_TIMEOUT_SECONDS": "1",
        "TIMBRE_SEND_TIMEOUT_SECONDS": "1",
    }
    stack = Stack(data, environment)
    stack.start()
    addresses = re.findall(r"(dataset|trainer|inference) (127\.0\.0\.1:\d+)", stack.log())
    channels = {name: grpc.insecure_channel(address) for name, address in addresses}
    yield Target(stack.port, channels)
    for channel in channels.values():
        channel.close()
    # and after all that, everybody is still there
    assert stack.client.get("/readyz").status_code == 200
    log = stack.log()
    assert SECRET not in log
    assert "Traceback" not in log, log
    stack.stop()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_hostile(row: Row, target: Target) -> None:
    assert row.send(target) == row.status


def test_every_route_with_a_name_has_rows() -> None:
    app = create_app(GatewaySettings())
    templates = {route.path for route in app.routes if isinstance(route, APIRoute) and "{" in route.path}
    covered = " ".join(row.name for row in ROWS)
    assert all(re.sub(r":\w+}", "}", path) in covered for path in templates), templates


def test_nothing_left_the_data_folder(target: Target) -> None:
    assert not list(Path("/tmp").glob("passwd*"))
