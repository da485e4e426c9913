"""Quantities in Portuguese: percentages, units, ordinals, scores, ranges and plain numbers."""

from __future__ import annotations

import re

from services.dataset.normalise.gender import counts_feminine, is_feminine_noun
from services.dataset.normalise.money import SYMBOL
from services.dataset.normalise.numbers import (
    NUMBER,
    cardinal,
    counted,
    digits,
    is_plural,
    number,
    ordinal,
    scaled,
    whole,
)
from services.dataset.normalise.rules import Rule, after, any_of, before, word_list, word_set
from services.dataset.normalise.units import SCALES, UNITS

# Longer runs of digits without thousands dots are codes, unless they are round.
_LONG_DIGITS = 9
# Up to here "2x1" is a score; beyond, or with a measure, it is a size.
_HIGHEST_SCORE = 15
_FOUR_WHEELS = ["4", "4"]
_SIZE_CUE = re.compile(
    r"(?<!\w)(?:fotos?|medindo|mede|medidas?|tamanho|formato|resolução|lona|folha|tração|carro)[\s:]+(?:de\s)?$", re.IGNORECASE
)
_YEAR_DIGITS = 4
_HIGHEST_PLACE = 100
_AFTER_ANGLE = word_set("de à ao a e em na no norte sul leste oeste para até com por ou abaixo acima graus")
_PER = word_list(
    "mês ano dia hora semana pessoa noite litro quilo minuto segundo unidade habitante aluno metro aula sessão cabeça"
)
_ONE_OF = re.compile(r"(?:por|cada|a|o|da|do|na|no|um|uma|meio|meia|ao|pelo|pela)\s", re.IGNORECASE)

_NOT_INSIDE = r"(?<![\w.,])"
# "5A" is a class or a size; amperes are written with a space.
_UNIT = rf"(?:{any_of(UNITS.keys() - {'A'})}|(?<=\s)A)"
_BARE_UNIT = any_of(symbol for symbol, unit in UNITS.items() if unit.bare)


def _percent(match: re.Match[str]) -> str:
    return f"{number(match.group(1))} por {'mil' if match.group(2) == '‰' else 'cento'}"


def _unit(match: re.Match[str]) -> str:
    written, scale, symbol = match.group("amount"), match.group("scale"), match.group("unit")
    unit = UNITS[symbol]
    if scale:
        return f"{scaled(written, SCALES[scale], unit.feminine)} {unit.plural}"
    height = re.fullmatch(r"([12]),(\d\d)", written)
    if symbol == "m" and height and height.group(2) != "00":  # 1,75 m -> um metro e setenta e cinco
        return f"{number(height.group(1))} metro{'s' if is_plural(written) else ''} e {cardinal(int(height.group(2)))}"
    return f"{counted(written, unit.feminine)} {unit.plural if is_plural(written) else unit.singular}"


def _per(match: re.Match[str]) -> str:
    """What stands behind a slash, as one of it: R$ 10/kg, 3 vezes/semana."""
    word = match.group("per")
    return f"{match.group('before')} por {UNITS[word].singular if word in UNITS else word}"


def _bare_unit(match: re.Match[str]) -> str:
    """A unit without a number in digits: "o preço do kg" is singular, "dez mil km" plural."""
    unit, before = UNITS[match.group("unit")], match.group("before") or ""
    return before + (unit.singular if _ONE_OF.fullmatch(before) else unit.plural)


def _per_bare(match: re.Match[str]) -> str:
    return f" por {UNITS[match.group(1)].singular}"


def _ordinal(match: re.Match[str]) -> str:
    return ordinal(whole(match.group(1)), match.group(2) in "ªa", bool(match.group(3)))


def _degrees(match: re.Match[str]) -> str:
    """1° lugar is an ordinal with the sign of degrees, 90° is an angle."""
    written, noun = match.group(1), match.group(2)
    if noun and noun.lower() not in _AFTER_ANGLE and "," not in written and 0 < whole(written) <= _HIGHEST_PLACE:
        return ordinal(whole(written), is_feminine_noun(noun) is True)
    return f"{number(written)} grau{'s' if is_plural(written) else ''}"


def _size(match: re.Match[str]) -> str:
    """2x1 is a score ("dois a um"), 10x15 cm a size ("dez por quinze"), 2 × 3 a product ("dois vezes três")."""
    numbers, rest = match.group(0), after(match)
    parts = re.findall(NUMBER, numbers)
    if "×" in numbers or re.match(r"\s?=", rest):
        return " vezes ".join(number(part) for part in parts)
    is_size = re.match(rf"\s?{_UNIT}(?![\w²³])", rest) or _SIZE_CUE.search(before(match))
    if (
        len(parts) == 2
        and parts != _FOUR_WHEELS
        and not is_size
        and all("," not in part and whole(part) <= _HIGHEST_SCORE for part in parts)
    ):
        return f"{number(parts[0])} a {number(parts[1])}"
    # The last one keeps its digits for the unit behind it.
    return " por ".join([*(number(part) for part in parts[:-1]), parts[-1]])


def _range(match: re.Match[str]) -> str:
    """10-20 is a range; a falling pair that is no score is a name ("Boeing 747-400")."""
    first, second = match.groups()
    if re.search(r"(?<!\w)entre\s$", before(match), re.IGNORECASE):
        return f"{first} e {second}"
    short_year = len(first) == _YEAR_DIGITS and len(second) == 2 and whole(first) % 100 < whole(second)  # 1990-94
    is_range = whole(first) < whole(second) or whole(first) <= _HIGHEST_SCORE or short_year
    return f"{first} {'a ' if is_range else ''}{second}"


def _times(match: re.Match[str]) -> str:
    return f"{number(match.group(1), feminine=True)} {'vezes' if is_plural(match.group(1)) else 'vez'}"


def _commas(match: re.Match[str]) -> str:
    """1,2,3 is a list, 1,234,567 a number in English notation."""
    written = match.group()
    return written.replace(",", "" if re.fullmatch(r"\d{1,3}(?:,\d{3})+", written) else ", ")


def _short_scale(match: re.Match[str]) -> str:
    words = scaled(match.group(1), SCALES[match.group(2)])
    return words if re.match(r"\s[^\W\d_]+s(?!\w)", after(match)) else words.removesuffix(" de")


def _plain(match: re.Match[str]) -> str:
    written, left, right = match.group(), before(match), after(match)
    if len(written) >= _LONG_DIGITS and written.isdecimal() and not written.endswith("000"):
        words = digits(written)
    else:
        feminine = counts_feminine(left, written, right)
        takes_de = re.match(r"\s(?!d[aeo]s?\s)[^\W\d_]{3,}s(?!\w)", right)
        words = counted(written, feminine) if takes_de else number(written, feminine)
    return f"{' ' if left[-1:].isalpha() else ''}{words}{' ' if right[:1].isalpha() else ''}"


def _remaining(match: re.Match[str]) -> str:
    return f" {digits(match.group())} "


_LAWS = r"(?:lei|decreto|resolução|portaria|medida provisória|instrução normativa|processo|mp|pec)"

# The numbers stay digits here, so that later rules see them with the units and nouns behind them.
RANGES: tuple[Rule, ...] = (
    (re.compile(r"(?<=\d)\s?[ºo°]\s?(?=[CF](?!\w))"), " °"),
    (re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})* 000(?!\d|[.,]\d)"), lambda match: match.group().replace(" ", "")),
    (re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{1,3}){2,}(?![\w.]|,\d)"), _commas),
    (re.compile(rf"(?<!\w)((?i:{_LAWS})(?:\s[^\W\d_]+){{0,3}}\s{NUMBER})/(?=(?:\d{{4}}|\d\d)(?!\d))"), r"\1 de "),
    (re.compile(rf"(?<![\w.,/-])({NUMBER})\s?-\s?({NUMBER})(?=\s?=)"), r"\1 menos \2"),
    (re.compile(rf"(?<![\w.,/-])({NUMBER})\s?-\s?({NUMBER})(?![\d/]|[.,-]\d)"), _range),
    (re.compile(rf"(?<=[%ºª])\s?-\s?(?=\d)|(?<=\d)\s?-\s?(?={SYMBOL}\s?\d)"), " a "),
    (re.compile(rf"(?:^|(?<=[\s(,;:=\"']))-(?=\d|{SYMBOL}\s?\d)"), "menos "),
    (
        re.compile(rf"(?P<before>\d\s?[^\W\d_]*[²³]?|{SYMBOL})\s?/\s?(?P<per>{any_of(UNITS)}|{any_of(_PER)})(?![\w²³/])"),
        _per,
    ),
)

AMOUNTS: tuple[Rule, ...] = (
    (re.compile(rf"{_NOT_INSIDE}({NUMBER})\s?([%‰])"), _percent),
    (re.compile(rf"(?<![\w.,/]){NUMBER}(?:\s?[xX×]\s?{NUMBER}){{1,2}}(?!\d|[.,/]\d)"), _size),
    (re.compile(rf"{_NOT_INSIDE}({NUMBER})\s?x(?![\w²³])"), _times),
    (re.compile(rf"{_NOT_INSIDE}({NUMBER})\s?(k|mi|bi|tri)(?!\w)"), _short_scale),
    (
        re.compile(
            rf"{_NOT_INSIDE}(?P<amount>{NUMBER})(?:\s(?P<scale>{any_of(SCALES)})(?!\w)(?:\sde(?!\w))?)?\s?-?(?P<unit>{_UNIT})"
            r"(?![\w²³°]|/[^\W\d]|\.\w)"
        ),
        _unit,
    ),
    (re.compile(rf"{_NOT_INSIDE}(\d{{1,3}}(?:\.\d{{3}})+|\d+)\.?\s?([ºª])(s?)(?!\w)"), _ordinal),
    (re.compile(rf"{_NOT_INSIDE}(\d{{1,3}})([oa])(s?)(?=\s+[^\W\d]|[.,;!?]|$)"), _ordinal),
    (re.compile(rf"{_NOT_INSIDE}({NUMBER})\s?°(?=(?:\s([^\W\d_]+))?)"), _degrees),
)

PLAIN_NUMBERS: tuple[Rule, ...] = (
    (re.compile(rf"{_NOT_INSIDE}1 mil(?!\w)"), "mil"),
    (re.compile(rf"(?<!\d)(?<!\d[.,]){NUMBER}(?!\d|[.,]\d)"), _plain),
    (re.compile(r"\d+"), _remaining),
)

BARE_UNITS: tuple[Rule, ...] = (
    (re.compile(rf"(?<=[^\W\d_]{{2}})\s?/\s?({_BARE_UNIT})(?![\w²³/])"), _per_bare),
    (re.compile(rf"(?P<before>(?<!\w)[^\W\d_]+\s)?(?<![\w/])(?P<unit>{_BARE_UNIT})(?![\w²³/])"), _bare_unit),
)
