"""What a request to the dataset service must be, and what it becomes: the parameters of a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from timbre.dataset.v1 import dataset_pb2 as pb

from services.dataset.layout import check_folder
from services.dataset.normalise import language_code
from services.dataset.review import Change
from services.dataset.segment import SegmentOptions
from services.runtime.errors import InvalidArgument

MAX_URLS = 500
MAX_PAGE = 10_000
DEFAULT_PAGE = 100
DEFAULT_SEGMENTS = 1000
DEFAULT_LANGUAGE = "pt"

_MODEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


def urls_of(request: pb.StartDownloadRequest) -> list[str]:
    """Returns the different URLs of a download, in order.

    Raises:
        InvalidArgument: There are none, or more than 500.
    """
    urls: Sequence[str] = list(dict.fromkeys(url.strip() for url in request.urls))
    if not 1 <= len(request.urls) <= MAX_URLS:
        raise InvalidArgument(
            f"urls holds {len(request.urls)} entries: it must hold 1 to {MAX_URLS}.",
            fields={"urls": f"1 to {MAX_URLS} entries"},
        )
    return list(urls)


def segmentation_parameters(request: pb.StartSegmentationRequest) -> dict[str, Any]:
    """Returns the parameters of a segmentation job, defaults filled in.

    Raises:
        InvalidArgument: A value is out of its range.
    """
    options = segment_options(request)
    return {
        "folder": check_folder(request.folder),
        "min_duration_seconds": options.min_seconds,
        "max_duration_seconds": options.max_seconds,
        "vad_threshold_db": options.threshold_db,
    }


def segment_options(request: pb.StartSegmentationRequest | pb.PreviewSegmentationRequest) -> SegmentOptions:
    """Returns how to cut, defaults filled in.

    Raises:
        InvalidArgument: A value is out of its range.
    """
    default = SegmentOptions()
    return SegmentOptions(
        request.min_duration_seconds if request.HasField("min_duration_seconds") else default.min_seconds,
        request.max_duration_seconds if request.HasField("max_duration_seconds") else default.max_seconds,
        request.vad_threshold_db if request.HasField("vad_threshold_db") else default.threshold_db,
    )


def transcription_parameters(request: pb.StartTranscriptionRequest, default_model: str) -> dict[str, Any]:
    """Returns the parameters of a transcription job, defaults filled in.

    Raises:
        InvalidArgument: The language or the model is malformed. Only the service's own setting may name a path.
    """
    if request.model and not _MODEL.fullmatch(request.model):
        problem = "it must be the name of a Whisper model, such as base, small or large-v3"
        raise InvalidArgument(f"model is {request.model[:80]!r}: {problem}.", fields={"model": problem})
    return {
        "folder": check_folder(request.folder),
        "language": language_of(request.language),
        "model": request.model or default_model,
        "force": request.force,
    }


def language_of(language: str) -> str:
    """Returns a language code, `pt` for none.

    Raises:
        InvalidArgument: It is no code of a language that XTTS-v2 speaks.
    """
    return language_code(language or DEFAULT_LANGUAGE)


def change_of(request: pb.UpdateSegmentRequest) -> Change:
    """Returns what a person says of a segment.

    Raises:
        InvalidArgument: A text is too long.
    """
    return Change(
        transcript=request.transcript if request.HasField("transcript") else None,
        normalised=request.normalised if request.HasField("normalised") else None,
        excluded=request.excluded if request.HasField("excluded") else None,
    )


def segments_of(request: pb.ExcludeSegmentsRequest) -> Sequence[str]:
    """Returns the segments of a batch.

    Raises:
        InvalidArgument: There are none, or more than 10,000.
    """
    if not 1 <= len(request.ids) <= MAX_PAGE:
        raise InvalidArgument(
            f"ids holds {len(request.ids)} entries: it must hold 1 to {MAX_PAGE}.", fields={"ids": f"1 to {MAX_PAGE} entries"}
        )
    return list(request.ids)


def page_of(request: pb.ListDatasetFilesRequest | pb.ListSegmentsRequest, default: int) -> tuple[int, int]:
    """Returns offset and limit of a page, which is `default` where none is given.

    Raises:
        InvalidArgument: Out of range.
    """
    limit = request.limit or default
    if not 1 <= limit <= MAX_PAGE:
        problem = f"it must be 1 to {MAX_PAGE}"
        raise InvalidArgument(f"limit is {request.limit}: {problem}.", fields={"limit": problem})
    if request.offset < 0:
        raise InvalidArgument(f"offset is {request.offset}: it must be 0 or more.", fields={"offset": "0 or more"})
    return request.offset, limit
