"""Amounts of money in Portuguese."""

from __future__ import annotations

import re

from services.dataset.normalise.numbers import NUMBER, cardinal, counted, is_plural, number, scaled, whole
from services.dataset.normalise.rules import Rule, any_of
from services.dataset.normalise.units import CURRENCIES, SCALES

SYMBOL = rf"(?:{any_of(CURRENCIES)})"
_SCALE = rf"(?i:{any_of(SCALES)})"
_NAMES = any_of({name for currency in CURRENCIES.values() for name in (currency.singular, currency.plural)})
_ENGLISH = r"\d{1,3}(?:,\d{3})+\.\d\d(?!\d)|\d+\.\d\d(?!\d)"
_AMOUNT = rf"(?:{_ENGLISH}|{NUMBER})"
_REAL = frozenset({"R$", "BRL"})


def money(written: str, symbol: str, scale: str = "") -> str:
    """Read an amount.

    Args:
        written: The number in Brazilian notation, e.g. "1.234,56".
        symbol: A key of `CURRENCIES`.
        scale: A key of `SCALES` in any case, e.g. "milhões", or nothing.
    """
    currency = CURRENCIES[symbol]
    if scale:
        words = scaled(written, SCALES[scale.lower()], currency.feminine)
        return f"{words} {currency.plural}"
    integer, _, decimals = written.partition(",")
    units = whole(integer)
    name = currency.plural if is_plural(integer) else currency.singular
    if len(decimals) > 2:
        return f"{number(written, currency.feminine)} {name}"
    cents = int(decimals.ljust(2, "0")) if decimals else 0
    cents_words = f"{cardinal(cents)} centavo{'s' if cents > 1 else ''}"
    if cents and not units:
        return cents_words if symbol in _REAL else f"{cents_words} de {currency.singular}"
    words = f"{counted(integer, currency.feminine)} {name}"
    return f"{words} e {cents_words}" if cents else words


def _brazilian(written: str) -> str:
    """An amount in Brazilian notation, also from English (1,234.50) where that is unmistakable."""
    return written.replace(",", "").replace(".", ",") if re.fullmatch(_ENGLISH, written) else written


def _money(match: re.Match[str]) -> str:
    first, symbol, scale = _brazilian(match.group("amount")), match.group("symbol"), match.group("scale") or ""
    sign = "menos " if match.group("sign") else ""
    second = match.group("second")
    if second and "," in first:
        return f"{sign}{money(first, symbol)} a {money(_brazilian(second), symbol, scale)}"
    if second:
        return f"{sign}{number(first, CURRENCIES[symbol].feminine)} a {money(_brazilian(second), symbol, scale)}"
    return sign + money(first, symbol, scale)


def _name(match: re.Match[str]) -> str:
    return CURRENCIES[match.group()].plural


MONEY: tuple[Rule, ...] = (
    (
        re.compile(
            rf"(?<![^\W\d_])(?P<symbol>{SYMBOL})\s?(?P<sign>-\s?|menos\s)?(?P<amount>{_AMOUNT})"
            rf"(?:\sa\s(?P<second>{_AMOUNT})(?!\s?[%x\d]))?(?:\s?(?P<scale>{_SCALE})(?!\w))?(?:\s(?:de\s)?(?:{_NAMES})(?!\w))?"
        ),
        _money,
    ),
    (
        re.compile(
            rf"(?<![\w.,])(?P<sign>)(?P<second>)(?P<amount>{_AMOUNT})(?:\s?(?P<scale>{_SCALE}))?\s?(?P<symbol>{SYMBOL})"
            r"(?!\w|\s?\d)"
        ),
        _money,
    ),
)

# A symbol without an amount ("em R$").
CURRENCY_NAMES: tuple[Rule, ...] = ((re.compile(rf"(?<![^\W\d_]){SYMBOL}(?![\w$])"), _name),)
