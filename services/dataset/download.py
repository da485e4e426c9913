"""Fetching one recording from the web: yt-dlp in a guarded process fetches, `decode` makes the WAV.

Works on scratch files only, so that a download that is interrupted goes on where it was when it is called again with the
same folder. Several run side by side in threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

from services.dataset import decode
from services.dataset.addresses import check_url
from services.dataset.fetch import FetchRequest, Refused, too_large, too_long
from services.dataset.sources import plain_text, provenance, safe_stem
from services.runtime.errors import TimbreError

log = logging.getLogger(__name__)

_YOUTUBE = ("youtube.com", "youtube-nocookie.com")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_DIGEST_LENGTH = 12
_STEM_LENGTH = 60
# Under so many bytes in `stall_seconds` a transfer counts as stalled: telephone lines were faster.
_STALL_BYTES = 16 << 10
_POLL_SECONDS = 0.25
# Part of the progress that is the transfer; the rest is the decoding.
_TRANSFER = 0.9
# How much shorter than announced a recording may be, before it counts as cut off.
_SHORTEST = 0.95
_SHORTEST_SLACK_SECONDS = 2.0
_LOG_BYTES = 4000
_PASSED_ON = ("PATH", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "LANG", "LC_ALL", "TZ")


class DownloadFailed(TimbreError):
    """One recording could not be had; the message says why, the reason says it to programs."""


class DownloadStopped(TimbreError):
    """`should_stop` asked to end; what was fetched is kept for the next call."""


@dataclass(frozen=True)
class DownloadOptions:
    """What may be downloaded.

    Attributes:
        hosts: Hosts whose pages may be looked at, with their subdomains; `*` is every host. The media themselves may lie on
            any public host, as those of the big sites do.
        allow_private: Whether to connect to loopback, private and link-local addresses.
        allowed_networks: Networks, such as `10.1.0.0/16`, to which to connect all the same.
        max_bytes: Largest file.
        max_seconds: Longest recording.
        stall_seconds: How long nothing may arrive.
        timeout_seconds: How long the transfer may take as a whole.
    """

    hosts: tuple[str, ...]
    allow_private: bool = False
    allowed_networks: tuple[str, ...] = ()
    max_bytes: int = 4 << 30
    max_seconds: float = 12 * 3600.0
    stall_seconds: float = 90.0
    timeout_seconds: float = 6 * 3600.0


@dataclass(frozen=True)
class Downloaded:
    """A recording on the local disk.

    Attributes:
        source: Its name in a dataset, as `source_name` gives it.
        wav: 22,050 Hz mono 16-bit.
        provenance: Where it comes from, for the JSON beside it.
    """

    source: str
    wav: Path
    provenance: dict[str, Any]


def source_name(url: str) -> str:
    """Returns the name in a dataset of what is at a URL: always the same for one URL, and different for others.

    A YouTube video has its id, in whichever form the URL carries it; everything else the last part of its path and a
    digest of the URL.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    video = _youtube_id(host, parts.path, parts.query)
    if video is not None:
        return video
    plain = parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), fragment="").geturl()
    ending = f"-{hashlib.sha256(plain.encode()).hexdigest()[:_DIGEST_LENGTH]}"
    return f"{safe_stem(unquote(parts.path.rstrip('/')), _STEM_LENGTH)}{ending}"


def _youtube_id(host: str, path: str, query: str) -> str | None:
    steps = path.strip("/").split("/")
    candidate = ""
    if host == "youtu.be":
        candidate = steps[0]
    elif any(host == name or host.endswith(f".{name}") for name in _YOUTUBE):
        if steps == ["watch"]:
            candidate = parse_qs(query).get("v", [""])[0]
        elif len(steps) > 1 and steps[0] in ("shorts", "embed", "live", "v"):
            candidate = steps[1]
    return candidate if _YOUTUBE_ID.fullmatch(candidate) else None


def download(
    url: str,
    folder: Path,
    options: DownloadOptions,
    on_progress: Callable[[float, str], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Downloaded:
    """Fetches the recording at a URL and makes the WAV of a dataset from it.

    Args:
        url: An http(s) URL of a page or a file.
        folder: Scratch folder; the same one again continues an interrupted download.
        options: What is allowed.
        on_progress: Told the fraction done, 0 to 1, and a few words.
        should_stop: Asked several times a second.

    Raises:
        InvalidUrl: The URL is malformed or its host is not allowed.
        DownloadFailed: It could not be had.
        DownloadStopped: `should_stop` said so.
    """
    check_url(url, hosts=options.hosts, allow_private=options.allow_private or bool(options.allowed_networks))
    source = source_name(url)
    work = folder / f"fetch-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    work.mkdir(parents=True, exist_ok=True)
    try:
        done = _fetch(url, work, options, on_progress, should_stop)
    except Refused as error:
        if error.reason in ("TOO_LARGE", "TOO_LONG"):
            shutil.rmtree(work, ignore_errors=True)
        raise _failed(error) from error
    on_progress(_TRANSFER, "decoding")
    try:
        wav = folder / f"{source}.wav"
        seconds = _decode(work / done["file"], wav, done["info"], options)
    except (Refused, decode.AudioUnreadable) as error:
        shutil.rmtree(work, ignore_errors=True)  # it would be no better the next time
        raise _failed(error) from error
    facts = _provenance(url, wav, seconds, done["info"])
    shutil.rmtree(work, ignore_errors=True)
    on_progress(1.0, "done")
    return Downloaded(source, wav, facts)


def _failed(error: Refused | decode.AudioUnreadable) -> DownloadFailed:
    if isinstance(error, Refused):
        return DownloadFailed(str(error), reason=error.reason)
    return DownloadFailed(
        "What the site gives is no audio that can be read: it is damaged or something else.", reason="UNREADABLE"
    )


def _decode(media: Path, wav: Path, info: dict[str, Any], options: DownloadOptions) -> float:
    try:
        seconds = decode.to_wav(media, wav, max_seconds=options.max_seconds)
    except decode.AudioTooLong as error:
        raise too_long(options.max_seconds) from error
    announced = info.get("duration") or 0.0
    if seconds < announced * _SHORTEST - _SHORTEST_SLACK_SECONDS:
        wav.unlink()
        raise Refused("CUT_OFF", f"Only {seconds:.0f} of {announced:.0f} seconds can be read; try again later.")
    return seconds


def _provenance(url: str, wav: Path, seconds: float, info: dict[str, Any]) -> dict[str, Any]:
    return provenance(
        wav,
        seconds,
        url=url,
        title=info.get("title"),
        uploader=info.get("uploader") or info.get("channel"),
        licence=info.get("license"),
        page_url=plain_text(info.get("webpage_url")),
        site=plain_text(info.get("extractor_key")),
        id=plain_text(info.get("id")),
        published=plain_text(info.get("upload_date")),
        original={name: plain_text(str(info[name])) for name in ("ext", "acodec", "asr", "abr") if info.get(name)},
    )


def _fetch(
    url: str,
    work: Path,
    options: DownloadOptions,
    on_progress: Callable[[float, str], None],
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Runs the fetching process and watches over it; returns its last event."""
    request = FetchRequest(
        url,
        str(work),
        list(options.hosts),
        options.allow_private,
        list(options.allowed_networks),
        options.max_bytes,
        options.max_seconds,
    )
    with tempfile.TemporaryFile() as errors, _process(request, errors) as process:
        watch = _Watch(options)
        for event in _events(process):
            if should_stop():
                raise DownloadStopped("The download was stopped.")
            if event is None:
                watch.look(work)
            elif event["event"] == "progress":
                watch.received(event["received"])
                on_progress(*_described(event))
            elif event["event"] == "done":
                return event
            else:
                _log_errors(url, errors)
                raise Refused(event["reason"], event["sentence"])
        _log_errors(url, errors)
    raise Refused("FAILED", "The download broke off: the log of the service says why.")


class _Watch:
    """Notices when a transfer stalls, takes too long or fills the disk."""

    def __init__(self, options: DownloadOptions) -> None:
        self._options = options
        self._begun = self._moved = time.monotonic()
        self._received = 0

    def received(self, count: int) -> None:
        """Takes note of how many bytes have arrived; fewer than before means that a new part began."""
        if not 0 <= count - self._received < _STALL_BYTES:
            self._received = count
            self._moved = time.monotonic()
        self._in_time()

    def look(self, work: Path) -> None:
        """Looks at the clock and at the disk.

        Raises:
            Refused: It has stalled, takes too long or is too large.
        """
        self._in_time()
        # What is being put together of parts lies there twice.
        if _disk_use(work) > 2 * self._options.max_bytes + (64 << 20):
            raise too_large(self._options.max_bytes)

    def _in_time(self) -> None:
        now = time.monotonic()
        if now - self._moved > self._options.stall_seconds:
            seconds = self._options.stall_seconds
            raise Refused("STALLED", f"The site sent next to nothing for {seconds:g} seconds; try again later.")
        if now - self._begun > self._options.timeout_seconds:
            raise Refused("TOO_SLOW", f"The transfer took longer than {self._options.timeout_seconds / 60:g} minutes.")


def _disk_use(folder: Path) -> int:
    size = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was renamed in this moment
            size += path.stat().st_size
    return size


@contextlib.contextmanager
def _process(request: FetchRequest, errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The fetching process, which does not outlive the block, nor this process."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"HOME": request.folder, "XDG_CONFIG_HOME": request.folder, "YTDLP_NO_PLUGINS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.dataset.fetch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        start_new_session=True,  # Ctrl-C is for us to handle
    )
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it died at once; there will be no events
            process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _events(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """Events as they come, and None whenever a moment passes without one; ends with the process."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stream = process.stdout
    assert stream is not None

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(b"")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while True:
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            yield None
            continue
        if not line:
            return
        yield json.loads(line)


def _described(event: dict[str, Any]) -> tuple[float, str]:
    received, total = event["received"], event["total"]
    megabytes = f"{received / 2**20:.1f} MiB"
    if not total:
        return 0.0, megabytes
    return _TRANSFER * min(received / total, 1.0), f"{megabytes} of {total / 2**20:.1f} MiB"


def _log_errors(url: str, errors: IO[bytes]) -> None:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LOG_BYTES))
    text = errors.read().decode(errors="replace").strip()
    log.info("the download of %s failed: %s", url, text)
