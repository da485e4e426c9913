"""Writes finished audio into the object store, under names that tell when it was made and that nobody has taken."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import soundfile

from services.inference.requests import SpeechRequest
from services.inference.synthesis import SAMPLE_RATE_HERTZ, Spoken
from services.inference.waveform import to_pcm16
from services.runtime.store import ObjectExists, ObjectStore
from services.voices.history import Utterance, id_of, remember

Samples = npt.NDArray[np.float32]


def to_wav(samples: Samples, sample_rate: int) -> bytes:
    """Returns a mono 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, to_pcm16(samples), sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def store_together(store: ObjectStore, recordings: Mapping[str, Samples], sample_rate: int) -> list[str]:
    """Writes recordings that belong together as `<name>_20251206_143000.wav`, the time being the same in all, UTC.

    Where one is taken, because another request was answered in the same second, all get the microseconds, too: names go on
    sorting by time.

    Args:
        store: Where to.
        recordings: Start of the key, such as `inference/inference`, to samples.
        sample_rate: Of the samples, Hz.

    Returns:
        The keys, in the order of the recordings.
    """
    wavs = [(name, to_wav(samples, sample_rate)) for name, samples in recordings.items()]
    while True:
        now = datetime.now(UTC)
        # Of one moment both: with a later one's digits a name could stand before that of its second, which is yet to come.
        for ending in (f"{now:%Y%m%d_%H%M%S}", f"{now:%Y%m%d_%H%M%S_%f}"):
            if keys := _create_all(store, [(f"{name}_{ending}.wav", wav) for name, wav in wavs]):
                return keys


def _create_all(store: ObjectStore, objects: Sequence[tuple[str, bytes]]) -> list[str]:
    """Writes objects, all or, where a name is taken, none; returns the keys of those written."""
    keys: list[str] = []
    try:
        for key, wav in objects:
            store.create(key, wav, content_type="audio/wav")
            keys.append(key)
    except ObjectExists:
        for key in keys:
            store.delete(key)
        return []
    return keys


def keep_speech(store: ObjectStore, asked: SpeechRequest, spoken: Spoken) -> Utterance:
    """Keeps what was spoken: the WAV, and then what makes it an entry of the history."""
    (key,) = store_together(store, {"inference/inference": spoken.samples}, SAMPLE_RATE_HERTZ)
    utterance = Utterance(
        id=id_of(key),
        text=asked.text,
        checkpoint=spoken.checkpoint,
        temperature=asked.sampling.temperature,
        speed=asked.sampling.speed,
        language=spoken.language,
        speaker=asked.speaker,
        seed=asked.sampling.seed,
        duration_seconds=spoken.seconds,
        real_time_factor=spoken.real_time_factor,
        created_at=time.time(),
    )
    remember(store, utterance)
    return utterance
