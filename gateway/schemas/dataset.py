"""JSON of `/training/dataset/…` and `/training/datasets`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import Answer, Body, JobId
from gateway.schemas.fields import Flag, Number, Text, list_of

DEFAULT_FOLDER = "datasets/my_voice"
MAX_URLS = 500

Folder = Annotated[Text, Field(examples=[DEFAULT_FOLDER])]
Language = Annotated[Text, Field(examples=["pt"])]
Limit = Annotated[int, Number(1, 10_000, whole=True, from_text=True)]


class DownloadRequest(Body):
    """Which videos to download, and where to."""

    urls: Annotated[
        list[Text],
        list_of(1, MAX_URLS, "URLs"),
        Field(examples=[["https://youtube.com/watch?v=VIDEO_ID"]], json_schema_extra={"minItems": 1, "maxItems": MAX_URLS}),
    ]
    """1 to 500 http or https URLs on allowed hosts."""

    folder: Folder
    """The dataset; it need not exist yet."""


class DownloadStarted(Answer):
    """A download has been accepted."""

    status: Literal["started"] = "started"
    videos: Annotated[int, Field(examples=[2])]
    """How many different videos it fetches."""
    output_folder: Annotated[str, Field(examples=["datasets/my_voice/raw"])]
    """Where the audio goes."""
    job_id: JobId
    """The job that does it."""


class SegmentRequest(Body):
    """Which dataset to cut into segments, and how."""

    folder: Folder
    """Dataset folder path."""

    min_duration: Annotated[float, Number(3.0, 15.0)] = 7.0
    """Minimum segment duration in seconds."""

    max_duration: Annotated[float, Number(5.0, 20.0)] = 12.0
    """Maximum segment duration in seconds, at least `min_duration`."""

    vad_threshold: Annotated[float, Number(-60.0, -20.0)] = -40.0
    """VAD threshold in dB."""


class SegmentStarted(Answer):
    """A segmentation has been accepted."""

    status: Literal["started"] = "started"
    input_folder: Annotated[str, Field(examples=["datasets/my_voice/raw"])]
    """Where the recordings are."""
    output_folder: Annotated[str, Field(examples=["datasets/my_voice/segments"])]
    """Where the segments go."""
    job_id: JobId
    """The job that does it."""


class TranscribeRequest(Body):
    """Which dataset to transcribe, and how."""

    folder: Folder
    """Dataset folder path."""

    language: Language = "pt"
    """ISO 639-1 code of the language that is spoken."""

    model: Annotated[Text | None, Field(examples=["base"])] = None
    """Whisper model; without it the one the service is set up with, which is `base` by default."""

    force: Flag = False
    """Whether to transcribe again what has a transcript already, except what a person edited."""


class TranscribeStarted(Answer):
    """A transcription has been accepted."""

    status: Literal["started"] = "started"
    folder: Annotated[str, Field(examples=["datasets/my_voice/segments"])]
    """Where the segments are."""
    job_id: JobId
    """The job that does it."""


class UploadedFile(Answer):
    """What became of one uploaded file."""

    name: Annotated[str, Field(examples=["interview.mp3"])]
    """The file's own name."""
    status: Literal["stored", "existed", "failed"]
    """`existed`: the same audio was there already, and nothing was stored."""
    source: Annotated[str | None, Field(examples=["interview"])] = None
    """Its name below `raw/`, without `.wav`; null when it failed."""
    path: Annotated[str | None, Field(examples=["datasets/my_voice/raw/interview.wav"])] = None
    """Its object key; null when it failed."""
    duration: Annotated[float | None, Field(examples=[184.2])] = None
    """Length in seconds; null when it failed."""
    size: Annotated[int | None, Field(examples=[8123456])] = None
    """Size of the stored WAV in bytes; null when it failed."""
    detail: str | None = None
    """Why it failed, in a sentence; null otherwise."""


class Uploaded(Answer):
    """Recordings have been stored; those that failed say why."""

    status: Literal["stored"] = "stored"
    folder: Annotated[str, Field(examples=[DEFAULT_FOLDER])]
    """The dataset."""
    files: list[UploadedFile]
    """What became of each file, in the order they were sent."""


class ImportStarted(Answer):
    """An archive has been stored, and its import has been accepted."""

    status: Literal["started"] = "started"
    folder: Annotated[str, Field(examples=[DEFAULT_FOLDER])]
    """The dataset."""
    job_id: JobId
    """The job that does it."""


class DatasetStats(Answer):
    """Figures of a dataset."""

    files: Annotated[int, Field(examples=[4922])]
    """Number of segments."""
    total_hours: Annotated[float, Field(examples=[15.3])]
    """Their length together, in hours."""
    transcribed_percent: Annotated[float, Field(examples=[100.0])]
    """Share of them that has a transcript, 0 to 100."""
    sources: Annotated[int, Field(examples=[12])]
    """Number of recordings below `raw/`."""
    excluded: Annotated[int, Field(examples=[3])]
    """Number of segments that a person excluded."""
    flagged: Annotated[int, Field(examples=[41])]
    """Number of segments that a person should check."""


class DatasetFile(Answer):
    """One segment as a file."""

    name: Annotated[str, Field(examples=["segment_00001.wav"])]
    size: Annotated[int, Field(examples=[264600])]
    """Size in bytes."""
    path: Annotated[str, Field(examples=["datasets/my_voice/segments/segment_00001.wav"])]
    """Object key."""


class DatasetFiles(Answer):
    """Segments of a dataset as files, in order of their numbers."""

    files: list[DatasetFile]
    total: Annotated[int, Field(examples=[4922])]
    """How many there are in all."""


class Dataset(DatasetStats):
    """One dataset and how far it has come."""

    folder: Annotated[str, Field(examples=[DEFAULT_FOLDER])]


class Datasets(Answer):
    """The datasets there are, by name."""

    datasets: list[Dataset]
