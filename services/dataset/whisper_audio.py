"""Audio as Whisper takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

SAMPLE_RATE_HERTZ = 16_000
"""Rate at which every Whisper model listens."""

Audio = npt.NDArray[np.float32]


def read_audio(path: Path) -> Audio:
    """Reads a recording that fits in memory, without a subprocess.

    Args:
        path: Anything that libsndfile reads: WAV, FLAC, MP3, Ogg.

    Returns:
        Mono samples in -1..1, shape [time], at 16 kHz.

    Raises:
        soundfile.LibsndfileError: It is not audio.
        ValueError: It holds no sample, or samples that are no numbers.
    """
    samples, rate = sf.read(path, dtype="float32", always_2d=True)
    if not len(samples):
        raise ValueError("it holds no audio")
    if not np.isfinite(samples).all():
        raise ValueError("it holds samples that are not numbers")
    return to_whisper_rate(samples.mean(axis=1), rate)


def to_whisper_rate(samples: Audio, rate: int) -> Audio:
    """Resamples mono samples, shape [time], from `rate` to 16 kHz."""
    resampled: Audio = soxr.resample(samples, rate, SAMPLE_RATE_HERTZ).astype(np.float32, copy=False)
    return resampled
