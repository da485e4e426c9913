"""DatasetService over gRPC: each method translates a request, asks a domain module or the job queue, translates the answer."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, TypeVar

import grpc
from timbre.dataset.v1 import dataset_pb2 as pb
from timbre.dataset.v1 import dataset_pb2_grpc

from services.dataset import layout, messages, requests, review
from services.dataset.addresses import check_url
from services.dataset.export import export_zip
from services.dataset.folding import Folding
from services.dataset.manifest import Summary, read_page, read_summary, segment_files
from services.dataset.preview import Previews
from services.dataset.receive import receive, scratch_for_uploads
from services.dataset.recordings import list_recordings
from services.dataset.remove import check_idle, remove_dataset, remove_recording
from services.dataset.settings import DatasetSettings
from services.dataset.sources import safe_name
from services.dataset.turns import Turns
from services.dataset.upload import store_upload
from services.runtime import idempotency
from services.runtime.errors import NotFound
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.store import ObjectStore

Context = grpc.aio.ServicerContext[Any, Any]

DOWNLOAD, IMPORT, SEGMENT, TRANSCRIBE = "dataset.download", "dataset.import", "dataset.segment", "dataset.transcribe"
KINDS = (DOWNLOAD, IMPORT, SEGMENT, TRANSCRIBE)
_ACTIVE = (JobState.QUEUED, JobState.RUNNING)

# An editor who has waited so long for a job that writes the manifest is told to try again.
_EDIT_SECONDS = 5.0
_REMOVE_SECONDS = 60.0

T = TypeVar("T")


class DatasetNotFound(NotFound):
    """The folder has nothing that could be worked on."""


class DatasetServicer(dataset_pb2_grpc.DatasetServiceServicer):
    """Serves the datasets of one object store."""

    def __init__(self, settings: DatasetSettings, store: ObjectStore, queue: JobQueue, supervisor: Supervisor) -> None:
        self._settings = settings
        self._store = store
        self._queue = queue
        self._supervisor = supervisor
        self._previews = Previews(store, settings.data_dir / "scratch")
        self._folding = Folding(store, queue)
        self._turns = Turns(queue)

    async def run(self) -> None:
        """What the service does when nobody asks; until it is cancelled."""
        await self._folding.run()

    async def StartDownload(self, request: pb.StartDownloadRequest, context: Context) -> pb.StartDownloadResponse:
        folder = layout.check_folder(request.folder)
        urls = requests.urls_of(request)
        hosts, private = self._settings.download_hosts, self._settings.download_allow_private
        for url in urls:
            check_url(url, hosts=hosts, allow_private=private)
        job = await self._submit(DOWNLOAD, folder, {"folder": folder, "urls": urls})
        return pb.StartDownloadResponse(job_id=job.id, video_count=len(urls), output_folder=layout.raw_folder(folder))

    async def StartSegmentation(self, request: pb.StartSegmentationRequest, context: Context) -> pb.StartSegmentationResponse:
        parameters = requests.segmentation_parameters(request)
        folder = parameters["folder"]
        if not await self._exists(layout.raw_folder(folder), folder, (DOWNLOAD,)):
            raise DatasetNotFound(f"{folder} has no recordings: download some or upload your own first.")
        job = await self._submit(SEGMENT, folder, parameters)
        return pb.StartSegmentationResponse(
            job_id=job.id, input_folder=layout.raw_folder(folder), output_folder=layout.segments_folder(folder)
        )

    async def StartTranscription(
        self, request: pb.StartTranscriptionRequest, context: Context
    ) -> pb.StartTranscriptionResponse:
        parameters = requests.transcription_parameters(request, self._settings.whisper_model)
        folder = parameters["folder"]
        if not await self._exists(layout.segments_folder(folder), folder, (SEGMENT, IMPORT)):
            raise DatasetNotFound(f"{folder} has no segments: cut its recordings into segments first.")
        job = await self._submit(TRANSCRIBE, folder, parameters)
        return pb.StartTranscriptionResponse(job_id=job.id, folder=layout.segments_folder(folder))

    async def StartImport(self, request: pb.StartImportRequest, context: Context) -> pb.StartImportResponse:
        folder = layout.check_folder(request.folder)
        key = layout.check_archive(request.archive_key)
        if await asyncio.to_thread(self._store.stat, key) is None:
            raise DatasetNotFound(f"There is no archive {key}: upload it first.")
        parameters = {"folder": folder, "archive_key": key, "language": requests.language_of(request.language)}
        return pb.StartImportResponse(job_id=(await self._submit(IMPORT, folder, parameters)).id)

    async def UploadRecording(
        self, request_iterator: AsyncIterator[pb.UploadRecordingRequest], context: Context
    ) -> pb.UploadRecordingResponse:
        async with scratch_for_uploads(self._settings.data_dir) as scratch:
            header, path = await receive(request_iterator, scratch, self._settings.upload_max_bytes)
            folder = layout.check_folder(header.folder)
            stored = await asyncio.to_thread(
                store_upload, self._store, folder, header.filename, path, max_seconds=self._settings.upload_max_seconds
            )
        return pb.UploadRecordingResponse(
            source=stored.source,
            key=stored.key,
            duration_seconds=stored.duration_seconds,
            size_bytes=stored.size_bytes,
            existed=stored.existed,
        )

    async def UploadArchive(
        self, request_iterator: AsyncIterator[pb.UploadArchiveRequest], context: Context
    ) -> pb.UploadArchiveResponse:
        async with scratch_for_uploads(self._settings.data_dir) as scratch:
            header, path = await receive(request_iterator, scratch, self._settings.upload_max_bytes)
            folder, language = layout.check_folder(header.folder), requests.language_of(header.language)
            key = layout.archive_key(idempotency.fingerprint() or secrets.token_hex(8), safe_name(header.filename))
            await asyncio.to_thread(self._store.put, key, path)
        job = await self._submit(IMPORT, folder, {"folder": folder, "archive_key": key, "language": language})
        if job.ended:  # it was sent before, and its work is done
            await asyncio.to_thread(self._store.delete, key)
        return pb.UploadArchiveResponse(job_id=job.id)

    async def GetDatasetStats(self, request: pb.GetDatasetStatsRequest, context: Context) -> pb.GetDatasetStatsResponse:
        folder = layout.check_folder(request.folder)
        return await asyncio.to_thread(_stats, self._store, folder)

    async def ListDatasetFiles(self, request: pb.ListDatasetFilesRequest, context: Context) -> pb.ListDatasetFilesResponse:
        folder = layout.check_folder(request.folder)
        offset, limit = requests.page_of(request, requests.DEFAULT_PAGE)
        files = await asyncio.to_thread(segment_files, self._store, folder, offset=offset, limit=limit)
        summary = await asyncio.to_thread(read_summary, self._store, folder)
        return pb.ListDatasetFilesResponse(
            files=[pb.DatasetFile(name=key.rpartition("/")[2], size_bytes=size, path=key) for key, size in files],
            total_count=summary.segments,
        )

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        folders = await asyncio.to_thread(lambda: list(layout.folders(self._store)))
        stats = await asyncio.gather(*(asyncio.to_thread(_stats, self._store, folder) for folder in folders))
        return pb.ListDatasetsResponse(
            datasets=[pb.Dataset(folder=folder, stats=figures) for folder, figures in zip(folders, stats, strict=True)]
        )

    # ── review ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def ListSegments(self, request: pb.ListSegmentsRequest, context: Context) -> pb.ListSegmentsResponse:
        folder = layout.check_folder(request.folder)
        offset, limit = requests.page_of(request, requests.DEFAULT_SEGMENTS)
        return await asyncio.to_thread(_segments, self._store, folder, offset, limit)

    async def GetSegment(self, request: pb.GetSegmentRequest, context: Context) -> pb.GetSegmentResponse:
        folder = layout.check_folder(request.folder)
        row = await asyncio.to_thread(review.get_segment, self._store, folder, request.id)
        return pb.GetSegmentResponse(segment=messages.segment(folder, row))

    async def UpdateSegment(self, request: pb.UpdateSegmentRequest, context: Context) -> pb.UpdateSegmentResponse:
        folder, change = layout.check_folder(request.folder), requests.change_of(request)
        row = await self._edit(review.update_segment, folder, request.id, change, request.revision)
        return pb.UpdateSegmentResponse(segment=messages.segment(folder, row))

    async def ExcludeSegments(self, request: pb.ExcludeSegmentsRequest, context: Context) -> pb.ExcludeSegmentsResponse:
        folder, ids = layout.check_folder(request.folder), requests.segments_of(request)
        changed = await self._edit(review.exclude_segments, folder, ids, request.excluded)
        return pb.ExcludeSegmentsResponse(changed_count=changed)

    async def ListRecordings(self, request: pb.ListRecordingsRequest, context: Context) -> pb.ListRecordingsResponse:
        folder = layout.check_folder(request.folder)
        found = await asyncio.to_thread(list_recordings, self._store, folder)
        return pb.ListRecordingsResponse(recordings=[messages.recording(folder, one) for one in found])

    async def DeleteRecording(self, request: pb.DeleteRecordingRequest, context: Context) -> pb.DeleteRecordingResponse:
        folder, source = layout.check_folder(request.folder), layout.check_source(request.source)
        count = await self._remove(folder, partial(remove_recording, source=source))
        return pb.DeleteRecordingResponse(segment_count=count)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:
        folder = layout.check_folder(request.folder)
        return pb.DeleteDatasetResponse(segment_count=await self._remove(folder, remove_dataset))

    async def PreviewSegmentation(
        self, request: pb.PreviewSegmentationRequest, context: Context
    ) -> pb.PreviewSegmentationResponse:
        folder, source = layout.check_folder(request.folder), layout.check_source(request.source)
        options = requests.segment_options(request)
        made = await asyncio.to_thread(self._previews.preview, folder, source, options)
        return messages.preview(source, made)

    async def ExportDataset(
        self, request: pb.ExportDatasetRequest, context: Context
    ) -> AsyncIterator[pb.ExportDatasetResponse]:
        folder = layout.check_folder(request.folder)
        chunks = export_zip(self._store, folder)
        while chunk := await asyncio.to_thread(next, chunks, b""):
            yield pb.ExportDatasetResponse(chunk=chunk)

    async def _edit(self, edit: Callable[..., T], folder: str, *arguments: Any) -> T:
        """Changes segments of a dataset, and has that written into the manifest soon."""
        result = await self._turns.take(folder, _EDIT_SECONDS, edit, self._store, folder, *arguments)
        self._folding.soon(folder)
        return result

    async def _remove(self, folder: str, remove: Callable[[ObjectStore, str], int]) -> int:
        def remove_idle() -> int:
            check_idle(self._queue, folder)
            return remove(self._store, folder)

        return await self._turns.take(folder, _REMOVE_SECONDS, remove_idle)

    async def _exists(self, place: str, folder: str, makers: tuple[str, ...]) -> bool:
        """Whether there is something at a place, or a job is about to bring it there."""
        if await asyncio.to_thread(layout.has_audio, self._store, place):
            return True
        jobs = await asyncio.to_thread(self._queue.find, subject=folder, states=_ACTIVE)
        return any(job.kind in makers for job in jobs)

    async def _submit(self, kind: str, folder: str, parameters: dict[str, Any]) -> Job:
        job = await asyncio.to_thread(self._queue.submit, kind, folder, parameters, after_subjects=(folder,))
        self._supervisor.wake()
        return job


def _stats(store: ObjectStore, folder: str) -> pb.GetDatasetStatsResponse:
    summary: Summary = read_summary(store, folder)
    return pb.GetDatasetStatsResponse(
        file_count=summary.segments,
        total_hours=summary.seconds / 3600,
        transcribed_percent=100 * summary.transcribed / summary.segments if summary.segments else 0.0,
        source_count=len(layout.sources(store, folder)),
        excluded_count=summary.excluded,
        flagged_count=summary.flagged,
    )


def _segments(store: ObjectStore, folder: str, offset: int, limit: int) -> pb.ListSegmentsResponse:
    revision, total, rows = read_page(store, folder, offset=offset, limit=limit)
    return pb.ListSegmentsResponse(
        folder=folder, revision=revision, total_count=total, segments=[messages.segment(folder, row) for row in rows]
    )
