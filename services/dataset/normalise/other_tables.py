"""How numbers and symbols are said in the languages besides Portuguese that XTTS-v2 speaks."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Speech:
    """What is said in one language.

    Attributes:
        decimal: The written decimal separator; the other one of "." and "," separates thousands.
        point: The decimal separator as it is said.
        minus: The sign of a negative number.
        percent: What follows the number of a percentage.
        symbols: Names of further symbols.
        currencies: Symbol to its name for one and for several.
        ordinals: Regular expression for the ending that makes a number an ordinal; nothing where there is no one ending.
        compact: Whether words stand without spaces between them.
    """

    decimal: str
    point: str
    minus: str
    percent: str
    symbols: dict[str, str] = field(default_factory=dict)
    currencies: dict[str, tuple[str, str]] = field(default_factory=dict)
    ordinals: str = ""
    compact: bool = False


def _symbols(conjunction: str, plus: str, equals: str, at: str, degrees: str) -> dict[str, str]:
    return {"&": conjunction, "+": plus, "=": equals, "@": at, "°": degrees}


SPEECH: dict[str, Speech] = {
    "en": Speech(
        ".",
        "point",
        "minus",
        "percent",
        _symbols("and", "plus", "equals", "at", "degrees"),
        {"$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds")},
        "st|nd|rd|th",
    ),
    "es": Speech(
        ",",
        "coma",
        "menos",
        "por ciento",
        _symbols("y", "más", "igual a", "arroba", "grados"),
        {"$": ("dólar", "dólares"), "€": ("euro", "euros"), "£": ("libra", "libras")},
        r"\.?[ºª]",
    ),
    "fr": Speech(
        ",",
        "virgule",
        "moins",
        "pour cent",
        _symbols("et", "plus", "égale", "arobase", "degrés"),
        {"$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("livre", "livres")},
        "ers?|res?|ères?|e|è|ème|ième",
    ),
    "de": Speech(
        ",",
        "Komma",
        "minus",
        "Prozent",
        _symbols("und", "plus", "gleich", "at", "Grad"),
        {"$": ("Dollar", "Dollar"), "€": ("Euro", "Euro"), "£": ("Pfund", "Pfund")},
    ),
    "it": Speech(
        ",",
        "virgola",
        "meno",
        "per cento",
        _symbols("e", "più", "uguale a", "chiocciola", "gradi"),
        {"$": ("dollaro", "dollari"), "€": ("euro", "euro"), "£": ("sterlina", "sterline")},
        "[ºª°]",
    ),
    "pl": Speech(
        ",",
        "przecinek",
        "minus",
        "procent",
        _symbols("i", "plus", "równa się", "małpa", "stopni"),
        {"$": ("dolar", "dolarów"), "€": ("euro", "euro"), "£": ("funt", "funtów")},
    ),
    "tr": Speech(
        ",",
        "virgül",
        "eksi",
        "yüzde",
        _symbols("ve", "artı", "eşittir", "et", "derece"),
        {"$": ("dolar", "dolar"), "€": ("euro", "euro"), "£": ("sterlin", "sterlin"), "₺": ("lira", "lira")},
    ),
    "ru": Speech(
        ",",
        "запятая",
        "минус",
        "процентов",
        _symbols("и", "плюс", "равно", "собака", "градусов"),
        {"$": ("доллар", "долларов"), "€": ("евро", "евро"), "₽": ("рубль", "рублей"), "£": ("фунт", "фунтов")},
    ),
    "nl": Speech(
        ",",
        "komma",
        "min",
        "procent",
        _symbols("en", "plus", "is gelijk aan", "apenstaartje", "graden"),
        {"$": ("dollar", "dollar"), "€": ("euro", "euro"), "£": ("pond", "pond")},
        "de|ste|e",
    ),
    "cs": Speech(
        ",",
        "celá",
        "mínus",
        "procent",
        _symbols("a", "plus", "rovná se", "zavináč", "stupňů"),
        {"$": ("dolar", "dolarů"), "€": ("euro", "eur"), "£": ("libra", "liber")},
    ),
    "ar": Speech(
        ".",
        "فاصلة",
        "سالب",
        "بالمئة",
        _symbols("و", "زائد", "يساوي", "آت", "درجة"),
        {"$": ("دولار", "دولار"), "€": ("يورو", "يورو"), "£": ("جنيه", "جنيه")},
    ),
    "zh": Speech(
        ".",
        "点",
        "负",
        "百分之",
        _symbols("和", "加", "等于", "艾特", "度"),
        {"$": ("美元", "美元"), "€": ("欧元", "欧元"), "£": ("英镑", "英镑"), "¥": ("元", "元")},
        compact=True,
    ),
    "hu": Speech(
        ",",
        "egész",
        "mínusz",
        "százalék",
        _symbols("és", "plusz", "egyenlő", "kukac", "fok"),
        {"$": ("dollár", "dollár"), "€": ("euró", "euró"), "£": ("font", "font")},
    ),
    "ko": Speech(
        ".",
        "점",
        "마이너스",
        "퍼센트",
        _symbols("그리고", "더하기", "는", "골뱅이", "도"),
        {"$": ("달러", "달러"), "€": ("유로", "유로"), "£": ("파운드", "파운드"), "₩": ("원", "원")},
    ),
    "ja": Speech(
        ".",
        "点",
        "マイナス",
        "パーセント",
        _symbols("と", "プラス", "イコール", "アット", "度"),
        {"$": ("ドル", "ドル"), "€": ("ユーロ", "ユーロ"), "£": ("ポンド", "ポンド"), "¥": ("円", "円")},
        compact=True,
    ),
    "hi": Speech(
        ".",
        "दशमलव",
        "ऋण",
        "प्रतिशत",
        _symbols("और", "जमा", "बराबर", "ऐट", "डिग्री"),
        {"$": ("डॉलर", "डॉलर"), "€": ("यूरो", "यूरो"), "₹": ("रुपया", "रुपये"), "£": ("पाउंड", "पाउंड")},
    ),
}
# Said before the number, not after it.
PERCENT_FIRST = frozenset({"zh", "tr"})
