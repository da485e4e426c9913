"""Brazilian Portuguese text as it is spoken: the order of the rules, symbols, and words in capitals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from services.dataset.normalise.abbreviations import ABBREVIATIONS
from services.dataset.normalise.acronyms import ACRONYMS, is_acronym, spell
from services.dataset.normalise.amounts import AMOUNTS, BARE_UNITS, PLAIN_NUMBERS, RANGES
from services.dataset.normalise.clean import clean, is_speakable, tidy
from services.dataset.normalise.codes import ALPHANUMERICS, CODES, VERSIONS, WEB
from services.dataset.normalise.dates import DATES, TIMES
from services.dataset.normalise.fractions import FRACTIONS
from services.dataset.normalise.money import CURRENCY_NAMES, MONEY
from services.dataset.normalise.numbers import cardinal
from services.dataset.normalise.roman import ROMAN_NUMERALS
from services.dataset.normalise.rules import Rule, apply, word_list

_SYMBOLS = {
    "&": "e",
    "+": "mais",
    "=": "igual a",
    "@": "arroba",
    "#": "cerquilha",
    "%": "por cento",
    "‰": "por mil",
    "°": "graus",
    "<": "menor que",
    ">": "maior que",
    "≤": "menor ou igual a",
    "≥": "maior ou igual a",
    "≠": "diferente de",
    "≈": "aproximadamente",
    "±": "mais ou menos",
    "×": "vezes",
    "÷": "dividido por",
    "√": "raiz quadrada de",
    "∞": "infinito",
    "$": "cifrão",
    "²": "ao quadrado",
    "³": "ao cubo",
    "π": "pi",
    "α": "alfa",
    "β": "beta",
    "γ": "gama",
    "δ": "delta",
    "Δ": "delta",
    "θ": "teta",
    "λ": "lambda",
    "μ": "mi",
    "σ": "sigma",
    "φ": "fi",
    "Ω": "ômega",
    "ω": "ômega",
}
# Names for a text that is nothing but symbols.
_ALONE = {
    **_SYMBOLS,
    ".": "ponto",
    "…": "reticências",
    ",": "vírgula",
    "?": "ponto de interrogação",
    "!": "ponto de exclamação",
    ";": "ponto e vírgula",
    ":": "dois-pontos",
    "-": "hífen",
    "_": "underline",
    "/": "barra",
    "\\": "barra invertida",
    "*": "asterisco",
    "'": "apóstrofo",
    '"': "aspas",
    "(": "abre parêntese",
    ")": "fecha parêntese",
    "[": "abre colchete",
    "]": "fecha colchete",
    "{": "abre chave",
    "}": "fecha chave",
    "|": "barra vertical",
    "~": "til",
    "^": "acento circunflexo",
    "`": "crase",
    "€": "euro",
    "£": "libra",
    "¥": "iene",
}
_UNNAMED, _EMOJI = "símbolo", "emoji"
_LONGEST_SPOKEN_SYMBOLS = 5

_STATES = word_list("AC AL AP AM BA CE DF ES GO MA MT MS MG PA PB PR PE PI RJ RN RS RO RR SC SP SE TO")

_EXPONENTS = {"²": "dois", "³": "três"}

_SHOUTED_WORDS, _SHOUTED_SHARE = 3, 0.6
_CAPITALS = re.compile(r"(?<![\w'])[A-ZÀ-ÖØ-Þ]{2,}(?![\w'])")
_CAPITALS_OR_ARTICLE = re.compile(rf"{_CAPITALS.pattern}|(?<!\w)[AEOÀÁÉ](?![\w.'])")
_WORD = re.compile(r"[^\W\d_]{2,}")
_ROMAN = re.compile(r"[IVXLCDM]+")


def _inches(match: re.Match[str]) -> str:
    return f"{match.group(1)} pol" if match.string.count('"') % 2 else match.group()


def _list_number(match: re.Match[str]) -> str:
    return f"número {match.group(1)}"


def _power(match: re.Match[str]) -> str:
    exponent = match.group(1)
    return {"2": " ao quadrado", "3": " ao cubo"}.get(exponent, f" elevado a {cardinal(int(exponent[:9]))}")


def _negative_power(match: re.Match[str]) -> str:
    return f" elevado a menos {cardinal(int(match.group(1)[:9])) if match.group(1) else _EXPONENTS[match.group(2)]}"


def _squared_letter(match: re.Match[str]) -> str:
    return f"{spell(match.group(1))} {_SYMBOLS[match.group(2)]}"


def _symbol(match: re.Match[str]) -> str:
    return f" {_SYMBOLS[match.group()]} "


_MARKUP: tuple[Rule, ...] = (
    (re.compile(r"</?[A-Za-z][^<>]{0,200}>"), " "),
    (re.compile(r"(\d{1,2}(?:,\d)?)\"(?!\w)"), _inches),
    (re.compile(r"(?<!\w)C#(?!\w)"), "C sharp"),
    (re.compile(r"(?<=\d)'(?=\d)"), " "),
    (re.compile(r"#\s?(\d+)"), _list_number),
    (re.compile(r"(\*\*|__|`)(?=\S)(.+?)\1"), r"\2"),
    (re.compile(r"(?<=\d)\s?\*\s?(?=\d)"), " × "),
    (re.compile(r"~\s?(?=\d)"), "cerca de "),
    (re.compile(r"(?<=%)\s?a\.\s?a\.(?!\w)"), " ao ano"),
    (re.compile(r"(?<=%)\s?a\.\s?m\.(?!\w)"), " ao mês"),
    (re.compile(rf"(?<=[a-zà-ÿ])/(?=(?:{'|'.join(_STATES)})(?!\w))"), ", "),
    (re.compile(r"(?<!\w)([A-Z]{1,3})&([A-Z]{1,3})(?!\w)"), lambda match: f"{spell(match.group(1))} e {spell(match.group(2))}"),
)
_POWERS: tuple[Rule, ...] = (
    (re.compile(r"-(?:\^(\d+)|([²³]))"), _negative_power),
    (re.compile(r"\^(\d+)"), _power),
    (re.compile(r"(?<!\w)([A-Za-z])([²³])"), _squared_letter),
)
_SPOKEN_SYMBOLS: tuple[Rule, ...] = (
    *CURRENCY_NAMES,
    *_POWERS,
    (re.compile(r"\s/\s"), ", "),
    (re.compile(r"(?<=[^\W_])/(?=[^\W_])"), " barra "),
    (re.compile(r"[()\[\]{}|→]"), ", "),
    (re.compile("[" + re.escape("".join(_SYMBOLS)) + "]"), _symbol),
    (re.compile(r"[_*\"]"), " "),
)
_NUMBERS: tuple[Rule, ...] = (
    *CODES,
    *DATES,
    *TIMES,
    *FRACTIONS,
    *RANGES,
    *MONEY,
    *AMOUNTS,
    *VERSIONS,
    *_POWERS,
    *ALPHANUMERICS,
    *PLAIN_NUMBERS,
)
# In order; the rules of a stage run where its pattern is found, which most sentences lack for most stages.
_FIRST_STAGES = (
    (re.compile(r"[@#]|\w\.\w|//"), WEB),
    (re.compile(r"[^\w\s.,?!;:'-]|_"), _MARKUP),
    (re.compile(""), ABBREVIATIONS),
)
_STAGES = (
    (re.compile(r"(?<!\w)[IVXLCDM]+(?!\w)"), ROMAN_NUMERALS),
    (re.compile(r"\d"), _NUMBERS),
    (re.compile(""), BARE_UNITS),
    (re.compile(r"[^\w\s.,?!;:'-]|[²³_]|[A-Z]{3}"), _SPOKEN_SYMBOLS),
    (re.compile(r"[A-ZÀ-ÖØ-Þ](?![a-zà-ÿ])"), ACRONYMS),
)
_MOST_PASSES = 5


def normalise_portuguese(text: str) -> str:
    """Write Brazilian Portuguese as it is said; see `services.dataset.normalise.normalise`.

    What one pass writes out can bring to light what another rule reads ("etc1" -> "etc um"), so passes repeat until nothing
    changes. Without digits the later ones are cheap.
    """
    spoken = text
    for _ in range(_MOST_PASSES):
        before, spoken = spoken, _pass(spoken)
        if before == spoken:
            break
    return spoken if is_speakable(spoken) else _name_symbols(text)


def _pass(text: str) -> str:
    return tidy(_run(_lower_shouting(_run(clean(text), _FIRST_STAGES)), _STAGES))


def _run(text: str, stages: Iterable[tuple[re.Pattern[str], Iterable[Rule]]]) -> str:
    for needed, rules in stages:
        if needed.search(text):
            text = apply(text, rules)
    return text


def _lower_shouting(text: str) -> str:
    """Text written in capitals in ordinary case, but for acronyms and Roman numerals."""
    capitals = [word for word in _CAPITALS.findall(text) if not is_acronym(word)]
    if len(capitals) < _SHOUTED_WORDS or len(capitals) < _SHOUTED_SHARE * len(_WORD.findall(text)):
        return text
    lowered = _CAPITALS_OR_ARTICLE.sub(_lowered, text)
    return lowered[:1].upper() + lowered[1:]


def _lowered(match: re.Match[str]) -> str:
    word = match.group()
    return word if is_acronym(word) or _ROMAN.fullmatch(word) else word.lower()


def _name_symbols(text: str) -> str:
    """Names for what has no words: "???" -> ponto de interrogação."""
    names = dict.fromkeys(_symbol_name(character) for character in text.replace("...", "…") if not character.isspace())
    return ", ".join(list(names)[:_LONGEST_SPOKEN_SYMBOLS])


def _symbol_name(character: str) -> str:
    return _ALONE.get(character) or (_EMOJI if unicodedata.category(character) == "So" else _UNNAMED)
