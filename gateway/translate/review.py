"""Between protos and the JSON of reviewing a dataset: one pure function a direction and message."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from timbre.dataset.v1 import dataset_pb2

from gateway.schemas import review
from gateway.translate.values import Link, moment


def segment(message: dataset_pb2.Segment, link: Link) -> review.Segment:
    return review.Segment(**_segment(message, link))


def segments_json(reply: dataset_pb2.ListSegmentsResponse, link: Link) -> bytes:
    """Writes the JSON of `review.Segments`. Ten thousand models would take ten times as long as what they would hold."""
    answer = {
        "folder": reply.folder,
        "revision": reply.revision,
        "total": reply.total_count,
        "segments": [_segment(one, link) for one in reply.segments],
    }
    return to_json(answer, inf_nan_mode="null")


def _segment(message: dataset_pb2.Segment, link: Link) -> dict[str, Any]:
    has, path = message.HasField, message.path
    return {
        "id": message.id,
        "name": path.rpartition("/")[2],
        "path": path,
        "audio_url": link(path),
        "source": message.source,
        "start_s": message.start_seconds,
        "end_s": message.end_seconds,
        "duration_s": message.duration_seconds,
        "loudness": message.loudness_lufs if has("loudness_lufs") else None,
        "snr_db": message.snr_db if has("snr_db") else None,
        "clipping": message.clipping if has("clipping") else None,
        "transcript": message.transcript if has("transcript") else None,
        "normalised": message.normalised if has("normalised") else None,
        "language": message.language,
        "confidence": message.confidence if has("confidence") else None,
        "characters_per_second": message.characters_per_second if has("characters_per_second") else None,
        "flags": list(message.flags),
        "excluded": message.excluded,
        "edited": message.edited,
        "revision": message.revision,
    }


def segment_edit(folder: str, id: str, body: review.SegmentEdit) -> dataset_pb2.UpdateSegmentRequest:
    return dataset_pb2.UpdateSegmentRequest(
        folder=folder,
        id=id,
        transcript=body.transcript,
        normalised=body.normalised,
        excluded=body.excluded,
        revision=body.revision or "",
    )


def recordings(reply: dataset_pb2.ListRecordingsResponse, link: Link) -> review.Recordings:
    return review.Recordings(recordings=[_recording(one, link) for one in reply.recordings])


def _recording(message: dataset_pb2.Recording, link: Link) -> review.Recording:
    return review.Recording(
        source=message.source,
        title=message.title,
        url=message.url if message.HasField("url") else None,
        uploader=message.uploader if message.HasField("uploader") else None,
        licence=message.licence if message.HasField("licence") else None,
        duration_s=message.duration_seconds,
        path=message.path,
        audio_url=link(message.path),
        segments=message.segment_count,
        excluded_segments=message.excluded_segment_count,
        added_at=moment(message.create_time),
    )


def preview_request(body: review.PreviewRequest) -> dataset_pb2.PreviewSegmentationRequest:
    return dataset_pb2.PreviewSegmentationRequest(
        folder=body.folder,
        source=body.source,
        min_duration_seconds=body.min_duration,
        max_duration_seconds=body.max_duration,
        vad_threshold_db=body.vad_threshold,
    )


def preview(reply: dataset_pb2.PreviewSegmentationResponse) -> review.Preview:
    return review.Preview(
        source=reply.source,
        duration_s=reply.duration_seconds,
        levels_db=[round(level, 1) for level in reply.levels_db],
        level_seconds=reply.level_seconds,
        peaks=[round(peak, 4) for peak in reply.peaks],
        peak_seconds=reply.peak_seconds,
        speech=[(span.start_seconds, span.end_seconds) for span in reply.speech],
        segments=[
            review.PlannedSegment(start_s=one.start_seconds, end_s=one.end_seconds, flags=list(one.flags), edited=one.edited)
            for one in reply.segments
        ],
        total_seconds=reply.total_seconds,
    )
