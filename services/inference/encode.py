"""Writes audio in the formats that programs ask for, while it is made: bytes go out as soon as they are known.

MP3, Opus, AAC and FLAC come out of the ffmpeg that imageio-ffmpeg ships, as a process of its own between two pipes; it is
killed when nobody reads on.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Literal, TypeAlias

import imageio_ffmpeg
import numpy as np
import soxr

from services.inference.synthesis import SAMPLE_RATE_HERTZ
from services.runtime.errors import Internal

Format: TypeAlias = Literal["pcm", "wav", "mp3", "opus", "aac", "flac"]

PCM_RATE_HERTZ = 24_000
"""Of bare samples, as OpenAI documents them."""

_READ_BYTES = 64 * 1024

# Rates are what is usual for speech; 22,050 Hz mono allows MP3 160 kbit/s at most.
_FFMPEG: Mapping[str, Sequence[str]] = {
    # no Xing header and no ID3 tag: both would be filled in at the end, by going back
    "mp3": ("-c:a", "libmp3lame", "-b:a", "96k", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3"),
    # pages of 0.2 s: by default Ogg holds a second back
    "opus": ("-c:a", "libopus", "-b:a", "48k", "-page_duration", "200000", "-f", "ogg"),
    "aac": ("-c:a", "aac", "-b:a", "96k", "-f", "adts"),
    "flac": ("-c:a", "flac", "-f", "flac"),
}

_UNKNOWN = 0xFFFFFFFF
"""Stands for a length that is not known in time, as ffmpeg writes it into a pipe."""


class EncodingFailed(Internal):
    """The encoder ended before its work was done."""


async def encode(pcm: AsyncGenerator[bytes, None], wanted: Format) -> AsyncGenerator[bytes, None]:
    """Writes audio in a format, while it comes.

    Args:
        pcm: 22,050 Hz mono 16-bit little-endian samples, in pieces of whole samples.
        wanted: The format.

    Yields:
        The next bytes, never none. Nothing comes before the first samples do, so that an error can still be the answer.

    Raises:
        EncodingFailed: The encoder broke.
        Exception: Whatever `pcm` raises.
    """
    async with aclosing(pcm):
        first = await anext(pcm, b"")
        if not first:
            return
        whole = _with_first(first, pcm)
        encoded = (
            _with_header(whole) if wanted == "wav" else _resampled(whole) if wanted == "pcm" else _by_ffmpeg(whole, wanted)
        )
        async with aclosing(encoded):
            async for chunk in encoded:
                if chunk:
                    yield chunk


def wav_header(sample_rate: int) -> bytes:
    """Returns the header of a mono 16-bit WAV whose length is not known."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", _UNKNOWN)


async def _with_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _with_header(pcm: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield wav_header(SAMPLE_RATE_HERTZ)
    async for chunk in pcm:
        yield chunk


async def _resampled(pcm: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    # In float: in 16 bits soxr dithers, which is a noise of its own.
    stream = soxr.ResampleStream(SAMPLE_RATE_HERTZ, PCM_RATE_HERTZ, 1, dtype="float32")

    def resample(chunk: bytes, last: bool = False) -> bytes:
        samples = stream.resample_chunk(np.frombuffer(chunk, "<i2").astype(np.float32), last=last)
        content: bytes = np.clip(np.round(samples), -32_768, 32_767).astype("<i2").tobytes()
        return content

    async for chunk in pcm:
        yield await asyncio.to_thread(resample, chunk)
    yield await asyncio.to_thread(resample, b"", last=True)


async def _by_ffmpeg(pcm: AsyncIterator[bytes], wanted: str) -> AsyncGenerator[bytes, None]:
    source = ("-f", "s16le", "-ar", str(SAMPLE_RATE_HERTZ), "-ac", "1", "-i", "pipe:0")
    quiet = ("-hide_banner", "-loglevel", "error", "-nostdin")
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(),
        *(*quiet, *source, *_FFMPEG[wanted], "-flush_packets", "1", "pipe:1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    feeding = asyncio.create_task(_feed(process.stdin, pcm))
    try:
        while chunk := await process.stdout.read(_READ_BYTES):
            yield chunk
        await feeding
        if await process.wait():
            raise EncodingFailed(f"The speech could not be written as {wanted}: ask for another format, or see the log.")
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)  # what it raised has been raised above
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _feed(stdin: asyncio.StreamWriter, pcm: AsyncIterator[bytes]) -> None:
    """Gives samples to the encoder; it hears of the end whatever the reason, so that it ends, too."""
    try:
        async for chunk in pcm:
            stdin.write(chunk)
            await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has ended: its exit status says why
    finally:
        stdin.close()
