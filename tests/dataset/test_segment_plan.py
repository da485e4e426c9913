from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dataset.segment_plan import EDGE_SECONDS, GUARD_SECONDS, Piece, plan_pieces
from services.dataset.voice_activity import Envelope

RATE, HOP = 22_050, 220
SECOND = RATE / HOP


def timeline(parts: list[tuple[float, float]], tail: float = 0.5, seed: int = 0) -> tuple[Envelope, np.ndarray]:
    """An envelope and the spans of speech in it, from silence and speech in turn, in seconds."""
    random = np.random.default_rng(seed)
    spans, power, position = [], [], 0
    for silence, speech in parts:
        quiet, loud = round(silence * SECOND), max(1, round(speech * SECOND))
        power += [np.full(quiet, 1e-8), random.uniform(1e-4, 1e-1, loud)]
        spans.append((position + quiet, position + quiet + loud))
        position += quiet + loud
    power.append(np.full(round(tail * SECOND), 1e-8))
    joined = np.concatenate(power).astype(np.float32)
    return Envelope(joined, HOP, RATE, len(joined) * HOP), np.array(spans, np.int64).reshape(-1, 2)


def seconds(piece: Piece) -> float:
    return (piece.end - piece.start + piece.padding) / RATE


def check(pieces: list[Piece], envelope: Envelope, speech: np.ndarray, shortest: float, longest: float) -> None:
    """What holds for every plan."""
    for piece in pieces:
        assert 0 <= piece.start < piece.end <= envelope.samples
        assert piece.padding >= 0
        assert shortest - 1 / RATE < seconds(piece) <= longest + 1e-9
    for a, b in pairwise(pieces):
        assert a.end <= b.start
    starts = np.array([p.start for p in pieces]) / HOP
    ends = np.array([p.end for p in pieces]) / HOP
    voiced = np.zeros(len(envelope.power), bool)
    for first, after in speech.tolist():
        voiced[first:after] = True
    kept = np.zeros_like(voiced)
    for start, end in zip(starts, ends, strict=True):
        kept[int(np.ceil(start - 1e-9)) : int(end + 1e-9)] = True
    assert (voiced & kept).sum() == voiced.sum()
    # No end lies in speech unless the cut is forced, and that only where the speech is longer than a segment may be.
    for piece in pieces:
        for place in (piece.start / HOP, piece.end / HOP):
            inside = [(f, a) for f, a in speech.tolist() if f + 1e-6 < place < a - 1e-6]
            if inside:
                assert piece.forced
                first, after = inside[0]
                assert (after - first) / SECOND > longest - 2 * GUARD_SECONDS - 0.03


durations = st.tuples(st.floats(0.2, 6), st.floats(0.08, 9))
long_durations = st.tuples(st.floats(0.2, 3), st.one_of(st.floats(0.08, 5), st.floats(11, 40)))
ranges = st.tuples(st.floats(3, 15), st.floats(5, 20)).filter(lambda r: r[0] <= r[1])


@settings(deadline=None, max_examples=60)
@given(parts=st.lists(durations, min_size=1, max_size=20), limits=ranges, tail=st.floats(0, 8))
def test_speech_with_pauses(parts: list[tuple[float, float]], limits: tuple[float, float], tail: float) -> None:
    envelope, speech = timeline(parts, tail)
    check(plan_pieces(envelope, speech, *limits), envelope, speech, *limits)


@settings(deadline=None, max_examples=40)
@given(parts=st.lists(long_durations, min_size=1, max_size=6), limits=ranges, seed=st.integers(0, 9))
def test_speech_without_pauses(parts: list[tuple[float, float]], limits: tuple[float, float], seed: int) -> None:
    envelope, speech = timeline(parts, seed=seed)
    check(plan_pieces(envelope, speech, *limits), envelope, speech, *limits)


@settings(deadline=None, max_examples=30)
@given(parts=st.lists(durations, min_size=1, max_size=15), length=st.floats(5, 15))
def test_all_segments_of_one_length(parts: list[tuple[float, float]], length: float) -> None:
    envelope, speech = timeline(parts)
    check(plan_pieces(envelope, speech, length, length), envelope, speech, length, length)


def test_nothing() -> None:
    envelope, _ = timeline([(1, 1)])
    assert plan_pieces(envelope, np.zeros((0, 2), np.int64), 7, 12) == []


def test_the_cut_is_in_the_middle_of_the_longest_pause_that_fits() -> None:
    envelope, speech = timeline([(0.2, 4), (0.3, 4), (0.8, 3), (0.3, 5)], tail=0.2)
    first, second = plan_pieces(envelope, speech, 7, 12)
    middle = (speech[1, 1] + speech[2, 0]) / 2 * HOP
    assert first.end == second.start == pytest.approx(middle, abs=HOP)
    assert not first.forced
    assert first.padding == second.padding == 0


def test_cuts_are_best_together_where_the_longest_pause_first_leads_astray() -> None:
    # Cutting in the pause of 0.9 s would leave 6 s that no neighbour can take, and a cut that is not needed.
    envelope, speech = timeline([(0.1, 6), (0.9, 2), (0.6, 8), (0.6, 8)], tail=0.1)
    pieces = plan_pieces(envelope, speech, 8, 10)
    ends = [p.end / HOP for p in pieces[:-1]]
    assert ends == [pytest.approx((speech[i, 1] + speech[i + 1, 0]) / 2, abs=1) for i in (1, 2)]
    assert all(p.padding == 0 for p in pieces)


def test_long_silence_between_segments_is_left_out() -> None:
    envelope, speech = timeline([(30, 8), (30, 8)], tail=30)
    pieces = plan_pieces(envelope, speech, 7, 12)
    assert [seconds(p) for p in pieces] == [pytest.approx(8 + 2 * GUARD_SECONDS + 2 * EDGE_SECONDS, abs=0.05)] * 2


def test_short_speech_takes_silence_of_the_recording_first() -> None:
    envelope, speech = timeline([(10, 2)], tail=10)
    (piece,) = plan_pieces(envelope, speech, 7, 12)
    assert seconds(piece) == pytest.approx(7)
    assert piece.padding == 0


def test_a_recording_shorter_than_the_shortest_segment_is_padded() -> None:
    envelope, speech = timeline([(0.2, 3)], tail=0.2)
    (piece,) = plan_pieces(envelope, speech, 7, 12)
    assert (piece.start, piece.end) == (0, envelope.samples)
    assert seconds(piece) == pytest.approx(7)


def test_endless_speech_is_cut_at_its_quietest_frames() -> None:
    power = np.random.default_rng(1).uniform(0.01, 0.02, 3000).astype(np.float32)
    for place in (905, 1810):
        power[place - 7 : place + 8] = 1e-5
    envelope = Envelope(power, HOP, RATE, 3000 * HOP)
    pieces = plan_pieces(envelope, np.array([[0, 3000]]), 7, 12)
    assert [p.end // HOP for p in pieces] == [905, 1810, 3000]
    assert all(p.forced for p in pieces)


def test_only_segments_at_a_forced_cut_are_flagged() -> None:
    envelope, speech = timeline([(0.5, 8), (1.5, 16), (1.5, 8)])
    assert [p.forced for p in plan_pieces(envelope, speech, 7, 12)] == [False, True, True, False]


def test_ten_hours_are_planned_quickly() -> None:
    random = np.random.default_rng(0)
    parts = list(zip(random.uniform(0.2, 1.5, 13_000), random.uniform(0.3, 4, 13_000), strict=True))
    envelope, speech = timeline(parts)
    assert len(envelope.power) / SECOND > 36_000
    begin = time.process_time()
    pieces = plan_pieces(envelope, speech, 7, 12)
    assert time.process_time() - begin < 10
    assert not any(p.forced or p.padding for p in pieces)
