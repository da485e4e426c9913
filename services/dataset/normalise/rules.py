"""A rule is a compiled pattern and what replaces its matches; a normaliser is an ordered table of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Replace = Callable[[re.Match[str]], str]
Rule = tuple[re.Pattern[str], Replace | str]

# How many characters a rule may look beyond its match: enough for a few words, and it keeps long texts linear.
_CONTEXT = 80


def apply(text: str, rules: Iterable[Rule]) -> str:
    """Run the rules over the text in their order, each over what the one before left."""
    for pattern, replace in rules:
        text = pattern.sub(replace, text)
    return text


def before(match: re.Match[str]) -> str:
    """The text in front of a match, as far as rules look."""
    return match.string[max(0, match.start() - _CONTEXT) : match.start()]


def after(match: re.Match[str]) -> str:
    """The text behind a match, as far as rules look."""
    return match.string[match.end() : match.end() + _CONTEXT]


def any_of(words: Iterable[str]) -> str:
    """A regular expression for any of the given words, the longest first so that none hides behind its prefix."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def word_list(text: str) -> tuple[str, ...]:
    """The words of a table that is written as running text."""
    return tuple(text.split())


def word_set(text: str) -> frozenset[str]:
    """The words of a table to be looked up in."""
    return frozenset(text.split())
