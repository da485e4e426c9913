"""The job that writes down what is said in the segments.

segments without a transcript ─ Whisper over all cores (a unit each) ─▶ normalise, score, flag ─▶ manifest, metadata.csv
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from services.dataset import layout
from services.dataset.confidence import confidence, flags
from services.dataset.manifest import Segment, read_segments, write_segments
from services.dataset.normalise import normalise
from services.dataset.segment import AUDIO_FLAGS
from services.dataset.transcribe import Transcript, TranscriptionFailed, transcribe_files
from services.dataset.units import Units
from services.runtime.errors import Internal
from services.runtime.jobs import JobContext, JobReleased, JobStopped
from services.runtime.store import ObjectStore

# Hears segments somewhere else: `hear(folder, ids, model=, language=)`.
Heard = Generator[tuple[str, Transcript | TranscriptionFailed], None, None]
Hear = Callable[..., Heard]


class NothingTranscribed(Internal):
    """Every segment failed."""


def transcribe(
    job: JobContext, store: ObjectStore, models: Path, workers: int, elsewhere: Hear | None = None
) -> dict[str, Any]:
    """Transcribes the segments of a dataset that have no transcript; with `force`, all but those that a person edited.

    Args:
        job: Parameters `folder`, `language`, `model`, `force`.
        store: The object store.
        models: Where Whisper models are kept.
        workers: Processes to use.
        elsewhere: Does the hearing instead of this machine.

    Returns:
        Counts `segments`, `transcribed` (now), `skipped`, and `failed` segments with the reason.

    Raises:
        NothingTranscribed: There were segments to transcribe, and every one failed.
    """
    folder, language = job.parameters["folder"], job.parameters["language"]
    units = Units(store, layout.work_prefix(folder, job.id), job.confirm)
    rows = read_segments(store, folder)
    todo = [row for row in rows if not row.edited and (job.parameters["force"] or row.transcript is None)]
    made = {name: unit for name, unit in units.finished("heard").items() if name in {row.id for row in todo}}
    job.log(f"{len(rows)} segments, {len(todo)} of them to transcribe with Whisper {_shown(job.parameters['model'])}.")
    left = [row.id for row in todo if row.id not in made]
    try:
        if elsewhere and left:
            heard = elsewhere(folder, left, model=job.parameters["model"], language=language)
        else:
            heard = _hear_here(job, store, folder, left, models, workers)
        with closing(heard):  # its workers end before anything else is done
            _keep_all(job, units, heard, made, len(todo))
    except JobStopped:
        # What was heard before the stop is worth keeping.
        _merge(job, store, folder, made, language)
        units.clear()
        raise
    except JobReleased:
        raise
    _merge(job, store, folder, made, language)
    units.clear()
    failed = {name: unit["error"] for name, unit in made.items() if "error" in unit}
    if todo and len(failed) == len(todo):
        raise NothingTranscribed(f"None of {len(todo)} segments could be transcribed. The first: {next(iter(failed.values()))}")
    return {"segments": len(rows), "transcribed": len(made) - len(failed), "skipped": len(rows) - len(todo), "failed": failed}


def _hear_here(job: JobContext, store: ObjectStore, folder: str, names: Sequence[str], models: Path, workers: int) -> Heard:
    results = transcribe_files(
        _fetched(job, store, folder, names),
        model=job.parameters["model"],
        language=job.parameters["language"],
        cache_dir=models,
        workers=workers,
        on_progress=partial(_report_model, job),
    )
    for path, heard in results:
        path.unlink(missing_ok=True)
        yield path.stem, heard


def _keep_all(
    job: JobContext,
    units: Units,
    results: Heard,
    made: dict[str, Any],
    total: int,
) -> None:
    for name, heard in results:
        if isinstance(heard, TranscriptionFailed):
            unit: dict[str, Any] = {"error": heard.message}
            job.log(f"{name}: {heard.message}")
        else:
            unit = asdict(heard)
        units.finish(f"heard/{name}", unit)
        made[name] = unit
        job.progress(len(made) / total, f"{len(made)} of {total} segments")
        job.check_stop()


def _report_model(job: JobContext, fraction: float, message: str) -> None:
    job.check_stop()
    job.progress(0.0, f"{message} ({fraction:.0%})")


def _fetched(job: JobContext, store: ObjectStore, folder: str, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        path = job.scratch / f"{name}.wav"
        store.fetch(layout.segment_key(folder, name), path)
        yield path


def _merge(job: JobContext, store: ObjectStore, folder: str, made: dict[str, Any], language: str) -> None:
    """Writes what was heard into the manifest as it is now, except where a person was quicker."""
    heard = {name: Transcript(**unit) for name, unit in made.items() if "error" not in unit}
    with job.exclusive():
        rows = read_segments(store, folder)
        rates = [len(heard[row.id].text) / row.seconds for row in rows if row.id in heard and heard[row.id].text]
        rates += [len(row.transcript or "") / row.seconds for row in rows if row.id not in heard and row.transcribed]
        usual = median(rates) if rates else None
        news = {row.id: heard[row.id] for row in rows if row.id in heard and not row.edited}
        write_segments(
            store, folder, [_with_transcript(row, news[row.id], language, usual) if row.id in news else row for row in rows]
        )


def _with_transcript(row: Segment, heard: Transcript, language: str, usual: float | None) -> Segment:
    return replace(
        row,
        transcript=heard.text,
        normalised=normalise(heard.text, language) if heard.text else "",
        language=language,
        confidence=round(confidence(heard, row.seconds), 4),
        flags=[*(flag for flag in row.flags if flag in AUDIO_FLAGS), *flags(heard, row.seconds, usual)],
    )


def _shown(model: str) -> str:
    return Path(model).name  # a path on this machine is nobody's business
