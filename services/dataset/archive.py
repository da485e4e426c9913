"""Reading an LJSpeech archive: `metadata.csv` and `wavs/`, in a zip or a tar, possibly below one top folder.

`unpack` guards against what strangers may put into an archive; here is decided what of it is wanted.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from services.dataset.unpack import ArchiveLimits, ArchiveRefused, damage_reported, unpack

METADATA = "metadata.csv"
CLIPS = "wavs"
CLIP_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
MAX_TEXT_LENGTH = 2000

_MAX_METADATA_BYTES = 64 << 20
_MAX_NAME_BYTES = 200
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class ArchiveRow:
    """A clip with its transcript.

    Attributes:
        id: What `metadata.csv` calls it.
        text: As it was heard.
        normalised: As it is to be read out; empty when the archive does not have it.
        clip: The audio file, unpacked but not decoded.
    """

    id: str
    text: str
    normalised: str
    clip: Path


@dataclass(frozen=True)
class LJSpeechArchive:
    """What was found in an archive.

    Attributes:
        rows: In the order of `metadata.csv`.
        problems: A sentence for each row and each clip that was left out.
    """

    rows: tuple[ArchiveRow, ...]
    problems: tuple[str, ...]


def read_archive(
    path: Path,
    scratch: Path,
    limits: ArchiveLimits | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> LJSpeechArchive:
    """Unpacks an archive and reads its table.

    Args:
        path: A zip, or a tar that may be compressed with gzip, bzip2 or xz; told by content, not by name.
        scratch: Folder of the job; what an earlier attempt unpacked completely is not unpacked again.
        limits: How large it may become.
        on_progress: Called with the fraction unpacked before every entry; may raise to stop.

    Raises:
        ArchiveRefused: It will not be read, and why.
    """
    folder = scratch / "archive"
    if not folder.is_dir():
        partial = scratch / "archive.part"
        shutil.rmtree(partial, ignore_errors=True)
        (partial / CLIPS).mkdir(parents=True)
        _unpack(path, partial, limits or ArchiveLimits(), on_progress or (lambda _: None))
        os.replace(partial, folder)
    archive = _read_table(folder)
    if not archive.rows:
        first = f" The first problem: {archive.problems[0]}" if archive.problems else ""
        raise ArchiveRefused(f"The archive has no clip with a transcript.{first}")
    return archive


def _unpack(path: Path, folder: Path, limits: ArchiveLimits, on_progress: Callable[[float], None]) -> None:
    placed: set[str] = set()
    tops: set[str] = set()
    for entry in unpack(path, limits):
        on_progress(entry.position)
        target = _target(entry.name)
        if target is None:
            continue
        top, place = target
        if place in placed:
            raise ArchiveRefused(f"The archive has {place} twice.")
        placed.add(place)
        tops.add(top)
        if len(tops) > 1:
            raise ArchiveRefused("The archive has several datasets: send them one by one.")
        with entry.open() as source:
            _copy(source, folder / place, _MAX_METADATA_BYTES if place == METADATA else None)
    if METADATA not in placed:
        raise ArchiveRefused(f"The archive has no {METADATA}, which names the clips and their transcripts.")


def _target(name: str) -> tuple[str, str] | None:
    """Where an entry belongs: its top folder and its place below that, or None for what is not part of a dataset."""
    parts = PurePosixPath(name).parts
    if any(part.startswith(".") for part in parts) or "__MACOSX" in parts:
        return None
    if parts[-1:] == (METADATA,) and len(parts) <= 2:
        return "/".join(parts[:-1]), METADATA
    if parts[-2:-1] == (CLIPS,) and len(parts) <= 3 and parts[-1].lower().endswith(CLIP_SUFFIXES):
        if len(parts[-1].encode(errors="surrogateescape")) > _MAX_NAME_BYTES:
            raise ArchiveRefused(f"The archive has an entry {name[:80]!r}..., whose name is too long.")
        return "/".join(parts[:-2]), f"{CLIPS}/{parts[-1]}"
    return None


def _copy(source: IO[bytes], target: Path, limit: int | None) -> None:
    written = 0
    with target.open("xb") as file:
        while True:
            with damage_reported():
                block = source.read(_BLOCK_BYTES)
            if not block:
                return
            written += len(block)
            if limit is not None and written > limit:
                raise ArchiveRefused(f"The {target.name} in the archive is larger than {limit >> 20} MiB.")
            file.write(block)


# The table


def _read_table(folder: Path) -> LJSpeechArchive:
    # Unpacked by a Mac, "é" may be two characters in the name of a file and one in the table.
    clips = {_cleaned(path.name): path for path in sorted((folder / CLIPS).iterdir())}
    try:
        text = (folder / METADATA).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArchiveRefused(f"The {METADATA} in the archive is not UTF-8: save it in that encoding.") from error
    rows: list[ArchiveRow] = []
    problems: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        row = _row(line, clips, seen)
        if isinstance(row, ArchiveRow):
            rows.append(row)
            seen.add(_cleaned(row.clip.name))
        else:
            problems.append(f"{METADATA} line {number}: {row}")
    problems += [f"{CLIPS}/{name}: no row was used for it." for name in clips if name not in seen]
    return LJSpeechArchive(tuple(rows), tuple(problems))


def _row(line: str, clips: dict[str, Path], seen: set[str]) -> ArchiveRow | str:
    """A row of the table, or what is wrong with it."""
    fields = [_cleaned(field) for field in line.split("|")]
    identifier = fields[0]
    shown = identifier[:80] or "(no name)"
    if len(fields) not in (2, 3):
        return f"{shown} has {len(fields)} columns where name|text|normalised text should be."
    candidates = [identifier, *(identifier + suffix for suffix in CLIP_SUFFIXES)]
    clip = next((clips[name] for name in candidates if name in clips), None)
    if clip is None:
        return f"{shown} has no clip in {CLIPS}/."
    if _cleaned(clip.name) in seen:
        return f"{shown} is there twice."
    text, normalised = fields[1], fields[2] if len(fields) == 3 else ""
    if not (text or normalised):
        return f"{shown} has no text."
    if max(len(text), len(normalised)) > MAX_TEXT_LENGTH:
        return f"{shown} has a text of more than {MAX_TEXT_LENGTH} characters."
    return ArchiveRow(Path(identifier).stem if identifier in clips else identifier, text or normalised, normalised, clip)


def _cleaned(text: str) -> str:
    visible = "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn") else " " for character in text
    )
    return unicodedata.normalize("NFC", " ".join(visible.split()))
