"""The languages besides Portuguese: cardinals, the commonest symbols, and light cleaning."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

from num2words import num2words

from services.dataset.normalise.chinese_hindi import chinese, hindi
from services.dataset.normalise.clean import clean, is_speakable, tidy
from services.dataset.normalise.other_tables import PERCENT_FIRST, SPEECH
from services.dataset.normalise.rules import Rule, any_of, apply
from services.runtime.errors import InvalidArgument

_OWN_CARDINALS = {"zh": chinese, "hi": hindi}
# Longer runs of digits are codes: no language reads them as one number.
_LONGEST_CARDINAL = 15
_NUMBER = r"\d+(?:[.,]\d+)*"
_ENGLISH_YEAR = re.compile(r"1[1-9]\d\d|20[1-9]\d")
# What a text of nothing but symbols is read as.
_UNNAMED = {"ru": "символ", "ar": "رمز", "zh": "符号", "ja": "記号", "ko": "기호", "hi": "प्रतीक"}
_UNNAMED_LATIN = "symbol"


def language_code(language: str) -> str:
    """The key of a language: "pt-BR" -> pt, "zh-cn" -> zh.

    Raises:
        InvalidArgument: It is not one of the languages that XTTS-v2 speaks.
    """
    code = re.split("[-_]", language.strip().lower())[0]
    if code == "pt" or code in SPEECH:
        return code
    message = f"language is {language[:20]!r}: XTTS-v2 does not speak it; use one of pt, {', '.join(SPEECH)}."
    raise InvalidArgument(message, fields={"language": message})


def _words(code: str, value: int, form: str = "cardinal") -> str:
    if code in _OWN_CARDINALS:
        return _OWN_CARDINALS[code](value)
    words: str = num2words(value, lang=code, to=form)
    return " ".join(words.replace(",", "").split())


@lru_cache(maxsize=8192)
def _integer(code: str, written: str) -> str:
    """A run of digits as a cardinal, or digit by digit when it begins with zero or is too long."""
    if len(written) > _LONGEST_CARDINAL or (len(written) > 1 and written[0] == "0"):
        return _digits(code, written)
    return _words(code, int(written))


def _digits(code: str, written: str) -> str:
    return _glue(code).join(_words(code, int(digit)) for digit in written)


def _glue(code: str) -> str:
    return "" if SPEECH[code].compact else " "


def _number(code: str, written: str) -> str:
    """A written number: thousands separators are skipped, whatever follows another separator is read digit by digit."""
    speech = SPEECH[code]
    thousands = "," if speech.decimal == "." else "."
    if re.fullmatch(rf"\d{{1,3}}(?:\{thousands}\d{{3}})+(?:\{speech.decimal}\d+)?", written):
        written = written.replace(thousands, "")
    elif code == "en" and _ENGLISH_YEAR.fullmatch(written):
        return _words(code, int(written), "year")
    integer, *decimals = re.split("[.,]", written)
    words = [_integer(code, integer)]
    for part in decimals:
        words += [speech.point, _digits(code, part)]
    return _glue(code).join(words)


def _spaced(code: str, *words: str) -> str:
    words_in_line = _glue(code).join(words)
    return words_in_line if SPEECH[code].compact else f" {words_in_line} "


def _ordinal(code: str, match: re.Match[str]) -> str:
    return _spaced(code, _words(code, int(match.group(1)), "ordinal"))


def _money(code: str, match: re.Match[str]) -> str:
    symbol, written = match.group("before") or match.group("after"), match.group("first") or match.group("last")
    one, several = SPEECH[code].currencies[symbol]
    return _spaced(code, _number(code, written), one if written == "1" else several)


def _percent(code: str, match: re.Match[str]) -> str:
    words = (_number(code, match.group(1) or match.group(2)), SPEECH[code].percent)
    return _spaced(code, *(words[::-1] if code in PERCENT_FIRST else words))


def _plain(code: str, match: re.Match[str]) -> str:
    return _spaced(code, _number(code, match.group()))


def _minus(code: str, match: re.Match[str]) -> str:
    return f" {SPEECH[code].minus}{match.group(1)}"


def _symbol(code: str, match: re.Match[str]) -> str:
    return f" {SPEECH[code].symbols[match.group()]} "


def _chinese_year(code: str, match: re.Match[str]) -> str:
    return _digits(code, match.group())


@lru_cache(maxsize=len(SPEECH))
def _rules(code: str) -> tuple[Rule, ...]:
    speech = SPEECH[code]
    currencies = any_of(speech.currencies)
    rules: list[tuple[str, Callable[[str, re.Match[str]], str]]] = [
        (rf"(?<![\w.,-])-(\s?(?:{currencies})\s?|)(?=\d)", _minus),
        (rf"(?P<before>{currencies})\s?(?P<first>{_NUMBER})|(?P<last>{_NUMBER})\s?(?P<after>{currencies})", _money),
        (rf"({_NUMBER})\s?%|%\s?({_NUMBER})", _percent),
        (_NUMBER, _plain),
        (f"[{re.escape(''.join(speech.symbols))}]", _symbol),
    ]
    if speech.ordinals:
        rules.insert(0, (rf"(?<![\w.,])(\d{{1,9}})(?:{speech.ordinals})(?!\w)", _ordinal))
    if code == "zh":
        rules.insert(0, (r"(?<!\d)\d{4}(?=\s?年)", _chinese_year))
    return tuple((re.compile(pattern), partial(function, code)) for pattern, function in rules)


def normalise_other(text: str, code: str) -> str:
    """Write text as it is said; see `services.dataset.normalise.normalise`.

    Args:
        text: What to read.
        code: A result of `language_code` other than "pt".
    """
    spoken = tidy(apply(clean(text).replace("²", "^2").replace("³", "^3"), _rules(code)))
    return spoken if is_speakable(spoken) else _UNNAMED.get(code, _UNNAMED_LATIN)
