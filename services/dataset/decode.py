"""Any audio or video file to the WAV the pipeline works on, through the ffmpeg that imageio-ffmpeg ships.

ffmpeg gets the file as an open descriptor, and may use no other protocol and only containers that hold their own media:
a playlist, a concat script or a reference inside a file cannot make it read a second file or a network address. It
writes samples to a pipe, so that the length is bounded while they come and ffmpeg ends when this process does.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import soundfile as sf

from services.runtime.errors import InvalidArgument

SAMPLE_RATE_HERTZ = 22_050
"""Rate of every WAV in a dataset: what XTTS-v2 trains on and speaks in."""

MAX_SECONDS = 24 * 3600.0
"""Longest recording whatever the caller allows: a WAV file ends at 4 GiB, 27 hours of 22,050 Hz mono 16-bit."""

TIMEOUT_SECONDS = 1800.0
"""ffmpeg decodes at least 100 times faster than real time, also 24 hours: what takes longer hangs."""

CONTAINERS = (
    "3gp,aac,ac3,aiff,amr,ape,asf,asf_o,au,avi,caf,dts,eac3,f4v,flac,flv,gsm,m4a,matroska,webm,mov,mp4,mp3,mpc,mpc8,mpeg,"
    "mpegts,mxf,nut,ogg,oma,qcp,rm,sox,tak,tta,voc,w64,wav,wv,xwma"
)
"""ffmpeg's names of the containers that are read: none of them names other files to be read."""

_BLOCK_BYTES = 1 << 16
_BYTES_PER_SECOND = 2 * SAMPLE_RATE_HERTZ


class AudioUnreadable(InvalidArgument):
    """A file is not audio, is damaged, or holds no sound."""


class AudioTooLong(InvalidArgument):
    """A recording is longer than what is allowed."""


def to_wav(source: Path, target: Path, *, max_seconds: float | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> float:
    """Decode the first audio track of a file to 22,050 Hz mono 16-bit WAV.

    Args:
        source: Any audio or video file that ffmpeg reads; a container is told by its content, not by its name.
        target: Where the WAV goes, whole or not at all; replaced if it exists.
        max_seconds: Longest duration allowed.
        timeout_seconds: Longest time the work may take.

    Returns:
        Duration in seconds, more than zero.

    Raises:
        AudioUnreadable: The file has no audio track, or nothing can be decoded from it.
        AudioTooLong: The audio is longer than `max_seconds`.
    """
    limit = min(max_seconds or MAX_SECONDS, MAX_SECONDS)
    partial = target.with_name(f"{target.name}.part")
    try:
        with source.open("rb") as file:
            seconds = _decode(file, partial, source.name, limit, timeout_seconds)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return seconds


def _decode(file: IO[bytes], partial: Path, name: str, limit: float, timeout_seconds: float) -> float:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(_command(), stdin=file, stdout=subprocess.PIPE, stderr=log)
        overdue = threading.Timer(timeout_seconds, process.kill)
        overdue.start()
        try:
            assert process.stdout is not None
            with process.stdout as samples:
                seconds = _write_wav(samples, partial, limit)
            if seconds > limit:
                raise AudioTooLong(
                    f"{name} is longer than the {limit:g} seconds allowed for one recording; split it into parts."
                )
            failed = process.wait() != 0
        finally:
            in_time = overdue.is_alive()
            overdue.cancel()
            process.kill()
            process.wait()
        log.seek(0)
        complaint = log.read(_BLOCK_BYTES).decode(errors="replace")
    if not in_time:
        raise AudioUnreadable(f"{name} took longer than {timeout_seconds:g} seconds to decode; convert it to WAV first.")
    if "matches no streams" in complaint:
        raise AudioUnreadable(f"{name} has no audio track; choose a file with sound.")
    if failed or not seconds:
        raise AudioUnreadable(f"{name} is not audio, is damaged, or is in a format that cannot be read.")
    return seconds


def _command() -> list[str]:
    return [
        imageio_ffmpeg.get_ffmpeg_exe(),
        *("-nostdin", "-hide_banner", "-v", "error"),
        *("-protocol_whitelist", "fd", "-format_whitelist", CONTAINERS, "-i", "fd:"),
        *("-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE_HERTZ), "-threads", "1", "-f", "s16le", "pipe:1"),
    ]


def _write_wav(samples: IO[bytes], partial: Path, limit: float) -> float:
    """Write 16-bit samples until they end or `limit` seconds are passed, and return the seconds written."""
    size = 0
    with sf.SoundFile(partial, "w", SAMPLE_RATE_HERTZ, channels=1, subtype="PCM_16", format="WAV") as wav:
        while size <= limit * _BYTES_PER_SECOND and (block := samples.read(_BLOCK_BYTES)):
            wav.buffer_write(block[: len(block) // 2 * 2], dtype="int16")
            size += len(block)
    return size / _BYTES_PER_SECOND
