"""What a person does to the segments of a dataset: correcting their text, leaving them out.

Every function that changes something is called with the lock of the dataset held; see `services.dataset.edits`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace

from services.dataset.edits import DatasetClosed, Edits, read_edits, write_edits
from services.dataset.manifest import Segment, find_segment, read_segments, write_segments
from services.dataset.normalise import normalise
from services.dataset.segment import AUDIO_FLAGS
from services.runtime.errors import Conflict, InvalidArgument, NotFound
from services.runtime.store import ObjectStore

MAX_TRANSCRIPT = 2_000
"""Characters of a transcript: a minute of fast speech has some 1,800."""

MAX_NORMALISED = 4_000
"""Characters of a transcript in words: numbers take more room."""

_DEFAULT_LANGUAGE = "pt"

# More edits than this at once go straight into the manifest.
_MANY = 500


class SegmentNotFound(NotFound):
    """There is no such segment."""

    def __init__(self, folder: str, segment_id: str) -> None:
        super().__init__(f"{folder} has no segment {segment_id[:80]!r}: list its segments to see which there are.")


class SegmentChanged(Conflict):
    """The segment is not what the caller has seen."""

    def __init__(self, segment_id: str) -> None:
        super().__init__(f"{segment_id} was changed meanwhile: look at it as it is now, then change it again.")


@dataclass(frozen=True)
class Change:
    """What a person says of a segment; None leaves a field as it is.

    Attributes:
        transcript: What is said, as heard; empty says that nothing is.
        normalised: The text as it is spoken; beside a transcript, None makes it from that anew.
        excluded: Whether to leave the segment out.

    Raises:
        InvalidArgument: A text is too long.
    """

    transcript: str | None = None
    normalised: str | None = None
    excluded: bool | None = None

    def __post_init__(self) -> None:
        limits = (("transcript", self.transcript, MAX_TRANSCRIPT), ("normalised", self.normalised, MAX_NORMALISED))
        for name, text, limit in limits:
            if text is not None and len(text) > limit:
                problem = f"it must be at most {limit:,} characters of text; it has {len(text):,}"
                raise InvalidArgument(f"{name} is too long: {problem}.", fields={name: problem})

    def of(self, row: Segment) -> Segment:
        """Returns the row as it is after the change; the same object when nothing changes."""
        new = row
        if self.transcript is not None:
            text = " ".join(self.transcript.split())
            language = row.language or _DEFAULT_LANGUAGE
            new = replace(
                new,
                transcript=text,
                normalised=normalise(text, language),
                language=language,
                confidence=None,
                flags=[flag for flag in row.flags if flag in AUDIO_FLAGS],  # the others speak of the machine's text
                edited=True,
            )
        if self.normalised is not None:
            new = replace(new, normalised=" ".join(self.normalised.split()), edited=True)
        if self.excluded is not None:
            new = replace(new, excluded=self.excluded)
        return row if new == row else replace(new, edits=row.edits + 1)


def get_segment(store: ObjectStore, folder: str, segment_id: str) -> Segment:
    """Returns a segment.

    Raises:
        SegmentNotFound: There is none of that name.
    """
    return _found(store, folder, segment_id, read_edits(store, folder))


def update_segment(store: ObjectStore, folder: str, segment_id: str, change: Change, revision: str = "") -> Segment:
    """Changes a segment.

    Args:
        store: The object store.
        folder: The dataset.
        segment_id: The segment.
        change: What to change.
        revision: What `revision_of` said of the segment that the caller has seen; empty for whatever it is.

    Returns:
        The segment as it is now.

    Raises:
        SegmentNotFound: There is none of that name.
        SegmentChanged: It has another revision.
        DatasetClosed: Its number is about to change.
    """
    edits = _open_edits(store, folder)
    row = _found(store, folder, segment_id, edits)
    if revision and revision != revision_of(row):
        raise SegmentChanged(segment_id)
    new = change.of(row)
    if new is not row:
        write_edits(store, folder, edits.with_rows([new]))
    return new


def exclude_segments(store: ObjectStore, folder: str, ids: Collection[str], excluded: bool) -> int:
    """Leaves segments out, or takes them in again; returns how many of them that changed.

    Raises:
        SegmentNotFound: One is not there; then none is changed.
        DatasetClosed: Their numbers are about to change.
    """
    edits = _open_edits(store, folder)
    rows = read_segments(store, folder)
    wanted = set(ids)
    if missing := wanted - {row.id for row in rows}:
        raise SegmentNotFound(folder, min(missing))
    change = Change(excluded=excluded)
    new = [change.of(row) if row.id in wanted else row for row in rows]
    changed = [after for before, after in zip(rows, new, strict=True) if after is not before]
    if len(changed) > _MANY:
        write_segments(store, folder, new)
    elif changed:
        write_edits(store, folder, edits.with_rows(changed))
    return len(changed)


def revision_of(row: Segment) -> str:
    """Returns what changes with everything that a person or a job changes in a segment."""
    seen = (row.id, row.stretch, row.seconds, row.transcript, row.normalised, row.language, row.confidence, row.flags)
    content = repr((*seen, row.excluded, row.edited, row.edits)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _open_edits(store: ObjectStore, folder: str) -> Edits:
    edits = read_edits(store, folder)
    if edits.closed_by:
        raise DatasetClosed(folder, edits.closed_by)
    return edits


def _found(store: ObjectStore, folder: str, segment_id: str, edits: Edits) -> Segment:
    row = find_segment(store, folder, segment_id, edits)
    if row is None:
        raise SegmentNotFound(folder, segment_id)
    return row
