"""Cleaning that every language shares: Unicode forms and spaces before the rules, punctuation after them."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Symbols with a compatibility form, or of no letter or number class, that the rules of a language read themselves.
_KEPT = frozenset("ªº²³°§‰")
_REPLACED = {
    **dict.fromkeys("“”„‟«»‹›″〝〞＂❝❞", '"'),
    **dict.fromkeys("‘’‚‛′´`ʼʹ＇", "'"),
    **dict.fromkeys("‐‑‒–—―−﹣－⁻", "-"),
    **dict.fromkeys("•‣◦▪▫●○■□·∙⋅", ", "),
    **dict.fromkeys("，、،", ", "),
    **dict.fromkeys("。｡۔", ". "),
    **dict.fromkeys("！", "! "),
    **dict.fromkeys("？؟", "? "),
    **dict.fromkeys("；؛", "; "),
    **dict.fromkeys("：", ": "),
    "।": ". ",
    "¹": "1",
    "…": "...",
    "№": "nº",
    "⁄": "/",
    "∕": "/",
    "℃": "°C",
    "℉": "°F",
    "˚": "°",
    "™": " ",
    "®": " ",
    "©": " ",
}
_TRANSLATION = {ord(source): target for source, target in _REPLACED.items()}
# Spaces that do not break a line join the thousands of one number; ordinary ones may stand between two numbers.
_SPACED_THOUSANDS = re.compile(r"(?<![\d,.])(\d{1,3})[\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_UNUSUAL = re.compile(r"[^\x20-\x7eÀ-ÖØ-öø-ɏ]")
_BLANK = re.compile(r"\s+")
_HYPHENS = re.compile(r"-(?:\s*-)+")
_APOSTROPHE = re.compile(r"(?<![^\W\d_])'|'(?![^\W\d_])")
_SPEAKABLE = re.compile(r"[^\W\d_]")
_BEFORE_MARK = re.compile(r"\s+(?=[.,?!;:])")
_MARKS = re.compile(r"[.,?!;:](?:\s*[.,?!;:])+")
_AFTER_MARK = re.compile(r"(?<=[.,;:?!])(?=[^\W_])")
_LEADING = re.compile(r"^[\s.,?!;:'-]+")
_TRAILING = re.compile(r"[\s,'-]+$")


def clean(text: str) -> str:
    """Bring text to one form: NFC, ASCII digits, quotes and dashes, single spaces, no emoji or invisible characters.

    Letters and their marks survive in every script; so do the symbols that the rules of a language read.
    """
    text = _SPACED_THOUSANDS.sub(r"\1", text)
    text = unicodedata.normalize("NFC", text.translate(_TRANSLATION))
    text = _UNUSUAL.sub(lambda match: _plain(match.group()), text)
    return _BLANK.sub(" ", unicodedata.normalize("NFC", text)).strip()


def _plain(character: str) -> str:
    """One character outside Latin text in the form that the rules know, or a space or nothing for what is not read."""
    category = unicodedata.category(character)
    if character in _KEPT:
        return character
    if category[0] == "N":
        return _number(character)
    if category in {"Cf", "Me", "Sk"} or "VARIATION SELECTOR" in unicodedata.name(character, ""):
        return ""
    form = unicodedata.normalize("NFKC", character)
    if category[0] in "LM" or form.isascii():
        return form
    return character if category in {"Sc", "Sm"} else " "


def _number(character: str) -> str:
    """A numeric character in ASCII: digits as they are, superscripts as powers, fractions as "n/d"."""
    digit = unicodedata.digit(character, None)
    form = unicodedata.normalize("NFKC", character)
    if digit is not None:
        return f"^{digit}" if "SUPERSCRIPT" in unicodedata.name(character, "") else str(digit)
    if form.isascii() and form != character:
        return form
    if "⁄" in form:
        return " " + form.replace("⁄", "/")
    if character == "〇":
        return "0"
    value = unicodedata.numeric(character, 0.0)
    return f" {value:.0f} " if value.is_integer() else f" {value:.2f} "


def tidy(text: str) -> str:
    """The last step: drop what is not spoken and leave the punctuation as a careful writer would have put it."""
    text = "".join(c if _is_spoken(c) else " " for c in text)
    text = _HYPHENS.sub("-", _APOSTROPHE.sub(" ", text))
    text = _BEFORE_MARK.sub("", _BLANK.sub(" ", text))
    text = _MARKS.sub(lambda match: _strongest(match.group()), text)
    text = _AFTER_MARK.sub(" ", text)
    return _BLANK.sub(" ", _TRAILING.sub("", _LEADING.sub("", text)))


@lru_cache(maxsize=4096)
def _is_spoken(character: str) -> bool:
    if character in "ªº":
        return False
    return character in " .,?!;:'-" or unicodedata.category(character)[0] in "LM"


def _strongest(marks: str) -> str:
    """One mark for a run of them: an ellipsis and "?!" stay, else the strongest wins ("casa), e" came as "casa,, e")."""
    marks = marks.replace(" ", "")
    if "?" in marks or "!" in marks:
        return ("?" if "?" in marks else "") + ("!" if "!" in marks else "")
    if "..." in marks:
        return "..."
    return next(mark for mark in ".;:," if mark in marks)


def is_speakable(text: str) -> bool:
    """Whether there is a letter in the text: punctuation alone gives a model nothing to say."""
    return _SPEAKABLE.search(text) is not None
