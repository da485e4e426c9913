"""Looks into the audio that the demonstration got: whether each file is what it should be, by what is in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from timbre.demo.speech import SAMPLE_RATE_HERTZ

SILENT_DBFS = -60.0
"""A file whose loudest sample is below this says nothing."""

# ITU-R BS.1770 measures in blocks of 0.4 s: shorter audio has no loudness.
_LOUDNESS_BLOCK_SECONDS = 0.4


class AudioWrong(RuntimeError):
    """A file is not what the API says it is."""


@dataclass(frozen=True)
class AudioFacts:
    """What is in an audio file; the loudness is NaN where it is too short to have one."""

    path: Path
    sample_rate_hertz: int
    channels: int
    duration_seconds: float
    peak_dbfs: float
    loudness_lufs: float

    def __str__(self) -> str:
        channels = "mono" if self.channels == 1 else f"{self.channels} channels"
        loudness = "" if math.isnan(self.loudness_lufs) else f", {self.loudness_lufs:.1f} LUFS"
        return (
            f"{self.duration_seconds:.2f} s, {self.sample_rate_hertz:,} Hz {channels}, peak {self.peak_dbfs:.1f} dBFS{loudness}"
        )


def check_audio(path: Path) -> AudioFacts:
    """Measures a WAV.

    Raises:
        AudioWrong: It is not 22,050 Hz, mono, 16-bit, or there is nothing to hear.
    """
    import pyloudnorm

    info = sf.info(path)
    if (info.samplerate, info.channels, info.subtype) != (SAMPLE_RATE_HERTZ, 1, "PCM_16"):
        raise AudioWrong(
            f"{path} is {info.samplerate} Hz, {info.channels} channels, {info.subtype}, not 22,050 Hz mono 16-bit."
        )
    audio, rate = sf.read(path)
    peak = float(np.abs(audio).max()) if len(audio) else 0.0
    peak_dbfs = 20 * math.log10(peak) if peak else -math.inf
    if peak_dbfs < SILENT_DBFS:
        raise AudioWrong(f"There is nothing to hear in {path}: its peak is {peak_dbfs:.0f} dBFS.")
    long_enough = len(audio) >= _LOUDNESS_BLOCK_SECONDS * rate
    loudness = pyloudnorm.Meter(rate).integrated_loudness(audio) if long_enough else math.nan
    return AudioFacts(path, rate, info.channels, len(audio) / rate, peak_dbfs, float(loudness))
