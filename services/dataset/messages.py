"""What reviewing a dataset looks like in messages: a function for each, from domain to wire."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from timbre.dataset.v1 import dataset_pb2 as pb

from services.dataset import layout
from services.dataset.confidence import characters_per_second
from services.dataset.manifest import Segment
from services.dataset.preview import Preview
from services.dataset.recordings import Recording
from services.dataset.review import revision_of


def segment(folder: str, row: Segment) -> pb.Segment:
    """Returns a row of a manifest as a message."""
    return pb.Segment(
        id=row.id,
        path=layout.segment_key(folder, row.id),
        source=row.source,
        start_seconds=row.start_s,
        end_seconds=row.end_s,
        duration_seconds=row.seconds,
        loudness_lufs=row.loudness,
        snr_db=row.snr_db,
        clipping=row.clipping,
        transcript=row.transcript,
        normalised=row.normalised,
        language=row.language or "",
        confidence=row.confidence,
        characters_per_second=characters_per_second(row.transcript, row.seconds) if row.transcript else None,
        flags=row.flags,
        excluded=row.excluded,
        edited=row.edited,
        revision=revision_of(row),
    )


def recording(folder: str, one: Recording) -> pb.Recording:
    """Returns a recording as a message."""
    added = Timestamp()
    added.FromDatetime(one.added)
    return pb.Recording(
        source=one.source,
        title=one.title,
        url=one.url,
        uploader=one.uploader,
        licence=one.licence,
        duration_seconds=one.seconds,
        path=layout.recording_key(folder, one.source),
        segment_count=one.segments,
        excluded_segment_count=one.excluded,
        create_time=added,
    )


def preview(source: str, made: Preview) -> pb.PreviewSegmentationResponse:
    """Returns a preview as a message."""
    return pb.PreviewSegmentationResponse(
        source=source,
        duration_seconds=made.duration_seconds,
        levels_db=made.levels_db.tolist(),
        level_seconds=made.step_seconds,
        peaks=made.peaks.tolist(),
        peak_seconds=made.step_seconds,
        speech=[pb.SpeechSpan(start_seconds=span.start_seconds, end_seconds=span.end_seconds) for span in made.speech],
        segments=[
            pb.PlannedSegment(start_seconds=one.start_s, end_seconds=one.end_s, flags=one.flags, edited=one.edited)
            for one in made.segments
        ],
        total_seconds=sum(one.seconds for one in made.segments),
    )
