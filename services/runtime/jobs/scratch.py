"""Folders of jobs on the local disk: made by a worker, and removed when the job has ended, wherever it did."""

from __future__ import annotations

import shutil
from pathlib import Path

from services.runtime.jobs.queue import JobNotFound, JobQueue


def folder_of(data_dir: Path, job_id: str) -> Path:
    """Returns the folder of a job on this machine; what another machine needs to continue is in the object store."""
    return data_dir / "scratch" / job_id


def sweep(data_dir: Path, queue: JobQueue) -> None:
    """Removes the folders of jobs that began on this machine and ended on another, or whose worker died at its very end."""
    for folder in (data_dir / "scratch").glob("job_*"):
        try:
            ended = queue.get(folder.name).ended
        except JobNotFound:  # of another database: not ours to judge
            continue
        if ended:
            shutil.rmtree(folder, ignore_errors=True)
