"""Portuguese number words: cardinals, ordinals, decimals and fractions, with gender.

num2words supplies the words below a thousand and the ordinals. The classes (mil, milhão, ...) are joined here, because
Portuguese puts "e" before the last class only when that class is below a hundred or a round hundred ("mil e cem",
"mil duzentos e um"), and because only the thousands and the units agree in gender ("dois milhões e duzentas mil
pessoas").
"""

from __future__ import annotations

import re
from functools import lru_cache

from num2words import num2words

# A number as written in Brazil: thousands with dots, decimals with a comma. Boundaries are up to the rule that uses it.
NUMBER = r"(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?"

_SCALES = (
    ("", ""),
    ("mil", "mil"),
    ("milhão", "milhões"),
    ("bilhão", "bilhões"),
    ("trilhão", "trilhões"),
    ("quatrilhão", "quatrilhões"),
)
_LARGEST = 1000 ** len(_SCALES)
_FEMININE = {"um": "uma", "dois": "duas"}
_DIGITS = ("zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove")
# num2words spells these three against the Vocabulário Ortográfico.
_ORDINAL_SPELLING = (("quadrigent", "quadringent"), ("septigent", "septingent"), ("octigent", "octingent"))
_PARTS = {2: "meio", 3: "terço", 4: "quarto", 5: "quinto", 6: "sexto", 7: "sétimo", 8: "oitavo", 9: "nono", 10: "décimo"}
_ROUND_PARTS = {100: "centésimo", 1000: "milésimo"}
_MAX_ORDINAL = 10_000


def digits(text: str) -> str:
    """Read a run of ASCII digits one by one; anything else in `text` is left out."""
    return " ".join(_DIGITS[int(character)] for character in text if character in "0123456789")


@lru_cache(maxsize=8192)
def cardinal(value: int, feminine: bool = False) -> str:
    """The cardinal of a non-negative integer; from 10^18 on it is read digit by digit."""
    if value >= _LARGEST:
        return digits(str(value))
    if value == 0:
        return "zero"
    groups: list[tuple[int, str]] = []
    rest, scale = value, 0
    while rest:
        rest, group = divmod(rest, 1000)
        if group:
            groups.append((group, _group_words(group, scale, feminine)))
        scale += 1
    words = [text for _, text in reversed(groups)]
    last = groups[0][0]
    if len(words) > 1 and (last < 100 or last % 100 == 0):
        words[-1] = f"e {words[-1]}"
    return " ".join(words)


def _group_words(group: int, scale: int, feminine: bool) -> str:
    if scale == 1 and group == 1:
        return "mil"
    words: str = num2words(group, lang="pt_BR")
    if feminine and scale <= 1:
        words = " ".join(_feminine_word(word) for word in words.split())
    return f"{words} {_SCALES[scale][group > 1]}".rstrip()


def _feminine_word(word: str) -> str:
    if word.endswith("entos") or word == "quinhentos":
        return word[:-2] + "as"
    return _FEMININE.get(word, word)


@lru_cache(maxsize=2048)
def ordinal(value: int, feminine: bool = False, plural: bool = False) -> str:
    """The ordinal of a positive integer; zero and numbers above 10,000, which have none in use, stay cardinal."""
    if not 0 < value <= _MAX_ORDINAL:
        return cardinal(value, feminine)
    words = "milésimo" if value == 1000 else str(num2words(value, lang="pt_BR", to="ordinal"))
    for wrong, right in _ORDINAL_SPELLING:
        words = words.replace(wrong, right)
    ending = ("a" if feminine else "o") + ("s" if plural else "")
    return " ".join(word[:-1] + ending for word in words.split())


def zero_led(text: str) -> str:
    """Read a code that begins with zero: digit by digit, but "040" as people say it, zero quarenta."""
    return f"zero {cardinal(int(text))}" if len(text) == 3 and text[1] != "0" else digits(text)


def whole(text: str) -> int:
    """The integer part of a written number: "1.234,5" -> 1234."""
    return int(text.partition(",")[0].replace(".", ""))


def is_plural(text: str) -> bool:
    """Whether a noun counted by the written number is plural, which in Portuguese begins at two (1,5 quilo)."""
    return whole(text) >= 2


def number(text: str, feminine: bool = False) -> str:
    """Read a number written as `NUMBER`: thousands dots are skipped, the comma is said as "vírgula".

    One to three decimals are read as one number, as people do ("vírgula setenta e cinco"), longer ones one by one.
    A number of three or more digits that begins with zero is a code ("007").
    """
    integer, _, decimals = text.partition(",")
    is_code = len(integer) > 2 and integer[0] == "0"
    words = zero_led(integer) if is_code else cardinal(whole(integer), feminine)
    return f"{words} vírgula {_decimals(decimals, feminine)}" if decimals else words


def counted(text: str, feminine: bool = False) -> str:
    """Read a number in front of a noun: whole millions link to it with "de"."""
    value = whole(text)
    return number(text, feminine) + (" de" if value and value % 1_000_000 == 0 and "," not in text else "")


def scaled(text: str, scale: tuple[str, str], feminine: bool = False) -> str:
    """Read a number with its scale in front of a noun: "2 mil" -> dois mil, "5 milhões" -> cinco milhões de.

    Args:
        text: The number as written.
        scale: The scale word in the singular and in the plural.
        feminine: The gender of the noun, which only "mil" lets through.
    """
    singular, plural = scale
    if singular == "mil":
        return "mil" if text == "1" else f"{number(text, feminine)} mil"
    return f"{number(text)} {plural if is_plural(text) else singular} de"


def _decimals(text: str, feminine: bool) -> str:
    significant = text.lstrip("0")
    if len(text) > 3 or not significant:
        return digits(text)
    zeros = len(text) - len(significant)
    return " ".join(["zero"] * zeros + [cardinal(int(significant), feminine)])


def fraction(numerator: int, denominator: int) -> str:
    """Read a fraction: 3/4 -> três quartos, 5/12 -> cinco doze avos; a denominator of 0 or 1 is read as a division."""
    above = cardinal(numerator)
    if denominator < 2:
        return f"{above} sobre {cardinal(denominator)}"
    part = _PARTS.get(denominator) or _ROUND_PARTS.get(denominator)
    if part is None:
        return f"{above} {cardinal(denominator)} avos"
    return f"{above} {part}{'s' if numerator > 1 else ''}"


def grouped_digits(text: str) -> str:
    """Read each run of digits in `text` one by one, with a comma, which is a short pause, between the runs."""
    return ", ".join(digits(run) for run in re.findall(r"\d+", text))
