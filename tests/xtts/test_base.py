"""Which folder a name stands for; the hub is a local server that speaks its paths and can misbehave."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.runtime.errors import FailedPrecondition
from services.xtts.base import BASE_FILES, BaseIncomplete, BaseUnknown, LicenceNotAccepted, fingerprint, resolve_base
from services.xtts.hub import BaseDownloadFailed, Progress, Published, PublishedFile


@dataclass
class Hub:
    """A hub that serves one repository from memory.

    Attributes:
        files: Content by name.
        revision: The one it has.
        cut_after: Bytes of model.pth after which the next transfers break off, each once.
        requests: Method, name and `Range` of every request.
    """

    files: dict[str, bytes]
    revision: str = "0123456789abcdef0123456789abcdef01234567"
    cut_after: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""

    @property
    def published(self) -> Published:
        files = (PublishedFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in self.files.items())
        return Published("coqui/XTTS-v2", self.revision, tuple(files))

    def ranges_of(self, name: str) -> list[str | None]:
        return [asked for method, requested, asked in self.requests if (method, requested) == ("GET", name)]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            name = self.path.rpartition("/")[2]
            hub.requests.append((self.command, name, self.headers.get("Range")))
            content = hub.files.get(name)
            if self.path != f"/coqui/XTTS-v2/resolve/{hub.revision}/{name}" or content is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if self.headers.get("Range") else 200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", hub.revision)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "GET":
                end = hub.cut_after.pop(0) if name == "model.pth" and hub.cut_after else len(content)
                self.wfile.write(content[start:end])
                self.close_connection = end < len(content)

    return Handler


@pytest.fixture
def hub(tiny_base: Path) -> Iterator[Hub]:
    hub = Hub({name: (tiny_base / name).read_bytes() for name in BASE_FILES})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_published_files_are_fetched_once_with_progress(hub: Hub, tmp_path: Path) -> None:
    seen: list[float] = []
    folder = resolve_base(
        "xtts_v2",
        tmp_path,
        accept_license=True,
        on_progress=lambda fraction, _: seen.append(fraction),
        published=hub.published,
        endpoint=hub.address,
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.files
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > len(hub.files)
    asked = len(hub.requests)
    again = resolve_base("xtts_v2", tmp_path, published=hub.published, endpoint=hub.address)
    assert again == folder
    assert len(hub.requests) == asked


def test_the_licence_must_be_accepted_before_anything_is_asked(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(LicenceNotAccepted) as caught:
        resolve_base("xtts_v2", tmp_path, published=hub.published, endpoint=hub.address)
    assert isinstance(caught.value, FailedPrecondition)
    assert "Coqui Public Model License" in caught.value.message
    assert "TIMBRE_ACCEPT_XTTS_LICENSE=true" in caught.value.message
    assert hub.requests == []


# huggingface_hub takes what arrives in blocks of 10 MiB: the files must be larger for a part of one to stay.


def test_a_broken_transfer_continues_within_one_call(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.pth"] *= 8
    hub.cut_after = [15_000_000]
    folder = resolve_base("xtts_v2", tmp_path, accept_license=True, published=hub.published, endpoint=hub.address)
    assert (folder / "model.pth").read_bytes() == hub.files["model.pth"]
    assert hub.ranges_of("model.pth") == [None, "bytes=10485760-"]


class Killed(Exception):
    """Stands for whatever ends a download from outside."""


def test_a_download_that_was_ended_continues_in_the_next_call(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.pth"] *= 8

    def end_in_the_middle(fraction: float, _message: str) -> None:
        if fraction > 0.6:
            raise Killed

    def ask(on_progress: Progress | None = None) -> Path:
        return resolve_base(
            "xtts_v2",
            tmp_path,
            accept_license=True,
            on_progress=on_progress,
            published=hub.published,
            endpoint=hub.address,
        )

    with pytest.raises(Killed):
        ask(end_in_the_middle)
    assert not list(tmp_path.glob("xtts_v2-*"))
    hub.requests.clear()
    folder = ask()
    assert (folder / "model.pth").read_bytes() == hub.files["model.pth"]
    assert [(name, asked) for method, name, asked in hub.requests if method == "GET"] == [("model.pth", "bytes=10485760-")]


def test_a_wrong_checksum_is_refused_and_the_right_file_taken_later(hub: Hub, tmp_path: Path) -> None:
    published = hub.published
    right = hub.files["dvae.pth"]
    hub.files["dvae.pth"] = bytes(len(right))
    with pytest.raises(BaseDownloadFailed, match=r"dvae\.pth.*wrong checksum"):
        resolve_base("xtts_v2", tmp_path, accept_license=True, published=published, endpoint=hub.address)
    assert not list(tmp_path.glob("xtts_v2-*"))
    hub.files["dvae.pth"] = right
    folder = resolve_base("xtts_v2", tmp_path, accept_license=True, published=published, endpoint=hub.address)
    assert (folder / "dvae.pth").read_bytes() == right


def test_a_file_the_hub_lacks_is_an_error_without_paths(hub: Hub, tmp_path: Path) -> None:
    published = replace(hub.published, revision="f" * 40)
    with pytest.raises(BaseDownloadFailed) as caught:
        resolve_base("xtts_v2", tmp_path, accept_license=True, published=published, endpoint=hub.address)
    assert "404" in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_two_that_ask_at_once_fetch_once(hub: Hub, tmp_path: Path) -> None:
    def ask() -> None:
        resolve_base("xtts_v2", tmp_path, accept_license=True, published=hub.published, endpoint=hub.address)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for method, name, _ in hub.requests if method == "GET") == sorted(hub.files)


def test_a_folder_is_used_as_it_is(tiny_base: Path, tmp_path: Path) -> None:
    assert resolve_base(str(tiny_base), tmp_path) == tiny_base
    incomplete = tmp_path / "mine"
    shutil.copytree(tiny_base, incomplete)
    (incomplete / "dvae.pth").unlink()
    with pytest.raises(BaseIncomplete, match=r"'mine' lacks dvae\.pth"):
        resolve_base(str(incomplete), tmp_path)


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseUnknown, match="'xtts_v9' is unknown"):
        resolve_base("xtts_v9", tmp_path)


def test_the_fingerprint_tells_bases_apart(tiny_base: Path, tmp_path: Path) -> None:
    assert fingerprint(tiny_base) == "tiny-1"
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(tiny_base, folder)
        config = (folder / "config.json").read_text().replace('"fingerprint": "tiny-1"', '"fingerprint": ""')
        (folder / "config.json").write_text(config)
    assert fingerprint(first) == fingerprint(second)
    weights = bytearray((second / "model.pth").read_bytes())
    weights[len(weights) // 2] ^= 1
    (second / "model.pth").write_bytes(weights)
    assert fingerprint(first) != fingerprint(second)


def test_finding_a_base_loads_no_torch() -> None:
    program = "import sys, services.xtts.base; sys.exit(bool({'torch', 'TTS', 'trainer'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
