"""Requests about datasets: recordings, segments, transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from gateway.schemas import dataset, review
from timbre.client.request import Request, endpoint, job_endpoint


class DatasetEndpoints:
    """Datasets. A folder is a name in the object store, such as `datasets/my_voice`."""

    @job_endpoint
    def download(self, folder: str, urls: Sequence[str]) -> Request[dataset.DownloadStarted]:
        """Downloads the audio of videos into a dataset."""
        body = {"folder": folder, "urls": list(urls)}
        return Request("POST", "/training/dataset/download", dataset.DownloadStarted, json=body)

    @job_endpoint
    def segment(
        self,
        folder: str,
        *,
        min_duration: float | None = None,
        max_duration: float | None = None,
        vad_threshold: float | None = None,
    ) -> Request[dataset.SegmentStarted]:
        """Cuts the recordings of a dataset into segments at pauses; durations in seconds, the threshold in dB."""
        body = _knobs(folder, min_duration, max_duration, vad_threshold)
        return Request("POST", "/training/dataset/segment", dataset.SegmentStarted, json=body)

    @job_endpoint
    def transcribe(
        self, folder: str, *, language: str | None = None, model: str | None = None, force: bool = False
    ) -> Request[dataset.TranscribeStarted]:
        """Transcribes the segments of a dataset with Whisper; with `force` those that have a transcript, too."""
        body = {"folder": folder, "language": language, "model": model, "force": force}
        return Request("POST", "/training/dataset/transcribe", dataset.TranscribeStarted, json=body)

    @endpoint
    def stats(self, folder: str) -> Request[dataset.DatasetStats]:
        """Returns figures of a dataset: zeros for one that does not exist."""
        return Request("GET", "/training/dataset/stats", dataset.DatasetStats, {"folder": folder})

    @endpoint
    def files(self, folder: str, *, limit: int | None = None, offset: int | None = None) -> Request[dataset.DatasetFiles]:
        """Lists the segments of a dataset as files."""
        params = {"folder": folder, "limit": limit, "offset": offset}
        return Request("GET", "/training/dataset/files", dataset.DatasetFiles, params)

    @endpoint
    def datasets(self) -> Request[dataset.Datasets]:
        """Lists the datasets there are, with their figures."""
        return Request("GET", "/training/datasets", dataset.Datasets)

    @endpoint
    def segments(self, folder: str, *, limit: int | None = None, offset: int | None = None) -> Request[review.Segments]:
        """Lists the segments of a dataset with all that is known of each."""
        params = {"folder": folder, "limit": limit, "offset": offset}
        return Request("GET", "/training/dataset/segments", review.Segments, params)

    @endpoint
    def segment_of(self, folder: str, segment_id: str) -> Request[review.Segment]:
        """Returns one segment as it stands."""
        return Request("GET", _segment(segment_id), review.Segment, {"folder": folder})

    @endpoint
    def edit_segment(
        self,
        folder: str,
        segment_id: str,
        *,
        transcript: str | None = None,
        normalised: str | None = None,
        excluded: bool | None = None,
        revision: str | None = None,
    ) -> Request[review.Segment]:
        """Changes what is said of a segment; with a `revision` only when nobody else has changed it since (`Conflict`)."""
        body = {"transcript": transcript, "normalised": normalised, "excluded": excluded, "revision": revision}
        return Request("PATCH", _segment(segment_id), review.Segment, {"folder": folder}, body)

    @endpoint
    def exclude_segments(self, folder: str, ids: Sequence[str], *, excluded: bool = True) -> Request[review.SegmentsChanged]:
        """Leaves segments out of training and exports, or takes them in again."""
        body = {"ids": list(ids), "excluded": excluded}
        return Request("POST", "/training/dataset/segments/batch", review.SegmentsChanged, {"folder": folder}, body)

    @endpoint
    def recordings(self, folder: str) -> Request[review.Recordings]:
        """Lists the recordings of a dataset and where each comes from."""
        return Request("GET", "/training/dataset/recordings", review.Recordings, {"folder": folder})

    @endpoint
    def delete_recording(self, folder: str, source: str) -> Request[review.RecordingDeleted]:
        """Deletes a recording and the segments that were cut from it."""
        path = f"/training/dataset/recordings/{quote(source, safe='')}"
        return Request("DELETE", path, review.RecordingDeleted, {"folder": folder})

    @endpoint
    def delete_dataset(self, folder: str) -> Request[review.DatasetDeleted]:
        """Deletes a dataset and everything in it."""
        return Request("DELETE", "/training/datasets", review.DatasetDeleted, {"folder": folder})

    @endpoint
    def preview(
        self,
        folder: str,
        source: str,
        *,
        min_duration: float | None = None,
        max_duration: float | None = None,
        vad_threshold: float | None = None,
    ) -> Request[review.Preview]:
        """Shows how a recording would be cut, without cutting it."""
        body = {**_knobs(folder, min_duration, max_duration, vad_threshold), "source": source}
        return Request("POST", "/training/dataset/preview", review.Preview, json=body)


def _knobs(
    folder: str, min_duration: float | None, max_duration: float | None, vad_threshold: float | None
) -> dict[str, object]:
    return {"folder": folder, "min_duration": min_duration, "max_duration": max_duration, "vad_threshold": vad_threshold}


def _segment(segment_id: str) -> str:
    return f"/training/dataset/segments/{quote(segment_id, safe='')}"
