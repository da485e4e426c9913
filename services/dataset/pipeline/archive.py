"""The job that brings an LJSpeech archive into a dataset.

    archive ─ unpack ─▶ rows ─ decode each clip, level it (units) ─▶ segments behind those that are there ─▶ manifest

The clips are segments as they are, and their transcripts are a person's: no later job cuts, moves or replaces them.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from services.dataset import layout
from services.dataset.archive import ArchiveRow, read_archive
from services.dataset.decode import to_wav
from services.dataset.loudness import clipped_fraction, normalise_loudness, snr_db
from services.dataset.manifest import Segment, read_segments, write_segments
from services.dataset.normalise import normalise
from services.dataset.sources import safe_stem
from services.dataset.units import Units
from services.dataset.unpack import ArchiveLimits
from services.runtime.errors import FailedPrecondition, TimbreError
from services.runtime.jobs import JobContext, JobReleased
from services.runtime.store import ObjectStore

# Loudness is measured over blocks of 0.4 s (ITU-R BS.1770-4), so anything shorter has none.
_SHORTEST_SECONDS = 0.4
_LONGEST_SECONDS = 60.0

_UNPACKING = 0.1
_STEM_LENGTH = 40


class NothingImported(FailedPrecondition):
    """The archive had rows, and none of them could be used."""


def import_archive(job: JobContext, store: ObjectStore, *, max_bytes: int) -> dict[str, Any]:
    """Adds the clips of an archive to a dataset.

    Args:
        job: Parameters `folder`, `archive_key`, `language`.
        store: The object store.
        max_bytes: How much the archive may unpack to.

    Returns:
        Counts `imported` and `present` clips, and `problems`: a sentence for each that was left out.

    Raises:
        NothingImported: Not one clip could be used.
    """
    folder, key = job.parameters["folder"], job.parameters["archive_key"]
    units = Units(store, layout.work_prefix(folder, job.id), job.confirm)
    path = job.scratch / "upload"
    if not path.exists():
        store.fetch(key, path)
    archive = read_archive(path, job.scratch, ArchiveLimits(max_bytes=max_bytes), lambda part: _unpacked(job, part))
    try:
        result = _add_clips(job, store, units, archive.rows, list(archive.problems))
    except JobReleased:
        raise
    except Exception:
        units.clear()
        raise
    units.clear()
    store.delete(key)
    return result


def _unpacked(job: JobContext, part: float) -> None:
    job.check_stop()
    job.progress(_UNPACKING * part, "unpacking")


def _add_clips(
    job: JobContext, store: ObjectStore, units: Units, rows: tuple[ArchiveRow, ...], problems: list[str]
) -> dict[str, Any]:
    folder = job.parameters["folder"]
    made = units.finished("clip")
    there = [row for row in read_segments(store, folder) if row.source not in made]
    # The same clip with the same text is there already when an archive comes a second time.
    known = {row.source for row in there}
    added: list[Segment] = []
    present = 0
    # Numbers are not always without gaps: a recording may have been deleted with its segments.
    taken = [row.id for row in there] + [unit["id"] for unit in made.values() if "error" not in unit]
    number = max((layout.segment_number(name) for name in taken), default=0) + 1
    for position, row in enumerate(rows):
        name = _source(row)
        if name in known:
            present += 1
            continue
        known.add(name)
        job.check_stop()
        unit = made.get(name) or _add_clip(job, store, units, row, name, layout.segment_id(number))
        if "error" in unit:
            problems.append(unit["error"])
            job.log(unit["error"])
        else:
            added.append(Segment(**unit))
            number = max(number, layout.segment_number(unit["id"]) + 1)
        job.progress(_UNPACKING + (0.99 - _UNPACKING) * (position + 1) / len(rows), f"{position + 1} of {len(rows)} clips")
    if rows and not added and not present:
        raise NothingImported(f"None of {len(rows)} clips of the archive could be used. The first: {problems[0]}")
    with job.exclusive():
        now = read_segments(store, folder)  # with what people edited meanwhile, in these clips too if this is a second attempt
        present_now = {row.stretch for row in now}
        write_segments(store, folder, [*now, *(row for row in added if row.stretch not in present_now)])
    job.log(f"{len(added)} clips imported, {present} were there, {len(problems)} left out.")
    return {"imported": len(added), "present": present, "problems": problems}


def _add_clip(job: JobContext, store: ObjectStore, units: Units, row: ArchiveRow, name: str, segment_id: str) -> dict[str, Any]:
    wav = job.scratch / f"{segment_id}.wav"
    try:
        seconds = to_wav(row.clip, wav, max_seconds=_LONGEST_SECONDS)
        if seconds < _SHORTEST_SECONDS:
            raise FailedPrecondition(f"it lasts {seconds:.2f} s, under {_SHORTEST_SECONDS} s")
    except TimbreError as error:
        unit: dict[str, Any] = {"error": f"{row.id} was left out: {error.message}"}
        units.finish(f"clip/{name}", unit)
        return unit
    facts = _level(wav)
    language = job.parameters["language"]
    segment = Segment(
        id=segment_id,
        source=name,
        start_s=0.0,
        end_s=round(seconds, 4),
        seconds=seconds,
        bytes=store.put(layout.segment_key(job.parameters["folder"], segment_id), wav, "audio/wav").size,
        transcript=row.text,
        normalised=normalise(row.normalised or row.text, language),
        language=language,
        edited=True,
        **facts,
    )
    wav.unlink()
    units.finish(f"clip/{name}", asdict(segment))
    return asdict(segment)


def _level(wav: Path) -> dict[str, Any]:
    """Brings a clip to the loudness of all segments, and measures it."""
    audio, rate = sf.read(wav, dtype="float32")
    facts = {"snr_db": round(snr_db(audio, rate), 1), "clipping": clipped_fraction(audio)}
    levelled, loudness, _ = normalise_loudness(audio, rate)
    sf.write(wav, levelled, rate, subtype="PCM_16")
    return {**facts, "loudness": round(float(np.maximum(loudness, -99.0)), 2)}


def _source(row: ArchiveRow) -> str:
    with row.clip.open("rb") as clip:
        digest = hashlib.file_digest(clip, "sha256")
    digest.update(row.text.encode())
    return f"{safe_stem(row.id, _STEM_LENGTH)}-{digest.hexdigest()[:12]}"
