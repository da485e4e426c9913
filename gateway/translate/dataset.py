"""Between protos and the JSON of making a dataset."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from typing import Any

from timbre.dataset.v1 import dataset_pb2

from gateway.schemas import dataset


def download_request(body: dataset.DownloadRequest) -> dataset_pb2.StartDownloadRequest:
    return dataset_pb2.StartDownloadRequest(urls=body.urls, folder=body.folder)


def download_started(reply: dataset_pb2.StartDownloadResponse) -> dataset.DownloadStarted:
    return dataset.DownloadStarted(videos=reply.video_count, output_folder=reply.output_folder, job_id=reply.job_id)


def segment_request(body: dataset.SegmentRequest) -> dataset_pb2.StartSegmentationRequest:
    return dataset_pb2.StartSegmentationRequest(
        folder=body.folder,
        min_duration_seconds=body.min_duration,
        max_duration_seconds=body.max_duration,
        vad_threshold_db=body.vad_threshold,
    )


def segment_started(reply: dataset_pb2.StartSegmentationResponse) -> dataset.SegmentStarted:
    return dataset.SegmentStarted(input_folder=reply.input_folder, output_folder=reply.output_folder, job_id=reply.job_id)


def transcribe_request(body: dataset.TranscribeRequest) -> dataset_pb2.StartTranscriptionRequest:
    return dataset_pb2.StartTranscriptionRequest(
        folder=body.folder, language=body.language, model=body.model or "", force=body.force
    )


def transcribe_started(reply: dataset_pb2.StartTranscriptionResponse) -> dataset.TranscribeStarted:
    return dataset.TranscribeStarted(folder=reply.folder, job_id=reply.job_id)


def uploaded_file(name: str, reply: dataset_pb2.UploadRecordingResponse) -> dataset.UploadedFile:
    return dataset.UploadedFile(
        name=name,
        status="existed" if reply.existed else "stored",
        source=reply.source,
        path=reply.key,
        duration=reply.duration_seconds,
        size=reply.size_bytes,
    )


def import_started(folder: str, reply: dataset_pb2.UploadArchiveResponse) -> dataset.ImportStarted:
    return dataset.ImportStarted(folder=folder, job_id=reply.job_id)


def stats(reply: dataset_pb2.GetDatasetStatsResponse) -> dataset.DatasetStats:
    return dataset.DatasetStats(**_figures(reply))


def files(reply: dataset_pb2.ListDatasetFilesResponse) -> dataset.DatasetFiles:
    files = [dataset.DatasetFile(name=file.name, size=file.size_bytes, path=file.path) for file in reply.files]
    return dataset.DatasetFiles(files=files, total=reply.total_count)


def datasets(reply: dataset_pb2.ListDatasetsResponse) -> dataset.Datasets:
    return dataset.Datasets(datasets=[dataset.Dataset(folder=one.folder, **_figures(one.stats)) for one in reply.datasets])


def _figures(stats: dataset_pb2.GetDatasetStatsResponse) -> dict[str, Any]:
    return {
        "files": stats.file_count,
        "total_hours": stats.total_hours,
        "transcribed_percent": stats.transcribed_percent,
        "sources": stats.source_count,
        "excluded": stats.excluded_count,
        "flagged": stats.flagged_count,
    }
