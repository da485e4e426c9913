"""The job that cuts recordings into segments.

    recordings that changed ─ plan each (a unit) ─▶ numbers ─ write in batches (units) ─▶ manifest

Until the last step the manifest and everything it names stay as they are: a segment whose number is in use waits beside
the units, and only when all are there do they take their places. A job that is killed in between goes on from its units,
and one that is killed in the last step repeats that step, which may be done any number of times.

People may edit all the while. When one of them has written a text for a segment that was to give way, the segments are
placed anew before they take their places, and editors wait for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import soundfile as sf

from services.dataset import layout
from services.dataset.decode import SAMPLE_RATE_HERTZ
from services.dataset.edits import Edits, read_edits, write_edits
from services.dataset.manifest import Segment, iterate_segments, read_segments, write_segments
from services.dataset.numbering import NewCut, Place, fingerprint, place
from services.dataset.remove import remove_strays
from services.dataset.segment import Cut, SegmentOptions, plan_segments, write_segment
from services.dataset.units import Units
from services.runtime.errors import FailedPrecondition, TimbreError
from services.runtime.jobs import JobContext, JobReleased
from services.runtime.processes import PoolBroken, map_bounded, process_pool
from services.runtime.store import ObjectStore

# Segments a batch: small enough that a kill costs seconds, large enough that keeping the unit costs little.
_BATCH = 16

# A process takes a second or two to start and import, in which it could cut some minutes of audio.
_SECONDS_A_WORKER = 600

# Share of the whole job that planning takes; it reads every recording once, writing reads and filters.
_PLANNING = 0.25

# Name of the unit that says that everything is there and only has to take its place.
_READY = "ready"

Batch = tuple[str, Sequence[Place]]


@dataclass(frozen=True)
class Cutters:
    """Who plans recordings and writes segments: calls in a pool, here or on the nodes of a cluster.

    Attributes:
        pool: Where the calls run.
        window: How many are under way at once.
        find: Returns the first arguments of `plan` and `write`: what they find a recording by.
        plan: Plans a recording, with these options.
        write: Writes segments: cuts, and where each goes. Returns their facts by id.
        target: Returns where the segment of a key goes.
        keep: Puts a segment that was written to the store, if it is not there yet.
    """

    pool: Executor
    window: int
    find: Callable[[str], tuple[str, ...]]
    plan: Callable[..., dict[str, Any]]
    write: Callable[..., dict[str, Any]]
    target: Callable[[str], str]
    keep: Callable[[str], None]


CuttersOf = Callable[[str], AbstractContextManager[Cutters]]
"""Opens what cuts the recordings of a folder somewhere else."""


class NothingToSegment(FailedPrecondition):
    """No recording could be cut."""


def segment(job: JobContext, store: ObjectStore, workers: int, elsewhere: CuttersOf | None = None) -> dict[str, Any]:
    """Cuts the recordings of a dataset that changed since they were last cut.

    Args:
        job: Parameters `folder`, `min_duration_seconds`, `max_duration_seconds`, `vad_threshold_db`.
        store: The object store.
        workers: Processes to use.
        elsewhere: Has other machines do the cutting.

    Returns:
        Counts of `sources`, `changed_sources`, `segments`, their `hours`, and `failed` recordings with the reason.

    Raises:
        NothingToSegment: There are recordings, and none could be cut.
    """
    folder = job.parameters["folder"]
    units = Units(store, layout.work_prefix(folder, job.id), job.confirm)
    _finish_earlier(job, store, folder, units)
    ready = units.get(_READY) or _cut(job, store, folder, units, workers, elsewhere)
    with job.exclusive():
        if _outdated(store, folder, ready, job.id):
            job.log("Somebody wrote a text for a segment that was to give way: the segments are placed anew around it.")
            ready = _cut(job, store, folder, units, workers, elsewhere)
        _take_places(store, folder, units, ready, job.id)
    hours = sum(row["seconds"] for row in ready["rows"]) / 3600
    job.log(f"{len(ready['rows'])} segments, {hours:.2f} hours.")
    return {
        "sources": ready["sources"],
        "changed_sources": ready["changed"],
        "segments": len(ready["rows"]),
        "hours": hours,
        "failed": ready["failed"],
    }


def _cut(
    job: JobContext, store: ObjectStore, folder: str, units: Units, workers: int, elsewhere: CuttersOf | None
) -> dict[str, Any]:
    try:
        ready = _cut_all(job, store, folder, units, workers, elsewhere)
    except (JobReleased, PoolBroken):
        raise
    except Exception:
        units.clear()
        remove_strays(store, folder, read_segments(store, folder))
        raise
    units.finish(_READY, ready)
    return ready


def _finish_earlier(job: JobContext, store: ObjectStore, folder: str, own: Units) -> None:
    """Lets the segments of an earlier job that broke in its very last step take their places."""
    for info in list(store.list(f"{folder}/work/")):
        if info.key.endswith(f"/{_READY}.json") and not info.key.startswith(own.prefix):
            earlier = Units(store, info.key.removesuffix(f"{_READY}.json"), job.confirm)
            name, ready = earlier.prefix.split("/")[-2], earlier.get(_READY)
            with job.exclusive():
                if _outdated(store, folder, ready, name):
                    earlier.clear()
                else:
                    _take_places(store, folder, earlier, ready, name)


def _outdated(store: ObjectStore, folder: str, ready: dict[str, Any], job_id: str) -> bool:
    """Whether a person wrote a text since, for a segment that would be gone; never once segments have begun to move."""
    if read_edits(store, folder).closed_by == job_id:
        return False
    stays = {Segment(**row).stretch for row in ready["rows"]}
    return any(row.edited and row.stretch not in stays for row in iterate_segments(store, folder))


def _cut_all(
    job: JobContext, store: ObjectStore, folder: str, units: Units, workers: int, elsewhere: CuttersOf | None
) -> dict[str, Any]:
    options = SegmentOptions(
        job.parameters["min_duration_seconds"], job.parameters["max_duration_seconds"], job.parameters["vad_threshold_db"]
    )
    old = read_segments(store, folder)
    # The list of recordings is settled once: what is uploaded meanwhile is for the next time.
    if (recordings := units.get("recordings")) is None:
        recordings = layout.sources(store, folder)
        units.finish("recordings", recordings)
    knobs = (options.min_seconds, options.max_seconds, options.threshold_db)
    prints = {source: fingerprint(etag, knobs) for source, etag in recordings.items()}
    known = {segment.source: segment.fingerprint for segment in old if not segment.edited}
    changed = [source for source in recordings if known.get(source) != prints[source]]
    job.log(f"{len(recordings)} recordings, {len(changed)} of them to be cut.")
    with elsewhere(folder) if elsewhere and changed else _cutters_here(job, store, folder, changed, workers) as cutters:
        cuts, failed = _plan(job, units, changed, options, cutters)
        places = place(old, cuts, prints)
        _forget_other_places(units, places)
        facts = _write(job, folder, units, _batches(places), {row.id for row in old}, cutters)
    if recordings and not places:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in list(failed.items())[:5])
        why = reasons or "nobody speaks in them; a lower vad_threshold may find speech"
        raise NothingToSegment(f"No segment could be cut from {len(recordings)} recordings: {why}")
    rows = [_row(spot, facts, prints) for spot in places]
    moved = _stage_moved(store, folder, units, places)
    staged = sorted(set(moved) | {spot.id for spot in places if isinstance(spot.content, NewCut)} & {row.id for row in old})
    return {
        "rows": [asdict(row) for row in rows],
        "staged": staged,
        "failed": failed,
        "sources": len(recordings),
        "changed": len(changed),
    }


@contextmanager
def _cutters_here(job: JobContext, store: ObjectStore, folder: str, sources: Sequence[str], workers: int) -> Iterator[Cutters]:
    """Cuts in processes of this machine, which find recordings on its disk and leave segments there."""
    workers = min(workers, _worthwhile_workers(store, folder, sources))
    written = job.scratch / "segments"
    written.mkdir(parents=True, exist_ok=True)

    def target(key: str) -> str:
        return str(written / Path(key).name)

    def keep(key: str) -> None:
        store.put(key, Path(target(key)), "audio/wav")
        Path(target(key)).unlink()

    def find(source: str) -> tuple[str, ...]:
        return (str(_local(job, store, folder, source)),)

    with process_pool(workers) as pool:
        yield Cutters(pool, 2 * workers, find, plan_recording, write_batch, target, keep)


def _worthwhile_workers(store: ObjectStore, folder: str, sources: Sequence[str]) -> int:
    infos = (store.stat(layout.recording_key(folder, source)) for source in sources)
    seconds = sum(info.size for info in infos if info) / (2 * SAMPLE_RATE_HERTZ)
    return max(1, int(seconds / _SECONDS_A_WORKER))


def _plan(
    job: JobContext, units: Units, sources: Sequence[str], options: SegmentOptions, cutters: Cutters
) -> tuple[dict[str, list[NewCut]], dict[str, str]]:
    plans = {source: plan for source, plan in units.finished("plan").items() if source in sources}
    todo = [source for source in sources if source not in plans]
    tasks = ((source, (*cutters.find(source), options)) for source in todo)
    for source, plan in map_bounded(cutters.pool, cutters.plan, tasks, cutters.window):
        job.check_stop()
        units.finish(f"plan/{source}", plan)
        plans[source] = plan
        job.log(f"{source}: {plan['error'] or str(len(plan['cuts'])) + ' segments'}")
        job.progress(_PLANNING * len(plans) / len(sources), f"planned {len(plans)} of {len(sources)} recordings")
    failed = {source: plans[source]["error"] for source in sources if plans[source]["error"]}
    cuts = {
        source: [NewCut(source, start, end, padding, tuple(flags)) for start, end, padding, flags in plans[source]["cuts"]]
        for source in sources
        if source not in failed
    }
    return cuts, failed


def plan_recording(wav: str, options: SegmentOptions) -> dict[str, Any]:
    """Plans one recording; runs in a process of its own, so errors come back as text.

    Returns:
        `cuts` (start, end and padding in seconds, flags), and why there are none as `error`.
    """
    try:
        cuts = plan_segments(Path(wav), options)
    except TimbreError as error:
        return {"cuts": [], "error": error.message}
    except sf.SoundFileError:
        return {"cuts": [], "error": "It is not a WAV file that can be read: remove it and upload the recording again."}
    return {"cuts": [(c.start_seconds, c.end_seconds, c.padding_seconds, c.flags) for c in cuts], "error": ""}


def _forget_other_places(units: Units, places: Sequence[Place]) -> None:
    """Forgets what was written for other numbers: somebody edited a segment since, and it stays now."""
    spots = [[spot.id, spot.content.source, spot.content.start_s, spot.content.end_s] for spot in places]
    if units.get("places") != spots:
        for group in ("written", "staged"):
            units.forget(group)
        units.finish("places", spots)


def _batches(places: Sequence[Place]) -> list[Batch]:
    new = [spot for spot in places if isinstance(spot.content, NewCut)]
    batches: list[Batch] = []
    for source, group in groupby(new, key=lambda spot: spot.content.source):
        spots = list(group)
        batches += [(source, spots[first : first + _BATCH]) for first in range(0, len(spots), _BATCH)]
    return batches


def _write(
    job: JobContext, folder: str, units: Units, batches: Sequence[Batch], in_use: set[str], cutters: Cutters
) -> dict[str, Any]:
    """Writes the segments batch by batch; returns their facts by id."""
    facts: dict[str, Any] = {}
    finished = units.finished("written")
    done = 0
    total = sum(len(spots) for _, spots in batches)
    for made in finished.values():
        facts |= made
        done += len(made)
    todo = [batch for batch in batches if batch[1][0].id not in finished]

    def key_of(spot: Place) -> str:
        return f"{units.prefix}staged/{spot.id}.wav" if spot.id in in_use else layout.segment_key(folder, spot.id)

    tasks = (
        ((source, spots), (*cutters.find(source), [(_cut_of(spot), cutters.target(key_of(spot))) for spot in spots]))
        for source, spots in todo
    )
    for (_, spots), made in map_bounded(cutters.pool, cutters.write, tasks, cutters.window):
        job.check_stop()
        for spot in spots:
            cutters.keep(key_of(spot))
        units.finish(f"written/{spots[0].id}", made)
        facts |= made
        done += len(made)
        job.progress(_PLANNING + (0.98 - _PLANNING) * done / total, f"wrote {done} of {total} segments")
    return facts


def _cut_of(spot: Place) -> Cut:
    assert isinstance(spot.content, NewCut)  # batches hold nothing else
    return Cut(spot.content.start_s, spot.content.end_s, spot.content.flags, spot.content.padding_s)


def write_batch(wav: str, cuts: Sequence[tuple[Cut, str]]) -> dict[str, Any]:
    """Writes some segments of one recording, each to its path; runs in a process of its own.

    Returns:
        Facts by the name of the file, without its ending: the segment's id.
    """
    made = {}
    for cut, target in cuts:
        facts = write_segment(Path(wav), cut, Path(target))
        made[Path(target).stem] = {
            "seconds": facts.duration_seconds,
            "loudness": round(facts.loudness_lufs, 2),
            "snr_db": round(facts.snr_db, 1),
            "clipping": facts.clipping,
            "bytes": os.path.getsize(target),
        }
    return made


def _local(job: JobContext, store: ObjectStore, folder: str, source: str) -> Path:
    path = job.scratch / "recordings" / f"{source}.wav"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(layout.recording_key(folder, source), path)
    return path


def _row(spot: Place, facts: dict[str, Any], prints: dict[str, str]) -> Segment:
    cut = spot.content
    if isinstance(cut, Segment):
        # Where its recording was looked at again, it now belongs to the new options; an edited one stays what it was.
        print_now = cut.fingerprint if cut.edited else prints.get(cut.source, cut.fingerprint)
        return replace(cut, id=spot.id, fingerprint=print_now)
    return Segment(
        id=spot.id,
        source=cut.source,
        start_s=round(cut.start_s, 4),
        end_s=round(cut.end_s, 4),
        flags=list(cut.flags),
        fingerprint=prints[cut.source],
        **facts[spot.id],
    )


def _stage_moved(store: ObjectStore, folder: str, units: Units, places: Sequence[Place]) -> list[str]:
    """Copies segments that get another number to where nothing overwrites them; returns their new ids."""
    moved = [spot for spot in places if isinstance(spot.content, Segment) and spot.content.id != spot.id]
    for spot in moved:
        assert isinstance(spot.content, Segment)
        store.copy(layout.segment_key(folder, spot.content.id), f"{units.prefix}staged/{spot.id}.wav")
    return [spot.id for spot in moved]


def _take_places(store: ObjectStore, folder: str, units: Units, ready: dict[str, Any], job_id: str) -> None:
    """Puts everything into its place; all that it needs is in `ready`, and doing it again changes nothing."""
    write_edits(store, folder, replace(read_edits(store, folder), closed_by=job_id))
    # What people said meanwhile of segments that stay, in the manifest or not.
    current = Edits().with_rows([row for row in iterate_segments(store, folder) if row.edits])
    for segment_id in ready["staged"]:
        store.copy(f"{units.prefix}staged/{segment_id}.wav", layout.segment_key(folder, segment_id))
    rows = [current.over(Segment(**row)) for row in ready["rows"]]
    write_segments(store, folder, rows)
    remove_strays(store, folder, rows)
    write_edits(store, folder, Edits())
    units.clear()
