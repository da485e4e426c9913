"""A recording to segments: find the speech, plan the cuts over the whole recording, write each segment by itself.

    wav ─ read_envelope ─▶ 10 ms frames ─ detect_speech ─▶ spans ─ plan_pieces ─▶ cuts ─ write_segment ─▶ segment_00001.wav

Planning reads the recording once in blocks and keeps one number for every 10 ms; writing a segment reads that segment alone. So
memory stays the same for 10 minutes and for 10 hours, and segments of one plan may be written in any order and side by side.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from services.dataset.loudness import clipped_fraction, fade, normalise_loudness, snr_db
from services.dataset.segment_plan import plan_pieces
from services.dataset.voice_activity import Envelope, Spans, detect_speech, read_envelope
from services.runtime.errors import InvalidArgument

FORCED_CUT = "forced_cut"
"""Flag: one end lies within speech, because there was no pause within the longest duration."""

PADDED = "padded"
"""Flag: silence was added at the ends, because the recording holds too little around this speech for the shortest duration."""

AUDIO_FLAGS = frozenset({FORCED_CUT, PADDED})
"""Flags that speak of the audio, and stay when the transcript is made anew."""

MIN_SECONDS_RANGE = (3.0, 15.0)
MAX_SECONDS_RANGE = (5.0, 20.0)
THRESHOLD_DB_RANGE = (-60.0, -20.0)


@dataclass(frozen=True)
class SegmentOptions:
    """How a recording is cut.

    Attributes:
        min_seconds: Shortest segment, 3 to 15 s.
        max_seconds: Longest segment, 5 to 20 s, not under `min_seconds`.
        threshold_db: How far under the level of loud speech in the recording a sound may lie and still be speech,
            -60 to -20 dB; see `services.dataset.voice_activity`.

    Raises:
        InvalidArgument: A value is out of its range; the fields are named as the HTTP API names them.
    """

    min_seconds: float = 7.0
    max_seconds: float = 12.0
    threshold_db: float = -40.0

    def __post_init__(self) -> None:
        for field, value, (lowest, highest), unit in (
            ("min_duration", self.min_seconds, MIN_SECONDS_RANGE, "seconds"),
            ("max_duration", self.max_seconds, MAX_SECONDS_RANGE, "seconds"),
            ("vad_threshold", self.threshold_db, THRESHOLD_DB_RANGE, "dB"),
        ):
            if not lowest <= value <= highest:
                message = f"{field} is {value:g}, but must lie between {lowest:g} and {highest:g} {unit}."
                raise InvalidArgument(message, fields={field: message})
        if self.min_seconds > self.max_seconds:
            message = f"min_duration is {self.min_seconds:g}, more than max_duration, {self.max_seconds:g}; make it smaller."
            raise InvalidArgument(message, fields={"min_duration": message})


@dataclass(frozen=True)
class SpeechSpan:
    """Speech between two pauses, in seconds from the beginning of the recording."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Cut:
    """One segment of a recording.

    Attributes:
        start_seconds: Where it begins in the recording.
        end_seconds: Where it ends.
        flags: `forced_cut`, `padded`, both or none.
        padding_seconds: Silence added, half of it before and half after.
    """

    start_seconds: float
    end_seconds: float
    flags: tuple[str, ...] = ()
    padding_seconds: float = 0.0

    @property
    def duration_seconds(self) -> float:
        """Length of the segment with its padding."""
        return self.end_seconds - self.start_seconds + self.padding_seconds


@dataclass(frozen=True)
class SegmentFacts:
    """What is known of a segment that was written.

    Attributes:
        duration_seconds: Its length.
        loudness_lufs: Its integrated loudness, -20 unless the true-peak ceiling kept it lower.
        peak_dbfs: Its true peak, at most -1.
        snr_db: Estimated ratio of speech to noise in the recording here, 0 to 80 dB.
        clipping: Part of the recording's samples here that are at full scale, 0 to 1.
    """

    duration_seconds: float
    loudness_lufs: float
    peak_dbfs: float
    snr_db: float
    clipping: float


def speech_spans(wav: Path, options: SegmentOptions) -> list[SpeechSpan]:
    """Find where somebody speaks in a recording.

    Args:
        wav: The recording.
        options: Of which only the threshold matters here.

    Returns:
        Spans in order, at least 0.2 s apart.
    """
    envelope = read_envelope(wav)
    return spans_in_seconds(envelope, detect_speech(envelope, options.threshold_db))


def spans_in_seconds(envelope: Envelope, speech: Spans) -> list[SpeechSpan]:
    """Return spans of frames as spans of time."""
    second = envelope.rate / envelope.hop
    return [SpeechSpan(first / second, after / second) for first, after in speech.tolist()]


def plan_segments(wav: Path, options: SegmentOptions) -> list[Cut]:
    """Divide a recording of any length into segments: see `plan_cuts`."""
    envelope = read_envelope(wav)
    return plan_cuts(envelope, detect_speech(envelope, options.threshold_db), options)


def plan_cuts(envelope: Envelope, speech: Spans, options: SegmentOptions) -> list[Cut]:
    """Divide the speech of a recording into segments.

    Args:
        envelope: Energy of the recording.
        speech: What `detect_speech` found in it.
        options: How to cut it.

    Returns:
        The cuts in order, none if nobody speaks. They do not overlap, hold all speech that was found, and each lasts
        `min_seconds` to `max_seconds`.
    """
    pieces = plan_pieces(envelope, speech, options.min_seconds, options.max_seconds)
    return [
        Cut(
            piece.start / envelope.rate,
            piece.end / envelope.rate,
            ((FORCED_CUT,) if piece.forced else ()) + ((PADDED,) if piece.padding else ()),
            piece.padding / envelope.rate,
        )
        for piece in pieces
    ]


def write_segment(wav: Path, cut: Cut, target: Path) -> SegmentFacts:
    """Write one segment: faded over 50 ms at both ends, at -20 LUFS, as 16-bit WAV at the recording's rate.

    Args:
        wav: The recording that the cut was planned for.
        cut: Which part of it.
        target: Where the segment goes, whole or not at all; replaced if it exists.

    Returns:
        What was measured on the way.
    """
    with sf.SoundFile(wav) as file:
        rate = file.samplerate
        start = round(cut.start_seconds * rate)
        file.seek(start)
        source = file.read(round(cut.end_seconds * rate) - start, dtype="float32", always_2d=True).mean(axis=1)
    padding = round(cut.padding_seconds * rate)
    audio = np.pad(fade(source, rate), (padding // 2, padding - padding // 2))
    audio, loudness, peak = normalise_loudness(audio, rate)
    partial = target.with_name(f"{target.name}.part")
    try:
        sf.write(partial, audio, rate, subtype="PCM_16", format="WAV")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return SegmentFacts(len(audio) / rate, loudness, peak, snr_db(source, rate), clipped_fraction(source))
