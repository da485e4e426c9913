"""Loudness, true peak, fades and what a segment's sound is worth: all on whole segments in memory, at most 20 s long."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from services.dataset.voice_activity import DIGITAL_SILENCE_POWER, decibels, moving_mean

TARGET_LUFS = -20.0
"""Integrated loudness of every segment (ITU-R BS.1770-4, as pyloudnorm measures it)."""

TRUE_PEAK_CEILING_DBFS = -1.0
"""No segment's true peak lies above this (the ceiling of EBU R 128); a segment that would pass it stays quieter."""

FADE_SECONDS = 0.05
"""Length of the fade at either end of a segment."""

CLIPPED_LEVEL = 0.999
"""Samples at or above this part of full scale count as clipped."""

HIGHEST_SNR_DB = 80.0
"""Signal-to-noise ratios end here: the pauses are digital silence."""

_OVERSAMPLING = 4  # BS.1770-4, annex 2
_SNR_FRAME_SECONDS = 0.01
_SNR_NOISE_FRAMES = 10  # noise is judged over 0.1 s, the length of the guard on either side of speech
_SNR_NOISE_PERCENTILE = 5.0
_SNR_NOISE_BELOW_SPEECH = 0.005  # no tenth of a second of fluent speech lies 23 dB under the mean

Audio = npt.NDArray[np.float32]


def loudness_lufs(audio: Audio, rate: int) -> float:
    """Return the integrated loudness of mono audio, at least 0.4 s long; minus infinity for digital silence."""
    import pyloudnorm  # draws in scipy

    peak = float(np.abs(audio).max(initial=0.0))
    if not peak:
        return -math.inf
    # At full scale, so that the absolute gate of the measure (-70 LUFS) does not take a quiet recording for silence.
    loudness = float(pyloudnorm.Meter(rate).integrated_loudness(audio.astype(np.float64) / peak))
    return loudness + 20 * math.log10(peak)


def true_peak_dbfs(audio: Audio, rate: int) -> float:
    """Return the peak of mono audio between the samples too, by four-fold oversampling; minus infinity for digital silence."""
    import soxr

    peak = max(
        float(np.abs(audio).max(initial=0.0)),
        float(np.abs(soxr.resample(audio, rate, _OVERSAMPLING * rate)).max(initial=0.0)),
    )
    return 20 * math.log10(peak) if peak else -math.inf


def normalise_loudness(audio: Audio, rate: int) -> tuple[Audio, float, float]:
    """Bring mono audio to -20 LUFS, or as near as the true-peak ceiling lets it; by gain alone, nothing is limited.

    Args:
        audio: Samples, shape [time], at least 0.4 s.
        rate: Samples a second.

    Returns:
        The audio, its loudness in LUFS and its true peak in dB of full scale.
    """
    loudness, peak = loudness_lufs(audio, rate), true_peak_dbfs(audio, rate)
    if not (math.isfinite(loudness) and math.isfinite(peak)):
        return audio, loudness, peak
    gain = min(TARGET_LUFS - loudness, TRUE_PEAK_CEILING_DBFS - peak)
    return audio * np.float32(10 ** (gain / 20)), loudness + gain, peak + gain


def fade(audio: Audio, rate: int) -> Audio:
    """Return a copy of mono audio that rises from and falls to silence along half a cosine, each over 50 ms."""
    length = min(round(FADE_SECONDS * rate), len(audio) // 2)
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(length, 1))).astype(np.float32)
    faded = audio.copy()
    faded[:length] *= rise
    faded[len(audio) - length :] *= rise[::-1]
    return faded


def clipped_fraction(audio: Audio) -> float:
    """Return the part of the samples, 0 to 1, that lie at full scale."""
    return float(np.mean(np.abs(audio) >= CLIPPED_LEVEL)) if len(audio) else 0.0


def snr_db(audio: Audio, rate: int) -> float:
    """Estimate the ratio of speech to noise in a segment.

    Noise is the level that the quietest 5% of the tenths of a second do not pass; speech is the rest of the mean power. Digital
    silence between takes is no noise, unless all pauses are digital silence. Where a segment has no pause the estimate is low.

    Args:
        audio: Samples, shape [time].
        rate: Samples a second.

    Returns:
        The ratio in dB, 0 to 80.
    """
    hop = max(1, round(_SNR_FRAME_SECONDS * rate))
    framed = audio[: len(audio) // hop * hop].reshape(-1, hop)
    if len(framed) < _SNR_NOISE_FRAMES:
        return 0.0
    power = framed.var(axis=1)
    quiet = moving_mean(power, _SNR_NOISE_FRAMES)
    noise = float(np.percentile(quiet, _SNR_NOISE_PERCENTILE))
    digital = moving_mean((power <= DIGITAL_SILENCE_POWER).astype(np.float32), _SNR_NOISE_FRAMES) > 0
    if digital.any() and not digital.all():
        room = float(np.percentile(quiet[~digital], _SNR_NOISE_PERCENTILE))
        if room < power.mean() * _SNR_NOISE_BELOW_SPEECH:
            noise = room
    signal = float(power.mean()) - noise
    if signal <= 0:
        return 0.0
    noise_db, signal_db = decibels(np.array([noise, signal], np.float32))
    return float(np.clip(signal_db - noise_db, 0.0, HIGHEST_SNR_DB))
