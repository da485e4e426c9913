"""Comparisons as they are kept, the votes on them, and what the votes say.

ab_test/comparison_20251206_143000.json                what was compared, beside the WAVs of the same time
ab_test/votes/<pair>/comparison_20251206_143000.<voter>.json   one vote: a digest of the two models, a digest of the voter

A vote is one small object of its own. So two people who vote at once are both heard, and one who votes again replaces the
earlier vote.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

from services.runtime.errors import NotFound
from services.runtime.keys import check_name
from services.runtime.store import ObjectNotFound, ObjectStore
from services.voices.checkpoints import BASE, ROOT

Preference = Literal["base", "finetuned", "tie"]

_ID = re.compile(r"comparison_[0-9]{8}_[0-9]{6}(?:_[0-9a-f]{6})?")

_Z = 1.959963984540054
"""The standard normal distribution has 2.5 % above this: for an interval of 95 %."""


class ComparisonNotFound(NotFound):
    """There is no comparison of that name."""


@dataclass(frozen=True)
class Compared:
    """What was compared.

    Attributes:
        checkpoint: Key of the checkpoint.
        against: Key of the other one, or `base`.
        text: What both said.
    """

    checkpoint: str
    against: str
    text: str


@dataclass(frozen=True)
class Tally:
    """Votes, counted.

    Attributes:
        checkpoint: Key of the checkpoint.
        against: Key of the other one, or `base`.
        finetuned: Votes for the checkpoint.
        base: Votes for the other.
        ties: Votes for neither.
        blind: How many of all were cast blind.
    """

    checkpoint: str
    against: str
    finetuned: int
    base: int
    ties: int
    blind: int

    @property
    def preference(self) -> float | None:
        """Share of the checkpoint in the votes for either; None when there are none."""
        decided = self.finetuned + self.base
        return self.finetuned / decided if decided else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of `preference`."""
        return wilson_interval(self.finetuned, self.finetuned + self.base)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Returns the 95 % score interval of a proportion, 0 to 1 without trials.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212. It stays
    within 0 and 1 and says something for few votes, for which the normal approximation does neither.
    """
    if not trials:
        return 0.0, 1.0
    share, weight = successes / trials, _Z**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def keep_comparison(store: ObjectStore, audio_key: str, compared: Compared) -> str:
    """Keeps what a comparison compared, and returns its name.

    Args:
        store: Where.
        audio_key: Key of one of its WAVs, `ab_test/finetuned_20251206_143000.wav`, which has the time.
        compared: What was compared.
    """
    comparison_id = f"comparison_{audio_key.removesuffix('.wav').partition('_')[2].partition('_')[2]}"
    store.put(_comparison_key(comparison_id), json.dumps(asdict(compared), ensure_ascii=False).encode(), "application/json")
    return comparison_id


def cast(store: ObjectStore, comparison_id: str, voter: str, preferred: Preference, *, blind: bool) -> Tally:
    """Keeps a vote, in place of an earlier one of this voter on this comparison, and counts all on the two models.

    Raises:
        ComparisonNotFound: There is no comparison of that name.
    """
    compared = _read_comparison(store, comparison_id)
    key = f"{_votes_prefix(compared.checkpoint, compared.against)}{comparison_id}.{_digest(voter)}.json"
    store.put(key, json.dumps({"preferred": preferred, "blind": blind}).encode(), "application/json")
    return count(store, compared.checkpoint, compared.against)


def count(store: ObjectStore, checkpoint: str, against: str = BASE) -> Tally:
    """Counts the votes on the comparisons of two models.

    Raises:
        InvalidArgument: A name is no key of a checkpoint.
    """
    check_name(checkpoint, field="checkpoint", under=(ROOT,))
    if against != BASE:
        check_name(against, field="against", under=(ROOT,))
    preferred: Counter[str] = Counter()
    blind = 0
    for info in store.list(_votes_prefix(checkpoint, against)):
        vote = json.loads(store.get(info.key))
        preferred[vote["preferred"]] += 1
        blind += vote["blind"]
    return Tally(checkpoint, against, preferred["finetuned"], preferred["base"], preferred["tie"], blind)


def _read_comparison(store: ObjectStore, comparison_id: str) -> Compared:
    if _ID.fullmatch(comparison_id):
        try:
            return Compared(**json.loads(store.get(_comparison_key(comparison_id))))
        except ObjectNotFound:
            pass
    raise ComparisonNotFound(f"There is no comparison {comparison_id[:80]!r}: vote with an id that ab-test answered.")


def _comparison_key(comparison_id: str) -> str:
    return f"ab_test/{comparison_id}.json"


def _votes_prefix(checkpoint: str, against: str) -> str:
    return f"ab_test/votes/{_digest(f'{checkpoint} {against}')}/"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
