"""Fetches the published XTTS-v2 files from the Hugging Face hub, resuming what an earlier process left.

huggingface_hub resumes within one call, but since 2.x drops the partial file when a process dies, which is a lot of 2.1 GB:
its lower-level `http_get` does the transfer here, into a partial file of our own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers
from huggingface_hub.utils import tqdm as hub_tqdm

from services.runtime.errors import Unavailable

Progress = Callable[[float, str], None]
"""Called with the part done, 0..1, and what is being done; what it raises ends the work, which can be taken up again."""

_BLOCK_BYTES = 1 << 22


class BaseDownloadFailed(Unavailable):
    """The hub cannot be reached, or delivered something else than the published files."""


@dataclass(frozen=True)
class PublishedFile:
    """One file of a pinned revision.

    Attributes:
        name: Its name in the repository.
        size: Bytes.
        sha256: Digest of the content, in hexadecimal.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """A pinned set of files on the hub.

    Attributes:
        repository: Owner and name.
        revision: The commit, 40 hexadecimal digits.
        files: What is fetched.
    """

    repository: str
    revision: str
    files: tuple[PublishedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


XTTS_V2 = Published(
    repository="coqui/XTTS-v2",
    revision="6c2b0d75eae4b7047358e3b6bd9325f857d43f77",
    files=(
        PublishedFile("config.json", 4_368, "ef262b1454dd2a77e1461b0b2cd53e19b8a7624cc131b837d36df67356bc75e8"),
        PublishedFile("vocab.json", 361_219, "928260878a59da8a72a2a5b7687fea29d5106137669d90945430fe17e415304a"),
        PublishedFile("mel_stats.pth", 1_067, "1f69422a8a8f344c4fca2f0c6b8d41d2151d6615b7321e48e6bb15ae949b119c"),
        PublishedFile("speakers_xtts.pth", 7_754_818, "f0f6137c19a4eab0cbbe4c99b5babacf68b1746e50da90807708c10e645b943b"),
        PublishedFile("dvae.pth", 210_514_388, "b29bc227d410d4991e0a8c09b858f77415013eeb9fba9650258e96095557d97a"),
        PublishedFile("model.pth", 1_867_929_118, "c7ea20001c6a0a841c77e252d8409f6a74fb423e79b3206a0771ba5989776187"),
    ),
)
"""Version 2.0.3, with which coqui ended the line in December 2023."""


def fetch(published: Published, folder: Path, on_progress: Progress, endpoint: str | None = None) -> None:
    """Brings every file into a folder, each under its name once its digest is right; files that are there are kept.

    Args:
        published: What to fetch.
        folder: Where to; made when missing. Only one process at a time may work on it.
        on_progress: Told of every block.
        endpoint: The hub's address; by default `HF_ENDPOINT`, or the public hub.

    Raises:
        BaseDownloadFailed: The hub cannot be reached, refuses, or a digest is wrong. What arrived whole stays, and
            what arrived in part is taken up by the next call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for file in published.files:
        if not (folder / file.name).exists():
            start = done

            def advance(received: int, start: int = start, name: str = file.name) -> None:
                on_progress(min(1.0, (start + received) / published.size), f"Downloading {name}")

            _fetch_file(published, file, folder, advance, endpoint)
        done += file.size
        on_progress(done / published.size, f"{file.name} is complete")


def _fetch_file(
    published: Published, file: PublishedFile, folder: Path, advance: Callable[[int], None], endpoint: str | None
) -> None:
    partial = folder / f"{file.name}.part"
    if partial.exists() and partial.stat().st_size > file.size:
        partial.unlink()
    try:
        _transfer(published, file, partial, advance, endpoint)
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise BaseDownloadFailed(
            f"{file.name} of {published.repository} could not be downloaded ({_cause(error)}): check the network and try "
            "again, the transfer continues where it stopped."
        ) from error
    if _sha256(partial) != file.sha256:
        partial.unlink()
        raise BaseDownloadFailed(
            f"{file.name} of {published.repository} arrived with a wrong checksum and was discarded: try again, or check "
            "what stands between this machine and the hub."
        )
    partial.replace(folder / file.name)


def _transfer(
    published: Published, file: PublishedFile, partial: Path, advance: Callable[[int], None], endpoint: str | None
) -> None:
    """Appends what is missing of a file to its partial file."""
    have = partial.stat().st_size if partial.exists() else 0
    if have == file.size:
        return
    # Compressed transfers cannot be resumed by position. Public files: no token leaves this machine.
    headers = {**build_hf_headers(token=False), "Accept-Encoding": "identity"}
    url = hf_hub_url(published.repository, file.name, revision=published.revision, endpoint=endpoint)
    metadata = get_hf_file_metadata(url, token=False, endpoint=endpoint)
    with partial.open("ab") as target:
        http_get(
            metadata.location,
            target,
            resume_size=have,
            headers=headers,
            expected_size=file.size,
            displayed_filename=file.name,
            tqdm_class=_reporting(advance, have),
        )
        target.flush()
        os.fsync(target.fileno())


def _reporting(advance: Callable[[int], None], received: int) -> type[hub_tqdm]:
    """Returns a progress bar class that shows nothing and passes on the bytes received so far."""

    class Reporter(hub_tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **{**named, "disable": True})
            self.received = received

        def update(self, n: float | None = 1) -> None:
            self.received += int(n or 0)
            advance(self.received)

    return Reporter


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _cause(error: Exception) -> str:
    """Returns a few words that carry no path and no address."""
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"the hub answered {error.response.status_code}"
    if isinstance(error, httpx2.TimeoutException):
        return "the hub did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection broke"
