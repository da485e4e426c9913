"""JSON of reviewing a dataset: segments and their edits, recordings, previews of cuts, deletions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import Answer, Body, Moment
from gateway.schemas.dataset import DEFAULT_FOLDER, Folder, SegmentRequest
from gateway.schemas.fields import Flag, Number, Text, list_of, text_up_to
from gateway.schemas.problem import Problem

MAX_TRANSCRIPT = 2_000
MAX_NORMALISED = 4_000
MAX_IDS = 10_000

Limit = Annotated[int, Number(1, 10_000, whole=True, from_text=True)]

_REVISION = "5f0c3a9be1d27486"


class Segment(Answer):
    """One segment, as it stands."""

    id: Annotated[str, Field(examples=["segment_00001"])]
    """Its name; cutting the dataset anew may give it to another one."""
    name: Annotated[str, Field(examples=["segment_00001.wav"])]
    """File name of its audio."""
    path: Annotated[str, Field(examples=["datasets/my_voice/segments/segment_00001.wav"])]
    """Object key of its audio."""
    audio_url: Annotated[str, Field(examples=["/training/dataset/audio?path=datasets/my_voice/segments/segment_00001.wav"])]
    """Where its audio can be played; signed when tokens are wanted, and then valid for a while."""
    source: Annotated[str, Field(examples=["interview"])]
    """The recording it was cut from."""
    start_s: Annotated[float, Field(examples=[12.34])]
    """Where it begins in the recording, in seconds."""
    end_s: Annotated[float, Field(examples=[21.6])]
    """Where it ends in the recording, in seconds."""
    duration_s: Annotated[float, Field(examples=[9.26])]
    """Length of its audio, in seconds."""
    loudness: Annotated[float | None, Field(examples=[-20.0])]
    """Integrated loudness in LUFS; null when it was not measured."""
    snr_db: Annotated[float | None, Field(examples=[41.5])]
    """Estimated ratio of speech to background, 0 to 80 dB; null when it was not measured."""
    clipping: Annotated[float | None, Field(examples=[0.0])]
    """Share of the recording's samples here that are clipped, 0 to 1; null when it was not measured."""
    transcript: Annotated[str | None, Field(examples=["São 2 horas."])]
    """What is said, as heard; null while nobody has listened."""
    normalised: Annotated[str | None, Field(examples=["São duas horas."])]
    """The transcript as it is spoken, with numbers and abbreviations in words; null where the transcript is."""
    language: Annotated[str, Field(examples=["pt"])]
    """ISO 639-1 code of its language; empty before the transcription."""
    confidence: Annotated[float | None, Field(examples=[0.93])]
    """How sure the transcription is, 0 to 1; null before it, and where a person wrote the text."""
    characters_per_second: Annotated[float | None, Field(examples=[13.2])]
    """Characters of the transcript a second; null without one."""
    flags: Annotated[list[str], Field(examples=[["forced_cut"]])]
    """What a person should look at."""
    excluded: Annotated[bool, Field(examples=[False])]
    """Whether a person left it out: of training, and of exports."""
    edited: Annotated[bool, Field(examples=[True])]
    """Whether the text is a person's, which no job replaces."""
    revision: Annotated[str, Field(examples=[_REVISION])]
    """Opaque; changes with everything that a person or a job changes in the segment."""


class Segments(Answer):
    """Segments of a dataset, in order of their numbers."""

    folder: Annotated[str, Field(examples=[DEFAULT_FOLDER])]
    """The dataset."""
    revision: Annotated[str, Field(examples=["18f3a2b4c5d6e7f8-1a2b3c"])]
    """Opaque; changes with every change of any segment."""
    total: Annotated[int, Field(examples=[4922])]
    """How many there are in all."""
    segments: list[Segment]


class SegmentEdit(Body):
    """What a person says of a segment; what is absent stays as it is."""

    transcript: Annotated[
        Annotated[Text, text_up_to(MAX_TRANSCRIPT)] | None,
        Field(examples=["São 2 horas."], json_schema_extra={"maxLength": MAX_TRANSCRIPT}),
    ] = None
    """What is said, as heard; empty says that nothing is said."""

    normalised: Annotated[
        Annotated[Text, text_up_to(MAX_NORMALISED)] | None,
        Field(examples=["São duas horas."], json_schema_extra={"maxLength": MAX_NORMALISED}),
    ] = None
    """The text as it is spoken. Without it beside a `transcript`, it is made from that anew."""

    excluded: Flag | None = None
    """Whether to leave the segment out."""

    revision: Annotated[Text | None, Field(examples=[_REVISION])] = None
    """The revision you have seen: when the segment has another one by now, nothing is changed and the answer is 409."""


class SegmentChanged(Problem):
    """The segment is not any more what the caller has seen."""

    segment: Segment
    """The segment as it is now."""


class SegmentBatch(Body):
    """Which segments to leave out, or to take in again."""

    ids: Annotated[
        list[Text],
        list_of(1, MAX_IDS, "segments"),
        Field(examples=[["segment_00001", "segment_00007"]], json_schema_extra={"minItems": 1, "maxItems": MAX_IDS}),
    ]
    """1 to 10,000 segments; when one of them does not exist, none is changed."""

    excluded: Flag
    """Whether to leave them out."""


class SegmentsChanged(Answer):
    """Segments have been left out, or taken in again."""

    changed: Annotated[int, Field(examples=[2])]
    """How many of them this changed."""


class Recording(Answer):
    """One recording and where it comes from."""

    source: Annotated[str, Field(examples=["interview"])]
    """Its name below `raw/`, without `.wav`."""
    title: Annotated[str, Field(examples=["Entrevista de rádio"])]
    """What it is called where it comes from."""
    url: Annotated[str | None, Field(examples=["https://youtube.com/watch?v=VIDEO_ID"])]
    """Where it was found; null for an upload."""
    uploader: Annotated[str | None, Field(examples=["Rádio Exemplo"])]
    """Who published it; null when that is not known."""
    licence: Annotated[str | None, Field(examples=["CC BY 3.0"])]
    """Under which licence; null when that is not known."""
    duration_s: Annotated[float, Field(examples=[184.2])]
    """Length in seconds."""
    path: Annotated[str, Field(examples=["datasets/my_voice/raw/interview.wav"])]
    """Object key of its audio."""
    audio_url: Annotated[str, Field(examples=["/training/dataset/audio?path=datasets/my_voice/raw/interview.wav"])]
    """Where its audio can be played; signed when tokens are wanted, and then valid for a while."""
    segments: Annotated[int, Field(examples=[19])]
    """How many segments were cut from it."""
    excluded_segments: Annotated[int, Field(examples=[1])]
    """How many of those a person left out."""
    added_at: Moment
    """When it was added."""


class Recordings(Answer):
    """The recordings of a dataset, by name."""

    recordings: list[Recording]


class RecordingDeleted(Answer):
    """A recording has been deleted, and the segments that were cut from it."""

    status: Literal["deleted"] = "deleted"
    folder: Annotated[str, Field(examples=[DEFAULT_FOLDER])]
    """The dataset."""
    source: Annotated[str, Field(examples=["interview"])]
    """What the recording was called."""
    segments: Annotated[int, Field(examples=[19])]
    """How many segments went with it."""


class DatasetDeleted(Answer):
    """A dataset has been deleted."""

    status: Literal["deleted"] = "deleted"
    folder: Annotated[str, Field(examples=[DEFAULT_FOLDER])]
    """What it was called."""
    segments: Annotated[int, Field(examples=[4922])]
    """How many segments it had."""


class PreviewRequest(SegmentRequest):
    """Which recording to plan the cuts of, and with which knobs."""

    folder: Folder
    """Dataset folder path."""

    source: Annotated[Text, Field(examples=["interview"])]
    """The recording's name below `raw/`, without `.wav`."""


class PlannedSegment(Answer):
    """A segment as it would be cut."""

    start_s: Annotated[float, Field(examples=[12.34])]
    """Where it would begin in the recording, in seconds."""
    end_s: Annotated[float, Field(examples=[21.6])]
    """Where it would end in the recording, in seconds."""
    flags: Annotated[list[str], Field(examples=[[]])]
    """What a person would be asked to look at."""
    edited: Annotated[bool, Field(examples=[False])]
    """Whether it is there already with a person's text, and stays for that reason whatever the knobs say."""


class Preview(Answer):
    """How a recording would be cut: what segmenting it with these knobs would make."""

    source: Annotated[str, Field(examples=["interview"])]
    """The recording."""
    duration_s: Annotated[float, Field(examples=[184.2])]
    """Its length in seconds."""
    levels_db: Annotated[list[float], Field(examples=[[-71.2, -23.4, -19.8]])]
    """Highest level in dB of full scale, -100 to 0, for each `level_seconds`; at most 8192 values."""
    level_seconds: Annotated[float, Field(examples=[0.03])]
    """How much of the recording one of `levels_db` stands for, in seconds."""
    peaks: Annotated[list[float], Field(examples=[[0.001, 0.214, 0.36]])]
    """Highest sample, 0 to 1, for each `peak_seconds`; at most 8192 values."""
    peak_seconds: Annotated[float, Field(examples=[0.03])]
    """How much of the recording one of `peaks` stands for, in seconds."""
    speech: Annotated[list[tuple[float, float]], Field(examples=[[[0.5, 3.25], [3.9, 8.1]]])]
    """Beginning and end of each stretch in which somebody speaks, in seconds."""
    segments: list[PlannedSegment]
    """The segments, in order."""
    total_seconds: Annotated[float, Field(examples=[171.4])]
    """Their length together, in seconds."""
