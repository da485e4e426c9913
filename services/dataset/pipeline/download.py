"""The job that fetches recordings from the web.

    urls ─ those not there yet ─ fetch several side by side (units) ─▶ raw/<source>.wav, raw/<source>.json

Each video is a unit of its own: what is stored is done, and one that fails is reported while the others land.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from services.dataset.download import Downloaded, DownloadOptions, DownloadStopped, download, source_name
from services.dataset.sources import has_source, put_source
from services.runtime.errors import TimbreError, Unavailable
from services.runtime.jobs import JobContext
from services.runtime.store import ObjectStore

# How often progress is added up while videos are under way, in seconds.
_LOOK_SECONDS = 0.2


class NothingDownloaded(Unavailable):
    """Every video failed."""


@dataclass
class _Video:
    """One video and how far it has come."""

    url: str
    source: str
    done: float = 0.0
    status: str = "waiting"
    detail: str = ""
    reason: str = ""


def download_all(job: JobContext, store: ObjectStore, options: DownloadOptions, parallel: int) -> dict[str, Any]:
    """Fetches the recordings of a job's URLs into a dataset.

    Args:
        job: Parameters `folder` and `urls`.
        store: The object store.
        options: What may be fetched.
        parallel: How many at the same time.

    Returns:
        `videos`: for each URL its `source`, `status` (`stored`, `present` or `failed`) and `detail`; and the counts
        `stored`, `present` and `failed`.

    Raises:
        NothingDownloaded: Every video failed.
    """
    folder = job.parameters["folder"]
    videos = [_Video(url, source_name(url)) for url in job.parameters["urls"]]
    _mark_present(store, folder, videos)
    with ThreadPoolExecutor(parallel, thread_name_prefix="download") as pool:
        pending = {pool.submit(_fetch, job, store, folder, video, options) for video in videos if video.status == "waiting"}
        while pending:
            done, pending = wait(pending, timeout=_LOOK_SECONDS)
            _raise_first(done)
            _report(job, videos)
    job.check_stop()
    counts = {status: sum(video.status == status for video in videos) for status in ("stored", "present", "failed")}
    if counts["failed"] == len(videos):
        message = f"None of {len(videos)} videos could be downloaded. The first: {videos[0].detail}"
        raise NothingDownloaded(message, reason=videos[0].reason if len(videos) == 1 else "")
    return {"videos": [_describe(video) for video in videos], **counts}


def _mark_present(store: ObjectStore, folder: str, videos: Sequence[_Video]) -> None:
    seen: set[str] = set()
    for video in videos:
        # Two spellings of one address are one video.
        if video.source in seen or has_source(store, folder, video.source):
            video.status, video.done = "present", 1.0
        seen.add(video.source)


def _fetch(job: JobContext, store: ObjectStore, folder: str, video: _Video, options: DownloadOptions) -> None:
    if _should_stop(job):
        return
    video.status = "fetching"
    scratch = job.scratch / video.source
    scratch.mkdir(parents=True, exist_ok=True)

    def on_progress(fraction: float, message: str) -> None:
        video.done, video.detail = fraction, message

    began = time.monotonic()
    try:
        made: Downloaded = download(video.url, scratch, options, on_progress, lambda: _should_stop(job))
    except DownloadStopped:
        video.status = "waiting"
        return
    except TimbreError as error:
        video.status, video.detail, video.reason, video.done = "failed", error.message, error.reason, 1.0
        job.log(f"{video.url}: failed. {error.message}")
        return
    put_source(store, folder, video.source, made.wav, made.provenance)
    made.wav.unlink(missing_ok=True)
    video.status, video.detail, video.done = "stored", "", 1.0
    seconds = made.provenance["duration"]
    job.log(f"{video.url}: stored as {video.source}, {seconds:.1f} s of audio, in {time.monotonic() - began:.1f} s.")


def _should_stop(job: JobContext) -> bool:
    return job.stop_requested or job.released


def _raise_first(done: set[Future[None]]) -> None:
    for future in done:
        future.result()  # an unexpected error ends the job, with its traceback


def _report(job: JobContext, videos: Sequence[_Video]) -> None:
    ended = sum(video.status in ("stored", "present", "failed") for video in videos)
    job.progress(sum(video.done for video in videos) / len(videos), f"{ended} of {len(videos)} videos")


def _describe(video: _Video) -> dict[str, Any]:
    return {"url": video.url, "source": video.source, "status": video.status, "detail": video.detail}
