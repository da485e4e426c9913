"""What a slash between two numbers means: a fraction, a day and a month, or a ratio."""

from __future__ import annotations

import re

from services.dataset.normalise.dates import date_words, is_date
from services.dataset.normalise.gender import is_feminine_noun
from services.dataset.normalise.numbers import cardinal, fraction
from services.dataset.normalise.rules import Rule, after, any_of, before, word_list
from services.dataset.normalise.units import UNITS

# Words in front that make "3/12" a date.
_DATE_CUE = re.compile(r"(?<!\w)(?:dias?|em|até|desde|data|no|na|nesta|neste|vencimento|feira|hoje)[\s:(]+$", re.IGNORECASE)
# Words behind that make it a fraction.
_MEASURED = word_list(
    "xícara xícaras copo copos colher colheres hora horas litro litros quilo quilos lata latas pacote pacotes "
    "polegada polegadas garrafa garrafas dúzia dúzias milha milhas metro metros maço tablete página páginas ano"
)
_PART_FOLLOWS = re.compile(rf"\s(?:d[aeo]s?\s|(?:{'|'.join(_MEASURED)})(?!\w))", re.IGNORECASE)
_UNIT = rf"(?:\s?(?P<unit>{any_of(UNITS)})(?![\w²³/])|\s(?P<noun>(?i:{'|'.join(_MEASURED)}))(?!\w))?"
_COMMON_DENOMINATORS = frozenset({3, 4, 5, 8, 10})
_LARGEST_DENOMINATOR = 1000
# 24/7, day and night, is a day in July only after a cue.
_ALWAYS = (24, 7)


def _is_common(above: int, below: int) -> bool:
    """Whether "a/b" is a fraction people write, rather than a day and a month."""
    if above == 1:
        return 2 <= below <= 10
    return above < below and below in _COMMON_DENOMINATORS and (above % 2 == 1 or below % 2 == 1)


def _slashed(match: re.Match[str]) -> str:
    first, second = match.group("above"), match.group("below")
    above, below = int(first), int(second)
    padded = first[0] == "0" or second[0] == "0"
    measured = match.group("unit") or match.group("noun") or _PART_FOLLOWS.match(after(match))
    cued = _DATE_CUE.search(before(match)) is not None and not measured
    tail = match.group()[match.end("below") - match.start() :]
    is_fraction = above < below if measured else _is_common(above, below)
    if is_date(above, below) and (padded or cued or not (is_fraction or (above, below) == _ALWAYS)):
        return f"{date_words(first, second)}{tail}"
    if 0 < above < below <= _LARGEST_DENOMINATOR:
        return _part(match, above, below)
    return f"{cardinal(above)} por {cardinal(below)}{tail}"


def _measure(match: re.Match[str]) -> tuple[str, bool]:
    """What is measured, in the singular for a unit symbol and as written for a noun, and whether it is feminine."""
    if match.group("unit"):
        unit = UNITS[match.group("unit")]
        return unit.singular, unit.feminine
    noun = match.group("noun") or ""
    return noun, bool(noun) and is_feminine_noun(noun) is True


def _part(match: re.Match[str], above: int, below: int) -> str:
    """1/2 xícara -> meia xícara; 3/4 kg -> três quartos de quilo; 1/2 -> um meio."""
    noun, feminine = _measure(match)
    if (above, below) == (1, 2) and noun:
        return f"{'meia' if feminine else 'meio'} {noun}"
    words = fraction(above, below)
    return f"{words} de {noun}" if noun else words


def _mixed(match: re.Match[str]) -> str:
    """1 1/2 xícara -> uma xícara e meia; 2 3/4 -> dois e três quartos."""
    count, above, below = (int(match.group(name)) for name in ("count", "above", "below"))
    if not 0 < above < below:
        return match.group()
    noun, feminine = _measure(match)
    if match.group("unit") and count > 1:
        noun = UNITS[match.group("unit")].plural
    words = cardinal(count, feminine)
    if (above, below) == (1, 2):
        half = "meia" if feminine else "meio"
        return f"{words} {noun} e {half}" if noun else f"{words} e {half}"
    return f"{words} e {fraction(above, below)} {noun}".rstrip()


_BEFORE, _AFTER = r"(?<![\w.,/-])", r"(?![\w/]|[.,:-]\d)"
_SLASHED = rf"(?P<above>\d{{1,3}})/(?P<below>\d{{1,4}}){_AFTER}{_UNIT}"

FRACTIONS: tuple[Rule, ...] = (
    (re.compile(rf"{_BEFORE}(?P<count>\d{{1,3}})\s+(?P<above>\d)/(?P<below>\d{{1,2}}){_AFTER}{_UNIT}"), _mixed),
    (re.compile(rf"{_BEFORE}{_SLASHED}"), _slashed),
)
