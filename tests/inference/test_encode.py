from __future__ import annotations

import asyncio
import io
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import psutil
import pytest
import soundfile as sf

from services.inference.encode import EncodingFailed, Format, encode
from services.runtime.errors import InvalidArgument

RATE = 22_050
SECONDS = 3.0
FORMATS: list[Format] = ["wav", "pcm", "mp3", "opus", "aac", "flac"]

Samples = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def tone() -> Samples:
    """A tone of 440 Hz."""
    time = np.arange(int(SECONDS * RATE)) / RATE
    return (12_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)


async def pieces(samples: Samples, count: int = 6, pause: float = 0.0) -> AsyncGenerator[bytes, None]:
    for part in np.array_split(samples, count):
        yield part.astype("<i2").tobytes()
        await asyncio.sleep(pause)


def decode(content: bytes, wanted: Format, tmp_path: Path) -> tuple[Samples, int]:
    """Reads audio back, with another decoder than ours where there is one."""
    if wanted == "pcm":
        return np.frombuffer(content, "<i2"), 24_000
    path = tmp_path / f"audio.{wanted}"
    path.write_bytes(content)
    if wanted in ("wav", "flac", "aac"):  # libsndfile reads no AAC, and nothing whose length is not known
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-ac", "1", "-f", "wav", "-"]
        content = subprocess.run(command, capture_output=True, check=True).stdout
        return np.frombuffer(content[content.index(b"data") + 8 :], "<i2"), int.from_bytes(content[24:28], "little")
    samples, rate = sf.read(io.BytesIO(content), dtype="int16")
    return samples, rate


@pytest.mark.parametrize("wanted", FORMATS)
async def test_every_format_holds_the_whole(tone: Samples, wanted: Format, tmp_path: Path) -> None:
    content = b"".join([chunk async for chunk in encode(pieces(tone), wanted)])
    samples, rate = decode(content, wanted, tmp_path)
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.12)  # codecs pad to whole frames
    spectrum = np.abs(np.fft.rfft(samples[rate // 2 : rate // 2 + rate].astype(float)))
    assert int(np.argmax(spectrum)) == 440  # a window of one second: the index is the frequency
    peak = np.abs(samples[rate // 2 : -rate // 2].astype(int)).max()
    assert peak == pytest.approx(12_000, rel=0.06)


async def test_a_wav_says_that_its_length_is_not_known(tone: Samples) -> None:
    content = b"".join([chunk async for chunk in encode(pieces(tone), "wav")])
    assert content[:4] + content[8:16] == b"RIFFWAVEfmt "
    assert content[4:8] == content[40:44] == b"\xff\xff\xff\xff"
    np.testing.assert_array_equal(np.frombuffer(content[44:], "<i2"), tone)


async def test_pcm_is_the_same_in_pieces_and_whole(tone: Samples) -> None:
    parted, whole = [b"".join([chunk async for chunk in encode(pieces(tone, n), "pcm")]) for n in (50, 1)]
    assert len(whole) == 2 * int(SECONDS * 24_000)
    assert parted == whole


@pytest.mark.parametrize("wanted", FORMATS)
async def test_bytes_come_before_the_last_samples_are_made(tone: Samples, wanted: Format) -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield tone.tobytes()
        await asyncio.wait_for(go_on.wait(), 60)
        yield tone.tobytes()

    async with aclosing(encode(slow(), wanted)) as chunks:
        assert await asyncio.wait_for(anext(chunks), 60)
        go_on.set()
        assert [chunk async for chunk in chunks]


@pytest.mark.parametrize("wanted", FORMATS)
async def test_an_error_before_the_first_samples_is_all_there_is(wanted: Format) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        raise InvalidArgument("no")
        yield b""

    with pytest.raises(InvalidArgument):
        await anext(encode(broken(), wanted))


@pytest.mark.parametrize("wanted", FORMATS)
async def test_an_error_in_the_middle_comes_through(tone: Samples, wanted: Format) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield tone.tobytes()
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument):
        _ = [chunk async for chunk in encode(broken(), wanted)]
    assert encoders() == []


@pytest.mark.parametrize("wanted", ["wav", "mp3"])
async def test_nothing_makes_nothing(wanted: Format) -> None:
    assert [chunk async for chunk in encode(pieces(np.zeros(0, np.int16)), wanted)] == []


async def test_the_encoder_is_killed_when_nobody_reads_on(tone: Samples) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield tone.tobytes()
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with aclosing(encode(endless(), "mp3")) as chunks:
        await anext(chunks)
        assert len(encoders()) == 1
    assert encoders() == []
    assert closed.is_set()


async def test_an_encoder_that_dies_is_an_error(tone: Samples) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield tone.tobytes()
            await asyncio.sleep(0.01)

    async with aclosing(encode(endless(), "mp3")) as chunks:
        await anext(chunks)
        encoders()[0].kill()
        with pytest.raises(EncodingFailed):
            _ = [chunk async for chunk in chunks]


async def test_many_at_once_leave_nothing_behind(tone: Samples) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def whole(wanted: Format) -> int:
        return sum([len(chunk) async for chunk in encode(pieces(tone), wanted)])

    assert all(await asyncio.gather(*(whole(wanted) for wanted in FORMATS * 3)))
    assert encoders() == []
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def encoders() -> list[psutil.Process]:
    """The encoders that this process has running."""
    return [
        child for child in psutil.Process().children() if "ffmpeg" in child.name() and child.status() != psutil.STATUS_ZOMBIE
    ]
