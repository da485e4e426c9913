"""How a recording would be cut, while a person still turns the knobs.

Reading a recording takes longest, and gives the same for all knobs: what is planned with, its energy every 10 ms, stays in
memory for the last few recordings. The planning itself is the job's own.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from services.dataset import layout
from services.dataset.manifest import Segment, segments_of
from services.dataset.numbering import NewCut, fingerprint, merge
from services.dataset.segment import SegmentOptions, SpeechSpan, plan_cuts, spans_in_seconds
from services.dataset.voice_activity import Envelope, detect_speech, read_envelope
from services.runtime.errors import FailedPrecondition, NotFound
from services.runtime.store import ObjectStore

MAX_POINTS = 8192
"""Values in a curve: more than a screen is wide, so that it can be looked at closely."""

# Energies, levels and peaks of 10 hours take 43 MB.
_CACHE_BYTES = 128 * 1024 * 1024

_BLOCK_FRAMES = 4096
_FULL_SCALE = 32768  # of 16 bits

Floats = npt.NDArray[np.float32]


class RecordingNotFound(NotFound):
    """There is no such recording."""

    def __init__(self, folder: str, source: str) -> None:
        super().__init__(f"{folder} has no recording {source[:80]!r}: list its recordings to see which there are.")


class RecordingUnreadable(FailedPrecondition):
    """The recording is no WAV file."""


@dataclass(frozen=True)
class Shape:
    """What stays of a recording.

    Attributes:
        envelope: Its energy.
        peaks: Highest sample of each frame, 0 to 1, shape [frame].
    """

    envelope: Envelope
    peaks: Floats

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return self.envelope.power.nbytes + self.envelope.level_db.nbytes + self.peaks.nbytes


@dataclass(frozen=True)
class Planned:
    """A segment as it would be.

    Attributes:
        start_s: Where it begins in the recording, in seconds.
        end_s: Where it ends.
        seconds: Its length, padding included.
        flags: What a person would be asked to look at.
        edited: Whether it stays as it is because a person wrote its text.
    """

    start_s: float
    end_s: float
    seconds: float
    flags: tuple[str, ...]
    edited: bool


@dataclass(frozen=True)
class Preview:
    """How a recording would be cut.

    Attributes:
        duration_seconds: Its length.
        levels_db: Curve of its level in dB of full scale.
        peaks: Curve of its highest samples, 0 to 1.
        step_seconds: How much of the recording one value of either curve stands for.
        speech: Where somebody speaks.
        segments: The segments, in order.
    """

    duration_seconds: float
    levels_db: Floats
    peaks: Floats
    step_seconds: float
    speech: list[SpeechSpan]
    segments: list[Planned]


class Previews:
    """Previews of recordings, with the last ones kept in memory. May be used from many threads.

    Args:
        store: Where the recordings are.
        scratch: Where a recording may lie for as long as it is read.
        cache_bytes: How much to keep.
    """

    def __init__(self, store: ObjectStore, scratch: Path, cache_bytes: int = _CACHE_BYTES) -> None:
        self._store, self._scratch, self._cache_bytes = store, scratch, cache_bytes
        self._shapes: OrderedDict[tuple[str, str], Shape] = OrderedDict()
        self._lock = threading.Lock()

    def preview(self, folder: str, source: str, options: SegmentOptions) -> Preview:
        """Says how the segmentation job would cut a recording.

        Args:
            folder: The dataset.
            source: The recording's name.
            options: How to cut it.

        Raises:
            RecordingNotFound: There is none of that name.
            RecordingUnreadable: It is no WAV file.
        """
        key = layout.recording_key(folder, source)
        info = self._store.stat(key)
        if info is None:
            raise RecordingNotFound(folder, source)
        shape = self._shape(key, info.etag, source)
        envelope = shape.envelope
        speech = detect_speech(envelope, options.threshold_db)
        there = segments_of(self._store, folder, source)
        width = max(1, -(-len(envelope.power) // MAX_POINTS))
        return Preview(
            duration_seconds=envelope.samples / envelope.rate,
            levels_db=_highest(envelope.level_db, width),
            peaks=_highest(shape.peaks, width),
            step_seconds=width * envelope.hop / envelope.rate,
            speech=spans_in_seconds(envelope, speech),
            segments=_segments(there, source, info.etag, options, envelope, speech),
        )

    def _shape(self, key: str, etag: str, source: str) -> Shape:
        with self._lock:
            if shape := self._shapes.get((key, etag)):
                self._shapes.move_to_end((key, etag))
                return shape
        shape = self._read(key, source)
        with self._lock:
            self._shapes[key, etag] = shape
            while len(self._shapes) > 1 and sum(one.bytes for one in self._shapes.values()) > self._cache_bytes:
                self._shapes.popitem(last=False)
        return shape

    def _read(self, key: str, source: str) -> Shape:
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="preview-") as folder:
            wav = Path(folder) / "recording.wav"
            self._store.fetch(key, wav)
            try:
                envelope = read_envelope(wav)
                peaks = _read_peaks(wav, envelope.hop)
            except sf.SoundFileError:
                raise RecordingUnreadable(
                    f"{source} is not a WAV file that can be read: remove it and upload the recording again."
                ) from None
        return Shape(envelope, peaks)


def _segments(
    there: list[Segment],
    source: str,
    etag: str,
    options: SegmentOptions,
    envelope: Envelope,
    speech: npt.NDArray[np.int64],
) -> list[Planned]:
    knobs = (options.min_seconds, options.max_seconds, options.threshold_db)
    cuts = [
        NewCut(source, cut.start_seconds, cut.end_seconds, cut.padding_seconds, cut.flags)
        for cut in plan_cuts(envelope, speech, options)
    ]
    merged = merge(there, cuts, fingerprint(etag, knobs))
    return [
        Planned(one.start_s, one.end_s, one.seconds, tuple(one.flags), one.edited)
        if isinstance(one, Segment)
        else Planned(round(one.start_s, 4), round(one.end_s, 4), one.end_s - one.start_s + one.padding_s, one.flags, False)
        for one in merged
    ]


def _read_peaks(wav: Path, hop: int) -> Floats:
    """Returns the highest sample of each frame of `hop` samples, 0 to 1."""
    peaks = [np.zeros(0, np.float32)]
    with sf.SoundFile(wav) as file:
        for block in file.blocks(hop * _BLOCK_FRAMES, dtype="int16", always_2d=True):
            frames = np.pad(block, ((0, -len(block) % hop), (0, 0))).reshape(-1, hop * block.shape[1])
            peaks.append(np.maximum(frames.max(axis=1).astype(np.float32), -frames.min(axis=1).astype(np.float32)))
    highest: Floats = np.concatenate(peaks) / np.float32(_FULL_SCALE)
    return highest


def _highest(values: Floats, width: int) -> Floats:
    """Returns the highest of each `width` neighbours."""
    if width == 1 or not len(values):
        return values
    highest: Floats = np.maximum.reduceat(values, np.arange(0, len(values), width))
    return highest
