"""`/training/dataset/segments…`, `…/recordings`, `…/preview`, `…/export`, `…/audio`: reviewing a dataset, and deleting."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from timbre.dataset.v1 import dataset_pb2

from gateway import objects, translate
from gateway.backends import CallFailed
from gateway.errors import Failure, of_call
from gateway.reply import Services, reply
from gateway.routes.dataset import FolderQuery
from gateway.routes.files import AUDIO
from gateway.schemas import review
from gateway.schemas.dataset import DEFAULT_FOLDER
from gateway.schemas.fields import Offset, Text
from gateway.schemas.problem import problems

router = APIRouter(prefix="/training", tags=["Review"])

SegmentId = Annotated[Text, Path(description="The segment.", examples=["segment_00001"])]
Source = Annotated[Text, Path(description="The recording's name below `raw/`, without `.wav`.", examples=["interview"])]

_CONFLICT: dict[int | str, dict[str, Any]] = {409: {**problems(409, always=())[409], "model": review.SegmentChanged}}
_AUDIO = {**AUDIO, **problems(404, 416, 422, always=(500, 503))}
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "The zip.", "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("/dataset/segments", response_model=review.Segments, responses=problems(422))
async def segments(
    request: Request,
    services: Services,
    folder: FolderQuery = DEFAULT_FOLDER,
    offset: Annotated[Offset, Query(description="How many to pass over.")] = 0,
    limit: Annotated[review.Limit, Query(description="Maximum segments to return.")] = 1000,
) -> Response:
    """List the segments of a dataset with their transcripts, in order: none for one that does not exist."""
    wanted = dataset_pb2.ListSegmentsRequest(folder=folder, limit=limit, offset=offset)
    found = await services.call(services.dataset.ListSegments, wanted)
    return Response(translate.review.segments_json(found, request.app.state.link), media_type="application/json")


@router.get("/dataset/segments/{id}", response_model=review.Segment, responses=problems(404, 422))
async def get_segment(request: Request, services: Services, id: SegmentId, folder: FolderQuery = DEFAULT_FOLDER) -> Response:
    """Get one segment."""
    found = await services.call(services.dataset.GetSegment, dataset_pb2.GetSegmentRequest(folder=folder, id=id))
    return reply(translate.review.segment(found.segment, request.app.state.link))


@router.patch("/dataset/segments/{id}", response_model=review.Segment, responses={**problems(400, 404, 413, 422), **_CONFLICT})
async def edit_segment(
    request: Request, body: review.SegmentEdit, services: Services, id: SegmentId, folder: FolderQuery = DEFAULT_FOLDER
) -> Response:
    """Correct a segment's text, or leave the segment out.

    A text that a person wrote is kept by every later job. With `revision`, nobody else's change is ever overwritten unseen.
    """
    link = request.app.state.link
    try:
        changed = await services.call(services.dataset.UpdateSegment, translate.review.segment_edit(folder, id, body))
    except CallFailed as failed:
        refused = of_call(failed)
        if refused.status != 409:
            raise
        now = await services.call(services.dataset.GetSegment, dataset_pb2.GetSegmentRequest(folder=folder, id=id))
        current = translate.review.segment(now.segment, link).model_dump()
        return Failure(409, refused.detail, refused.reason, extra={"segment": current}).response()
    return reply(translate.review.segment(changed.segment, link))


@router.post("/dataset/segments/batch", response_model=review.SegmentsChanged, responses=problems(404, 413, 422))
async def exclude_segments(body: review.SegmentBatch, services: Services, folder: FolderQuery = DEFAULT_FOLDER) -> Response:
    """Leave many segments out at once, or take them in again."""
    wanted = dataset_pb2.ExcludeSegmentsRequest(folder=folder, ids=body.ids, excluded=body.excluded)
    changed = await services.call(services.dataset.ExcludeSegments, wanted)
    return reply(review.SegmentsChanged(changed=changed.changed_count))


@router.get("/dataset/recordings", response_model=review.Recordings, responses=problems(422))
async def recordings(request: Request, services: Services, folder: FolderQuery = DEFAULT_FOLDER) -> Response:
    """List the recordings of a dataset, with where they come from."""
    found = await services.call(services.dataset.ListRecordings, dataset_pb2.ListRecordingsRequest(folder=folder))
    return reply(translate.review.recordings(found, request.app.state.link))


@router.delete("/dataset/recordings/{source}", response_model=review.RecordingDeleted, responses=problems(400, 404, 422))
async def delete_recording(services: Services, source: Source, folder: FolderQuery = DEFAULT_FOLDER) -> Response:
    """Delete a recording and the segments that were cut from it. 400 while a job works on the dataset."""
    wanted = dataset_pb2.DeleteRecordingRequest(folder=folder, source=source)
    gone = await services.call(services.dataset.DeleteRecording, wanted, services.settings.dataset_timeout_seconds)
    return reply(review.RecordingDeleted(folder=folder, source=source, segments=gone.segment_count))


@router.delete("/datasets", response_model=review.DatasetDeleted, responses=problems(400, 404, 422))
async def delete_dataset(
    services: Services, folder: Annotated[Text, Query(description="Dataset folder path.", examples=[DEFAULT_FOLDER])]
) -> Response:
    """Delete a dataset with everything in it. 400 while a job or a training works on it; voices made of it stay."""
    wanted = dataset_pb2.DeleteDatasetRequest(folder=folder)
    gone = await services.call(services.dataset.DeleteDataset, wanted, services.settings.dataset_timeout_seconds)
    return reply(review.DatasetDeleted(folder=folder, segments=gone.segment_count))


@router.post("/dataset/preview", response_model=review.Preview, responses=problems(404, 413, 422))
async def preview(body: review.PreviewRequest, services: Services) -> Response:
    """Say how a recording would be cut with these knobs, without cutting it."""
    wanted = translate.review.preview_request(body)
    made = await services.call(services.dataset.PreviewSegmentation, wanted, services.settings.dataset_timeout_seconds)
    return reply(translate.review.preview(made))


@router.get("/dataset/export", response_class=StreamingResponse, responses={**_ZIP, **problems(404, 422)})
async def export_dataset(services: Services, folder: FolderQuery = DEFAULT_FOLDER) -> Response:
    """Download a dataset as a zip in LJSpeech form, without the segments that were left out."""
    chunks = await services.stream(services.dataset.ExportDataset, dataset_pb2.ExportDatasetRequest(folder=folder))
    name = folder.rpartition("/")[2]
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return StreamingResponse((message.chunk async for message in chunks), headers=headers, media_type="application/zip")


@router.get("/dataset/audio", response_class=Response, responses=_AUDIO)
async def audio(
    request: Request,
    path: Annotated[Text, Query(description="Object key.", examples=["datasets/my_voice/segments/segment_00001.wav"])],
) -> Response:
    """Get the audio of a segment or a recording, whole or by `Range`."""
    return await objects.serve(request.app.state.store, path, request, objects.DATASET_AUDIO)


@router.head("/dataset/audio", response_class=Response, responses=_AUDIO)
async def head_audio(
    request: Request,
    path: Annotated[Text, Query(description="Object key.", examples=["datasets/my_voice/segments/segment_00001.wav"])],
) -> Response:
    """Get the headers of the audio of a segment or a recording."""
    return await objects.serve(request.app.state.store, path, request, objects.DATASET_AUDIO)
