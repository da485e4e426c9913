"""What is read as a code and not as a quantity: web addresses, phone and document numbers, versions, model names."""

from __future__ import annotations

import re

from services.dataset.normalise.acronyms import spell
from services.dataset.normalise.numbers import NUMBER, cardinal, digits, grouped_digits, number, zero_led
from services.dataset.normalise.rules import Rule, any_of, word_list

_WEB_SYMBOLS = {
    ".": "ponto",
    "@": "arroba",
    "/": "barra",
    "-": "hífen",
    "_": "underline",
    ":": "dois pontos",
    "?": "interrogação",
    "=": "igual",
    "&": "e",
    "#": "cerquilha",
    "%": "por cento",
    "+": "mais",
    "~": "til",
}
_WEB_WORDS = {"www": "dáblio dáblio dáblio", "gmail": "gmail", "html": "agá-tê-eme-ele"}
_DOMAINS = word_list("com org net gov edu br io tv app dev info pt uk ar fr de es")
_FILES = word_list("pdf doc docx xls xlsx csv txt jpg jpeg png gif mp3 mp4 wav zip exe py js html json xml")
_VOWELLESS = re.compile(r"[b-df-hj-np-tv-z]{1,5}", re.IGNORECASE)
_YEARS = range(1000, 2101)
_LONG_CODE, _LONG_VERSION = 5, 4

_DOMAIN = rf"(?:[^\W_](?:[\w-]*[^\W_])?\.)+(?:{'|'.join(_DOMAINS)})(?!\w)"
_LABELS = (
    r"(?i:cpf|cnpj|cep|rg|pis|protocolo|código|senha|pin|matrícula|conta|agência|telefone|celular|whatsapp|fone|tel|placa|"
    r"processo|inscrição|ramal)"
)
_NOT_IN_NUMBER = r"(?<![\w.,/-])"
_ENDS = r"(?![\w/-]|[.,]\d)"


def web(address: str) -> str:
    """Read an address aloud: "a@b.com.br" -> "á arroba bê ponto com ponto bê-erre"."""
    tokens = re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", address)
    return " ".join(filter(None, (_web_token(token, index == len(tokens) - 1) for index, token in enumerate(tokens))))


def _web_token(token: str, last: bool) -> str:
    if token in _WEB_SYMBOLS:
        return _WEB_SYMBOLS[token]
    if token.isdecimal():
        return code(token)
    if token.lower() in _WEB_WORDS:
        return _WEB_WORDS[token.lower()]
    if not token.isalpha():
        return ""
    if len(token) == 1 or _VOWELLESS.fullmatch(token) or (last and len(token) == 2):
        return spell(token)
    return token


def code(text: str) -> str:
    """Read the number in a name: short ones as cardinals, long ones and those that begin with zero digit by digit."""
    if len(text) > 1 and text[0] == "0":
        return zero_led(text)
    return digits(text) if len(text) >= _LONG_CODE else cardinal(int(text))


def _url(match: re.Match[str]) -> str:
    address = match.group(1)
    rest = address[len(address.rstrip(".,;:!?)'/")) :].replace("/", "")
    return web(address.rstrip(".,;:!?)'/")) + rest


def _hashtag(match: re.Match[str]) -> str:
    words = re.findall(r"[^\W\d_a-zà-ÿ]+(?![a-zà-ÿ])|[^\W\d_]?[a-zà-ÿ]+|[^\W\d_]+|\d+", match.group(1))
    return " ".join(["hashtag", *words])


def _international(match: re.Match[str]) -> str:
    country, area, rest = match.groups()
    return f"mais {cardinal(int(country))}, {_area(area)}, {grouped_digits(rest)}"


def _foreign(match: re.Match[str]) -> str:
    return f"mais {cardinal(int(match.group(1)))}, {grouped_digits(match.group(2))}"


def _area(text: str) -> str:
    """An area code: two digits are one number ("onze"), with the zero of older notation in front."""
    if len(text) > 2 and text[0] != "0":
        return digits(text)
    return f"zero {cardinal(int(text))}" if text[0] == "0" else cardinal(int(text))


def _phone(match: re.Match[str]) -> str:
    area, rest = match.groups()
    return f"{_area(area)}, {grouped_digits(rest)}"


def _local_phone(match: re.Match[str]) -> str:
    """98765-4321; two years with a hyphen are a range and no phone number."""
    first, second = match.groups()
    if len(first) == 4 and int(first) in _YEARS and int(second) in _YEARS:
        return match.group()
    return grouped_digits(match.group())


def _free_call(match: re.Match[str]) -> str:
    return f"zero {cardinal(int(match.group(1)))}, {grouped_digits(match.group(2))}"


def _labelled(match: re.Match[str]) -> str:
    return match.group(1) + grouped_digits(match.group(2))


def _version(match: re.Match[str]) -> str:
    """1.2.3 and 3.11; a number with proper thousands dots stays a number."""
    prefix, written = match.groups()
    if not prefix and re.fullmatch(NUMBER, written):
        return match.group()
    parts = [number(part) if len(part) < _LONG_VERSION else digits(part) for part in written.split(".")]
    return ("versão " if prefix else "") + " ponto ".join(parts)


def _alphanumeric(match: re.Match[str]) -> str:
    """A4, 5G, MP3, H1N1: short letter runs are spelled, longer ones stay words, numbers are read as codes."""
    return " ".join(_run(run) for run in re.findall(r"\d+|[^\W\d_]+", match.group()))


def _run(run: str) -> str:
    if run.isdecimal():
        return code(run)
    return spell(run) if len(run) == 1 or _VOWELLESS.fullmatch(run) or (len(run) == 2 and run.isupper()) else run


def _plate(match: re.Match[str]) -> str:
    return " ".join(spell(run) if run.isalpha() else digits(run) for run in re.findall(r"\d+|[A-Z]+", match.group()))


WEB: tuple[Rule, ...] = (
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"), lambda m: web(m.group())),
    (re.compile(r"(?i:https?|ftp)://([^\s<>\"]+)"), _url),
    (re.compile(r"(?<![\w@])((?i:www)\.[^\s<>\"]+)"), _url),
    (re.compile(rf"(?<![\w@.-])({_DOMAIN}(?:/[^\s<>\"]*)?)"), _url),
    (re.compile(rf"(?<![\w.-])([\w-]+\.(?:{any_of(_FILES)}))(?!\w)"), lambda m: web(m.group(1))),
    (re.compile(r"(?<![\w&])#([^\W\d_]\w*)"), _hashtag),
    (re.compile(r"(?<![\w.])@(\w[\w.]*\w|\w)"), lambda m: web(m.group())),
)

CODES: tuple[Rule, ...] = (
    (re.compile(rf"{_NOT_IN_NUMBER}\d{{2}}\.\d{{3}}\.\d{{3}}/\d{{4}}-\d{{2}}{_ENDS}"), lambda m: grouped_digits(m.group())),
    (re.compile(rf"{_NOT_IN_NUMBER}\d{{3}}\.\d{{3}}\.\d{{3}}-\d{{2}}{_ENDS}"), lambda m: grouped_digits(m.group())),
    (re.compile(rf"{_NOT_IN_NUMBER}\d{{1,2}}\.\d{{3}}\.\d{{3}}-\d{_ENDS}"), lambda m: grouped_digits(m.group())),
    (re.compile(rf"{_NOT_IN_NUMBER}\d{{2}}\.?\d{{3}}-\d{{3}}{_ENDS}"), lambda m: grouped_digits(m.group())),
    (re.compile(rf"{_NOT_IN_NUMBER}\d{{4}}(?:[ -]\d{{4}}){{3}}{_ENDS}"), lambda m: grouped_digits(m.group())),
    (re.compile(r"\+\s?(\d{1,3})[\s.-]?\(?(\d{2,3})\)?[\s.-]?(9?\s?\d{3,4}[\s.-]?\d{4})(?!\d)"), _international),
    (re.compile(r"\+\s?(\d{1,3})((?:[\s.-]\(?\d{2,4}\)?){2,5})(?!\d)"), _foreign),
    (re.compile(r"\((0?\d{2})\)\s?-?\s?(9?\s?\d{4}[\s.-]?\d{4})(?!\d)"), _phone),
    (re.compile(rf"{_NOT_IN_NUMBER}(0?\d{{2}})[\s-](9\s?\d{{4}}[\s.-]?\d{{4}}|\d{{4}}[.-]\d{{4}}){_ENDS}"), _phone),
    (re.compile(rf"{_NOT_IN_NUMBER}0([3589]00)[\s.-]?(\d{{3}}[\s.-]?\d{{3,4}}){_ENDS}"), _free_call),
    (re.compile(rf"{_NOT_IN_NUMBER}(9\s?\d{{4}}|[2-5]\d{{3}})-(\d{{4}}){_ENDS}"), _local_phone),
    (re.compile(rf"(?<!\w)({_LABELS}(?:\s(?:é|número))?\s?:?\s)(\d{{4,}}(?:-\d{{1,2}})?){_ENDS}"), _labelled),
    (re.compile(r"(?<!\w)[A-Z]{3}-?\d{4}(?![\w/-])|(?<!\w)[A-Z]{3}\d[A-Z]\d\d(?!\w)"), _plate),
    (re.compile(rf"{_NOT_IN_NUMBER}\d+(?:[./-]\d+){{4,}}(?![\w/-])"), lambda m: grouped_digits(m.group())),
)

# After dates and money, which also use dots.
VERSIONS: tuple[Rule, ...] = (
    (re.compile(r"(?<![\w.,])([vV]\.?)(\d+(?:\.\d+)*)(?![\w,])"), _version),
    (re.compile(r"(?<![\w.,])()(\d+(?:\.\d+)+)(?![\d,])"), _version),
)

# After units, which also join letters to a number.
ALPHANUMERICS: tuple[Rule, ...] = (
    (re.compile(r"(?<=[^\W\d_])-(?=\d)|(?<=\d)-(?=[^\W\d_])"), " "),
    (re.compile(r"(?<![^\W_])(?=\d*[^\W\d_])(?=[^\W_]*\d)[^\W_]+"), _alphanumeric),
)
