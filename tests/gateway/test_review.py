"""Reviewing a dataset over HTTP, field by field: what goes to the service, and what comes back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from timbre.dataset.v1 import dataset_pb2

from gateway.schemas import review
from services.runtime.errors import Conflict, FailedPrecondition, NotFound

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "datasets/v/segments/segment_00001.wav"
FULL = dataset_pb2.Segment(
    id="segment_00001",
    path=PATH,
    source="interview",
    start_seconds=1.5,
    end_seconds=10.25,
    duration_seconds=8.75,
    loudness_lufs=-20.0,
    snr_db=41.5,
    clipping=0.0,
    transcript="São 2 horas.",
    normalised="São duas horas.",
    language="pt",
    confidence=0.9,
    characters_per_second=1.5,
    flags=["forced_cut"],
    excluded=True,
    edited=True,
    revision="r1",
)
FULL_JSON = {
    "id": "segment_00001",
    "name": "segment_00001.wav",
    "path": PATH,
    "audio_url": f"/training/dataset/audio?path={PATH}",
    "source": "interview",
    "start_s": 1.5,
    "end_s": 10.25,
    "duration_s": 8.75,
    "loudness": -20.0,
    "snr_db": 41.5,
    "clipping": 0.0,
    "transcript": "São 2 horas.",
    "normalised": "São duas horas.",
    "language": "pt",
    "confidence": 0.9,
    "characters_per_second": 1.5,
    "flags": ["forced_cut"],
    "excluded": True,
    "edited": True,
    "revision": "r1",
}
BARE_JSON = {
    "loudness": None,
    "snr_db": None,
    "clipping": None,
    "transcript": None,
    "normalised": None,
    "language": "",
    "confidence": None,
    "characters_per_second": None,
    "flags": [],
    "excluded": False,
    "edited": False,
}


async def test_segments(stack: Any) -> None:
    bare = dataset_pb2.Segment(id="segment_00002", path="datasets/v/segments/segment_00002.wav", loudness_lufs=float("-inf"))
    found = dataset_pb2.ListSegmentsResponse(folder="datasets/v", revision="e-1", total_count=7, segments=[FULL, bare])
    stack.answer(ListSegments=found)
    answer = await stack.client.get("/training/dataset/segments?folder=datasets/v&offset=5&limit=2")
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert {key: body[key] for key in ("folder", "revision", "total")} == {
        "folder": "datasets/v",
        "revision": "e-1",
        "total": 7,
    }
    assert body["segments"][0] == FULL_JSON
    assert body["segments"][1].items() >= BARE_JSON.items()
    assert review.Segments.model_validate_json(answer.content).model_dump(mode="json") == body, "as the document says"
    assert stack.asked("ListSegments") == dataset_pb2.ListSegmentsRequest(folder="datasets/v", offset=5, limit=2)
    await stack.client.get("/training/dataset/segments")
    assert stack.asked("ListSegments") == dataset_pb2.ListSegmentsRequest(folder="datasets/my_voice", limit=1000)
    for query in ("limit=0", "limit=10001", "offset=-1"):
        assert (await stack.client.get(f"/training/dataset/segments?{query}")).status_code == 422


async def test_one_segment(stack: Any) -> None:
    stack.answer(GetSegment=dataset_pb2.GetSegmentResponse(segment=FULL))
    answer = await stack.client.get("/training/dataset/segments/segment_00001?folder=datasets/v")
    assert answer.json() == FULL_JSON
    assert stack.asked("GetSegment") == dataset_pb2.GetSegmentRequest(folder="datasets/v", id="segment_00001")
    stack.answer(GetSegment=NotFound("datasets/v has no segment 'x'."))
    assert (await stack.client.get("/training/dataset/segments/x?folder=datasets/v")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"transcript": "São 2 horas.", "revision": "r0"},
        {"transcript": ""},
        {"normalised": "São duas.", "excluded": False},
        {"excluded": True},
        {},
    ],
)
async def test_an_edit(stack: Any, body: dict[str, Any]) -> None:
    stack.answer(UpdateSegment=dataset_pb2.UpdateSegmentResponse(segment=FULL))
    answer = await stack.client.patch("/training/dataset/segments/segment_00001?folder=datasets/v", json=body)
    assert (answer.status_code, answer.json()) == (200, FULL_JSON)
    wanted = dataset_pb2.UpdateSegmentRequest(folder="datasets/v", id="segment_00001", **body)
    assert stack.asked("UpdateSegment") == wanted
    nulls = {name: None for name in ("transcript", "normalised", "excluded", "revision") if name not in body}
    await stack.client.patch("/training/dataset/segments/segment_00001?folder=datasets/v", json={**body, **nulls})
    assert stack.asked("UpdateSegment") == wanted, "null is as good as absent"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"transcript": "x" * 2001}, "it must be at most 2,000 characters of text; it has 2,001"),
        ({"normalised": "x" * 4001}, "it must be at most 4,000 characters"),
        ({"excluded": "yes"}, "excluded is "),
        ({"transcript": 7}, "transcript is 7: it must be text"),
    ],
)
async def test_an_edit_that_is_none(stack: Any, body: dict[str, Any], sentence: str) -> None:
    answer = await stack.client.patch("/training/dataset/segments/segment_00001", json=body)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


async def test_a_conflict_shows_what_is_there(stack: Any) -> None:
    changed = Conflict("segment_00001 was changed meanwhile: look.", reason="SEGMENT_CHANGED")
    stack.answer(UpdateSegment=changed, GetSegment=dataset_pb2.GetSegmentResponse(segment=FULL))
    edit = {"transcript": "x", "revision": "r0"}
    answer = await stack.client.patch("/training/dataset/segments/segment_00001?folder=datasets/v", json=edit)
    assert answer.status_code == 409
    assert answer.json() == {"detail": changed.message, "reason": "SEGMENT_CHANGED", "segment": FULL_JSON}
    review.SegmentChanged.model_validate(answer.json())
    stack.answer(UpdateSegment=NotFound("datasets/v has no segment 'segment_00001'."))
    answer = await stack.client.patch("/training/dataset/segments/segment_00001?folder=datasets/v", json=edit)
    assert answer.status_code == 404


async def test_a_batch(stack: Any) -> None:
    stack.answer(ExcludeSegments=dataset_pb2.ExcludeSegmentsResponse(changed_count=2))
    body = {"ids": ["segment_00001", "segment_00002"], "excluded": True}
    answer = await stack.client.post("/training/dataset/segments/batch?folder=datasets/v", json=body)
    assert (answer.status_code, answer.json()) == (200, {"changed": 2})
    assert stack.asked("ExcludeSegments") == dataset_pb2.ExcludeSegmentsRequest(folder="datasets/v", **body)
    many = {"ids": [f"segment_{n:05d}" for n in range(10_000)], "excluded": False}
    assert (await stack.client.post("/training/dataset/segments/batch", json=many)).status_code == 200
    for wrong in ({"ids": [], "excluded": True}, {"ids": ["a"] * 10_001, "excluded": True}, {"ids": ["a"]}):
        assert (await stack.client.post("/training/dataset/segments/batch", json=wrong)).status_code == 422


async def test_recordings(stack: Any) -> None:
    known = dataset_pb2.Recording(
        source="interview",
        title="Entrevista",
        url="https://youtu.be/x",
        uploader="Rádio",
        licence="CC BY",
        duration_seconds=184.25,
        path="datasets/v/raw/interview.wav",
        segment_count=19,
        excluded_segment_count=1,
        create_time=Timestamp(seconds=1_764_081_000),
    )
    bare = dataset_pb2.Recording(source="b", title="b", path="datasets/v/raw/b.wav", create_time=Timestamp(seconds=0))
    stack.answer(ListRecordings=dataset_pb2.ListRecordingsResponse(recordings=[known, bare]))
    answer = await stack.client.get("/training/dataset/recordings?folder=datasets/v")
    first, second = answer.json()["recordings"]
    assert first == {
        "source": "interview",
        "title": "Entrevista",
        "url": "https://youtu.be/x",
        "uploader": "Rádio",
        "licence": "CC BY",
        "duration_s": 184.25,
        "path": "datasets/v/raw/interview.wav",
        "audio_url": "/training/dataset/audio?path=datasets/v/raw/interview.wav",
        "segments": 19,
        "excluded_segments": 1,
        "added_at": "2025-11-25T14:30:00Z",
    }
    assert (second["url"], second["uploader"], second["licence"]) == (None, None, None)
    assert stack.asked("ListRecordings").folder == "datasets/v"


async def test_deletions(stack: Any) -> None:
    stack.answer(
        DeleteRecording=dataset_pb2.DeleteRecordingResponse(segment_count=19),
        DeleteDataset=dataset_pb2.DeleteDatasetResponse(segment_count=4922),
    )
    answer = await stack.client.delete("/training/dataset/recordings/interview?folder=datasets/v")
    assert answer.json() == {"status": "deleted", "folder": "datasets/v", "source": "interview", "segments": 19}
    assert stack.asked("DeleteRecording") == dataset_pb2.DeleteRecordingRequest(folder="datasets/v", source="interview")
    answer = await stack.client.delete("/training/datasets?folder=datasets/v")
    assert answer.json() == {"status": "deleted", "folder": "datasets/v", "segments": 4922}
    assert stack.asked("DeleteDataset").folder == "datasets/v"
    assert (await stack.client.delete("/training/datasets")).status_code == 422, "no dataset is deleted by default"
    stack.answer(DeleteDataset=FailedPrecondition("A job works on it.", reason="DATASET_BUSY", metadata={"job_id": "job_1"}))
    answer = await stack.client.delete("/training/datasets?folder=datasets/v")
    assert (answer.status_code, answer.json()["job_id"]) == (400, "job_1")


async def test_preview(stack: Any) -> None:
    stack.answer(
        PreviewSegmentation=dataset_pb2.PreviewSegmentationResponse(
            source="interview",
            duration_seconds=184.25,
            levels_db=[-71.234, -23.456],
            level_seconds=0.03,
            peaks=[0.00123, 0.5],
            peak_seconds=0.03,
            speech=[dataset_pb2.SpeechSpan(start_seconds=0.5, end_seconds=3.25)],
            segments=[dataset_pb2.PlannedSegment(start_seconds=0.25, end_seconds=9.5, flags=["padded"], edited=True)],
            total_seconds=9.25,
        )
    )
    body = {"folder": "datasets/v", "source": "interview", "min_duration": 3.5, "max_duration": 9, "vad_threshold": -35.5}
    answer = await stack.client.post("/training/dataset/preview", json=body)
    assert answer.json() == {
        "source": "interview",
        "duration_s": 184.25,
        "levels_db": [-71.2, -23.5],
        "level_seconds": 0.03,
        "peaks": [0.0012, 0.5],
        "peak_seconds": 0.03,
        "speech": [[0.5, 3.25]],
        "segments": [{"start_s": 0.25, "end_s": 9.5, "flags": ["padded"], "edited": True}],
        "total_seconds": 9.25,
    }
    assert stack.asked("PreviewSegmentation") == dataset_pb2.PreviewSegmentationRequest(
        folder="datasets/v", source="interview", min_duration_seconds=3.5, max_duration_seconds=9.0, vad_threshold_db=-35.5
    )
    for wrong in ({"min_duration": 2.9}, {"max_duration": 21}, {"vad_threshold": -61}, {"source": None}):
        assert (await stack.client.post("/training/dataset/preview", json={**body, **wrong})).status_code == 422


async def test_export(stack: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("wavs/segment_00001.wav", b"RIFF" * 200_000)
    data = packed.getvalue()

    async def export(request: Any, context: Any) -> AsyncIterator[Any]:
        for start in range(0, len(data), 100_000):
            yield dataset_pb2.ExportDatasetResponse(chunk=data[start : start + 100_000])

    stack.answer(ExportDataset=export)
    answer = await stack.client.get("/training/dataset/export?folder=datasets/my.voice-1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="my.voice-1.zip"'
    assert "content-length" not in answer.headers
    assert answer.content == data
    assert stack.asked("ExportDataset").folder == "datasets/my.voice-1"


async def test_an_export_that_fails(stack: Any) -> None:
    async def nothing(request: Any, context: Any) -> AsyncIterator[Any]:
        raise NotFound("datasets/v has no segments to export.")
        yield

    stack.answer(ExportDataset=nothing)
    answer = await stack.client.get("/training/dataset/export?folder=datasets/v")
    assert (answer.status_code, answer.json()["detail"]) == (404, "datasets/v has no segments to export.")

    async def broken(request: Any, context: Any) -> AsyncIterator[Any]:
        yield dataset_pb2.ExportDatasetResponse(chunk=b"PK")
        raise Conflict("The segments were cut anew.")

    stack.answer(ExportDataset=broken)
    with pytest.raises(httpx.RemoteProtocolError):  # cut off, so that nobody takes a part for the whole
        await stack.client.get("/training/dataset/export?folder=datasets/v")
    assert (await stack.client.get("/healthz")).status_code == 200
