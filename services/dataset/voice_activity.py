"""Where somebody speaks in a recording, told by its energy.

The recording is read once, in blocks; what stays in memory is one number for every 10 ms: 14 MB for 10 hours.

The threshold is relative, because recordings differ in loudness and in noise. A frame is speech when its level lies above the
highest of two:

- the level of loud speech in this recording plus `threshold_db` (-40: everything down to 40 dB under the loud syllables);
- the noise floor around it plus up to 9 dB, so that in a noisy recording the noise between the words is no speech.

A recording without any dynamics (a tone, an even noise) has no speech level to be told from a noise floor; there
`threshold_db` is taken as it stands, in dB of full scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

FRAMES_PER_SECOND = 100
"""A frame is 10 ms: shorter than any sound of speech."""

MIN_PAUSE_SECONDS = 0.2
"""Shorter gaps belong to the speech around them: the closure of a stop consonant is silent for up to 0.15 s."""

MIN_SPEECH_SECONDS = 0.08
"""Shorter sounds that stand alone are clicks: the shortest syllables last 0.1 s."""

NOISE_MARGIN_DB = 9.0
"""How far above the noise floor speech begins, where there is room: at most 0.3 of the way up to the speech level."""

HYSTERESIS_DB = 4.0
"""How far under the threshold the level may fall before speech ends; half of the way down to the noise floor at most."""

LOWEST_SPEECH_DB = -75.0
"""A recording whose loud frames lie below this (dB of full scale) holds nothing but converter noise."""

DIGITAL_SILENCE_POWER = 1e-10
"""Frames of no more than this are digital silence: -100 dB, under the rounding noise of 16 bits."""

MIN_DYNAMICS_DB = 6.0
"""Speech is at least this much louder than its own pauses."""

_BLOCK_FRAMES = 4096
_ACTIVE_DB = 20.0  # frames this far under the mean power are no part of the speech level
_SPEECH_PERCENTILE = 90.0
_NOISE_MARGIN_SHARE = 0.3
_LEAST_NOISE_MARGIN_DB = 3.0  # the level of an even noise varies by 1 to 2 dB over 30 ms
_FLOOR_WINDOW_FRAMES = 25
_FLOOR_REACH_SECONDS = 15
_FLOOR_PERCENTILE = 5.0
_NOISE_BELOW_SPEECH_DB = 25.0  # no quarter of a second of fluent speech lies this far under its loud syllables
_FLOOR_RISE_DB = 12.0  # how far above that of the whole recording the noise floor of a place may lie

Floats = npt.NDArray[np.float32]
Spans = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Envelope:
    """Energy of a recording over time.

    Attributes:
        power: Mean square of each frame without its mean, shape [frame]; full scale is 1. The last frame may be shorter.
        hop: Samples a frame.
        rate: Samples a second.
        samples: Length of the recording.
    """

    power: Floats
    hop: int
    rate: int
    samples: int

    @cached_property
    def level_db(self) -> Floats:
        """Level of each frame in dB of full scale, over 30 ms: longer than a period of the lowest voice; shape [frame]."""
        return decibels(moving_mean(self.power, 3))

    @cached_property
    def background(self) -> tuple[float, Floats]:
        """Speech level, and the noise floor around each second, shape [second]: whatever the threshold will be."""
        reference = speech_level_db(self)
        return reference, noise_floor_db(self, reference) if reference >= LOWEST_SPEECH_DB else np.zeros(0, np.float32)

    def frames(self, seconds: float) -> int:
        """Return a duration in whole frames."""
        return round(seconds * self.rate / self.hop)


def decibels(power: Floats) -> Floats:
    """Return 10 log10 of a power, not below -100."""
    result: Floats = 10 * np.log10(np.maximum(power, np.float32(DIGITAL_SILENCE_POWER)))
    return result


def moving_mean(values: Floats, width: int) -> Floats:
    """Return the mean over `width` neighbours centred on each value, shape and dtype kept; at the ends over those there are."""
    width = min(width, len(values))
    if width < 2:
        return values.copy()
    ones = np.ones(width, np.float32)
    means: Floats = np.convolve(values, ones, "same")
    means /= np.convolve(np.ones_like(values), ones, "same")
    return means


def read_envelope(wav: Path) -> Envelope:
    """Read a recording of any length and return its energy.

    Args:
        wav: Any file that soundfile reads; channels are averaged.

    Returns:
        The energy, a frame every 10 ms.
    """
    with sf.SoundFile(wav) as file:
        hop = file.samplerate // FRAMES_PER_SECOND
        power = np.zeros(-(-file.frames // hop), np.float32)
        done = 0
        for block in file.blocks(hop * _BLOCK_FRAMES, dtype="float32", always_2d=True):
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
            part = _frame_power(mono, hop)
            power[done : done + len(part)] = part
            done += len(part)
        return Envelope(power[:done], hop, file.samplerate, file.frames)


def _frame_power(samples: Floats, hop: int) -> Floats:
    whole = len(samples) // hop * hop
    framed = samples[:whole].reshape(-1, hop)
    power: Floats = np.einsum("ij,ij->i", framed, framed) / np.float32(hop) - framed.mean(axis=1) ** 2
    if whole < len(samples):
        power = np.append(power, samples[whole:].var())
    return np.maximum(power, np.float32(0))


def speech_level_db(envelope: Envelope) -> float:
    """Return the level of loud speech: the 90th percentile of the frames at most 20 dB below the mean power."""
    if not len(envelope.power):
        return -100.0
    gate = 10 * np.log10(max(float(envelope.power.mean(dtype=np.float64)), DIGITAL_SILENCE_POWER)) - _ACTIVE_DB
    level = envelope.level_db
    return float(np.percentile(level[level >= gate], _SPEECH_PERCENTILE))


def noise_floor_db(envelope: Envelope, speech_db: float) -> Floats:
    """Return the noise floor around each second, shape [second].

    It is the quietest quarter of a second, of those that one second in twenty reaches within 15 s to either side. Half a minute
    of talk without a breath would pass for noise: where the floor is so high that it could be speech, it lies at most 12 dB
    above that of the whole recording.

    Digital silence (the beginning of many videos, the joints of takes) does not stand for the room: the floor is that of what
    is left without it, unless only speech is left.

    Args:
        envelope: Of the recording.
        speech_db: Its speech level.
    """
    level = decibels(moving_mean(envelope.power, _FLOOR_WINDOW_FRAMES))
    certain = speech_db - _NOISE_BELOW_SPEECH_DB
    floor, whole = _low_level(level)
    floor = np.where(floor <= certain, floor, np.minimum(floor, whole + _FLOOR_RISE_DB))
    digital = moving_mean((envelope.power <= DIGITAL_SILENCE_POWER).astype(np.float32), _FLOOR_WINDOW_FRAMES) > 0
    if digital.any():
        room, _ = _low_level(np.where(digital, np.float32(np.inf), level))
        floor = np.where(room <= certain, room, floor)
    return floor


def _low_level(level: Floats) -> tuple[Floats, float]:
    """Return the level that one in twenty of the seconds around each second reaches, shape [second], and that of the whole."""
    seconds = np.pad(level, (0, -len(level) % FRAMES_PER_SECOND), constant_values=np.inf)
    seconds = seconds.reshape(-1, FRAMES_PER_SECOND).min(axis=1)
    around = np.pad(seconds, _FLOOR_REACH_SECONDS, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * _FLOOR_REACH_SECONDS + 1)
    local: Floats = np.percentile(windows, _FLOOR_PERCENTILE, axis=1, method="lower")
    return local, float(np.percentile(seconds, _FLOOR_PERCENTILE, method="lower"))


def detect_speech(envelope: Envelope, threshold_db: float) -> Spans:
    """Find the spans of speech.

    Args:
        envelope: Of the recording.
        threshold_db: See the top of this module; -60 to -20.

    Returns:
        First frame and frame after the last of each span, in order, at least 0.2 s apart; shape [span, 2].
    """
    reference, floor = envelope.background
    if reference < LOWEST_SPEECH_DB:
        return np.zeros((0, 2), np.int64)
    margin = np.clip(_NOISE_MARGIN_SHARE * (reference - floor), _LEAST_NOISE_MARGIN_DB, NOISE_MARGIN_DB)
    if reference - float(floor.min()) < MIN_DYNAMICS_DB:
        begins = np.full_like(floor, threshold_db)
        ends = begins - HYSTERESIS_DB
    else:
        begins = np.maximum(floor + margin, reference + threshold_db)
        ends = begins - np.minimum(margin / 2, HYSTERESIS_DB)
    level = envelope.level_db
    spans = _runs(level > _per_frame(ends, len(level)))
    loud = np.zeros(len(level) + 1, np.int32)
    np.cumsum(level > _per_frame(begins, len(level)), out=loud[1:])
    spans = spans[loud[spans[:, 1]] > loud[spans[:, 0]]]
    spans = _join(spans, envelope.frames(MIN_PAUSE_SECONDS))
    return spans[spans[:, 1] - spans[:, 0] >= envelope.frames(MIN_SPEECH_SECONDS)]


def _per_frame(seconds: Floats, frames: int) -> Floats:
    return np.repeat(seconds, FRAMES_PER_SECOND)[:frames]


def _runs(mask: npt.NDArray[np.bool_]) -> Spans:
    """Return the beginning and the end of each run of true values."""
    edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def _join(spans: Spans, gap: int) -> Spans:
    """Join spans that are less than `gap` frames apart."""
    if not len(spans):
        return spans
    apart = spans[1:, 0] - spans[:-1, 1] >= gap
    starts = spans[np.concatenate([[True], apart]), 0]
    ends = spans[np.concatenate([apart, [True]]), 1]
    return np.stack([starts, ends], axis=1)
