"""Speech, stand-in models and servers shared by the tests, made once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import StoreAddress, postgres_server, s3_address, s3_server
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import Span, make_recording

# Each of these runs several processes that compute. Two at the same time on two cores keep each other waiting, and at their
# worst where they train together: they are spread among the others (with pytest-xdist's --no-loadscope-reorder, which
# would otherwise leave them all for the end).
_HEAVY = ("tests/e2e/", "tests/ray/", "tests/webui/", "tests/trainer/test_local_group.py", "tests/test_serve.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    order: dict[str, float] = {}
    for heavy in (True, False):
        names = [name for name in files if name.startswith(_HEAVY) is heavy]
        order |= {name: place / len(names) for place, name in enumerate(names)}
    items[:] = [item for name in sorted(files, key=lambda name: order[name]) for item in files[name]]


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Span]]:
    """About a minute of Brazilian Portuguese with pauses: a WAV, not to be changed, and where each sentence lies."""
    path = tmp_path_factory.mktemp("speech") / "recording.wav"
    return path, make_recording(path, SENTENCES[:15], pause_seconds=(0.4, 0.7, 1.5, 0.5))


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stand-in models are kept: one folder for all test processes, over sessions where TIMBRE_TEST_CACHE says."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return Path(os.environ.get("TIMBRE_TEST_CACHE") or shared / "models")


@pytest.fixture(scope="session")
def tiny_base(model_cache: Path) -> Path:
    """The folder of the tiny stand-in for XTTS-v2."""
    from services.xtts.base import resolve_base

    return resolve_base("tiny", model_cache)


@pytest.fixture(scope="session")
def whisper_standin(model_cache: Path) -> Path:
    """The cache with the stand-in for Whisper in it: making it takes about a minute, once."""
    from services.dataset.whisper_models import resolve_whisper

    resolve_whisper("tiny-demo", model_cache)
    return model_cache


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


@pytest.fixture(params=["folder", "moto", "nanio"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path) -> StoreAddress:
    """An empty store of each kind in turn."""
    if request.param == "folder":
        return StoreAddress("folder", (tmp_path / "objects").as_uri(), None)
    return s3_address(request.param, request.getfixturevalue(f"{request.param}_port"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.URL]:
    """A PostgreSQL server for this session."""
    with postgres_server(tmp_path_factory.mktemp("run")) as url:
        yield url
