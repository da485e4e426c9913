"""`python -m services.dataset.work JOB LEASE`: the worker process of the dataset service, for one job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from services.dataset.settings import DatasetSettings
from services.runtime.jobs import JobContext
from services.runtime.jobs.worker import work
from services.runtime.store import ObjectStore, open_store

# Each job imports only what its own kind of work needs.


def _download(job: JobContext, settings: DatasetSettings, store: ObjectStore) -> dict[str, Any]:
    from services.dataset.download import DownloadOptions
    from services.dataset.pipeline.download import download_all

    options = DownloadOptions(
        hosts=settings.download_hosts,
        allow_private=settings.download_allow_private,
        max_bytes=settings.download_max_bytes,
        max_seconds=settings.download_max_seconds,
    )
    return download_all(job, store, options, settings.download_parallel)


def _import(job: JobContext, settings: DatasetSettings, store: ObjectStore) -> dict[str, Any]:
    from services.dataset.pipeline.archive import import_archive

    return import_archive(job, store, max_bytes=settings.upload_max_bytes)


def _segment(job: JobContext, settings: DatasetSettings, store: ObjectStore) -> dict[str, Any]:
    from services.dataset.pipeline.segment import segment

    if settings.runner == "ray" and settings.ray_units:
        from services.dataset.pipeline.spread import cut_on_cluster

        return segment(job, store, settings.workers, partial(cut_on_cluster, settings))
    return segment(job, store, settings.workers)


def _transcribe(job: JobContext, settings: DatasetSettings, store: ObjectStore) -> dict[str, Any]:
    from services.dataset.pipeline.transcribe import transcribe

    if settings.runner == "ray" and settings.ray_units:
        from services.dataset.pipeline.spread import hear_on_cluster

        return transcribe(job, store, settings.models_dir, settings.workers, partial(hear_on_cluster, settings))
    return transcribe(job, store, settings.models_dir, settings.workers)


def _begin(
    run: Callable[[JobContext, DatasetSettings, ObjectStore], dict[str, Any]],
    settings: DatasetSettings,
    store: ObjectStore,
    job: JobContext,
) -> dict[str, Any]:
    with job.exclusive():
        pass  # what is being deleted since before this job was asked for is gone now; see services.dataset.remove
    return run(job, settings, store)


_JOBS = {
    "dataset.download": _download,
    "dataset.import": _import,
    "dataset.segment": _segment,
    "dataset.transcribe": _transcribe,
}


def main() -> None:
    """Runs the job that the command line names."""
    settings = DatasetSettings()
    store = open_store(settings.storage_url, settings.s3_credentials, patient=True)
    work({kind: partial(_begin, run, settings, store) for kind, run in _JOBS.items()}, settings)


if __name__ == "__main__":
    main()
