"""Acronyms: said letter by letter with the Portuguese names of the letters, or left as the words that they are."""

from __future__ import annotations

import re

from services.dataset.normalise.rules import Rule, after, before, word_set

# Names of the letters: Acordo Ortográfico da Língua Portuguesa (1990), Base I.
LETTERS = {
    "a": "á",
    "b": "bê",
    "c": "cê",
    "d": "dê",
    "e": "é",
    "f": "efe",
    "g": "gê",
    "h": "agá",
    "i": "i",
    "j": "jota",
    "k": "cá",
    "l": "ele",
    "m": "eme",
    "n": "ene",
    "o": "ó",
    "p": "pê",
    "q": "quê",
    "r": "erre",
    "s": "esse",
    "t": "tê",
    "u": "u",
    "v": "vê",
    "w": "dáblio",
    "x": "xis",
    "y": "ípsilon",
    "z": "zê",
}

# Said letter by letter although they have the shape of a word.
_SPELLED = word_set(
    "IBGE AGU SA AK CO BNDES INSS IPVA IPTU IPI IOF ICMS ISS ABL ABNT ANP ANS OAB OMS OMC OEA OCDE FMI UTI UPP "
    "UFMG UFRJ UFPE UFBA USA IA API TI QI IP SUV TV DJ AM PE PA PI CE AC AL AP BA ES GO MA TO RO UE GPS HIV LGBT "
    "LGBTQIA CEO CFO CTO CPI DDD EAD IR IRPF IRPJ MEI RG RH TCU UNB URL URSS USB BO CEF CTI FBI UFC UEFS UFSC PR "
    "SP RJ CD DVD MBA CPU GPU"
)
# Said as words although they do not have the shape of one.
_WORDS = word_set(
    "NASA ONU OTAN FIFA UEFA UNESCO UNICEF USP PUC UNESP UNICAMP SENAI SENAC SESI SESC MASP MEC SUS SAMU PIB PIX "
    "CEP TED AIDS COVID PEC PAC CUT UNE ONG UPA CIA VIP PIN CAPES ENEM FIES IPHAN PSOL DEM LED SAC RAM TOC ITA "
    "UOL VAR CID PIS BOPE OPEP NATO APEC WIFI CHIP APP PET ZAP UAI VAN INEP OK OI AI EI UERJ UFF IPEA SISU SPAM "
    "SHOW ROCK POP FUNK TRANS BLUES TOP VIPS BRICS IBAMA FUVEST SEBRAE"
)
_EXPANDED = {"EUA": "Estados Unidos"}

_VOWEL = re.compile(r"[AEIOUÀ-ÆÈ-ÏÒ-ÖØ-Ü]")
# A word of Portuguese shape: syllables of an onset, vowels and one of the consonants that may close them.
_WORD_SHAPE = re.compile(
    r"(?:(?:[BCDFGPTV][RL]|[CLN]H|QU|GU|[BCDFGHJKLMNPRSTVWXZÇ])?[AEIOUYÀ-ÆÈ-ÏÒ-ÖØ-Ü]{1,2}[LMNRSXZ]?)+[BCDFGKPTV]?S?"
)
_LONGEST_UNKNOWN = 4
_ONE_LETTER_WORDS = frozenset("AEOÉÀÁÓIU")
_LABEL = r"(?i:plano|vitamina|grupo|classe|turma|letra|tipo|hepatite|série|sala|bloco|nota|ponto|opção|item|categoria)"
_AFTER_LABEL = re.compile(rf"(?<!\w){_LABEL} $")
_UPPER = "A-ZÀ-ÖØ-Þ"


def spell(letters: str) -> str:
    """The names of the letters, joined by hyphens: "PT" -> "pê-tê"; a letter without a Portuguese name stays as it is."""
    return "-".join(LETTERS.get(letter, letter) for letter in letters.lower())


def is_spelled(token: str) -> bool:
    """Whether a token in capitals is said letter by letter.

    Known acronyms are looked up. Unknown ones are spelled when they have no vowel, or when they are short (up to four
    letters) and not shaped like a Portuguese word; longer words in capitals are mostly emphasis.
    """
    if token in _WORDS or token in _ONE_LETTER_WORDS:
        return False
    if token in _SPELLED or not _VOWEL.search(token):
        return True
    return len(token) <= _LONGEST_UNKNOWN and not _WORD_SHAPE.fullmatch(token)


def is_acronym(token: str) -> bool:
    """Whether a token in capitals is an acronym and not a word somebody shouts."""
    return token in _WORDS or token in _EXPANDED or is_spelled(token)


def _say(token: str) -> str:
    if token in _EXPANDED:
        return _EXPANDED[token]
    return spell(token) if is_spelled(token) else token


def _acronym(match: re.Match[str]) -> str:
    token, plural = match.groups()
    return _say(token) + plural


def _dotted(match: re.Match[str]) -> str:
    """O.N.U. is read as ONU; the last dot stays where it ends the text or the sentence."""
    ends = re.match(rf"\s*$|\s+[{_UPPER}]", after(match))
    return _say(match.group().replace(".", "")) + ("." if ends else "")


def _initials(match: re.Match[str]) -> str:
    """The initials of a person ("J. K. Rowling"); not a label at the end of a sentence ("o plano B. Depois")."""
    if _AFTER_LABEL.search(before(match)):
        return match.group()
    return " ".join(spell(letter) for letter in match.group() if letter.isalpha()) + " "


def _label(match: re.Match[str]) -> str:
    return f"{match.group(1)} {spell(match.group(2))}"


ACRONYMS: tuple[Rule, ...] = (
    (re.compile(r"(?<!\w)PCdoB(?!\w)"), "pê-cê do bê"),
    (re.compile(rf"(?<![\w.])(?:[{_UPPER}]\.){{2,}}(?!\w)"), _dotted),
    (re.compile(rf"(?<![\w.'-])(?:[{_UPPER}]\. ?)+(?=(?:d[aeo]s? )?[{_UPPER}][^\W\d_])"), _initials),
    (re.compile(rf"(?<!\w)({_LABEL}) ([AEIOU])(?![\w'])"), _label),
    (re.compile(rf"(?<![\w'])([{_UPPER}]+)(s?)(?![\w'])"), _acronym),
)
