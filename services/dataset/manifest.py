"""The manifest of a dataset: one row a segment, and the files made of it.

`segments.jsonl`, with what people changed since it was written (`services.dataset.edits`), is the truth. `metadata.csv`
(LJSpeech) and `summary.json` (figures for `stats`) are written after it; figures that do not belong to it are made anew.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from typing import BinaryIO, cast

from pydantic_core import from_json

from services.dataset.edits import Edits, Stretch, read_edits, write_edits
from services.dataset.layout import manifest_key, metadata_key, segment_key, summary_key
from services.runtime.store import ObjectInfo, ObjectNotFound, ObjectStore

# A manifest of 100,000 segments has some 40 MB: above this many bytes it is written through a file.
_SPOOL_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Segment:
    """One row of the manifest.

    Attributes:
        id: `segment_00001` and so on, in source order.
        source: Name of the recording it was cut from.
        start_s: Where it begins in the recording, in seconds.
        end_s: Where it ends in the recording, in seconds.
        seconds: Length of its audio.
        bytes: Size of its WAV.
        loudness: Integrated loudness of its audio, in LUFS.
        snr_db: Estimated ratio of speech to background in the recording, in dB.
        clipping: Share of the recording's samples here that are clipped, 0 to 1.
        transcript: What is said, as heard; None while nobody has listened.
        normalised: The transcript as it is spoken: numbers, abbreviations and symbols in words.
        language: ISO 639-1 code of the language; None before the transcription.
        confidence: 0 to 1; None before the transcription and for transcripts by people.
        flags: What a person should look at.
        excluded: Whether a person left it out.
        edited: Whether the transcript is a person's; no machine replaces it.
        edits: How often a person changed the row.
        fingerprint: Of the recording and the options it was cut with.
    """

    id: str
    source: str
    start_s: float
    end_s: float
    seconds: float
    bytes: int
    loudness: float | None = None
    snr_db: float | None = None
    clipping: float | None = None
    transcript: str | None = None
    normalised: str | None = None
    language: str | None = None
    confidence: float | None = None
    flags: list[str] = field(default_factory=list)
    excluded: bool = False
    edited: bool = False
    edits: int = 0
    fingerprint: str = ""

    @property
    def transcribed(self) -> bool:
        """Whether there is a transcript with anything in it."""
        return bool(self.transcript)

    @property
    def stretch(self) -> Stretch:
        """What it is, whatever its number."""
        return self.source, self.fingerprint.partition("|")[0], self.start_s, self.end_s


_FIELDS = frozenset(f.name for f in fields(Segment))


@dataclass(frozen=True)
class Summary:
    """Figures of a manifest.

    Attributes:
        segments: Number of segments.
        seconds: Their length together.
        transcribed: How many have a transcript.
        excluded: How many a person left out.
        flagged: How many carry a flag.
    """

    segments: int = 0
    seconds: float = 0.0
    transcribed: int = 0
    excluded: int = 0
    flagged: int = 0


def read_segments(store: ObjectStore, folder: str) -> list[Segment]:
    """Returns all segments of a dataset, in order; none when there is no manifest."""
    return list(iterate_segments(store, folder))


def iterate_segments(store: ObjectStore, folder: str, *, offset: int = 0) -> Iterator[Segment]:
    """Goes through the segments of a dataset without holding them all; `offset` are passed over unread."""
    edits = read_edits(store, folder)  # before the manifest: see services.dataset.edits
    for line in islice(_lines(store, folder), offset, None):
        yield edits.over(_row(line))


def read_page(store: ObjectStore, folder: str, *, offset: int, limit: int) -> tuple[str, int, list[Segment]]:
    """Returns the revision of a dataset, the number of its segments, and `limit` of them after `offset`."""
    edits = read_edits(store, folder)
    info = store.stat(manifest_key(folder))
    lines = list(_lines(store, folder))
    page = [edits.over(_row(line)) for line in lines[offset : offset + limit]]
    return _revision(info, edits), len(lines), page


def find_segment(store: ObjectStore, folder: str, segment_id: str, edits: Edits) -> Segment | None:
    """Returns a segment by its name, without looking at the others; None when there is none.

    Args:
        store: The object store.
        folder: The dataset.
        segment_id: The name.
        edits: Those of the dataset.
    """
    try:
        manifest = store.get(manifest_key(folder))
    except ObjectNotFound:
        return None
    wanted = json.dumps(segment_id).encode()
    position = manifest.find(wanted)
    while position >= 0:
        end = manifest.find(b"\n", position)
        end = end if end >= 0 else len(manifest)
        row = _row(manifest[manifest.rfind(b"\n", 0, position) + 1 : end])
        if row.id == segment_id:
            return edits.over(row)
        position = manifest.find(wanted, end)
    return None


def segments_of(store: ObjectStore, folder: str, source: str) -> list[Segment]:
    """Returns the segments of one recording, in order, without looking at the others."""
    edits = read_edits(store, folder)
    wanted = json.dumps(source).encode()
    rows = (_row(line) for line in _lines(store, folder) if wanted in line)
    return [edits.over(row) for row in rows if row.source == source]


def write_segments(store: ObjectStore, folder: str, segments: Sequence[Segment]) -> None:
    """Replaces the manifest, and then what is made of it; edits that it has taken in are forgotten at last.

    The caller holds the lock of the dataset since it read what these segments are made of.
    """
    with prepared_manifest(store, folder, segments) as write:
        write()


@contextmanager
def prepared_manifest(store: ObjectStore, folder: str, segments: Sequence[Segment]) -> Iterator[Callable[[], None]]:
    """Does all of `write_segments` that needs no lock; what it gives does the rest."""
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        for segment in segments:
            spool.write(json.dumps(vars(segment), ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        spool.seek(0)
        metadata, summary = metadata_csv(segments).encode(), summarise(segments)

        def write() -> None:
            etag = store.put(manifest_key(folder), cast("BinaryIO", spool), "application/jsonl").etag
            store.put(metadata_key(folder), metadata, "text/csv")
            _write_summary(store, folder, etag, summary)
            edits = read_edits(store, folder)
            if edits.rows:
                write_edits(store, folder, edits.without(segments))

        yield write


def metadata_csv(segments: Iterable[Segment]) -> str:
    """Returns the transcripts in LJSpeech form: `id|text as heard|normalised text`, no header, one row a transcript."""
    rows = io.StringIO()
    for segment in segments:
        if segment.transcript:
            rows.write(f"{segment.id}|{_cell(segment.transcript)}|{_cell(segment.normalised or segment.transcript)}\n")
    return rows.getvalue()


def summarise(segments: Iterable[Segment]) -> Summary:
    """Adds up the figures of a manifest."""
    count = transcribed = excluded = flagged = 0
    seconds = 0.0
    for segment in segments:
        count += 1
        seconds += segment.seconds
        transcribed += segment.transcribed
        excluded += segment.excluded
        flagged += bool(segment.flags)
    return Summary(count, seconds, transcribed, excluded, flagged)


def read_summary(store: ObjectStore, folder: str) -> Summary:
    """Returns the figures of a dataset: those kept, if they belong to the manifest that is there; zeros without a manifest."""
    edits = read_edits(store, folder)
    info = store.stat(manifest_key(folder))
    if info is None:
        return Summary()
    revision = _revision(info, edits)
    try:
        kept = from_json(store.get(summary_key(folder)))
        if kept["etag"] == revision:
            return Summary(**kept["summary"])
    except (ObjectNotFound, ValueError, KeyError, TypeError):
        pass  # none kept, or not by us: add them up
    summary = summarise(iterate_segments(store, folder))
    _write_summary(store, folder, revision, summary)
    return summary


def segment_files(store: ObjectStore, folder: str, *, offset: int, limit: int) -> list[tuple[str, int]]:
    """Returns keys and sizes in bytes of `limit` segments, after `offset`."""
    return [
        (segment_key(folder, segment.id), segment.bytes)
        for segment in islice(iterate_segments(store, folder, offset=offset), limit)
    ]


def _lines(store: ObjectStore, folder: str) -> Iterator[bytes]:
    try:
        stream = store.open(manifest_key(folder))
    except ObjectNotFound:
        return
    with stream, io.BufferedReader(cast("io.RawIOBase", stream), 1 << 20) as lines:
        yield from (line for line in lines if line.strip())


def _row(line: bytes) -> Segment:
    row = from_json(line)
    return Segment(**{key: value for key, value in row.items() if key in _FIELDS})


def _revision(manifest: ObjectInfo | None, edits: Edits) -> str:
    """What changes whenever a segment does."""
    etag = manifest.etag if manifest else ""
    return f"{etag}-{edits.digest}" if edits.digest else etag


def _write_summary(store: ObjectStore, folder: str, revision: str, summary: Summary) -> None:
    store.put(summary_key(folder), json.dumps({"etag": revision, "summary": asdict(summary)}).encode(), "application/json")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", " ").split())
