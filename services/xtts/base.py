"""Base models: which folder of files a name stands for, fetched or made on first use.

A base is a folder with the five files that coqui publishes for XTTS-v2. `tiny` is made on the spot, `xtts_v2` comes from
the Hugging Face hub once its licence is accepted, anything with a slash or a dot in front is a folder of the user's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.xtts.hub import XTTS_V2, Progress, Published, fetch

BASE_FILES = ("config.json", "vocab.json", "mel_stats.pth", "dvae.pth", "model.pth")
"""What a base folder holds, under the names coqui publishes."""

SPEAKERS_FILE = "speakers_xtts.pth"
"""Voices that come with a base; a folder may lack them, and then speaks only in voices that it is given."""

LICENCE_SETTING = "TIMBRE_ACCEPT_XTTS_LICENSE"

_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


class BaseUnknown(InvalidArgument):
    """The name stands for no base model."""


class BaseIncomplete(FailedPrecondition):
    """A base folder lacks files, or holds something else under their names."""


class LicenceNotAccepted(FailedPrecondition):
    """The published weights are asked for, and their licence has not been accepted."""

    def __init__(self) -> None:
        super().__init__(
            "XTTS-v2 comes under the Coqui Public Model License (https://coqui.ai/cpml), which allows non-commercial use "
            f"only: read it and set {LICENCE_SETTING}=true to accept it and let the model be downloaded (2.1 GB), or set "
            "TIMBRE_BASE_MODEL to a folder that has it, or to tiny for a stand-in that does not really speak."
        )


def resolve_base(
    name: str,
    cache: Path,
    *,
    accept_license: bool = False,
    on_progress: Progress | None = None,
    published: Published = XTTS_V2,
    endpoint: str | None = None,
) -> Path:
    """Returns the folder of a base model, making or fetching it first when it is not there.

    Processes that ask for the same base at once do the work once; a folder appears only when it is whole, and a download
    that was cut off continues.

    Args:
        name: `tiny`, `xtts_v2`, or the path of a folder.
        cache: Where made and fetched bases are kept.
        accept_license: Whether the user has accepted the Coqui Public Model License.
        on_progress: Told of the part done, 0..1, and the present step.
        published: What `xtts_v2` consists of.
        endpoint: The hub's address; by default `HF_ENDPOINT`, or the public hub.

    Raises:
        BaseUnknown: The name is none of these.
        BaseIncomplete: The folder lacks a file.
        LicenceNotAccepted: `xtts_v2` is not in the cache and its licence not accepted.
        BaseDownloadFailed: The hub cannot be reached or delivers something else.
    """
    report = on_progress or _ignore
    if name == "tiny":
        return _resolve_tiny(cache, report)
    if name == "xtts_v2":
        return _resolve_published(published, cache, accept_license, report, endpoint)
    if not name.startswith(("/", "./", "../", "~")):
        raise BaseUnknown(f"The base model {name!r} is unknown: use tiny, xtts_v2, or the path of a folder.")
    folder = Path(name).expanduser()
    check_base(folder)
    return folder


def published_folder(cache: Path, published: Published = XTTS_V2) -> Path:
    """Returns where the published base is kept; it is there when it was fetched whole."""
    return cache / f"xtts_v2-{published.revision[:8]}"


def check_base(folder: Path) -> None:
    """Checks that a folder has the files of a base model.

    Raises:
        BaseIncomplete: One is missing.
    """
    missing = [file for file in BASE_FILES if not (folder / file).is_file()]
    if missing:
        raise BaseIncomplete(
            f"The base model folder {folder.name!r} lacks {', '.join(missing)}: it must hold {', '.join(BASE_FILES)} as "
            "published for XTTS-v2."
        )


def fingerprint(folder: Path) -> str:
    """Returns what tells one base model from another: checkpoints are good only with the base they were trained from.

    It is what config.json states, or else a digest of config.json, vocab.json, and the sizes of the weight files with
    64 blocks of 64 KiB spread over each: the 2.1 GB of XTTS-v2 take milliseconds instead of seconds.
    """
    config = (folder / "config.json").read_bytes()
    stated = json.loads(config).get("timbre", {}).get("fingerprint")
    if stated:
        return str(stated)
    digest = hashlib.sha256(config)
    digest.update((folder / "vocab.json").read_bytes())
    for name in ("mel_stats.pth", "dvae.pth", "model.pth"):
        with (folder / name).open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            digest.update(f"{name}:{size}".encode())
            for index in range(_SAMPLES):
                source.seek(size * index // _SAMPLES)
                digest.update(source.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _resolve_tiny(cache: Path, report: Progress) -> Path:
    folder = cache / "tiny-1"
    with _locked(cache, "tiny"):
        if not folder.exists():
            report(0.0, "Making the tiny stand-in model")
            from services.xtts.tiny import make_tiny

            make_tiny(folder)
    report(1.0, "The tiny stand-in model is ready")
    return folder


def _resolve_published(published: Published, cache: Path, accept_license: bool, report: Progress, endpoint: str | None) -> Path:
    folder = published_folder(cache, published)
    with _locked(cache, "xtts_v2"):
        if not folder.exists():
            if not accept_license:
                raise LicenceNotAccepted
            partial = folder.with_name(f".{folder.name}.partial")
            fetch(published, partial, report, endpoint)
            check_base(partial)
            partial.rename(folder)
    return folder


@contextlib.contextmanager
def _locked(cache: Path, name: str) -> Iterator[None]:
    """Lets one process at a time work on a base; the lock of a process that dies is free."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ignore(_fraction: float, _message: str) -> None:
    pass
