from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from services.inference.votes import (
    Compared,
    ComparisonNotFound,
    Preference,
    Tally,
    cast,
    count,
    keep_comparison,
    wilson_interval,
)
from services.runtime.errors import InvalidArgument
from services.runtime.folder_store import FolderStore

OURS = "train/output/ours/checkpoints/checkpoint_epoch_10.pth"
LATER = "train/output/ours/checkpoints/checkpoint_epoch_20.pth"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def compared(store: FolderStore, second: int, against: str = "base") -> str:
    return keep_comparison(store, f"ab_test/finetuned_20251206_1430{second:02d}.wav", Compared(OURS, against, "Olá."))


def test_a_comparison_is_named_by_its_time(store: FolderStore) -> None:
    assert compared(store, 0) == "comparison_20251206_143000"
    key = "ab_test/finetuned_20251206_143000_a1b2c3.wav"
    assert keep_comparison(store, key, Compared(OURS, "base", "Olá.")) == "comparison_20251206_143000_a1b2c3"


def test_votes_are_counted_for_the_pair(store: FolderStore) -> None:
    first, second, other = compared(store, 1), compared(store, 2), compared(store, 3, LATER)
    cast(store, first, "ana", "finetuned", blind=True)
    cast(store, first, "bia", "tie", blind=False)
    cast(store, other, "ana", "base", blind=False)
    tally = cast(store, second, "ana", "finetuned", blind=True)
    assert tally == Tally(OURS, "base", finetuned=2, base=0, ties=1, blind=2)
    assert tally == count(store, OURS)
    assert count(store, OURS, LATER) == Tally(OURS, LATER, 0, 1, 0, 0)
    assert count(store, LATER) == Tally(LATER, "base", 0, 0, 0, 0)


def test_the_last_vote_of_a_voter_on_a_comparison_counts(store: FolderStore) -> None:
    name = compared(store, 1)
    for preferred in ("finetuned", "tie", "base"):
        tally = cast(store, name, "ana", preferred, blind=False)
    assert tally == Tally(OURS, "base", 0, 1, 0, 0)


def test_votes_at_once_are_all_heard(store: FolderStore) -> None:
    name = compared(store, 1)
    choices: list[Preference] = ["finetuned", "base"]
    voters = [
        threading.Thread(target=cast, args=(store, name, f"voter {n}", choices[n % 2]), kwargs={"blind": False})
        for n in range(16)
    ]
    for voter in voters:
        voter.start()
    for voter in voters:
        voter.join()
    assert count(store, OURS) == Tally(OURS, "base", 8, 8, 0, 0)


@pytest.mark.parametrize("name", ["comparison_20251206_143001", "", "../x", "comparison_", "base_20251206_143000"])
def test_there_is_no_vote_on_nothing(store: FolderStore, name: str) -> None:
    compared(store, 0)
    with pytest.raises(ComparisonNotFound):
        cast(store, name, "ana", "tie", blind=False)


@pytest.mark.parametrize(("checkpoint", "against"), [("base", "base"), ("../x", "base"), (OURS, "datasets/x")])
def test_odd_names_are_refused(store: FolderStore, checkpoint: str, against: str) -> None:
    with pytest.raises(InvalidArgument):
        count(store, checkpoint, against)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_the_share_leaves_ties_out_and_nothing_says_nothing() -> None:
    tally = Tally(OURS, "base", finetuned=3, base=1, ties=20, blind=0)
    assert tally.preference == 0.75
    low, high = tally.interval
    assert 0 < low < 0.75 < high < 1
    nobody = Tally(OURS, "base", 0, 0, 5, 0)
    assert (nobody.preference, nobody.interval) == (None, (0.0, 1.0))
    assert not any(map(math.isnan, nobody.interval))
