"""Dates and times of day in Portuguese."""

from __future__ import annotations

import re

from services.dataset.normalise.numbers import cardinal
from services.dataset.normalise.rules import Rule, word_list

MONTHS = word_list("janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro")
_SHORT_MONTHS = {name[:3]: name for name in MONTHS}
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WEEKDAYS = {2: "segunda", 3: "terça", 4: "quarta", 5: "quinta", 6: "sexta"}
_SHORT_WEEKDAYS = {name[:3]: f"{name}-feira" for name in _WEEKDAYS.values()} | {"sáb": "sábado", "dom": "domingo"}
# A year of two digits belongs to this century up to here: 03/12/25 is 2025, 03/12/85 is 1985.
_PIVOT = 50

_EVENING = 6

_SHORT_MONTH = f"(?i:{'|'.join(_SHORT_MONTHS)})"
_MONTH = f"(?i:{'|'.join(MONTHS)})"
_BEFORE = r"(?<![\w.,/-])"
_AFTER = r"(?![\w/]|[.,:-]\d)"
_CLOCK = r"(?:[01]?\d|2[0-4])"
_BOOKS = (
    r"(?:Gênesis|Êxodo|Levítico|Números|Deuteronômio|Josué|Juízes|Samuel|Reis|Crônicas|Salmos?|Provérbios|Eclesiastes|Isaías|"
    r"Jeremias|Ezequiel|Daniel|Mateus|Marcos|Lucas|João|Atos|Romanos|Coríntios|Gálatas|Efésios|Filipenses|Colossenses|"
    r"Timóteo|Hebreus|Tiago|Pedro|Apocalipse)"
)


def _day(value: int) -> str:
    return "primeiro" if value == 1 else cardinal(value)


def _year(text: str) -> int:
    value = int(text)
    return value if len(text) > 2 else value + (2000 if value < _PIVOT else 1900)


def is_date(day: int, month: int) -> bool:
    """Whether some year has that day."""
    return 1 <= month <= 12 and 1 <= day <= _DAYS_IN_MONTH[month - 1]


def date_words(day: str, month: str, year: str = "") -> str | None:
    """The words of a date, or None for one that no calendar has."""
    if not is_date(int(day), int(month)):
        return None
    words = f"{_day(int(day))} de {MONTHS[int(month) - 1]}"
    return f"{words} de {cardinal(_year(year))}" if year else words


def _numeric_date(match: re.Match[str]) -> str:
    day, month, year = match.group("day"), match.group("month"), match.group("year")
    words = date_words(day, month, year)
    return words or f"{cardinal(int(day))} barra {cardinal(int(month))} barra {cardinal(int(year))}"


def _iso_date(match: re.Match[str]) -> str:
    words = date_words(match.group("day"), match.group("month"), match.group("year"))
    return (words + (" às " if match.group("time") else "")) if words else match.group()


def _month_and_year(match: re.Match[str]) -> str:
    return f"{MONTHS[int(match.group(1)) - 1]} de {cardinal(int(match.group(2)))}"


def _named_month(match: re.Match[str]) -> str:
    day, month, year = match.groups()
    words = f"{_day(int(day.rstrip('º')))} de {_SHORT_MONTHS[month.lower()]}"
    return f"{words} de {cardinal(_year(year))}" if year else words


def _named_month_and_year(match: re.Match[str]) -> str:
    return f"{_SHORT_MONTHS[match.group(1).lower()]} de {cardinal(_year(match.group(2)))}"


def _weekday(match: re.Match[str]) -> str:
    plural = "s" if match.group(2) or match.group(3) else ""
    return f"{_WEEKDAYS[int(match.group(1))]}{plural}-feira{plural}"


def _short_weekday(match: re.Match[str]) -> str:
    return _SHORT_WEEKDAYS[match.group(1).lower()]


def _minutes(match: re.Match[str]) -> str:
    return f"{_count(int(match.group(1)), 'minuto')} e {_count(int(match.group(2)), 'segundo')}"


def _time(hours: str, minutes: str | None, seconds: str | None = None) -> str:
    parts = [_count(int(hours), "hora", feminine=True)]
    if minutes and int(minutes):
        parts.append(_count(int(minutes), "minuto"))
    if seconds and int(seconds):
        parts.append(_count(int(seconds), "segundo"))
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} e {parts[-1]}"


def _count(value: int, noun: str, feminine: bool = False) -> str:
    return f"{cardinal(value, feminine)} {noun}{'s' if value > 1 else ''}"


def _clock(match: re.Match[str]) -> str:
    return _time(match.group(1), match.group(2), match.group(3))


def _half_day(match: re.Match[str]) -> str:
    """English am and pm: 3 pm is três horas da tarde, 10 pm dez horas da noite."""
    hours, minutes, half = match.groups()
    part = "manhã" if half.lower() == "a" else "tarde" if int(hours) % 12 < _EVENING else "noite"
    return f"{_time(hours, minutes)} da {part}"


def _verse(match: re.Match[str]) -> str:
    book, chapter, verse, last = match.groups()
    words = f"{book} {cardinal(int(chapter))}, {cardinal(int(verse))}"
    return f"{words} a {cardinal(int(last))}" if last else words


_SHARED_DATE = r"(?P<day>\d{1,2})(?P<separator>[/.-])(?P<month>\d{1,2})(?P=separator)(?P<year>\d{4}|\d{2})"

DATES: tuple[Rule, ...] = (
    (
        re.compile(rf"{_BEFORE}(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)(?:(?P<time>[T ])(?=\d\d:)|{_AFTER})"),
        _iso_date,
    ),
    (re.compile(rf"{_BEFORE}{_SHARED_DATE}{_AFTER}"), _numeric_date),
    (re.compile(rf"{_BEFORE}(0?[1-9]|1[0-2])/(1[5-9]\d\d|20\d\d){_AFTER}"), _month_and_year),
    (
        re.compile(
            rf"{_BEFORE}(\d{{1,2}}º?)(?:\s+de\s+|/|-|\s(?=[a-z]{{3}}\.?\s(?:de\s)?\d{{4}}(?!\d)))({_SHORT_MONTH})\.?(?:(?:\s+(?:de\s+)?|/|-)(\d{{4}}|\d{{2}}))?(?!\w)"
        ),
        _named_month,
    ),
    (re.compile(rf"(?<!\w)({_SHORT_MONTH})(?:\.?/|\.\s|\.?\sde\s)(\d{{4}}){_AFTER}"), _named_month_and_year),
    (re.compile(rf"(?<!\w)({_SHORT_MONTH})\.?/(\d{{2}}){_AFTER}"), _named_month_and_year),
    (re.compile(rf"(?<!\w)({_MONTH})/(?=\d{{4}}(?!\d))"), r"\1 de "),
    (re.compile(r"(?<!\w)((?:1[89]|20)\d0)s(?!\w)"), r"\1"),
    (re.compile(rf"(?<!\w)({'|'.join(_SHORT_WEEKDAYS)})\.(?=,?\s\d)", re.I), _short_weekday),
    (re.compile(rf"{_BEFORE}(?:0?1)(?=\sde\s{_MONTH}(?!\w))"), "primeiro"),
    (re.compile(r"(?<!\w)([Dd]ia) (?:0?1)(?=\s|[.,;!?)]\s|[.,;!?)]?$)"), r"\1 primeiro"),
    (re.compile(r"(?<![\w.,])([2-6])\.?\s?[ªa°](s?)\s?-?\s?feira(s?)(?!\w)", re.I), _weekday),
)

TIMES: tuple[Rule, ...] = (
    (re.compile(rf"{_BEFORE}({_CLOCK}):([0-5]\d)\s?(?i:([ap])\.?m\.?)(?!\w)"), _half_day),
    (re.compile(rf"{_BEFORE}({_CLOCK})()\s?([ap])\.?m\.?(?!\w)"), _half_day),
    (re.compile(rf"({_BOOKS}) (\d{{1,3}}):(\d{{1,3}})(?:-(\d{{1,3}}))?(?![\w:])"), _verse),
    (re.compile(rf"(?<=\d[hH])\s?-\s?(?={_CLOCK}[hH])|(?<=\d[hH]\d\d)\s?-\s?(?={_CLOCK}[hH])"), " às "),
    (re.compile(rf"(?<=:\d\d)\s?-\s?(?={_CLOCK}:\d\d)"), " às "),
    (re.compile(rf"{_BEFORE}({_CLOCK}):([0-5]\d)(?::([0-5]\d))?(?:\s?[hH](?:rs?|s)?)?Z?(?![\w:]|[.,]\d)"), _clock),
    (
        re.compile(
            r"(?<![\w.,/-])(\d{1,3})\s?[hH](?:(?=\d\d)|\s?(?=\d\d\s?m))([0-5]\d)(?:\s?(?:min|m)(?![^\W\d]|[/²³]))?"
            r"(?:\s?([0-5]\d)\s?s(?!\w))?(?!\w|[.,]\d)"
        ),
        _clock,
    ),
    (re.compile(r"(?<![\w.,/-])(\d{1,3})\s?(?:h|H|hs|hrs?)()()(?![\w/])"), _clock),
    (re.compile(r"(?<![\w.,])(\d{1,3})\s?min(?:\se)?\s?([0-5]?\d)\s?s(?:eg)?(?!\w)"), _minutes),
    # Aspect ratios, then scales and proportions
    (re.compile(r"(?<![\w.,:])(16|21|4|3):(9|10|3|2)(?![\w:]|[.,]\d)"), r"\1 por \2"),
    (re.compile(r"(?<=\d)\s?:\s?(?=\d)"), " para "),
)
