from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile as sf
import soxr

from services.inference.compare import mfcc_distance, mfcc_score, speaker_similarity

Samples = npt.NDArray[np.float32]
RATE = 22_050


def test_similarity_is_the_cosine_to_the_centroid() -> None:
    east, north = np.array([2.0, 0.0]), np.array([0.0, 0.5])
    assert speaker_similarity(east, [east]) == pytest.approx(100)
    assert speaker_similarity(east, [7 * east, east]) == pytest.approx(100)
    assert speaker_similarity(east, [north]) == pytest.approx(0)
    assert speaker_similarity(east, [east, north]) == pytest.approx(100 * np.sqrt(0.5))
    assert speaker_similarity(east, [-east]) == 0
    assert speaker_similarity([0.6, 0.8], [[1.0, 0.0]]) == pytest.approx(60)
    assert speaker_similarity([0.0, 0.0], [[1.0, 0.0]]) == 0
    # Shapes as the model gives them.
    assert speaker_similarity(np.ones((1, 8, 1)), [np.ones((1, 8, 1))]) == pytest.approx(100)


def test_scores_need_recordings() -> None:
    with pytest.raises(ValueError, match="at least one recording"):
        speaker_similarity([1.0], [])
    with pytest.raises(ValueError, match="at least one recording"):
        mfcc_score(np.ones(RATE, np.float32), [])


def test_the_same_audio_scores_100_at_any_loudness(speech: dict[str, Samples]) -> None:
    said = speech["vowel"]
    assert mfcc_score(said, [said]) == pytest.approx(100, abs=1e-6)
    assert mfcc_score(said * np.float32(0.05), [said]) == pytest.approx(100, abs=0.1)


def test_pauses_and_tempo_matter_little(speech: dict[str, Samples]) -> None:
    said = speech["vowel"]
    middle = len(said) // 2
    paused = np.concatenate([np.zeros(RATE, np.float32), said[:middle], np.zeros(RATE, np.float32), said[middle:]])
    assert mfcc_score(paused, [said]) > 95
    assert mfcc_score(speech["slower"], [said]) > 80


def test_same_speaker_before_another_before_noise(speech: dict[str, Samples], rng: np.random.Generator) -> None:
    voice = [speech["vowel"]]
    white = rng.standard_normal(3 * RATE).astype(np.float32) * np.float32(0.1)
    brown = np.cumsum(white) / np.abs(np.cumsum(white)).max()
    same, other = mfcc_score(speech["other take"], voice), mfcc_score(speech["other speaker"], voice)
    noises = [mfcc_score(noise.astype(np.float32), voice) for noise in (white, brown)]
    assert mfcc_score(speech["slower"], voice) > same > other + 3
    assert other > max(noises) + 10
    assert max(noises) < 10


def test_silence_scores_nothing(speech: dict[str, Samples]) -> None:
    assert mfcc_score(np.zeros(RATE, np.float32), [speech["vowel"]]) == 0
    assert mfcc_score(np.zeros(0, np.float32), [speech["vowel"]]) == 0


def test_the_median_recording_decides(speech: dict[str, Samples], rng: np.random.Generator) -> None:
    said = speech["vowel"]
    spoilt = rng.standard_normal(RATE).astype(np.float32)
    assert mfcc_score(said, [said, said, spoilt]) == pytest.approx(100, abs=1e-6)


def test_the_distance_is_symmetric(speech: dict[str, Samples]) -> None:
    a, b = speech["vowel"], speech["other take"]
    assert mfcc_distance(a, b) == pytest.approx(mfcc_distance(b, a))


def test_ten_minutes_take_bounded_time_and_memory(speech: dict[str, Samples]) -> None:
    long = np.tile(speech["vowel"], 180)
    assert len(long) > 600 * RATE
    mfcc_distance(speech["vowel"], speech["vowel"])  # imports librosa
    tracemalloc.start()
    began = time.perf_counter()
    mfcc_distance(long, long)
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400e6
    assert seconds < 10


@pytest.mark.skipif("TIMBRE_TEST_DATA" not in os.environ, reason="TIMBRE_TEST_DATA names no folder of real recordings")
def test_real_speakers_are_told_apart() -> None:
    def load(name: str) -> Samples:
        samples, rate = sf.read(Path(os.environ["TIMBRE_TEST_DATA"]) / name, dtype="float32", always_2d=True)
        return soxr.resample(samples.mean(axis=1), rate, RATE).astype(np.float32)

    reader = [load(f"ljspeech/wavs/LJ001-00{number:02}.wav") for number in (1, 3, 5, 9, 10, 12)]
    others = [load(name) for name in ("jfk.flac", "pt_br/M-001.wav", "pt_br/coxinha.wav", "pt_br/falabrasil.wav")]
    same = [mfcc_score(reader[i], reader[:i] + reader[i + 1 :]) for i in range(len(reader))]
    assert min(same) > max(mfcc_score(other, reader) for other in others) + 5
    assert min(same) > 55
