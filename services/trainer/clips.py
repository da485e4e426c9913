"""The clips of a training: which are fit for it, which are held out, which speak for the voice. Pure functions, no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

REFERENCE_SECONDS = 20.0
"""Speech that a reference voice is made of: XTTS conditions on at most 30 s, and more than some 15 s changes little."""

_REFERENCE_MIN_SECONDS, _REFERENCE_MAX_SECONDS = 2.0, 15.0


@dataclass(frozen=True)
class Clip:
    """One segment of a dataset with its transcript.

    Attributes:
        name: `segment_00001`; the order of names is the order in time within a source.
        key: The WAV's place in the object store: 22,050 Hz, mono.
        text: What is said, normalised for speech.
        source: The recording it was cut from.
        seconds: Its length.
        language: Code of the language, such as `pt`.
        snr_db: Ratio of speech to background in dB; None when nobody measured it.
    """

    name: str
    key: str
    text: str
    source: str
    seconds: float
    language: str = "pt"
    snr_db: float | None = None


@dataclass(frozen=True)
class LeftOut:
    """A clip that is not trained on.

    Attributes:
        name: The clip's.
        reason: Why, in words that go on from its name: `is silent`.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Split:
    """Which clips are trained on and which are measured with, as positions in the list that was split.

    Attributes:
        train: Those trained on.
        held_out: Those measured with.
        unused: Those that keep the two apart.
        how: What was done, in a sentence.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    unused: tuple[int, ...]
    how: str


def split_held_out(clips: Sequence[Clip], share: float) -> Split:
    """Holds out whole recordings, so that nothing of them was heard in training.

    When the recordings of up to a quarter of the clips do not make half the share, the end of the longest one is held out
    instead, and one clip before it is used for neither: neighbouring clips may have been cut inside one sentence.

    Args:
        clips: The clips, in order.
        share: Part to hold out, 0..0.5.
    """
    everything = tuple(range(len(clips)))
    wanted = max(1, round(share * len(clips)))
    if share <= 0 or len(clips) < 4:
        why = "nothing is held out" if share <= 0 else "nothing is held out of so few clips"
        return Split(everything, (), (), f"{why}: the training loss decides which checkpoint is the best.")
    groups = {name: tuple(group) for name, group in _by_source(clips).items()}
    chosen: list[int] = []
    # The smallest first: as many recordings as fit say more than one.
    for _, group in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        if len(chosen) < wanted and len(chosen) + len(group) <= len(clips) // 4:
            chosen += group
    if 2 * len(chosen) >= wanted:
        sources = len({clips[index].source for index in chosen})
        train = tuple(index for index in everything if index not in set(chosen))
        how = f"held out are {_counted(len(chosen), 'clip')}, the whole of {_counted(sources, 'recording')}."
        return Split(train, tuple(sorted(chosen)), (), how)
    last = groups[max(groups, key=lambda name: len(groups[name]))]
    held_out, gap = last[-wanted:], last[-wanted - 1 : -wanted]
    train = tuple(index for index in everything if index not in {*held_out, *gap})
    how = f"held out are the last {_counted(len(held_out), 'clip')} of the longest recording: none is small enough whole."
    return Split(train, held_out, gap, how)


def reference_clips(clips: Sequence[Clip]) -> list[int]:
    """Returns the positions of the cleanest clips that together make a reference voice, cleanest first."""

    def fitness(index: int) -> tuple[bool, float, str]:
        clip = clips[index]
        fits = _REFERENCE_MIN_SECONDS <= clip.seconds <= _REFERENCE_MAX_SECONDS
        return (not fits, -(clip.snr_db if clip.snr_db is not None else -math.inf), clip.name)

    ranked = sorted(range(len(clips)), key=fitness)
    lengths = itertools.accumulate((clips[index].seconds for index in ranked), initial=0.0)
    return [index for index, before in zip(ranked, lengths, strict=False) if before < REFERENCE_SECONDS]


T = TypeVar("T")


def pick(items: Sequence[T], positions: Sequence[int]) -> list[T]:
    """Returns the items at some positions."""
    return [items[position] for position in positions]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _by_source(clips: Sequence[Clip]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        groups.setdefault(clip.source, []).append(index)
    return groups
