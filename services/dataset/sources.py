"""Recordings in a dataset: their names, where they come from, and how they get into the store."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.dataset import layout
from services.runtime.store import ObjectStore

MAX_NAME_LENGTH = 80
"""Characters of a source's name, so that keys stay well inside the store's limit."""

_MAX_TEXT = 500


def safe_name(name: str) -> str:
    """Returns a file name that may be a part of a key, made from what a client or a server calls its file.

    Accents are dropped, every other character that is not allowed becomes `-`, and folders in front are left out, so that
    the result is never a path: `../Gravação 1.MP3` becomes `Gravacao-1.MP3`.
    """
    base = re.split(r"[/\\]", name)[-1]
    plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    cleaned = re.sub(r"[^A-Za-z0-9._]+|-+", "-", plain)
    cleaned = re.sub(r"\.{2,}", ".", cleaned).strip("-._")
    if len(cleaned) > MAX_NAME_LENGTH:
        stem, dot, suffix = cleaned.rpartition(".")
        keep = dot + suffix if dot and len(suffix) <= 10 else ""
        cleaned = (stem if keep else cleaned)[: MAX_NAME_LENGTH - len(keep)].rstrip("-._") + keep
    return cleaned or "recording"


def safe_stem(name: str, length: int = MAX_NAME_LENGTH) -> str:
    """As `safe_name`, without the extension, and with at most `length` characters."""
    stem = safe_name(name).rpartition(".")[0] or safe_name(name)
    return stem[:length].rstrip("-._") or "recording"


def provenance(
    wav: Path,
    duration_seconds: float,
    *,
    url: str | None,
    title: str | None,
    uploader: str | None = None,
    licence: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Describes where a recording comes from, for the JSON beside it.

    Args:
        wav: The recording as it will be stored.
        duration_seconds: Its length.
        url: Where it was found; None for an upload.
        title: What its publisher or its owner calls it.
        uploader: Who published it.
        licence: Under which licence, as published; None is unknown.
        **more: Further facts that JSON can hold.

    Returns:
        `url`, `title`, `uploader`, `license`, `duration` in seconds, `sha256` of the WAV, `added_at` in UTC, and `more`.
    """
    with wav.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "url": url,
        "title": plain_text(title),
        "uploader": plain_text(uploader),
        "license": plain_text(licence),
        "duration": round(duration_seconds, 3),
        "sha256": digest,
        "added_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }


def plain_text(text: object) -> str | None:
    """Returns a text from outside on one line, without control characters, and not too long; None for nothing."""
    if not isinstance(text, str):
        return None
    visible = "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") else character for character in text)
    return " ".join(visible.split())[:_MAX_TEXT] or None


def has_source(store: ObjectStore, folder: str, source: str) -> bool:
    """Whether a source is in a dataset, whole."""
    return store.stat(layout.provenance_key(folder, source)) is not None


def put_source(store: ObjectStore, folder: str, source: str, wav: Path, facts: dict[str, Any]) -> str:
    """Stores a recording and, after it, where it comes from; returns the key of the recording."""
    key = layout.recording_key(folder, source)
    store.put(key, wav, content_type="audio/wav")
    text = json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True)
    store.put(layout.provenance_key(folder, source), f"{text}\n".encode(), content_type="application/json")
    return key
