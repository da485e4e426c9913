"""Which segment gets which number when some recordings of a dataset are cut anew.

Segments are numbered over the whole dataset, source by source: sources that were there keep their order, new ones follow by
name. What did not change keeps its audio and its transcript, whatever number it has now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.dataset.layout import segment_id
from services.dataset.manifest import Segment

# Two cuts of one recording at the same place, to the millisecond, have the same audio.
_SAME_SECONDS = 1e-3


@dataclass(frozen=True)
class NewCut:
    """A stretch of a recording that is to become a segment.

    Attributes:
        source: Name of the recording.
        start_s: Where it begins, in seconds.
        end_s: Where it ends.
        padding_s: Silence to be added, half of it at each end.
        flags: What the planner says of it.
    """

    source: str
    start_s: float
    end_s: float
    padding_s: float = 0.0
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """A number and what gets it: a segment that is there, or a new cut.

    Attributes:
        id: The number as a name.
        content: What gets it.
    """

    id: str
    content: Segment | NewCut


def place(old: Sequence[Segment], cuts: Mapping[str, Sequence[NewCut]], fingerprints: Mapping[str, str]) -> list[Place]:
    """Numbers the segments of a dataset.

    Args:
        old: The manifest as it is.
        cuts: For each source that is cut anew, its cuts in order.
        fingerprints: The fingerprints of those sources: segments with another one have other audio.

    Returns:
        One place a segment, in order. A segment whose transcript a person edited always keeps its place in its source;
        new cuts that overlap it give way.
    """
    by_source: dict[str, list[Segment]] = {}
    for segment in old:
        by_source.setdefault(segment.source, []).append(segment)
    order = [*by_source, *sorted(cuts.keys() - by_source.keys())]
    contents: list[Segment | NewCut] = []
    for source in order:
        there = by_source.get(source, [])
        contents += merge(there, cuts[source], fingerprints[source]) if source in cuts else there
    return [Place(segment_id(number), content) for number, content in enumerate(contents, start=1)]


def merge(old: Sequence[Segment], cuts: Sequence[NewCut], fingerprint: str) -> list[Segment | NewCut]:
    """Returns what a recording is made of that is cut anew: edited segments, others that are the same, and new cuts."""
    pinned = [segment for segment in old if segment.edited]
    audio = _audio_part(fingerprint)
    reusable = {_key(segment.start_s, segment.end_s): segment for segment in old if _audio_part(segment.fingerprint) == audio}
    merged: list[Segment | NewCut] = list(pinned)
    for cut in cuts:
        if any(cut.start_s < segment.end_s and segment.start_s < cut.end_s for segment in pinned):
            continue
        merged.append(reusable.get(_key(cut.start_s, cut.end_s), cut))
    return sorted(merged, key=lambda content: content.start_s)


def _key(start_s: float, end_s: float) -> tuple[int, int]:
    return round(start_s / _SAME_SECONDS), round(end_s / _SAME_SECONDS)


def fingerprint(etag: str, options: Sequence[float]) -> str:
    """Returns what changes when a recording or the way it is cut changes."""
    return f"{etag}|{'/'.join(f'{value:g}' for value in options)}"


def _audio_part(of: str) -> str:
    return of.partition("|")[0]
