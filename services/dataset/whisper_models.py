"""Whisper models: which file a name stands for, made, fetched or found.

`tiny-demo` is a stand-in made on the spot, the names that openai-whisper knows are fetched on first use, anything with a
slash is a file of the user's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from services.runtime.errors import InvalidArgument, Unavailable

STAND_IN = "tiny-demo"

Progress = Callable[[float, str], None]
"""Called with the part done, 0..1, and what is being done; what it raises ends the work, which can be taken up again."""

_BLOCK_BYTES = 1 << 20
_NETWORK_SECONDS = 30.0
_LOCK_POLL_SECONDS = 0.2


class WhisperUnknown(InvalidArgument):
    """The name stands for no Whisper model."""


class WhisperUnavailable(Unavailable):
    """A published model is not in the cache and cannot be fetched."""


def resolve_whisper(model: str, cache: Path, on_progress: Progress | None = None) -> Path:
    """Returns the checkpoint of a Whisper model, making or fetching it first when it is not there.

    Processes that ask for the same model at once do the work once; a file appears only when it is whole, and a download
    that was cut off continues.

    Args:
        model: `tiny-demo`, a name that openai-whisper knows (`base`, `small`, `large-v3`, ...), or the path of a checkpoint.
        cache: Where made and fetched models are kept, below `whisper/`.
        on_progress: Told of the part done.

    Raises:
        WhisperUnknown: The name is none of these.
        WhisperUnavailable: A published model cannot be fetched.
    """
    report = on_progress or _ignore
    folder = cache / "whisper"
    if model == STAND_IN:
        return _resolve_stand_in(folder, report)
    if "/" in model or model.startswith("~"):
        path = Path(model).expanduser()
        if not path.is_file():
            raise WhisperUnknown(f"The Whisper checkpoint {path.name!r} does not exist: give the path of a .pt file.")
        return path
    return _resolve_published(model, folder, report)


def _resolve_stand_in(folder: Path, report: Progress) -> Path:
    from services.dataset.whisper_standin import demo_clips, fingerprint, make_standin

    target = folder / f"{STAND_IN}-{fingerprint()}.pt"
    if target.is_file():
        return target
    with _locked(folder, STAND_IN, report):
        if not target.is_file():
            report(0.0, "Making the stand-in for Whisper")
            make_standin(target, demo_clips(), on_progress=report)
    return target


def _resolve_published(model: str, folder: Path, report: Progress) -> Path:
    import whisper

    if model not in whisper.available_models():
        known = ", ".join([STAND_IN, *whisper.available_models()])
        raise WhisperUnknown(f"The Whisper model {model!r} is unknown: use one of {known}, or the path of a checkpoint.")
    url = whisper._MODELS[model]  # the only place that has them; the digest is the second last part of the path
    target = folder / Path(url).name
    if target.is_file():
        return target
    with _locked(folder, target.stem, report):
        if not target.is_file():
            try:
                _fetch(url, target, lambda part: report(part, f"Fetching Whisper {model}"))
            except (httpx.HTTPError, OSError) as error:
                raise WhisperUnavailable(
                    f"Whisper {model} is not on this machine and could not be fetched ({type(error).__name__}): connect the "
                    f"machine to the internet, or set TIMBRE_WHISPER_MODEL to the path of a checkpoint or to {STAND_IN}."
                ) from error
    return target


def _fetch(url: str, target: Path, on_part: Callable[[float], None]) -> None:
    """Fetches a file whose SHA-256 stands in its address, continuing what an earlier process left."""
    partial = target.with_name(f"{target.name}.part")
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, timeout=_NETWORK_SECONDS, follow_redirects=True) as reply:
        if reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.unlink()  # nothing fits behind it: it is complete and wrong, or of another file
        reply.raise_for_status()
        if reply.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
        total = have + int(reply.headers.get("Content-Length", 0))
        with partial.open("r+b" if have else "wb") as file:
            file.seek(have)
            for block in reply.iter_bytes(_BLOCK_BYTES):
                file.write(block)
                on_part(file.tell() / total if total else 0.0)
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != url.split("/")[-2]:
        partial.unlink()
        raise OSError("the file that arrived is not the published one")
    os.replace(partial, target)


@contextlib.contextmanager
def _locked(folder: Path, name: str, report: Progress) -> Iterator[None]:
    """Lets one process at a time work on a model; the lock of a process that dies is free."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report(0.0, "Waiting for another process that prepares the Whisper model")
                time.sleep(_LOCK_POLL_SECONDS)
        yield


def _ignore(_fraction: float, _message: str) -> None:
    pass
