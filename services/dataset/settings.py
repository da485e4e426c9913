"""Settings of the dataset service and its workers."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import field_validator
from pydantic_settings import NoDecode

from services.runtime.settings import JobSettings

YOUTUBE_HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com")


class DatasetSettings(JobSettings):
    """What the dataset service may fetch and take, and how hard it works."""

    dataset_listen: str = "127.0.0.1:50051"
    """Address that the service binds; port 0 takes a free one."""

    dataset_jobs: int = 2
    """How many dataset jobs run at once; those on one folder always run one after the other."""

    workers: int = os.cpu_count() or 1
    """Processes that one job uses. Default: one for each core."""

    ray_units: int = 0
    """Units of one job (recordings, batches of segments) under way at once on the nodes of the Ray cluster, with
    `TIMBRE_RUNNER=ray`; each reserves the `unit` of `TIMBRE_RAY_RESOURCES`. Default: 0, all of it where the job runs."""

    download_hosts: Annotated[tuple[str, ...], NoDecode] = YOUTUBE_HOSTS
    """Hosts that pages may be fetched from, with their subdomains, separated by commas; `*` means any public host."""

    download_allow_private: bool = False
    """Whether loopback, private and link-local addresses may be fetched from."""

    download_parallel: int = 3
    """Videos fetched at the same time."""

    download_max_bytes: int = 4 * 1024**3
    """Largest file that is fetched, in bytes."""

    download_max_seconds: float = 12 * 3600
    """Longest recording that is fetched, in seconds."""

    upload_max_bytes: int = 4 * 1024**3
    """Largest file that may be uploaded, in bytes."""

    upload_max_seconds: float = 24 * 3600
    """Longest recording that may be uploaded, in seconds."""

    whisper_model: str = "base"
    """Whisper model for transcriptions that name none: a published name, a path, or `tiny-demo`."""

    @field_validator("download_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return tuple(host.strip().lower() for host in value.split(",") if host.strip()) if isinstance(value, str) else value
