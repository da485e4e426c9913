"""Taking a user's own recording into a dataset."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.dataset import decode, layout
from services.dataset.sources import has_source, plain_text, provenance, put_source, safe_name, safe_stem
from services.runtime.store import ObjectStore

# Enough of a SHA-256 that no two files of a dataset share it by chance (2**-48 a pair).
_DIGEST_LENGTH = 12
_STEM_LENGTH = 60


@dataclass(frozen=True)
class Stored:
    """A recording that lies in a dataset.

    Attributes:
        source: Its name there.
        key: Key of its WAV.
        duration_seconds: Its length.
        size_bytes: Size of the WAV.
        existed: Whether the same file was there already, under whatever name, so that nothing was written.
    """

    source: str
    key: str
    duration_seconds: float
    size_bytes: int
    existed: bool


def store_upload(store: ObjectStore, folder: str, filename: str, path: Path, *, max_seconds: float | None = None) -> Stored:
    """Decodes an uploaded file to 22,050 Hz mono and stores it with where it comes from.

    The name ends in a digest of the file, so that two files of one name live side by side, and sending one a second time
    changes nothing.

    Args:
        store: Where the dataset lies.
        folder: The dataset, `datasets/<name>`.
        filename: What the client calls the file; only a name is made of it, never a path.
        path: The uploaded file, in a folder that may be written to.
        max_seconds: Longest recording that is taken.

    Raises:
        AudioUnreadable: It is no audio.
        AudioTooLong: It is longer than `max_seconds`.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    ending = f"-{digest[:_DIGEST_LENGTH]}"
    source = _present(store, folder, ending)
    if source is not None:
        return _described(store, folder, source)
    source = f"{safe_stem(filename, _STEM_LENGTH)}{ending}"
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        wav = Path(scratch) / f"{source}.wav"
        # The error names the file as its owner knows it.
        named = Path(scratch) / safe_name(filename)
        named.symlink_to(path.resolve())
        seconds = decode.to_wav(named, wav, max_seconds=max_seconds)
        facts = provenance(wav, seconds, url=None, title=plain_text(filename), original_sha256=digest)
        key = put_source(store, folder, source, wav, facts)
        return Stored(source, key, seconds, wav.stat().st_size, existed=False)


def _present(store: ObjectStore, folder: str, ending: str) -> str | None:
    """The source made of a file with this digest, if it is there."""
    return next(
        (source for source in layout.sources(store, folder) if source.endswith(ending) and has_source(store, folder, source)),
        None,
    )


def _described(store: ObjectStore, folder: str, source: str) -> Stored:
    key = layout.recording_key(folder, source)
    info = store.stat(key)
    facts = json.loads(store.get(layout.provenance_key(folder, source)))
    return Stored(source, key, float(facts["duration"]), info.size if info else 0, existed=True)
