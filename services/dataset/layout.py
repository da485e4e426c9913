"""Where the parts of a dataset lie in the object store.

datasets/<name>/raw/<source>.wav, .json      recordings and where they come from
datasets/<name>/segments/segment_00001.wav   segments, numbered over the whole dataset
datasets/<name>/segments.jsonl               the manifest: one row a segment
datasets/<name>/edits.json                   what people changed since it was written
datasets/<name>/metadata.csv                 the transcripts in LJSpeech form
datasets/<name>/summary.json                 figures of the manifest, kept so that nobody has to add them up again
datasets/<name>/work/<job>/…                 finished units of a job that has not ended
uploads/<token>/<file>                       archives that wait for their import

Keys are put together here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.runtime.errors import InvalidArgument
from services.runtime.keys import check_name
from services.runtime.store import ObjectStore

ROOT = "datasets/"
UPLOADS = "uploads/"


def check_folder(folder: str, field: str = "folder") -> str:
    """Returns the name of a dataset.

    Raises:
        InvalidArgument: It is not a plain name below `datasets/`.
    """
    return check_name(folder, field=field, under=(ROOT,))


def check_source(source: str, field: str = "source") -> str:
    """Returns the name of a recording.

    Raises:
        InvalidArgument: It is not a plain name.
    """
    if "/" in source:
        problem = "it must be the name of a recording, without folders"
        raise InvalidArgument(f"{field} is {source[:80]!r}: {problem}.", reason="INVALID_NAME", fields={field: problem})
    return check_name(source, field=field)


def check_archive(key: str) -> str:
    """Returns the key of an uploaded archive.

    Raises:
        InvalidArgument: It is not a plain name below `uploads/`.
    """
    return check_name(key, field="archive_key", under=(UPLOADS,))


def archive_key(token: str, name: str) -> str:
    """Where an uploaded archive waits for its import."""
    return f"{UPLOADS}{token}/{name}"


def raw_folder(folder: str) -> str:
    """Where the recordings are."""
    return f"{folder}/raw"


def recording_key(folder: str, source: str) -> str:
    """The recording of a source."""
    return f"{folder}/raw/{source}.wav"


def provenance_key(folder: str, source: str) -> str:
    """Where a source comes from; written after its recording, so where this is, the recording is whole."""
    return f"{folder}/raw/{source}.json"


def segments_folder(folder: str) -> str:
    """Where the segments are."""
    return f"{folder}/segments"


def segment_id(number: int) -> str:
    """The name of the segment with this number, from 1: `segment_00001`."""
    return f"segment_{number:05d}"


def segment_number(segment: str) -> int:
    """The number of a segment: 1 for `segment_00001`."""
    return int(segment.rpartition("_")[2])


def segment_key(folder: str, segment: str) -> str:
    """The audio of a segment."""
    return f"{folder}/segments/{segment}.wav"


def manifest_key(folder: str) -> str:
    """The rows of all segments."""
    return f"{folder}/segments.jsonl"


def edits_key(folder: str) -> str:
    """What people changed since the manifest was written."""
    return f"{folder}/edits.json"


def metadata_key(folder: str) -> str:
    """The transcripts in LJSpeech form."""
    return f"{folder}/metadata.csv"


def summary_key(folder: str) -> str:
    """The figures of the manifest."""
    return f"{folder}/summary.json"


def work_prefix(folder: str, job_id: str) -> str:
    """Where a job keeps the units that it has finished."""
    return f"{folder}/work/{job_id}/"


def sources(store: ObjectStore, folder: str) -> dict[str, str]:
    """Returns the sources that have a recording, by name, each with the etag of its recording."""
    prefix = f"{raw_folder(folder)}/"
    return {info.key[len(prefix) :].removesuffix(".wav"): info.etag for info in store.list(prefix) if info.key.endswith(".wav")}


def has_audio(store: ObjectStore, place: str) -> bool:
    """Whether there is a WAV file directly or anywhere below a folder."""
    return any(info.key.endswith(".wav") for info in store.list(f"{place}/"))


def folders(store: ObjectStore) -> Iterator[str]:
    """Goes through the datasets, by name, passing over their contents."""
    after = ""
    while (info := next(iter(store.list(ROOT, start_after=after)), None)) is not None:
        folder = _folder_of(info.key)
        if folder is None:
            after = info.key
            continue
        yield folder
        after = f"{folder}/~"  # "~" comes after every character that a name may have


def _folder_of(key: str) -> str | None:
    parts = key.split("/")
    for position in range(2, len(parts)):
        if parts[position] in ("raw", "segments", "work", "segments.jsonl", "edits.json", "metadata.csv", "summary.json"):
            return "/".join(parts[:position])
    return None
