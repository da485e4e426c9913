"""The recordings of a dataset, as a person looks at them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from services.dataset import layout
from services.dataset.decode import SAMPLE_RATE_HERTZ
from services.dataset.manifest import iterate_segments
from services.runtime.store import ObjectInfo, ObjectNotFound, ObjectStore

_WAV_HEADER_BYTES = 44
# Reading many small objects waits for the store, not for this machine.
_THREADS = 8


@dataclass(frozen=True)
class Recording:
    """A recording and where it comes from.

    Attributes:
        source: Its name below `raw/`.
        title: What it is called where it comes from; its name when nobody called it anything.
        url: Where it was found; None for an upload.
        uploader: Who published it; None is unknown.
        licence: Under which licence; None is unknown.
        seconds: Its length.
        added: When it was added, UTC.
        segments: How many segments were cut from it.
        excluded: How many of those a person left out.
    """

    source: str
    title: str
    url: str | None
    uploader: str | None
    licence: str | None
    seconds: float
    added: datetime
    segments: int
    excluded: int


def list_recordings(store: ObjectStore, folder: str) -> list[Recording]:
    """Returns the recordings of a dataset, by name."""
    prefix = f"{layout.raw_folder(folder)}/"
    infos = {info.key[len(prefix) :].removesuffix(".wav"): info for info in store.list(prefix) if info.key.endswith(".wav")}
    with ThreadPoolExecutor(_THREADS) as pool:
        facts = list(pool.map(lambda source: _facts(store, folder, source), infos))
    segments: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    for row in iterate_segments(store, folder):
        segments[row.source] += 1
        excluded[row.source] += row.excluded
    return [
        _recording(source, info, known, segments[source], excluded[source])
        for (source, info), known in zip(infos.items(), facts, strict=True)
    ]


def _facts(store: ObjectStore, folder: str, source: str) -> dict[str, Any]:
    try:
        facts = from_json(store.get(layout.provenance_key(folder, source)))
    except (ObjectNotFound, ValueError):
        return {}  # put there by hand, or half deleted
    return facts if isinstance(facts, dict) else {}


def _recording(source: str, info: ObjectInfo, facts: dict[str, Any], segments: int, excluded: int) -> Recording:
    seconds = facts.get("duration")
    try:
        added = datetime.fromisoformat(facts["added_at"])
    except (KeyError, TypeError, ValueError):
        added = info.modified
    return Recording(
        source=source,
        title=facts.get("title") or source,
        url=facts.get("url"),
        uploader=facts.get("uploader"),
        licence=facts.get("license"),
        # 16-bit mono, as all that is stored
        seconds=seconds if isinstance(seconds, int | float) else (info.size - _WAV_HEADER_BYTES) / (2 * SAMPLE_RATE_HERTZ),
        added=added,
        segments=segments,
        excluded=excluded,
    )
