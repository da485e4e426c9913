from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from services.inference.waveform import (
    PEAK_CEILING,
    join,
    limit_peak,
    to_pcm16,
    trim,
    voiced_frames,
)

Samples = npt.NDArray[np.float32]
RATE = 22_050
ENDINGS = ["vowel", "fricative", "stop"]


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def noise(rng: np.random.Generator, seconds: float, level: float) -> Samples:
    return rng.standard_normal(round(seconds * RATE)).astype(np.float32) * np.float32(level)


def energy(samples: Samples) -> float:
    return float(np.sum(samples.astype(np.float64) ** 2))


@pytest.mark.parametrize("name", ENDINGS)
def test_clean_speech_is_kept_whole(speech: dict[str, Samples], name: str) -> None:
    said = speech[name]
    padded = np.concatenate([silence(0.4), said, silence(0.8)])
    kept = trim(padded, RATE)
    assert len(said) <= len(kept) <= len(said) + 0.2 * RATE
    assert energy(kept) >= 0.999 * energy(said)


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("level", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("pause", [0.1, 0.3])
def test_a_tail_of_noise_behind_a_pause_goes_and_the_last_word_stays(
    speech: dict[str, Samples], rng: np.random.Generator, name: str, level: float, pause: float
) -> None:
    said = speech[name]
    tail = noise(rng, 1.5, level * float(np.abs(said).max()))
    kept = trim(np.concatenate([said, silence(pause), tail]), RATE)
    assert len(kept) <= len(said) + pause * RATE
    last_word = said[-round(0.3 * RATE) :]
    end_of_word = kept[len(said) - len(last_word) : len(said)]
    assert energy(end_of_word) >= 0.99 * energy(last_word)


def test_noise_that_follows_without_a_pause_fades_within_half_a_second(
    speech: dict[str, Samples], rng: np.random.Generator
) -> None:
    said = speech["vowel"]
    kept = trim(np.concatenate([said, noise(rng, 2.0, 0.05)]), RATE)
    assert len(said) <= len(kept) <= len(said) + 0.5 * RATE
    assert np.abs(kept[-50:]).max() < 0.005
    np.testing.assert_array_equal(kept[1000 : len(said)], said[1000:])


def test_spoken_gibberish_goes_where_the_model_wanted_to_stop(speech: dict[str, Samples]) -> None:
    said, gibberish = speech["vowel"], speech["third speaker"][: round(1.2 * RATE)]
    samples = np.concatenate([said, silence(0.15), gibberish])
    stops = np.zeros(round(len(samples) / RATE * 21.5), np.float32)
    assert len(trim(samples, RATE, stop_probabilities=stops, characters=57)) == len(samples)
    stops[round(len(said) / RATE * 21.5)] = 0.45
    kept = trim(samples, RATE, stop_probabilities=stops, characters=57)
    assert len(said) <= len(kept) <= len(said) + 0.15 * RATE
    assert energy(kept) >= 0.999 * energy(said)


def test_a_wish_to_stop_is_not_believed_before_the_text_can_have_been_said(speech: dict[str, Samples]) -> None:
    first, second = speech["vowel"], speech["other take"]
    samples = np.concatenate([first, silence(0.2), second])
    stops = np.zeros(round(len(samples) / RATE * 21.5), np.float32)
    stops[round(len(first) / RATE * 21.5)] = 0.9
    assert len(trim(samples, RATE, stop_probabilities=stops, characters=110)) >= len(samples)


def test_a_wish_to_stop_inside_a_word_cuts_nothing(speech: dict[str, Samples]) -> None:
    said = speech["vowel"]
    stops = np.full(round(len(said) / RATE * 21.5), 0.5, np.float32)
    assert len(trim(said, RATE, stop_probabilities=stops, characters=10)) >= 0.99 * len(said)


def test_what_is_not_speech_is_not_cut_but_for_silence(rng: np.random.Generator) -> None:
    hiss = noise(rng, 1.0, 0.1)
    assert RATE <= len(trim(np.concatenate([hiss, silence(1.0)]), RATE)) <= 1.1 * RATE
    assert len(trim(silence(1.0), RATE)) == 0
    assert len(trim(silence(0.0), RATE)) == 0


def test_voicing_tells_a_vowel_from_noise(rng: np.random.Generator) -> None:
    time = np.arange(RATE) / RATE
    vowel = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 12)).astype(np.float32)
    assert voiced_frames(vowel, RATE)[5:-5].all()
    assert voiced_frames(noise(rng, 1.0, 0.1), RATE).mean() < 0.02


def largest_jump(samples: Samples) -> float:
    return float(np.abs(np.diff(samples, prepend=0.0, append=0.0)).max())


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.3])
def test_joined_pieces_have_no_click(speech: dict[str, Samples], pause: float) -> None:
    # Cut in the middle of the sound, so that a hard join would click.
    pieces = [trim(speech[name][3000:-3000], RATE) for name in ENDINGS]
    whole = np.concatenate(list(join([(piece, pause) for piece in pieces], RATE)))
    assert largest_jump(whole) <= max(map(largest_jump, pieces)) + 0.02
    expected = sum(map(len, pieces)) + (2 * round(pause * RATE) if pause else -2 * round(0.03 * RATE))
    assert len(whole) == expected


def test_a_hard_join_would_have_clicked() -> None:
    time = np.arange(RATE) / RATE
    piece = (0.8 * np.cos(2 * np.pi * 50 * time)).astype(np.float32)
    assert largest_jump(np.concatenate([piece, -piece])) > 0.8
    inner = np.concatenate(list(join([(piece, 0.0), (-piece, 0.0)], RATE)))
    assert np.abs(np.diff(inner)).max() < 0.02


def test_crossfades_keep_the_power(rng: np.random.Generator) -> None:
    left, right = noise(rng, 1.0, 0.1), noise(rng, 1.0, 0.1)
    whole = np.concatenate(list(join([(left, 0.0), (right, 0.0)], RATE)))
    middle = whole[RATE - 661 : RATE]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.1, rel=0.1)


def test_joining_is_lazy_and_lets_the_first_piece_out_before_the_second_is_made() -> None:
    made: list[int] = []

    def pieces() -> Iterator[tuple[Samples, float]]:
        for index in range(3):
            made.append(index)
            yield np.ones(RATE, np.float32), 0.2

    stream = join(pieces(), RATE)
    assert len(next(stream)) == RATE
    assert made == [0]
    assert sum(map(len, stream)) == 2 * RATE + 2 * round(0.2 * RATE)


def test_empty_and_tiny_pieces_do_no_harm() -> None:
    tiny = np.full(3, 0.1, np.float32)
    whole = np.concatenate(list(join([(silence(0), 0.3), (tiny, 0.0), (tiny, 0.0), (silence(0), 0.0)], RATE)))
    assert 3 <= len(whole) <= 6
    assert list(join([], RATE)) == []


def test_peaks_are_turned_down_and_nothing_else() -> None:
    loud = np.array([0.5, -2.0, 1.0], np.float32)
    limited = limit_peak(loud)
    assert np.abs(limited).max() == pytest.approx(PEAK_CEILING)
    np.testing.assert_allclose(limited / limited[0], loud / loud[0])
    quiet = np.array([0.5, -0.5], np.float32)
    assert limit_peak(quiet) is quiet


def test_sixteen_bits_clip_and_never_wrap() -> None:
    values = np.array([0.0, 1.0, -1.0, 1.5, -1.5, np.nan, np.inf, -np.inf], np.float32)
    assert to_pcm16(values).tolist() == [0, 32767, -32767, 32767, -32767, 0, 32767, -32767]
    ramp = np.linspace(-1, 1, 1001, dtype=np.float32)
    assert all(a <= b for a, b in pairwise(to_pcm16(ramp).tolist()))
