"""What is held out, and what speaks for the voice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.trainer.clips import Clip, reference_clips, split_held_out


def _clips(*counts: int) -> list[Clip]:
    """Clips of recordings a, b, …, of which each has so many."""
    return [
        Clip(f"segment_{source}_{number:03d}", "key", "text", "abcdefgh"[source], 8.0)
        for source, count in enumerate(counts)
        for number in range(count)
    ]


@pytest.mark.parametrize("counts", [(5, 5, 5, 5), (30, 2, 3), (4, 50), (10,) * 8])
def test_whole_recordings_are_held_out(counts: tuple[int, ...]) -> None:
    clips = _clips(*counts)
    split = split_held_out(clips, 0.1)
    held_out = {clips[index].source for index in split.held_out}
    assert held_out
    assert held_out.isdisjoint(clips[index].source for index in split.train)
    assert sorted((*split.train, *split.held_out)) == list(range(len(clips)))
    assert len(split.held_out) <= len(clips) / 4


@pytest.mark.parametrize("counts", [(20,), (4,), (40, 40), (100,), (1, 50)])
def test_one_large_recording_gives_its_end_with_a_gap(counts: tuple[int, ...]) -> None:
    clips = _clips(*counts)
    split = split_held_out(clips, 0.1)
    assert len(split.held_out) == max(1, round(0.1 * len(clips)))
    (unused,) = split.unused
    assert unused + 1 == split.held_out[0]
    assert sorted((*split.train, *split.held_out, unused)) == list(range(len(clips)))
    assert "longest recording" in split.how


@pytest.mark.parametrize(("count", "share"), [(3, 0.1), (1, 0.5), (20, 0.0)])
def test_nothing_is_held_out_of_few_clips_or_on_request(count: int, share: float) -> None:
    split = split_held_out(_clips(count), share)
    assert split.train == tuple(range(count))
    assert split.held_out == ()


def test_the_reference_is_clean_and_long_enough() -> None:
    clips = [replace(clip, snr_db=float(index)) for index, clip in enumerate(_clips(10))]
    clips[9] = replace(clips[9], seconds=25.0)
    clips[8] = replace(clips[8], seconds=1.2)
    chosen = reference_clips(clips)
    assert chosen == [7, 6, 5]
    assert sum(clips[index].seconds for index in chosen) >= 20.0


def test_a_reference_is_found_among_poor_clips() -> None:
    assert reference_clips([replace(clip, seconds=1.1) for clip in _clips(2)]) == [0, 1]
