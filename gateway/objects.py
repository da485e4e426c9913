"""Objects over HTTP: ranges, conditions, and which of them the world may see."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime
from typing import BinaryIO

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from gateway.errors import Failure
from services.runtime.errors import InvalidArgument, NotFound
from services.runtime.keys import check_key
from services.runtime.store import ObjectInfo, ObjectStore

AUDIO = re.compile(r"(?:inference|ab_test)/.+\.wav")
"""The only keys that `/files/` ever serves: what is kept beside the audio stays inside."""

CHECKPOINTS = re.compile(r"train/output/[^/]+/checkpoints/checkpoint_epoch_[0-9]+\.pth")
"""The only keys that `/training/checkpoints/file` ever serves."""

DATASET_AUDIO = re.compile(r"datasets/(?:[^/]+/)+(?:raw|segments)/[^/]+\.wav")
"""Audio of datasets: recordings and segments, nothing else that lies there."""

_CHUNK_BYTES = 256 * 1024
_CONTENT_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg", "json": "application/json"}
# One range, as `bytes=0-99`, `bytes=100-` or `bytes=-100`. RFC 9110 lets a server ignore several at once.
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))", re.IGNORECASE)


class FileNotFound(NotFound):
    """There is no such file, or none that may be served."""


class RangeNotSatisfiable(Exception):
    """The part that was asked for lies outside the object."""


@dataclass(frozen=True)
class Span:
    """A part of an object: `length` bytes from `start` on."""

    start: int
    length: int


async def serve(store: ObjectStore, key: str, request: Request, allowed: re.Pattern[str] = AUDIO) -> Response:
    """Answers a GET or HEAD for an object.

    Args:
        store: Where it lies.
        key: Its key, decoded.
        request: For the method and the headers.
        allowed: Which keys are served here.

    Raises:
        FileNotFound: It is not there, or not among what is served.
        services.runtime.store.StoreUnavailable: The store cannot be reached.
    """
    info = await asyncio.to_thread(_find, store, key, allowed)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{info.etag}"',
        "Last-Modified": format_datetime(info.modified, usegmt=True),
        "Cache-Control": "private, no-cache",
    }
    if _unchanged(request.headers, info):
        return Response(status_code=304, headers=headers)
    try:
        part = _part(request, info)
    except RangeNotSatisfiable:
        detail = f"The file has {info.size} bytes, and the part asked for lies outside: ask for another range."
        failure = Failure(416, detail, "RANGE_NOT_SATISFIABLE", headers={"Content-Range": f"bytes */{info.size}"})
        return failure.response()
    if part:
        headers["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{info.size}"
    status, span = (206, part) if part else (200, Span(0, info.size))
    headers["Content-Length"] = str(span.length)
    media_type = _CONTENT_TYPES.get(key.rpartition(".")[2].lower(), "application/octet-stream")
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    file = await asyncio.to_thread(store.open, key, span.start, span.length)
    return StreamingResponse(_chunks(file), status, headers, media_type)


def parse_range(text: str, size: int) -> Span | None:
    """Returns the part of an object that a `Range` header asks for.

    Args:
        text: The header.
        size: Size of the object in bytes.

    Returns:
        The part, or None for the whole object: RFC 9110 has a malformed header ignored, and allows that for one that asks
        for several parts.

    Raises:
        RangeNotSatisfiable: The part lies outside the object.
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        return None
    first, last, suffix = (None if group is None else int(group) for group in match.groups())
    if first is None:
        length = min(suffix or 0, size)
        span = Span(size - length, length)
    elif last is not None and last < first:
        return None
    else:
        end = size if last is None else min(last + 1, size)
        span = Span(first, end - first)
    if span.length < 1:
        raise RangeNotSatisfiable
    return span


def _part(request: Request, info: ObjectInfo) -> Span | None:
    text = request.headers.get("range")
    if not text or request.method != "GET":
        return None
    condition = request.headers.get("if-range", "").strip()
    if condition and condition not in (f'"{info.etag}"', format_datetime(info.modified, usegmt=True)):
        return None  # the client has a part of an earlier version
    return parse_range(text, info.size)


def _find(store: ObjectStore, key: str, allowed: re.Pattern[str]) -> ObjectInfo:
    if allowed.fullmatch(key):
        with suppress(InvalidArgument):  # a key that is none names nothing
            if info := store.stat(check_key(key)):
                return info
    raise FileNotFound("There is no such file: use the URL or the path that another answer gave.")


def _unchanged(headers: Mapping[str, str], info: ObjectInfo) -> bool:
    tags = headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or f'"{info.etag}"' in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    with suppress(KeyError, TypeError, ValueError):  # absent, or no date
        return parsedate_to_datetime(headers["if-modified-since"]) >= info.modified.replace(microsecond=0)
    return False


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk
    finally:
        file.close()
