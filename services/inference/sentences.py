"""Splits a text into the pieces that are spoken one at a time.

XTTS speaks best when it is given a sentence: more than its limits (a number of characters for each language, and of
tokens) is cut off or slurred, and a single word comes out as noise. So a text is cut at sentence ends, sentences that
are too long at the best place inside them, and scraps are put together with their neighbours. Nothing is lost: the
pieces, joined, are the text, up to whitespace.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

PARAGRAPH_PAUSE_SECONDS = 0.6
SENTENCE_PAUSE_SECONDS = 0.3
CLAUSE_PAUSE_SECONDS = 0.18
COMMA_PAUSE_SECONDS = 0.1
"""Silences between pieces, as readers of books make them; pieces cut between two words get none."""

MIN_PIECE_SHARE = 1 / 7
"""A piece below this share of the character limit (pt: 29 characters, about 2 s) is put together with a neighbour."""

MIN_LONE_CHARACTERS = 12
"""A piece below this is put together with a neighbour even when that one belongs to another paragraph."""

_SENTENCE_END = re.compile(
    r"""(?P<mark>[.!?…؟।]+)(?P<close>["'”’»)\]]*)(?=\s|$)   # needs whitespace behind it: 3.5, example.com
      | [。！？]+[」』”’）]*""",
    re.VERBOSE,
)
_OPENING = "\"'“‘«([¿¡—–- \t\n"
_LINE_BREAK = re.compile(r"[ \t]*\n[ \t]*")
_PARAGRAPH_BREAK = re.compile(r"\s*\n\s*\n\s*")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘«]+$")

# A full stop behind one of these ends no sentence. Left out are those that are words as well ("mar.", "dez.", "no."),
# and "etc.": a capital letter behind it tells. Single letters are initials anyway.
_ABBREVIATION = re.compile(
    r"""sra?s? | srta | dra?s? | prof[as]? | profas | dom | eng | arq | av | pça | rod | km | nº | num | núm | págs?
      | exm[oa] | ilm[oa] | vs | cf | figs? | arts? | vols? | tel | cel | sgt | ten | maj | gen | alm | st[ao]? | ltda
      | cia | dept | depto | obs | ref | aprox | máx | mín | mrs? | ms | messrs | rev | hon | capt | col | lt | mt | jr
      | sen | gov | uds? | lic | ing | mme | mlle | mgr | hr | dipl | bzw | usw | nr | str""",
    re.IGNORECASE | re.VERBOSE,
)

_CLAUSE = re.compile(r"[;:—–][\"'”’»)]*\s+|\s-\s+|[；：]")
_COMMA = re.compile(r",[\"'”’»)]*\s+|[，、،]\s*")
_CONJUNCTION = re.compile(
    r"\s+(?=(?:e|mas|ou|que|porque|pois|porém|quando|enquanto|para|and|but|or|that|which|because|when|while|y|pero|o|"
    r"cuando|et|mais|ou|und|aber|oder|ma|perché)\s)",
    re.IGNORECASE,
)
_SPACE = re.compile(r"\s+")
_CUTS = (
    (_CLAUSE, CLAUSE_PAUSE_SECONDS),
    (_COMMA, COMMA_PAUSE_SECONDS),
    (_CONJUNCTION, 0.0),
    (_SPACE, 0.0),
)


@dataclass(frozen=True)
class Piece:
    """What is spoken at one go.

    Attributes:
        text: Not empty, without whitespace at its ends; a line break in it stands where a line without a full stop ended.
        pause_seconds: Silence behind it; 0 where the text was cut between two words.
    """

    text: str
    pause_seconds: float


@dataclass(frozen=True)
class Limits:
    """What the model takes at one go.

    Attributes:
        characters: Most characters of a piece (203 for pt: `VoiceBpeTokenizer.char_limits` of coqui-tts).
        tokens: Most tokens of a piece.
        count_tokens: Gives the number of tokens of a text.
    """

    characters: int
    tokens: int
    count_tokens: Callable[[str], int]

    def allow(self, text: str) -> bool:
        """Says whether the model takes this text at one go."""
        return len(text) <= self.characters and self.count_tokens(text) <= self.tokens


def split_text(text: str, limits: Limits, normalise: Callable[[str], str] = str) -> list[Piece]:
    """Splits a text into pieces within the model's limits.

    Args:
        text: Anything.
        limits: Of the model, for the text's language.
        normalise: Writes numbers and abbreviations out (`services.dataset.normalise`), which makes them longer, and takes
            their full stops away. It is given one line at a time, because it does not keep line breaks.

    Returns:
        The pieces in order; empty only for a blank text, or when `normalise` leaves nothing of it.
    """
    fitting = [part for sentence in _sentences(text, normalise) for part in _cut_to_fit(sentence, limits)]
    return _join_scraps(fitting, limits)


def spoken_form(text: str, language: str) -> str:
    """Returns a piece as the model should read it: line breaks become commas, and Portuguese gets no full stops.

    XTTS now and then reads a Portuguese full stop as the word "ponto". So in `pt` the model gets none: the final one
    goes, and those inside become commas, which make the pause that was wanted. Question and exclamation marks stay:
    they carry the melody.

    Returns:
        The text for the tokenizer; empty when there is nothing in it to say (no letter and no digit).
    """
    if not any(character.isalnum() for character in text):
        return ""
    text = text.replace("\n", ", ")
    if language.split("-")[0] != "pt":
        return text
    without = re.sub(r"[.…]+(?=[\"'”’»)\]]*\s)", ",", text)
    without = re.sub(r"([!?,;:])[.…,]+", r"\1", without)
    return re.sub(r"[.…,;:\s]+(?=[\"'”’»)\]]*$)", "", without)


def _sentences(text: str, normalise: Callable[[str], str]) -> Iterator[Piece]:
    for paragraph in _PARAGRAPH_BREAK.split(text.strip()):
        lines = (normalise(line) for line in _lines(paragraph))
        pieces = [Piece(sentence, SENTENCE_PAUSE_SECONDS) for line in lines for sentence in _sentences_of_line(line)]
        if pieces:
            yield from pieces[:-1]
            yield Piece(pieces[-1].text, PARAGRAPH_PAUSE_SECONDS)


def _lines(paragraph: str) -> list[str]:
    breaks = [match for match in _LINE_BREAK.finditer(paragraph) if not _is_wrapped_line(paragraph, match)]
    return _slices(paragraph, [match.start() for match in breaks])


def _sentences_of_line(line: str) -> list[str]:
    return _slices(line, [match.end() for match in _SENTENCE_END.finditer(line) if _ends_sentence(line, match)])


def _slices(text: str, ends: list[int]) -> list[str]:
    """Cuts a text at positions, with single spaces and without empty slices."""
    slices = (text[start:end].strip() for start, end in pairwise([0, *ends, len(text)]))
    return [_SPACE.sub(" ", piece) for piece in slices if piece]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    following = text[match.end() :].lstrip(_OPENING)[:1]
    if match["mark"] is None or not following:
        return True
    if following.islower():
        return False
    if match["mark"] != ".":
        return True
    word = _LAST_WORD.search(text, 0, match.start())
    if word is None:
        return False
    is_initial = len(word[0]) == 1 and word[0].isalpha()
    is_list_number = word[0].isdigit() and not text[: word.start()].strip()
    return not (is_initial or is_list_number or _ABBREVIATION.fullmatch(word[0]))


def _is_wrapped_line(text: str, match: re.Match[str]) -> bool:
    """Says whether a line break stands inside a sentence, as in a text with lines of fixed width."""
    return text[match.end() :][:1].islower() and text[: match.start()][-1:] not in ".!?…:;"


def _cut_to_fit(piece: Piece, limits: Limits) -> list[Piece]:
    if len(piece.text) < 2 or limits.allow(piece.text):
        return [piece]
    position, pause = _best_cut(piece.text)
    left = Piece(piece.text[:position].strip(), pause)
    right = Piece(piece.text[position:].strip(), piece.pause_seconds)
    return [*_cut_to_fit(left, limits), *_cut_to_fit(right, limits)]


def _best_cut(text: str) -> tuple[int, float]:
    """Finds the strongest break in the middle half of the text, and of several the one nearest to the middle."""
    middle = len(text) / 2
    for pattern, pause in _CUTS:
        positions = [match.end() for match in pattern.finditer(text)]
        inside = [p for p in positions if abs(p - middle) <= middle / 2 and text[:p].strip() and text[p:].strip()]
        if inside:
            return min(inside, key=lambda p: abs(p - middle)), pause
    return _cut_between_characters(text), 0.0


def _cut_between_characters(text: str) -> int:
    """Finds the place nearest to the middle that tears no accent from its letter."""
    for position in sorted(range(1, len(text)), key=lambda p: abs(p - len(text) / 2)):
        is_mark = unicodedata.category(text[position])[0] == "M"
        if not is_mark and text[:position].strip() and text[position:].strip():
            return position
    return len(text) // 2


def _join_scraps(pieces: list[Piece], limits: Limits) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if last is not None and _belong_together(last, piece, limits):
            joined[-1] = Piece(_joined_text(last, piece), piece.pause_seconds)
        else:
            joined.append(piece)
    return joined


def _belong_together(left: Piece, right: Piece, limits: Limits) -> bool:
    same_paragraph = left.pause_seconds < PARAGRAPH_PAUSE_SECONDS
    too_short = limits.characters * MIN_PIECE_SHARE if same_paragraph else MIN_LONE_CHARACTERS
    shorter = min(len(left.text), len(right.text))
    return shorter < too_short and limits.allow(_joined_text(left, right))


def _joined_text(left: Piece, right: Piece) -> str:
    """Puts a line break where a line without a full stop ended, such as a heading: `spoken_form` makes a pause of it."""
    is_bare_line = left.pause_seconds >= SENTENCE_PAUSE_SECONDS and left.text[-1].isalnum()
    separator = "\n" if is_bare_line else " "
    return left.text + separator + right.text
