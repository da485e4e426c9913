"""Where to cut speech into segments: the best cuts over the whole recording at once.

Speech is a row of atoms that are never cut: what stands between two pauses. Speech that is longer than a segment may be has
no pause to be cut in; it is divided at its quietest places, and a cut there is forced. A segment is a run of neighbouring
atoms. Of all ways to divide the row into runs, dynamic programming finds the one with the lowest cost: as few forced cuts as
can be, then little silence that only fills a segment up to its shortest length, then cuts in long pauses. All speech is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from services.dataset.voice_activity import Envelope, Spans, decibels, moving_mean

GUARD_SECONDS = 0.1
"""Silence that stays with speech on either side: soft onsets and endings lie there, and the fades of 50 ms find room."""

EDGE_SECONDS = 0.5
"""Most silence at either end of a segment that needs none to be long enough. Pauses up to twice this are cut in the middle."""

QUIET_WINDOW_SECONDS = 0.15
"""The quietest place is that of the lowest energy over this time: a gap between words rather than within one."""

QUIET_PLACE_SECONDS = 0.5
"""One place to cut is offered in each such stretch of speech without a pause."""

LONG_PAUSE_SECONDS = 1.0
"""A pause inside a segment costs nothing up to this length."""

# Costs. A forced cut outweighs whatever else can happen within two segments.
_FORCED_COST = 1000.0
_FORCED_COST_PER_DB = 0.5  # among forced cuts the quieter one: 10 dB weigh as much as 5 s of silence
_STRETCH_COST = 0.5  # per second of the recording's own silence beyond the edges
_PADDING_COST = 5.0  # for silence that the recording does not have, and again for each second of it
_LONG_PAUSE_COST = 0.5  # per second


@dataclass(frozen=True)
class Atom:
    """Speech that is not to be cut, with the guard around it.

    Attributes:
        start: First frame.
        end: Frame after the last.
        pause: Frames of silence between this speech and the next, without regard to guards; 0 where the cut would be forced.
        loudness_db: Level at the place of the forced cut after it.
    """

    start: int
    end: int
    pause: int = 0
    loudness_db: float = 0.0


@dataclass(frozen=True)
class Piece:
    """One segment, in samples of the recording.

    Attributes:
        start: First sample.
        end: Sample after the last.
        padding: Samples of silence to be added, half of them before and half after, to reach the shortest length.
        forced: Whether one of its ends lies within speech.
    """

    start: int
    end: int
    padding: int
    forced: bool


def plan_pieces(envelope: Envelope, speech: Spans, min_seconds: float, max_seconds: float) -> list[Piece]:
    """Divide speech into segments.

    Args:
        envelope: Of the recording.
        speech: Spans of speech in frames, shape [span, 2], in order.
        min_seconds: Shortest segment.
        max_seconds: Longest segment.

    Returns:
        The segments in order; they do not overlap, hold all of the speech, and with their padding last `min_seconds` to
        `max_seconds` each.
    """
    longest = int(max_seconds * envelope.rate + 1e-6)
    shortest = min(int(np.ceil(min_seconds * envelope.rate - 1e-6)), longest)  # equal limits may lie between two samples
    atoms = divide_into_atoms(envelope, speech, longest // envelope.hop)
    if not atoms:
        return []
    runs = _best_runs(atoms, len(envelope.power), shortest / envelope.hop, longest / envelope.hop, envelope)
    return _place(atoms, runs, envelope, shortest, longest)


def divide_into_atoms(envelope: Envelope, speech: Spans, longest: int) -> list[Atom]:
    """Add guards to the spans, and divide those longer than `longest` frames at quiet places."""
    guard = envelope.frames(GUARD_SECONDS)
    quiet: np.ndarray | None = None
    atoms: list[Atom] = []
    last = len(speech) - 1
    for index, (first, after) in enumerate(speech.tolist()):
        before = first - speech[index - 1, 1] if index else 2 * first
        pause = int(speech[index + 1, 0] - after) if index < last else 2 * (len(envelope.power) - after)
        start = first - min(guard, int(before) // 2)
        end = after + min(guard, pause // 2)
        if end - start > longest:
            if quiet is None:
                quiet = decibels(moving_mean(envelope.power, envelope.frames(QUIET_WINDOW_SECONDS)))
            places = _quiet_places(quiet, start, end, envelope.frames(QUIET_PLACE_SECONDS))
            for left, right in pairwise([start, *places]):
                atoms.append(Atom(left, right, 0, float(quiet[right])))
            start = places[-1]
        atoms.append(Atom(start, end, pause))
    return atoms


def _quiet_places(level: np.ndarray, start: int, end: int, stretch: int) -> list[int]:
    """Return the quietest frame of each stretch, none in the first and the last."""
    return [
        begin + int(np.argmin(level[begin : min(begin + stretch, end - stretch)]))
        for begin in range(start + stretch, end - stretch, stretch)
    ]


def _best_runs(atoms: Sequence[Atom], frames: int, shortest: float, longest: float, envelope: Envelope) -> list[range]:
    """Return the atoms of each segment, by dynamic programming over the atom a segment ends with."""
    second = envelope.rate / envelope.hop
    edge, long_pause = EDGE_SECONDS * second, LONG_PAUSE_SECONDS * second
    cut_costs = [_cut_cost(atom, second) for atom in atoms[:-1]] + [0.0]
    long_pauses = list(accumulate((max(0.0, atom.pause - long_pause) for atom in atoms), initial=0.0))
    rooms = [float(atoms[0].start), *((b.start - a.end) / 2 for a, b in pairwise(atoms)), float(frames - atoms[-1].end)]
    best = [0.0] + [float("inf")] * len(atoms)
    origin = [0] * (len(atoms) + 1)
    for end, last in enumerate(atoms, 1):
        for begin in range(end - 1, -1, -1):
            speech = last.end - atoms[begin].start
            if speech > longest:
                break
            left, right = rooms[begin], rooms[end]
            missing = shortest - speech - min(left, edge) - min(right, edge)
            cost = best[begin] + cut_costs[end - 1]
            cost += _LONG_PAUSE_COST * (long_pauses[end - 1] - long_pauses[begin]) / second
            if missing > 0:
                padding = max(0.0, shortest - speech - left - right)
                cost += _STRETCH_COST * (missing - padding) / second
                cost += _PADDING_COST * (1 + padding / second) if padding else 0.0
            if cost < best[end]:
                best[end], origin[end] = cost, begin
    runs, end = [], len(atoms)
    while end:
        runs.append(range(origin[end], end))
        end = origin[end]
    return runs[::-1]


def _cut_cost(atom: Atom, second: float) -> float:
    if atom.pause:
        return 1 / (atom.pause / second + 0.1)
    return _FORCED_COST + _FORCED_COST_PER_DB * (100 + atom.loudness_db)


def _place(atoms: Sequence[Atom], runs: Sequence[range], envelope: Envelope, shortest: int, longest: int) -> list[Piece]:
    """Give each segment its share of the silence around it, in samples."""
    hop, edge = envelope.hop, round(EDGE_SECONDS * envelope.rate)
    tight = [(atoms[run[0]].start * hop, min(atoms[run[-1]].end * hop, envelope.samples)) for run in runs]
    middles = [0, *((a[1] + b[0]) // 2 for a, b in pairwise(tight)), envelope.samples]
    pieces: list[Piece] = []
    for index, (run, (start, end)) in enumerate(zip(runs, tight, strict=True)):
        wanted_left, wanted_right = min(edge, start - middles[index]), min(edge, middles[index + 1] - end)
        spare = longest - (end - start)
        left = min(wanted_left, max(spare // 2, spare - wanted_right))
        right = min(wanted_right, spare - left)
        # What the neighbours leave of the pauses may be used: all that lies before, and to the middle of the pause after,
        # or to the end of it where the next segment keeps its edge.
        reach = middles[index + 1] if index + 1 == len(runs) else max(middles[index + 1], tight[index + 1][0] - edge)
        missing = max(0, shortest - (end - start) - left - right)
        room_left, room_right = start - left - (pieces[-1].end if pieces else 0), reach - end - right
        more_left = min(room_left, max(missing // 2, missing - room_right))
        more_right = min(room_right, missing - more_left)
        forced = (run[0] > 0 and not atoms[run[0] - 1].pause) or (run[-1] + 1 < len(atoms) and not atoms[run[-1]].pause)
        pieces.append(Piece(start - left - more_left, end + right + more_right, missing - more_left - more_right, forced))
    return pieces
