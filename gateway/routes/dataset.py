"""`/training/dataset/…` and `/training/datasets`: download, upload, segment, transcribe, look."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from timbre.dataset.v1 import dataset_pb2

from gateway import translate, uploads
from gateway.reply import IdempotencyKey, Services, reply, services_of
from gateway.schemas import dataset
from gateway.schemas.fields import Offset, Text
from gateway.schemas.problem import problems

router = APIRouter(prefix="/training", tags=["Dataset"])

FolderQuery = Annotated[Text, Query(description="Dataset folder path.", examples=[dataset.DEFAULT_FOLDER])]


@router.post("/dataset/download", response_model=dataset.DownloadStarted, responses=problems(400, 413, 422))
async def download(body: dataset.DownloadRequest, services: Services, key: IdempotencyKey = None) -> Response:
    """Download the audio of videos into a dataset, as a background job. A URL that is not allowed is 400."""
    started = await services.submit(services.dataset.StartDownload, translate.dataset.download_request(body), key)
    return reply(translate.dataset.download_started(started))


@router.post("/dataset/segment", response_model=dataset.SegmentStarted, responses=problems(400, 404, 413, 422))
async def segment(body: dataset.SegmentRequest, services: Services, key: IdempotencyKey = None) -> Response:
    """Cut the recordings of a dataset into segments at pauses, as a background job."""
    started = await services.submit(services.dataset.StartSegmentation, translate.dataset.segment_request(body), key)
    return reply(translate.dataset.segment_started(started))


@router.post("/dataset/transcribe", response_model=dataset.TranscribeStarted, responses=problems(400, 404, 413, 422))
async def transcribe(body: dataset.TranscribeRequest, services: Services, key: IdempotencyKey = None) -> Response:
    """Transcribe the segments of a dataset with Whisper, as a background job."""
    started = await services.submit(services.dataset.StartTranscription, translate.dataset.transcribe_request(body), key)
    return reply(translate.dataset.transcribe_started(started))


@router.get("/dataset/stats", response_model=dataset.DatasetStats, responses=problems(422))
async def stats(request: Request, folder: FolderQuery = dataset.DEFAULT_FOLDER) -> Response:
    """Get figures of a dataset: zeros for one that does not exist."""
    services = services_of(request)
    figures = await services.call(services.dataset.GetDatasetStats, dataset_pb2.GetDatasetStatsRequest(folder=folder))
    return reply(translate.dataset.stats(figures))


@router.get("/dataset/files", response_model=dataset.DatasetFiles, responses=problems(422))
async def files(
    services: Services,
    folder: FolderQuery = dataset.DEFAULT_FOLDER,
    limit: Annotated[dataset.Limit, Query(description="Maximum files to return.")] = 100,
    offset: Annotated[Offset, Query(description="How many to pass over.")] = 0,
) -> Response:
    """List the segments of a dataset as files."""
    request = dataset_pb2.ListDatasetFilesRequest(folder=folder, limit=limit, offset=offset)
    return reply(translate.dataset.files(await services.call(services.dataset.ListDatasetFiles, request)))


@router.get("/datasets", response_model=dataset.Datasets, responses=problems())
async def datasets(services: Services) -> Response:
    """List the datasets there are, with their figures."""
    found = await services.call(services.dataset.ListDatasets, dataset_pb2.ListDatasetsRequest())
    return reply(translate.dataset.datasets(found))


@router.post(
    "/dataset/upload",
    response_model=dataset.Uploaded,
    responses=problems(400, 413, 422),
    openapi_extra=uploads.RECORDINGS_FORM,
)
async def upload(request: Request, services: Services) -> Response:
    """Store recordings of your own, in any format that ffmpeg reads, below `raw/` of a dataset.

    They are streamed through. Each file stands for itself: one that fails is reported, and the others are stored.
    """
    return await uploads.store_recordings(request, services)


@router.post(
    "/dataset/import",
    response_model=dataset.ImportStarted,
    responses=problems(400, 413, 422),
    openapi_extra=uploads.ARCHIVE_FORM,
)
async def import_archive(request: Request, services: Services, key: IdempotencyKey = None) -> Response:
    """Import an LJSpeech archive (zip or tar of `wavs/` and `metadata.csv`), as a background job."""
    return reply(await uploads.store_archive(request, services, key))
