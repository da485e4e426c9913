from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from services.dataset.voice_activity import Envelope, detect_speech, moving_mean, read_envelope, speech_level_db
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import Span, make_recording, speak

RATE = 22_050


def spans_seconds(path: Path, threshold_db: float = -40) -> list[tuple[float, float]]:
    envelope = read_envelope(path)
    second = envelope.rate / envelope.hop
    return [(first / second, after / second) for first, after in detect_speech(envelope, threshold_db).tolist()]


def write(path: Path, audio: np.ndarray) -> Path:
    sf.write(path, np.clip(audio, -1, 1), RATE, subtype="PCM_16")
    return path


def noise(seconds: float, dbfs: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * 10 ** (dbfs / 20)


def test_envelope_is_the_power_of_each_frame_whatever_the_length(tmp_path: Path) -> None:
    samples = np.sin(np.arange(5 * 220 + 37) * 0.3)
    envelope = read_envelope(write(tmp_path / "a.wav", samples))
    assert (envelope.hop, envelope.rate, envelope.samples, len(envelope.power)) == (220, RATE, 1137, 6)
    expected = [samples[i : i + 220].var() for i in range(0, 1137, 220)]
    np.testing.assert_allclose(envelope.power, expected, rtol=1e-3)


def test_envelope_of_nothing(tmp_path: Path) -> None:
    envelope = read_envelope(write(tmp_path / "a.wav", np.zeros(0)))
    assert len(envelope.power) == 0
    assert len(detect_speech(envelope, -40)) == 0


@pytest.mark.parametrize("length", [1, 2, 4, 9, 40])
@pytest.mark.parametrize("width", [1, 3, 15])
def test_moving_mean(length: int, width: int) -> None:
    values = np.random.default_rng(length).random(length).astype(np.float32)
    mean = moving_mean(values, width)
    assert (mean.shape, mean.dtype) == (values.shape, values.dtype)
    if width <= length:
        half = width // 2
        expected = [values[max(0, i - half) : i + half + 1].mean() for i in range(length)]
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


@pytest.mark.parametrize("noise_dbfs", [-math.inf, -70.0, -45.0])
@pytest.mark.parametrize("peak_dbfs", [-1.0, -20.0])
@pytest.mark.parametrize("pitch", [20, 70])
def test_every_sentence_is_found_at_its_place(tmp_path: Path, noise_dbfs: float, peak_dbfs: float, pitch: int) -> None:
    path = tmp_path / "r.wav"
    truth = make_recording(path, SENTENCES[:6], noise_dbfs=noise_dbfs, peak_dbfs=peak_dbfs, pitch=pitch)
    found = spans_seconds(path)
    for span in truth:
        inside = [f for f in found if f[1] > span.start_seconds and f[0] < span.end_seconds]
        assert inside[0][0] == pytest.approx(span.start_seconds, abs=0.06)
        assert inside[-1][1] == pytest.approx(span.end_seconds, abs=0.2)
    outside = [f for f in found if not any(f[1] > s.start_seconds and f[0] < s.end_seconds for s in truth)]
    assert not outside


def test_a_quiet_recording_is_cut_like_a_loud_one(recording: tuple[Path, list[Span]], tmp_path: Path) -> None:
    audio = sf.read(recording[0])[0]
    loud = spans_seconds(recording[0])
    quiet = spans_seconds(write(tmp_path / "quiet.wav", audio * 0.03))
    assert len(quiet) == len(loud)
    np.testing.assert_allclose(quiet, loud, atol=0.1)


def test_noise_that_rises_halfway_does_not_hide_the_pauses(tmp_path: Path) -> None:
    path = tmp_path / "r.wav"
    truth = make_recording(path, [SENTENCES[i % 24] for i in range(40)], pause_seconds=0.7, noise_dbfs=-math.inf)
    audio = sf.read(path)[0]
    half = len(audio) // 2
    level = np.concatenate([np.full(half, -75.0), np.full(len(audio) - half, -48.0)])
    found = spans_seconds(write(path, audio + noise(len(audio) / RATE, 0)[: len(audio)] * 10 ** (level / 20)))
    pauses = [(a.end_seconds + b.start_seconds) / 2 for a, b in pairwise(truth)]
    pauses = [p for p in pauses if not 0 < p - half / RATE < 15]  # until the noise has been heard for long enough
    hidden = [p for p in pauses if any(start < p < end for start, end in found)]
    assert not hidden


def test_takes_joined_by_digital_silence_show_their_own_pauses(tmp_path: Path) -> None:
    room = speak(SENTENCES[0]) * 0.4
    gap = np.zeros(RATE // 2)
    take = np.concatenate([room, gap, room])
    take = take + noise(len(take) / RATE, -52)[: len(take)]
    audio = np.concatenate([take, np.zeros(RATE), take, np.zeros(RATE), take])
    assert len(spans_seconds(write(tmp_path / "takes.wav", audio))) == 6


def test_clicks_offset_and_hum_are_no_speech(tmp_path: Path) -> None:
    path = tmp_path / "r.wav"
    truth = make_recording(path, SENTENCES[:3], pause_seconds=2.0)
    audio = sf.read(path)[0]
    audio += 0.05
    middle = round((truth[0].end_seconds + 1) * RATE)
    audio[middle : middle + 200] += 0.3
    found = spans_seconds(write(path, audio))
    assert all(any(start < s.end_seconds and end > s.start_seconds for s in truth) for start, end in found)


@pytest.mark.parametrize("dbfs", [-math.inf, -95.0, -50.0])
def test_silence_and_quiet_noise_hold_no_speech(tmp_path: Path, dbfs: float) -> None:
    assert spans_seconds(write(tmp_path / "n.wav", noise(20, dbfs))) == []


def test_a_loud_even_sound_counts_as_speech_over_the_threshold_in_full_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "tone.wav", 0.1 * np.sin(np.arange(10 * RATE) * 0.1))
    assert spans_seconds(path, -40) == [pytest.approx((0, 10), abs=0.03)]
    assert spans_seconds(path, -20) == []


def test_a_higher_threshold_finds_less(recording: tuple[Path, list[Span]]) -> None:
    found = [sum(end - start for start, end in spans_seconds(recording[0], db)) for db in (-60, -40, -20)]
    assert found[0] >= found[1] > found[2]


def test_speech_level_does_not_depend_on_the_silence_around(tmp_path: Path) -> None:
    sentence = speak(SENTENCES[3])
    alone = write(tmp_path / "alone.wav", sentence)
    among = write(tmp_path / "among.wav", np.concatenate([np.zeros(300 * RATE), sentence, np.zeros(300 * RATE)]))
    assert speech_level_db(read_envelope(among)) == pytest.approx(speech_level_db(read_envelope(alone)), abs=2.0)


def test_level_of_a_tone() -> None:
    envelope = Envelope(np.full(10, 0.5, np.float32), 220, RATE, 2200)
    np.testing.assert_allclose(envelope.level_db, -3.01, atol=0.01)
