"""A stack with the tiny models, a browser, and windows that fail a test by what their console says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from services.runtime.settings import RuntimeSettings
from tests.e2e.stack import Stack
from tests.webui import browser as browsers
from tests.webui.large import write_large_dataset
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import make_recording
from timbre.demo.stack import web_server

Open = Callable[..., browsers.Window]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = None
    if browsers.CHROMIUM is None:
        missing = "there is no chromium on PATH: apt-get install chromium"
    elif not (browsers.ROOT / "gateway" / "webui" / "dist" / "index.html").exists():
        missing = "the web page has not been built: make setup"
    for item in items:
        if missing and Path(__file__).parent in item.path.parents and item.path.name != "test_page.py":
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for each module: while it is there, no other test of this process can have an event loop."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = browsers.launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `voice-1.wav` and `voice-2.wav`, half a minute of Brazilian Portuguese each."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, sentences in enumerate((SENTENCES[:10], SENTENCES[10:20]), start=1):
        make_recording(folder / f"voice-{number}.wav", sentences, pause_seconds=(0.6, 0.4, 0.9))
    return folder


@pytest.fixture(scope="session")
def media(recordings: Path) -> Iterator[str]:
    """The URL of a web server with the same."""
    with web_server(recordings) as url:
        yield url


@pytest.fixture(scope="session")
def settings(tiny_base: Path, whisper_standin: Path) -> dict[str, str]:
    """What a stack with the stand-in models is told."""
    return {
        "TIMBRE_BASE_MODEL": "tiny",
        "TIMBRE_WHISPER_MODEL": "tiny-demo",
        "TIMBRE_CACHE_DIR": str(whisper_standin),
        "TIMBRE_DOWNLOAD_HOSTS": "127.0.0.1",
        "TIMBRE_DOWNLOAD_ALLOW_PRIVATE": "true",
        "TIMBRE_HEARTBEAT_SECONDS": "0.1",
    }


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[Stack]:
    """One stack for all tests of the page."""
    running = Stack(tmp_path_factory.mktemp("webui") / "data", settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def open_window(browser: Any, stack: Stack) -> Iterator[Open]:
    """Opens windows; at the end none of them may have complained of anything that the test did not allow."""
    opened: list[browsers.Window] = []
    with ExitStack() as windows:

        def open_one(url: str = f"http://127.0.0.1:{stack.port}", **options: Any) -> browsers.Window:
            opened.append(windows.enter_context(browsers.window(browser, url, **options)))
            return opened[-1]

        yield open_one
    assert [complaint for one in opened for complaint in one.unexpected()] == []


@pytest.fixture
def window(open_window: Open) -> browsers.Window:
    """One window on the stack."""
    return open_window()


@pytest.fixture(scope="session")
def voice(stack: Stack, recordings: Path) -> str:
    """The folder of a dataset that is done up to a trained voice called `ready`, made without the page."""
    folder = "datasets/ready"
    for path in sorted(recordings.glob("*.wav")):
        with path.open("rb") as file:
            sent = stack.client.post("/training/dataset/upload", data={"folder": folder}, files={"files": (path.name, file)})
        assert sent.status_code == 200, sent.text
    stack.done(stack.post("/training/dataset/segment", {"folder": folder, "min_duration": 3, "max_duration": 6})["job_id"])
    stack.done(stack.post("/training/dataset/transcribe", {"folder": folder})["job_id"])
    body = {"model_name": "ready", "dataset_folder": folder, "epochs": 10, "batch_size": 4, "learning_rate": 1e-3}
    stack.done(stack.post("/training/start", body)["job_id"])
    checkpoint = stack.get("/training/checkpoints", model_name="ready")[0]["path"]
    stack.post("/training/inference/synthesize", {"checkpoint": checkpoint, "text": "Bom dia, esta é a minha voz."})
    return folder


@pytest.fixture(scope="session")
def large(stack: Stack) -> str:
    """A dataset of ten thousand segments, written into the store by hand: one second of a tone, under many names."""
    folder = "datasets/large"
    root = stack.data_dir / "objects" / folder
    write_large_dataset(root)
    return folder


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[tuple[Stack, RuntimeSettings]]:
    """A stack that asks for tokens."""
    secret = "a secret of the tests, long enough to sign with"
    running = Stack(
        tmp_path_factory.mktemp("guarded") / "data",
        {**settings, "TIMBRE_AUTH": "jwt", "TIMBRE_JWT_SECRET": secret, "TIMBRE_JWT_LEEWAY_SECONDS": "0"},
    )
    running.start()
    yield running, RuntimeSettings(auth="jwt", jwt_secret=secret)  # type: ignore[arg-type]
    running.stop()
