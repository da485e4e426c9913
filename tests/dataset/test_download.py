"""Downloads from a local server, through the real yt-dlp in its real guarded process."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import imageio_ffmpeg
import psutil
import pytest
import soundfile as sf

from services.dataset.addresses import InvalidUrl
from services.dataset.download import DownloadFailed, DownloadOptions, DownloadStopped, download, source_name
from services.dataset.fetch import _explained
from services.runtime.keys import check_key
from timbre.demo.speech import make_recording

# The server's address is exempt from the guard, all other private ones are not.
OPTIONS = DownloadOptions(hosts=("127.0.0.1", "127.0.0.2"), allowed_networks=("127.0.0.1/32",), stall_seconds=30)

TYPES = {
    "wav": "audio/wav",
    "webm": "video/webm",
    "mp4": "video/mp4",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "bin": "application/octet-stream",
}
PAGE = "<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one recording in each format, and with parts of it as HLS has them."""
    folder = tmp_path_factory.mktemp("media")
    wav = folder / "speech.wav"
    make_recording(wav, ["Bom dia.", "Hoje o céu está claro.", "Vamos começar a aula."], pause_seconds=(0.5,))
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    picture = ["-f", "lavfi", "-i", "color=size=64x64:rate=5"]
    for extension in ("webm", "mp4"):
        subprocess.run([*ffmpeg, *picture, "-i", wav, "-shortest", folder / f"speech.{extension}"], check=True)
    for extension in ("m4a", "mp3", "opus"):
        subprocess.run([*ffmpeg, "-i", wav, folder / f"speech.{extension}"], check=True)
    (folder / "speech.bin").write_bytes(wav.read_bytes())
    hls = ["-c:a", "aac", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", folder / "parts.m3u8"]
    subprocess.run([*ffmpeg, "-i", wav, *hls], check=True)
    return folder


class Site(ThreadingHTTPServer):
    """A web site with recordings and with everything that goes wrong; it remembers what it was asked."""

    daemon_threads = True
    media: Path

    def __init__(self, media: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.media = media
        self.asked: list[tuple[str, str | None]] = []
        self.closing = threading.Event()
        self.routes: dict[str, Callable[[Handler], None]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        name = self.path.partition("?")[0].strip("/")
        route = self.server.routes.get(name)
        if route is not None:
            route(self)
        elif (self.server.media / name).is_file():
            content = (self.server.media / name).read_bytes()
            extension = name.rpartition(".")[2]
            kind = {"m3u8": "application/vnd.apple.mpegurl", "ts": "video/mp2t"}.get(extension) or TYPES[extension]
            self.give(content, kind)
        else:
            self.give(b"nothing here", "text/plain", status=404)

    def give(
        self, content: bytes, kind: str, status: int = 200, part: int = 0, pause_seconds: float = 0.0, **headers: str
    ) -> None:
        """Answers with a file from where the client wants it, or with `part` bytes of that, or in sixteenths with pauses."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if wanted else status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content) - start), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        content = content[start : start + part if part else None]
        step = len(content) // 16 + 1 if pause_seconds else len(content) + 1
        for position in range(0, len(content), step):
            self.wfile.write(content[position : position + step])
            self.server.closing.wait(pause_seconds)

    def open_end(self, kind: str) -> None:
        """Headers of an answer whose length is not told."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()


@pytest.fixture
def site(media: Path) -> Iterator[Site]:
    with Site(media) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def get(url: str, folder: Path, options: DownloadOptions = OPTIONS) -> Path:
    return download(url, folder, options, lambda fraction, message: None).wav


def refusal(url: str, folder: Path, options: DownloadOptions = OPTIONS) -> DownloadFailed:
    with pytest.raises(DownloadFailed) as caught:
        get(url, folder, options)
    assert not list(folder.glob("*.wav"))
    return caught.value


# What succeeds


def test_every_format_becomes_a_recording_several_side_by_side(site: Site, media: Path, tmp_path: Path) -> None:
    seconds = sf.info(media / "speech.wav").duration
    with ThreadPoolExecutor(3) as pool:
        wavs = list(pool.map(lambda extension: get(f"{site.url}/speech.{extension}", tmp_path), TYPES))
    for wav in wavs:
        info = sf.info(wav)
        assert (info.format, info.samplerate, info.channels, info.subtype) == ("WAV", 22050, 1, "PCM_16"), wav
        assert info.duration == pytest.approx(seconds, abs=0.15), wav
    assert len(set(wavs)) == len(TYPES)
    assert sorted(tmp_path.iterdir()) == sorted(wavs)  # nothing of the work stays


def test_provenance_and_progress(site: Site, media: Path, tmp_path: Path) -> None:
    url = f"{site.url}/speech.mp3?a=1"
    told: list[float] = []
    done = download(url, tmp_path, OPTIONS, lambda fraction, message: told.append(fraction))
    assert done.source == source_name(url)
    assert done.wav == tmp_path / f"{done.source}.wav"
    facts = done.provenance
    assert (facts["url"], facts["title"], facts["site"]) == (url, "speech", "Generic")
    assert (facts["uploader"], facts["license"]) == (None, None)
    assert facts["sha256"] == hashlib.sha256(done.wav.read_bytes()).hexdigest()
    assert facts["duration"] == pytest.approx(sf.info(done.wav).duration, abs=0.001)
    assert facts["original"]["ext"] == "mp3"
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_an_hls_stream(site: Site, media: Path, tmp_path: Path) -> None:
    seconds = sf.info(media / "speech.wav").duration
    assert sf.info(get(f"{site.url}/parts.m3u8", tmp_path)).duration == pytest.approx(seconds, abs=0.3)


def test_the_recording_of_a_page(site: Site, media: Path, tmp_path: Path) -> None:
    body = PAGE.format(title="Uma aula", body='<audio src="/speech.mp3"></audio>').encode()
    site.routes["page"] = lambda handler: handler.give(body, "text/html")
    done = download(f"{site.url}/page", tmp_path, OPTIONS, lambda fraction, message: None)
    assert done.provenance["title"].startswith("Uma aula")


# What the site cannot or will not give


def test_what_fails_says_why(site: Site, tmp_path: Path) -> None:
    html = PAGE.format(title="A page", body="<p>Nothing to hear</p>").encode()
    two = PAGE.format(title="Two", body='<audio src="/speech.mp3"></audio><audio src="/speech.opus"></audio>').encode()
    site.routes |= {
        "html": lambda handler: handler.give(html, "text/html"),
        "two": lambda handler: handler.give(two, "text/html"),
        "secret.wav": lambda handler: handler.give(b"no", "text/plain", status=403),
        "corrupt.mp3": lambda handler: handler.give(b"not audio at all" * 5000, "audio/mpeg"),
        "stub.wav": lambda handler: handler.give((site.media / "speech.wav").read_bytes()[:44], "audio/wav"),
        "empty.wav": lambda handler: handler.give(b"", "audio/wav"),
    }
    expected = {
        "missing.wav": ("NOT_FOUND", "HTTP 404"),
        "html": ("NO_AUDIO", "no audio or video"),
        "two": ("SEVERAL_RECORDINGS", "each of them"),
        "secret.wav": ("SITE_REFUSED", "HTTP 403"),
        "corrupt.mp3": ("UNREADABLE", "no audio that can be read"),
        "stub.wav": ("UNREADABLE", "no audio that can be read"),
        "empty.wav": ("NO_AUDIO", "could be downloaded"),
    }
    with ThreadPoolExecutor(3) as pool:
        errors = list(pool.map(lambda name: refusal(f"{site.url}/{name}", tmp_path), expected))
    for error, (name, (reason, words)) in zip(errors, expected.items(), strict=True):
        assert error.reason == reason, name
        assert words in error.message, name
        assert re.fullmatch(r"[A-Z].*\.", error.message), name
        assert str(tmp_path) not in error.message


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    assert refusal("http://127.0.0.1:1/x.wav", tmp_path).reason == "UNREACHABLE"


def test_what_stalls_drips_or_never_ends_is_given_up(site: Site, tmp_path: Path) -> None:
    def stall(handler: Handler) -> None:
        handler.give(bytes(100_000), "audio/wav", part=5000)
        handler.server.closing.wait(60)

    def drip(handler: Handler) -> None:
        handler.open_end("audio/wav")
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(b"x")

    def page(handler: Handler) -> None:
        handler.open_end("text/html")
        handler.wfile.write(b"<!DOCTYPE html><html>")
        while not handler.server.closing.wait(0.01):
            handler.wfile.write(b"<p>and so on" * 1000)

    site.routes |= {"stall.wav": stall, "drip.wav": drip, "page": page}
    options = replace(OPTIONS, stall_seconds=6)
    begun = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        errors = list(pool.map(lambda name: refusal(f"{site.url}/{name}", tmp_path / name, options), site.routes))
    assert [error.reason for error in errors] == ["STALLED"] * 3
    assert time.monotonic() - begun < 20
    assert {asked.strip("/") for asked, _ in site.asked} == set(site.routes)


# Limits


def test_what_is_announced_as_too_large_is_not_kept(site: Site, media: Path, tmp_path: Path) -> None:
    error = refusal(f"{site.url}/speech.wav", tmp_path, replace(OPTIONS, max_bytes=100_000))
    assert error.reason == "TOO_LARGE"
    assert list(tmp_path.iterdir()) == []


def test_what_never_ends_is_cut_off_at_the_limit(site: Site, tmp_path: Path) -> None:
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.open_end("audio/wav")
        while not handler.server.closing.is_set():
            handler.wfile.write(bytes(1 << 16))
            sent += 1 << 16

    site.routes["endless.wav"] = endless
    error = refusal(f"{site.url}/endless.wav", tmp_path, replace(OPTIONS, max_bytes=8 << 20))
    assert error.reason == "TOO_LARGE"
    assert sent < 64 << 20
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_long_is_refused_though_the_site_does_not_tell(site: Site, tmp_path: Path) -> None:
    error = refusal(f"{site.url}/speech.opus", tmp_path, replace(OPTIONS, max_seconds=2))
    assert error.reason == "TOO_LONG"
    assert list(tmp_path.iterdir()) == []


# Addresses


def test_private_addresses_are_refused_before_anything_starts(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidUrl, match="private network"):
        get(f"{site.url}/speech.wav", tmp_path, replace(OPTIONS, allowed_networks=()))
    with pytest.raises(InvalidUrl, match="not allowed"):
        get(f"{site.url}/speech.wav", tmp_path, replace(OPTIONS, hosts=("youtube.com",)))
    assert site.asked == []


def test_private_addresses_are_reached_when_that_is_allowed(site: Site, tmp_path: Path) -> None:
    options = replace(OPTIONS, allowed_networks=(), allow_private=True)
    assert get(f"{site.url}/speech.wav", tmp_path, options).is_file()


def test_no_way_leads_to_a_private_address(site: Site, media: Path, tmp_path: Path) -> None:
    inner = f"http://127.0.0.2:{site.server_port}/speech.wav"
    playlist = (media / "parts.m3u8").read_text().replace("parts0", f"http://127.0.0.2:{site.server_port}/parts0")
    page = PAGE.format(title="x", body=f'<audio src="{inner}"></audio>')
    site.routes |= {
        "redirect": lambda handler: handler.give(b"", "text/plain", status=302, Location=inner),
        "embedding": lambda handler: handler.give(page.encode(), "text/html"),
        "bad.m3u8": lambda handler: handler.give(playlist.encode(), "application/vnd.apple.mpegurl"),
    }
    with ThreadPoolExecutor(3) as pool:
        errors = list(pool.map(lambda name: refusal(f"{site.url}/{name}", tmp_path), site.routes))
    for error in errors:
        assert error.reason == "URL_REFUSED"
        assert "private network" in error.message
    assert {asked.strip("/") for asked, _ in site.asked} == set(site.routes)


def test_a_redirect_to_a_host_that_is_not_listed_is_refused(site: Site, tmp_path: Path) -> None:
    target = f"http://localhost:{site.server_port}/speech.wav"
    site.routes["away"] = lambda handler: handler.give(b"", "text/plain", status=302, Location=target)
    options = replace(OPTIONS, allow_private=True, hosts=("127.0.0.1",))
    error = refusal(f"{site.url}/away", tmp_path, options)
    assert error.reason == "URL_REFUSED"
    assert "localhost is not allowed" in error.message


# Interruptions


def test_a_download_that_was_stopped_goes_on_where_it_was(site: Site, media: Path, tmp_path: Path) -> None:
    content = (media / "speech.wav").read_bytes()
    site.routes["slow.wav"] = lambda handler: handler.give(content, "audio/wav", pause_seconds=0.3)
    url = f"{site.url}/slow.wav"
    seen: list[float] = []
    with pytest.raises(DownloadStopped):
        download(url, tmp_path, OPTIONS, lambda fraction, message: seen.append(fraction), lambda: len(seen) > 1)
    (part,) = tmp_path.rglob("*.part")
    assert 0 < part.stat().st_size < len(content)

    site.routes["slow.wav"] = lambda handler: handler.give(content, "audio/wav")
    site.asked.clear()
    wav = get(url, tmp_path)
    assert any(wanted for _, wanted in site.asked)
    assert sf.info(wav).frames == sf.info(media / "speech.wav").frames


def test_a_transfer_that_breaks_is_taken_up_again(site: Site, media: Path, tmp_path: Path) -> None:
    content = (media / "speech.wav").read_bytes()
    breaks = 2

    def break_off(handler: Handler) -> None:
        nonlocal breaks
        breaking = breaks > 0 and len(site.asked) > 1  # the first request only looks at the kind of file
        breaks -= breaking
        handler.give(content, "audio/wav", part=len(content) // 4 if breaking else 0)

    site.routes["broken.wav"] = break_off
    wav = get(f"{site.url}/broken.wav", tmp_path)
    assert breaks == 0
    assert sf.info(wav).frames == sf.info(media / "speech.wav").frames


PARENT = """
import sys
from pathlib import Path
from services.dataset.download import DownloadOptions, download

options = DownloadOptions(hosts=("127.0.0.1",), allow_private=True)
download(sys.argv[1], Path(sys.argv[2]), options, lambda fraction, message: print(fraction, flush=True))
"""


def test_the_fetching_process_does_not_outlive_a_parent_that_is_killed(site: Site, media: Path, tmp_path: Path) -> None:
    content = (media / "speech.wav").read_bytes()
    site.routes["slow.wav"] = lambda handler: handler.give(content, "audio/wav", pause_seconds=1)
    command = [sys.executable, "-c", PARENT, f"{site.url}/slow.wav", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
    assert children
    _gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert list(tmp_path.rglob("*.part"))


# Names


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        "http://youtube.com/watch?list=PL1&v=dQw4w9WgXcQ&t=10",
        "https://youtu.be/dQw4w9WgXcQ?si=abc",
        "https://m.youtube.com/shorts/dQw4w9WgXcQ",
        "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ",
        "https://youtube.com/live/dQw4w9WgXcQ/",
    ],
)
def test_a_video_has_its_id_for_a_name_in_every_form_of_its_url(url: str) -> None:
    assert source_name(url) == "dQw4w9WgXcQ"


def test_names_are_plain_stable_and_different() -> None:
    urls = [
        "https://example.org/aulas/Introdução%20geral.mp3",
        "https://example.org/aulas/Introdução%20geral.mp3?v=2",
        "https://example.org/../../etc/passwd",
        "https://example.org/" + "x" * 500,
        "https://example.org",
        "https://youtube.com/watch?v=../../../x",
        "https://youtube.com/playlist?list=PL1",
        "https://evil.example/watch?v=dQw4w9WgXcQ",
    ]
    names = [source_name(url) for url in urls]
    assert names == [source_name(url) for url in urls]
    assert len(set(names)) == len(urls)
    assert names[0].startswith("Introducao-geral-")
    for name in names:
        check_key(name)
        assert "/" not in name
        assert len(name) <= 80
    assert source_name(f"{urls[0].replace('example', 'EXAMPLE')}#part") == names[0]


def test_what_is_not_known_is_told_as_yt_dlp_says_it() -> None:
    from yt_dlp.utils import DownloadError

    advice = "; please report this issue on  https://github.com/yt-dlp/yt-dlp/issues?q= , filling out the form (caused by X)"
    told = _explained(DownloadError(f"\x1b[0;31mERROR:\x1b[0m [odd] abc: No number in /home/me/a.json{advice}"), False)
    assert told == {"reason": "FAILED", "sentence": "The download failed: [odd] abc: No number in …"}
    told = _explained(DownloadError("ERROR: [youtube:truncated_id] VIDEO_ID: Incomplete YouTube ID VIDEO_ID."), False)
    assert told["reason"] == "INVALID_URL"
