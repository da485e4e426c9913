"""Deleting recordings and datasets, in an order that leaves something whole whenever it is cut short.

The manifest goes first, then the audio that it named: what is left after a kill is never listed without being there. Doing
it again removes the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from services.dataset import layout
from services.dataset.edits import DatasetClosed, read_edits
from services.dataset.manifest import Segment, read_segments, read_summary, write_segments
from services.runtime.errors import FailedPrecondition, NotFound
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.store import ObjectStore

_ACTIVE = (JobState.QUEUED, JobState.RUNNING)
# Deleting waits for the store, not for this machine.
_THREADS = 8


class DatasetBusy(FailedPrecondition):
    """A job works on the dataset."""

    def __init__(self, folder: str, job: Job) -> None:
        super().__init__(
            f"{folder} is being worked on by job {job.id} ({job.kind}): wait for it or stop it first.",
            metadata={"job_id": job.id},
        )


class NothingToDelete(NotFound):
    """There is no such recording or dataset."""


def check_idle(queue: JobQueue, folder: str) -> None:
    """Refuses while a job or a training works on a dataset, or waits to.

    With the lock of the dataset held, nothing can begin afterwards either: a job or a training takes that lock
    before it begins.

    Raises:
        DatasetBusy: One does.
    """
    trainings = queue.find(kind="trainer.train", states=_ACTIVE)
    jobs = queue.find(subject=folder, states=_ACTIVE) or [
        job for job in trainings if job.parameters.get("dataset_folder") == folder
    ]
    if jobs:
        raise DatasetBusy(folder, jobs[-1])


def remove_recording(store: ObjectStore, folder: str, source: str) -> int:
    """Deletes a recording and the segments that were cut from it; the lock of the dataset is held.

    Returns:
        How many segments there were.

    Raises:
        NothingToDelete: There is no such recording.
        DatasetClosed: Segments are getting other numbers.
    """
    if closed_by := read_edits(store, folder).closed_by:
        raise DatasetClosed(folder, closed_by)
    recording, facts = layout.recording_key(folder, source), layout.provenance_key(folder, source)
    rows = read_segments(store, folder)
    stay = [row for row in rows if row.source != source]
    if len(stay) == len(rows) and store.stat(recording) is None and store.stat(facts) is None:
        raise NothingToDelete(f"{folder} has no recording {source!r}: list its recordings to see which there are.")
    if len(stay) < len(rows):
        write_segments(store, folder, stay)
    remove_strays(store, folder, stay)
    store.delete(facts)  # before the recording: where this is, the recording is whole
    store.delete(recording)
    return len(rows) - len(stay)


def remove_dataset(store: ObjectStore, folder: str) -> int:
    """Deletes a dataset; the lock of the dataset is held.

    Returns:
        How many segments there were.

    Raises:
        NothingToDelete: There is no such dataset.
    """
    count = read_summary(store, folder).segments
    listings = (layout.manifest_key, layout.edits_key, layout.metadata_key, layout.summary_key)
    listed = [key(folder) for key in listings if store.stat(key(folder))]
    audio = [info.key for part in ("segments", "work", "raw") for info in store.list(f"{folder}/{part}/")]
    if not listed and not audio:
        raise NothingToDelete(f"There is no dataset {folder}: list the datasets to see which there are.")
    for key in listed:
        store.delete(key)
    _delete_all(store, audio)
    return count


def remove_strays(store: ObjectStore, folder: str, rows: Sequence[Segment]) -> None:
    """Removes segments that no row names: numbers that are not used any more, or never were because a job was stopped."""
    named = {layout.segment_key(folder, row.id) for row in rows}
    _delete_all(store, [info.key for info in store.list(f"{layout.segments_folder(folder)}/") if info.key not in named])


def _delete_all(store: ObjectStore, keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(store.delete, keys))
