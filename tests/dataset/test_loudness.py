from __future__ import annotations

import math

import numpy as np
import pyloudnorm
import pytest

from services.dataset.loudness import (
    clipped_fraction,
    fade,
    loudness_lufs,
    normalise_loudness,
    snr_db,
    true_peak_dbfs,
)
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import speak

RATE = 22_050


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return speak(SENTENCES[4]) * np.float32(0.1)


def noise(seconds: float, dbfs: float) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE)) * 10 ** (dbfs / 20)
    return samples.astype(np.float32)


def test_loudness_agrees_with_pyloudnorm_and_follows_the_gain(speech: np.ndarray) -> None:
    assert loudness_lufs(speech, RATE) == pytest.approx(pyloudnorm.Meter(RATE).integrated_loudness(speech), abs=0.05)
    assert loudness_lufs(speech * 0.001, RATE) == pytest.approx(loudness_lufs(speech, RATE) - 60, abs=0.05)
    assert loudness_lufs(np.zeros(RATE, np.float32), RATE) == -math.inf


def test_true_peak_sees_what_lies_between_the_samples() -> None:
    # A tone of a quarter of the rate, sampled 45 degrees from its peaks: 3 dB lie between the samples.
    tone = np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4).astype(np.float32) * fade(np.ones(RATE, np.float32), RATE)
    assert 20 * np.log10(np.abs(tone).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak_dbfs(tone, RATE) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("gain_db", [-60.0, -10.0, 15.0])
def test_speech_is_brought_to_its_loudness(speech: np.ndarray, gain_db: float) -> None:
    audio, loudness, peak = normalise_loudness(speech * np.float32(10 ** (gain_db / 20)), RATE)
    assert loudness == pytest.approx(-20, abs=0.01)
    assert pyloudnorm.Meter(RATE).integrated_loudness(audio.astype(float)) == pytest.approx(-20, abs=0.1)
    assert true_peak_dbfs(audio, RATE) == pytest.approx(peak, abs=0.01)
    assert peak <= -1


def test_a_peak_over_the_ceiling_keeps_speech_quieter_and_its_shape(speech: np.ndarray) -> None:
    spiked = speech.copy()
    spiked[RATE] = 1.0
    audio, loudness, peak = normalise_loudness(spiked, RATE)
    assert peak == pytest.approx(-1, abs=0.01)
    assert loudness < -20.5
    np.testing.assert_allclose(audio / audio[RATE], spiked, atol=1e-6)


def test_silence_stays_silence() -> None:
    audio, loudness, peak = normalise_loudness(np.zeros(RATE, np.float32), RATE)
    assert not audio.any()
    assert loudness == peak == -math.inf


def test_fade_touches_fifty_milliseconds_at_each_end() -> None:
    faded = fade(np.ones(RATE, np.float32), RATE)
    length = round(0.05 * RATE)
    assert faded[0] < 1e-4 > faded[-1]
    assert np.all(np.diff(faded[:length]) > 0)
    assert np.all(faded[length:-length] == 1)
    np.testing.assert_array_equal(faded, faded[::-1])


@pytest.mark.parametrize("length", [0, 1, 100])
def test_fade_of_next_to_nothing(length: int) -> None:
    assert len(fade(np.ones(length, np.float32), RATE)) == length


def test_clipping_is_counted() -> None:
    audio = np.zeros(1000, np.float32)
    audio[:20], audio[20:30], audio[30:40] = 1.0, -1.0, 0.99
    assert clipped_fraction(audio) == pytest.approx(0.03)
    assert clipped_fraction(audio[:0]) == 0


@pytest.mark.parametrize("ratio", [10.0, 20.0, 40.0])
def test_signal_to_noise_ratio(speech: np.ndarray, ratio: float) -> None:
    pause = np.zeros(RATE // 2, np.float32)
    audio = np.concatenate([pause, speech, pause])
    level = 10 * np.log10(np.mean(audio**2))
    estimate = snr_db(audio + noise(len(audio) / RATE, level - ratio)[: len(audio)], RATE)
    assert estimate == pytest.approx(ratio, abs=1.5)


def test_signal_to_noise_ratio_at_its_ends(speech: np.ndarray) -> None:
    assert snr_db(noise(3, -30), RATE) < 0.5
    assert 55 < snr_db(np.concatenate([speech, np.zeros(RATE, np.float32)]), RATE) <= 80
    assert snr_db(np.concatenate([np.sign(speech), np.zeros(RATE, np.float32)]), RATE) == 80
    assert snr_db(np.zeros(3 * RATE, np.float32), RATE) == 0
    assert snr_db(np.zeros(10, np.float32), RATE) == 0
