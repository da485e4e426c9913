"""Makes clean audio of what the model says: cuts the tail off, joins pieces without clicks, keeps the peak in bounds.

Everything here works on mono float32 samples in -1..1, shape [time].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

FRAME_SECONDS = 0.01
"""Step of the energy and voicing measurements."""

VOICING_WINDOW_SECONDS = 0.04
"""Holds more than two periods of the lowest voice, 60 Hz."""

LOWEST_VOICE_HERTZ, HIGHEST_VOICE_HERTZ = 60.0, 450.0

VOICED_CORRELATION = 0.6
"""Normalised autocorrelation from which a frame counts as voiced: white noise stays below 0.3, vowels are above 0.8."""

SILENCE_DB = -38.0
"""A frame this far below the speech (its 95th percentile) is silence: room tone and breath lie lower, an "f" higher."""

VOICED_GATE_DB = -30.0
"""A frame this far below the speech is not counted as voiced: hum and ringing of the vocoder are periodic, too."""

FINAL_CONSONANT_SECONDS = 0.4
"""What may follow the last voiced sound of an utterance: consonants, and the whispered final vowels of Portuguese
("parte", "disse"). In 20 recordings of LJ Speech it is 0.37 s at most, 0.17 s on average."""

FORCED_FADE_SECONDS = 0.25
"""Where noise has to be cut off without a pause in front of it, it fades this long."""

STOP_PROBABILITY = 0.3
"""A code where the model itself gave the end this probability, but the draw went on, is where gibberish begins."""

STOP_SEARCH_SECONDS = 0.25
"""How far the pause may lie from the code where the model wanted to stop: the vocoder smears a few codes."""

MIN_DIP_SECONDS = 0.06
"""Shorter than this, a quiet stretch can be the closure of a "p", "t" or "k" inside a word."""

MARGIN_SECONDS = 0.05
"""Kept behind the last sound, so that its decay is heard."""

FASTEST_CHARACTERS_PER_SECOND = 22.0
"""No reader is faster; speech shorter than this allows has not said its text yet, whatever the model believes."""

FADE_IN_SECONDS, FADE_OUT_SECONDS = 0.005, 0.02
CROSSFADE_SECONDS = 0.03

PEAK_CEILING = 10 ** (-1 / 20)
"""-1 dBFS: leaves room for what a lossy encoder adds."""


def trim(
    samples: Samples,
    sample_rate: int,
    *,
    stop_probabilities: npt.NDArray[np.float32] | None = None,
    characters: int = 0,
) -> Samples:
    """Cuts silence from both ends and gibberish from the end, and fades the edges.

    Autoregressive models now and then miss the end and go on babbling. Two signs tell, and where neither is clear,
    nothing is cut, because a lost word is worse than a noise:

    - the model itself: it gave the end a high probability, there is a pause, and the text can have been said by then;
    - the sound: speech ends at most `FINAL_CONSONANT_SECONDS` behind its last voiced sound, what hisses on is noise.

    Args:
        samples: What the model said.
        sample_rate: Samples a second.
        stop_probabilities: For each code, in order and evenly over the samples, the probability that the model gave to
            ending there. None when the engine has none.
        characters: Length of the text that was to be said; 0 when unknown, then `stop_probabilities` are not used.

    Returns:
        A new array; empty only when the samples are all zero.
    """
    levels = frame_levels(samples, sample_rate)
    loud = _loud_frames(levels)
    if not loud.any():
        return np.zeros(0, np.float32)
    end = len(loud)
    if stop_probabilities is not None and characters:
        end = _end_by_stop(loud, stop_probabilities, characters)
    end, is_clean = _end_by_voice(voiced_frames(samples, sample_rate)[:end], loud[:end])
    frame, margin = round(FRAME_SECONDS * sample_rate), round(MARGIN_SECONDS * sample_rate)
    first = max(0, int(np.argmax(loud)) * frame - margin)
    kept = samples[first : end * frame + (margin if is_clean else 0)].copy()
    return _fade_edges(kept, sample_rate, FADE_OUT_SECONDS if is_clean else FORCED_FADE_SECONDS)


def frame_levels(samples: Samples, sample_rate: int) -> npt.NDArray[np.float64]:
    """Returns the RMS of each whole or partial `FRAME_SECONDS` of the samples, shape [frames]."""
    frame = round(FRAME_SECONDS * sample_rate)
    padded = np.zeros(-(-len(samples) // frame) * frame)
    padded[: len(samples)] = samples
    rms: npt.NDArray[np.float64] = np.sqrt(np.mean(padded.reshape(-1, frame) ** 2, axis=1))
    return rms


def voiced_frames(samples: Samples, sample_rate: int) -> npt.NDArray[np.bool_]:
    """Says for each frame whether a voice sounds in it, by the autocorrelation of a window around it.

    Returns:
        Shape [frames], one entry for each of `frame_levels`.
    """
    levels = frame_levels(samples, sample_rate)
    frame, window = round(FRAME_SECONDS * sample_rate), round(VOICING_WINDOW_SECONDS * sample_rate)
    before = (window - frame) // 2
    padded = np.zeros(before + len(levels) * frame + window)
    padded[before : before + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::frame][: len(levels)]
    windows = windows - windows.mean(axis=1, keepdims=True)
    size = 1 << (2 * window - 1).bit_length()
    correlation = np.fft.irfft(np.abs(np.fft.rfft(windows, size)) ** 2, size)[:, :window]
    energy = np.cumsum(windows**2, axis=1)
    lags = np.arange(int(sample_rate / HIGHEST_VOICE_HERTZ), min(int(sample_rate / LOWEST_VOICE_HERTZ), window - frame))
    # At each lag two stretches are compared, the window without its last and without its first samples: their energies.
    norm = np.sqrt(energy[:, window - 1 - lags] * (energy[:, -1:] - energy[:, lags - 1]))
    best = np.max(correlation[:, lags] / np.maximum(norm, 1e-9), axis=1)
    gate = _speech_level(levels) * 10 ** (VOICED_GATE_DB / 20)
    voiced: npt.NDArray[np.bool_] = (best > VOICED_CORRELATION) & (levels > gate)
    return voiced


def join(pieces: Iterable[tuple[Samples, float]], sample_rate: int) -> Iterator[Samples]:
    """Joins pieces one by one, so that the first can be heard before the last is made.

    Args:
        pieces: Samples as `trim` returns them, and the seconds of silence behind each; the last one's is left out.
            Without silence, two pieces are crossfaded with equal power.
        sample_rate: Samples a second.

    Yields:
        Stretches which, put together, are the whole; never empty.
    """
    overlap = round(CROSSFADE_SECONDS * sample_rate)
    held = np.zeros(0, np.float32)
    silence = 0
    for samples, pause_seconds in pieces:
        if not len(samples):
            continue
        if silence:
            yield np.zeros(silence, np.float32)
        joined = _crossfade(held, samples, overlap)
        silence = round(pause_seconds * sample_rate)
        cut = len(joined) if silence else max(0, len(joined) - overlap)
        held = joined[cut:]
        if cut:
            yield joined[:cut]
    if len(held):
        yield held


def limit_peak(samples: Samples) -> Samples:
    """Turns samples down so that no peak is above -1 dBFS; those that are lower are returned as they are."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    return samples if peak <= PEAK_CEILING else samples * np.float32(PEAK_CEILING / peak)


def to_pcm16(samples: Samples) -> npt.NDArray[np.int16]:
    """Converts to 16-bit integers; what is out of range is clipped, never wrapped, and what is no number is silence."""
    finite = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.round(np.clip(finite, -1.0, 1.0) * 32_767).astype(np.int16)


def _speech_level(levels: npt.NDArray[np.float64]) -> float:
    return float(np.percentile(levels, 95)) if len(levels) else 0.0


def _loud_frames(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return levels > max(_speech_level(levels) * 10 ** (SILENCE_DB / 20), 1e-6)


def _end_by_stop(loud: npt.NDArray[np.bool_], stop_probabilities: npt.NDArray[np.float32], characters: int) -> int:
    """Finds the first pause where the model wanted to stop and the text can have been said; else the last frame."""
    frames_per_code = len(loud) / len(stop_probabilities)
    earliest = characters / FASTEST_CHARACTERS_PER_SECOND / FRAME_SECONDS
    reach, dip = round(STOP_SEARCH_SECONDS / FRAME_SECONDS), round(MIN_DIP_SECONDS / FRAME_SECONDS)
    for code in np.flatnonzero(stop_probabilities >= STOP_PROBABILITY):
        middle = round(float(code) * frames_per_code)
        for start in range(max(0, middle - reach), min(len(loud) - dip, middle + reach) + 1):
            spoken = int(loud[:start].sum())
            if spoken >= earliest and not loud[start : start + dip].any():
                return start
    return len(loud)


def _end_by_voice(voiced: npt.NDArray[np.bool_], loud: npt.NDArray[np.bool_]) -> tuple[int, bool]:
    """Finds the frame behind the last sound that belongs to speech, and says whether silence follows there."""
    sounding = np.flatnonzero(loud)
    last = int(sounding[-1]) + 1
    if voiced.sum() < 0.2 * len(sounding):
        return last, True  # whispered, or no speech at all: nothing is known about its end
    last_voiced = int(np.flatnonzero(voiced)[-1]) + 1
    allowed = last_voiced + round(FINAL_CONSONANT_SECONDS / FRAME_SECONDS)
    if last <= allowed:
        return last, True
    # Sound goes on for longer than any consonant: it is noise. Where a pause parts it from the speech, cut there; the
    # last such pause, because a "t" has one of its own.
    dip = round(MIN_DIP_SECONDS / FRAME_SECONDS)
    for start in range(allowed, last_voiced - 1, -1):
        if not loud[start : start + dip].any():
            return int(np.flatnonzero(loud[:start])[-1]) + 1, True
    return allowed, False


def _crossfade(left: Samples, right: Samples, overlap: int) -> Samples:
    overlap = min(overlap, len(left), len(right))
    if not overlap:
        return np.concatenate([left, right])
    angle = np.linspace(0.0, np.pi / 2, overlap, dtype=np.float32)
    mixed = left[-overlap:] * np.cos(angle) + right[:overlap] * np.sin(angle)
    return np.concatenate([left[:-overlap], mixed.astype(np.float32), right[overlap:]])


def _fade_edges(samples: Samples, sample_rate: int, fade_out_seconds: float) -> Samples:
    for seconds, at_end in ((FADE_IN_SECONDS, False), (fade_out_seconds, True)):
        length = min(round(seconds * sample_rate), len(samples))
        ramp = (0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, length))).astype(np.float32)
        if at_end:
            samples[len(samples) - length :] *= ramp[::-1]
        else:
            samples[:length] *= ramp
    return samples
