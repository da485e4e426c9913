"""A real stack: `timbre serve` with its four processes, the tiny models, and a web server with recordings to download."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import Stack
from tests.servers import ACCESS_KEY, SECRET_KEY, new_database, s3_address
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import make_recording
from timbre.demo.stack import web_server


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a web server with `voice-1.wav` and `voice-2.wav`, a minute of Brazilian Portuguese each."""
    folder = tmp_path_factory.mktemp("media")
    half = len(SENTENCES) // 2
    for number, sentences in enumerate((SENTENCES[:half], SENTENCES[half:]), start=1):
        make_recording(folder / f"voice-{number}.wav", sentences, pause_seconds=(0.6, 0.4, 0.9))

    with web_server(folder) as url:
        yield url


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, whisper_standin: Path
) -> Iterator[Stack]:
    """A stack of its own for each module, with the stand-in models.

    By its parameter it has SQLite and a folder (`embedded`, if there is none), `postgresql` and a folder, or PostgreSQL and
    S3 (`cluster`).
    """
    kind = getattr(request, "param", "embedded")
    state = {}
    if kind in ("postgresql", "cluster"):
        database = new_database(request.getfixturevalue("postgres"))
        state["TIMBRE_DATABASE_URL"] = database.render_as_string(hide_password=False)
    if kind == "cluster":
        address = s3_address("nanio", request.getfixturevalue("nanio_port"))
        keys = {"TIMBRE_S3_ACCESS_KEY": ACCESS_KEY, "TIMBRE_S3_SECRET_KEY": SECRET_KEY}
        state |= {"TIMBRE_STORAGE_URL": address.url, **keys}
    running = Stack(
        tmp_path_factory.mktemp("stack") / "data",
        {
            "TIMBRE_BASE_MODEL": "tiny",
            "TIMBRE_WHISPER_MODEL": "tiny-demo",
            "TIMBRE_CACHE_DIR": str(whisper_standin),
            "TIMBRE_DOWNLOAD_HOSTS": "127.0.0.1",
            "TIMBRE_DOWNLOAD_ALLOW_PRIVATE": "true",
            "TIMBRE_HEARTBEAT_SECONDS": "0.1",
            **state,
        },
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def slow_media(media: str) -> Iterator[str]:
    """The same recordings from a server slow enough to be interrupted in the middle of one: a second or two each."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with httpx.stream("GET", media + self.path, headers=_range_of(self)) as answer:
                self.send_response(answer.status_code)
                for name in ("content-length", "content-type", "content-range", "accept-ranges", "last-modified"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                for chunk in answer.iter_bytes(64 * 1024):
                    self.wfile.write(chunk)
                    time.sleep(0.05)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _range_of(handler: http.server.BaseHTTPRequestHandler) -> dict[str, str]:
    wanted = handler.headers.get("Range")
    return {"Range": wanted} if wanted else {}
