from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import whisper

from services.dataset.whisper_models import WhisperUnavailable, resolve_whisper

CONTENT = bytes(range(256)) * 8192
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Publisher:
    """A web server that publishes one file, with ranges, and notes which were asked for."""

    url: str = ""
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    published = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            published.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start:])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        published.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield published
        server.shutdown()
        thread.join()


@pytest.fixture
def publish(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setitem(whisper._MODELS, "base", f"{publisher.url}/{DIGEST}/base.pt")
    return publisher


def test_a_published_model_is_fetched_once(publish: Publisher, tmp_path: Path) -> None:
    parts: list[float] = []
    first = resolve_whisper("base", tmp_path, lambda part, _message: parts.append(part))
    assert first.read_bytes() == CONTENT
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert resolve_whisper("base", tmp_path) == first
    assert publish.ranges == [None]


def test_a_download_that_was_cut_off_continues(publish: Publisher, tmp_path: Path) -> None:
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "base.pt.part").write_bytes(CONTENT[:5000])
    assert resolve_whisper("base", tmp_path).read_bytes() == CONTENT
    assert publish.ranges == ["bytes=5000-"]


@pytest.mark.parametrize("left", [b"x" * 5000, b"x" * len(CONTENT)], ids=["partial", "too long"])
def test_a_spoiled_download_is_not_used_and_starts_again(publish: Publisher, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "base.pt.part").write_bytes(left)
    with pytest.raises(WhisperUnavailable):
        resolve_whisper("base", tmp_path)
    assert resolve_whisper("base", tmp_path).read_bytes() == CONTENT


def test_two_that_ask_at_once_fetch_once(publish: Publisher, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(resolve_whisper("base", tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(publish.ranges) == 1


def test_waiting_for_another_process_can_be_given_up(publish: Publisher, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def give_up(_part: float, message: str) -> None:
        if "Waiting" in message:
            raise Enough

    (tmp_path / "whisper").mkdir()
    with (tmp_path / "whisper" / ".base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Enough):
            resolve_whisper("base", tmp_path, give_up)
    assert resolve_whisper("base", tmp_path).read_bytes() == CONTENT


def test_a_path_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"weights")
    assert resolve_whisper(str(tmp_path / "mine.pt"), tmp_path / "cache") == tmp_path / "mine.pt"
    assert not (tmp_path / "cache").exists()
