"""The process that fetches one recording with yt-dlp: `python -m services.dataset.fetch`.

It reads one line of JSON from standard input, writes events as lines of JSON to standard output, and ends when standard
input does, which happens however its parent dies. It is a process of its own because it handles what strangers publish:
it can connect to public addresses only and start no program (`addresses.guard`), its memory and its files are bounded, it
has none of our settings in its environment, and its parent can end it at any moment. What it fetched lies in its folder
and is carried on with next time.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from services.dataset.addresses import AddressRefused, InvalidUrl, check_url, guard

_SOCKET_SECONDS = 20.0
_RETRIES = 3
_MEMORY_BYTES = 2 << 30
_REPORT_SECONDS = 0.3


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch and within which limits; see `download.DownloadOptions`."""

    url: str
    folder: str
    hosts: list[str]
    allow_private: bool
    allowed_networks: list[str]
    max_bytes: int
    max_seconds: float


class Refused(Exception):
    """The recording will not be fetched; the message is a sentence for the user.

    Args:
        reason: UPPER_SNAKE_CASE identifier.
        sentence: What is wrong.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Progress:
    """Sends on what yt-dlp reports, and ends a download that grows too large."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._next = 0.0

    def __call__(self, status: dict[str, Any]) -> None:
        """The hook that yt-dlp calls after every block."""
        received = int(status.get("downloaded_bytes") or 0)
        if received > self._max_bytes:
            raise too_large(self._max_bytes)
        now = time.monotonic()
        if now >= self._next or status.get("status") == "finished":
            self._next = now + _REPORT_SECONDS
            total = status.get("total_bytes") or status.get("total_bytes_estimate")
            emit(event="progress", received=received, total=int(total) if total else None)


class Log:
    """Takes yt-dlp's messages: its errors reach the user in other words."""

    def debug(self, message: str) -> None:
        """Drops it."""

    info = debug
    warning = debug

    def error(self, message: str) -> None:
        """Keeps it for the log of the parent."""
        sys.stderr.write(f"{message}\n")


def main() -> None:
    """Fetches what standard input asks for."""
    request = FetchRequest(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit(request)
    refused = threading.Event()
    deno = shutil.which("deno", path=os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", ""))))
    import yt_dlp

    guard(request.allow_private, request.allowed_networks, [deno] if deno else [], refused.set)
    try:
        emit(event="done", **_fetch(request, deno))
    except Refused as error:
        emit(event="failed", reason=error.reason, sentence=str(error))
    except (AddressRefused, InvalidUrl) as error:
        emit(event="failed", reason="URL_REFUSED", sentence=error.message)
    except yt_dlp.utils.YoutubeDLError as error:
        emit(event="failed", **_explained(error, refused.is_set()))


def _fetch(request: FetchRequest, deno: str | None) -> dict[str, Any]:
    ydl = _downloader(request, deno)
    info = _single(ydl.extract_info(request.url, download=False))
    _check(info, request)
    info = ydl.process_ie_result(info, download=True)
    files = [Path(part["filepath"]) for part in info.get("requested_downloads") or () if part.get("filepath")]
    if len(files) != 1 or not files[0].is_file() or not files[0].stat().st_size:
        raise Refused("NO_AUDIO", "Nothing could be downloaded from there.")
    kept = ("id", "title", "uploader", "channel", "license", "duration", "webpage_url", "extractor_key", "upload_date")
    facts = {name: info.get(name) for name in (*kept, "acodec", "ext", "asr", "abr", "language", "format_id")}
    return {"file": files[0].name, "info": facts}


def _downloader(request: FetchRequest, deno: str | None) -> Any:
    import yt_dlp

    class GuardedDownloader(yt_dlp.YoutubeDL):  # type: ignore[misc]
        """Looks at every page only after its host was checked, also those that a page leads to."""

        def extract_info(self, url: str, *arguments: Any, **options: Any) -> Any:
            page = url if "://" in url or options.get("ie_key") != "Youtube" else f"https://www.youtube.com/watch?v={url}"
            try:
                check_url(page.partition("#__youtubedl_smuggle")[0], hosts=request.hosts, allow_private=True)
            except InvalidUrl as error:
                raise Refused("URL_REFUSED", f"The page leads elsewhere: {error.message}") from error
            return super().extract_info(url, *arguments, **options)

    return GuardedDownloader(
        {
            "format": "bestaudio/best",
            "outtmpl": {"default": f"{request.folder}/media.%(format_id)s.%(ext)s"},
            "restrictfilenames": True,
            "noplaylist": True,
            "playlist_items": "1:2",  # two tell that there are several
            "logger": Log(),
            "progress_hooks": [Progress(request.max_bytes)],
            "noprogress": True,
            "color": "never",
            "socket_timeout": _SOCKET_SECONDS,
            "retries": _RETRIES,
            "extractor_retries": _RETRIES,
            "fragment_retries": _RETRIES,
            "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), _pause),
            "skip_unavailable_fragments": False,  # a recording with holes is worse than none
            "external_downloader": {"default": "native"},
            "fixup": "never",
            "postprocessors": [],
            "updatetime": False,
            "cachedir": False,
            "proxy": "",  # through a proxy the guard could not see where a connection leads
            # YouTube's own code runs in it, without leave to use the network or files.
            "js_runtimes": {"deno": {"path": deno}} if deno else {},
        }
    )


def _pause(n: int) -> float:
    return min(2.0**n, 10.0)


def _single(info: dict[str, Any] | None) -> dict[str, Any]:
    """The one recording of a page."""
    while info is not None and info.get("_type") in ("playlist", "multi_video"):
        entries = [entry for entry in info.get("entries") or () if entry]
        if len(entries) > 1:
            raise Refused("SEVERAL_RECORDINGS", "There are several recordings: give the URL of each of them.")
        info = entries[0] if entries else None
    if info is None:
        raise Refused("NO_AUDIO", "There is no audio or video that can be downloaded.")
    return info


def _check(info: dict[str, Any], request: FetchRequest) -> None:
    """Refuses by what the site says of a recording; what it does not say is measured later."""
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise Refused("LIVE", "It is a live broadcast: download it when it is over.")
    if (info.get("duration") or 0) > request.max_seconds:
        raise too_long(request.max_seconds)
    formats = info.get("requested_downloads") or info.get("requested_formats") or [info]
    if max((part.get("filesize") or part.get("filesize_approx") or 0) for part in formats) > request.max_bytes:
        raise too_large(request.max_bytes)


def too_large(limit: int) -> Refused:
    """What a recording of more bytes than allowed is answered with."""
    return Refused("TOO_LARGE", f"The file is larger than the {limit / 2**20:,.0f} MiB allowed.")


def too_long(limit: float) -> Refused:
    """What a recording of more seconds than allowed is answered with."""
    return Refused("TOO_LONG", f"The recording is longer than the {limit / 60:,.0f} minutes allowed.")


_SENTENCE_CHARACTERS = 300

_KNOWN = (
    (r"looks truncated|incomplete youtube id", "INVALID_URL", "The address is cut off: copy the whole link."),
    (r"confirm your age|age.restricted|inappropriate for some", "AGE_RESTRICTED", "The site shows it to grown-ups only."),
    (r"not a bot|captcha", "SITE_REFUSED", "The site wants proof that a person asks; try again later."),
    (r"private video|members.only|requires? (payment|purchase)|log ?in|sign in", "LOGIN_NEEDED", "The site wants a login."),
    (r"not (made this video )?available (in|from) your", "GEO_BLOCKED", "The site does not show it in this region."),
    (r"unavailable|removed|no longer|terminated|does not exist", "NOT_FOUND", "The site says that it is not there any more."),
    (r"drm", "PROTECTED", "It is protected against copying."),
    (r"unsupported url|no video formats|requested format", "NO_AUDIO", "There is no audio or video that can be downloaded."),
    (r"data blocks|file is empty", "NO_AUDIO", "Nothing could be downloaded from there."),
    (r"timed out|timeout", "STALLED", "The site stopped answering; try again later."),
    (r"name or service not known|name resolution|getaddrinfo|nodename", "UNREACHABLE", "The name of the host is not known."),
    (r"refused|unreachable|reset|remote end|bytes read|more expected", "UNREACHABLE", "The connection was lost; try again."),
    (r"no space left|file too large|unable to (write|open)", "DISK", "The file could not be written to the local disk."),
)


def _explained(error: BaseException, address_refused: bool) -> dict[str, Any]:
    """Turns an error of yt-dlp into a reason and a sentence."""
    from yt_dlp.networking.exceptions import HTTPError
    from yt_dlp.utils import GeoRestrictedError

    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, (Refused, AddressRefused)):
            return {"reason": getattr(cause, "reason", "URL_REFUSED"), "sentence": str(cause)}
    if address_refused:
        return {"reason": "URL_REFUSED", "sentence": "The host leads to an address on a private network, which is not allowed."}
    for cause in causes:
        if isinstance(cause, HTTPError):
            return _explained_status(cause.status)
        if isinstance(cause, GeoRestrictedError):
            return {"reason": "GEO_BLOCKED", "sentence": "The site does not show it in this region."}
    text = " ".join(str(cause) for cause in causes).lower()
    for pattern, reason, sentence in _KNOWN:
        if re.search(pattern, text):
            return {"reason": reason, "sentence": sentence}
    return {"reason": "FAILED", "sentence": f"The download failed: {_in_short(causes[0])}"}


def _in_short(error: BaseException) -> str:
    """What yt-dlp says, without its colours, its advice on reports, and paths of this machine."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
    text = re.split(r";\s*please report this issue|\s*\(caused by", text, flags=re.IGNORECASE)[0]
    text = re.sub(r"(?<![\w:/.])/(?!/)\S+", "…", " ".join(text.split()))
    return text if len(text) <= _SENTENCE_CHARACTERS else f"{text[:_SENTENCE_CHARACTERS]}…"


def _explained_status(status: int) -> dict[str, Any]:
    if status in (404, 410):
        return {"reason": "NOT_FOUND", "sentence": f"There is nothing at this address (HTTP {status})."}
    if status in (401, 403, 407, 451):
        return {"reason": "SITE_REFUSED", "sentence": f"The site refuses to give it (HTTP {status})."}
    if status == 429 or status >= 500:
        return {"reason": "SITE_BUSY", "sentence": f"The site cannot answer now (HTTP {status}); try again later."}
    return {"reason": "FAILED", "sentence": f"The site answered with HTTP {status}."}


def _causes(error: BaseException) -> list[BaseException]:
    """An error and all that stand behind it, in the ways of Python and of yt-dlp."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        item = waiting.pop(0)
        if item is None or any(item is seen for seen in found):
            continue
        found.append(item)
        wrapped = getattr(item, "exc_info", None)
        waiting += [item.__cause__, item.__context__, getattr(item, "cause", None), wrapped[1] if wrapped else None]
    return found


def emit(**event: Any) -> None:
    """Writes an event for the parent."""
    sys.stdout.write(f"{json.dumps(event, default=str)}\n")
    sys.stdout.flush()


def _limit(request: FetchRequest) -> None:
    """Bounds this process by the kernel, should everything else fail."""
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, request.max_bytes + (64 << 20))]
    if sys.platform == "linux":  # elsewhere this limit is missing, or counts what is merely mapped
        limits.append((resource.RLIMIT_DATA, _MEMORY_BYTES))
    for kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (soft, hard))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    cast(Any, sys.stdout).reconfigure(encoding="utf-8")
    main()
