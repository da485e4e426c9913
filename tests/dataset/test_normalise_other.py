import unicodedata

import pytest

from services.dataset.normalise import normalise
from services.dataset.normalise.other_tables import SPEECH
from services.runtime.errors import InvalidArgument

CASES = [
    ("en", "It cost $5 in 1999.", "It cost five dollars in nineteen ninety-nine."),
    (
        "en",
        "The 2nd of 1,234 pages & 3.14%",
        "The second of one thousand two hundred and thirty-four pages and three point one four percent",
    ),
    ("en", "-7 or 007", "minus seven or zero zero seven"),
    ("en", "I’m “here” 🙂…", "I'm here..."),
    ("es", "21 por ciento son 3,5 €", "veintiuno por ciento son tres coma cinco euros"),
    ("es", "El 1º de 1.000", "El primero de mil"),
    ("fr", "80 % et 2,5", "quatre-vingts pour cent et deux virgule cinq"),
    ("fr", "le 1er jour", "le premier jour"),
    ("de", "Es sind 21 Tage und 1.000 €.", "Es sind einundzwanzig Tage und eintausend Euro."),
    ("it", "28 anni", "ventotto anni"),
    ("pl", "5 kotów", "pięć kotów"),
    ("tr", "%50 ve 3%", "yüzde elli ve yüzde üç"),
    ("ru", "3 кота", "три кота"),
    ("nl", "22 dagen", "tweeëntwintig dagen"),
    ("cs", "100 korun", "sto korun"),
    ("hu", "12 alma", "tizenkettő alma"),
    ("ar", "٣ كتب", "ثلاثة كتب"),
    ("ko", "10 개", "십 개"),
    ("ja", "25人", "二十五人"),
    ("zh-cn", "我有105本书，花了3.5%", "我有一百零五本书, 花了百分之三点五"),
    ("zh", "2025年12月", "二零二五年十二月"),
    ("zh", "10 110 1010 20005 100000005", "十 一百一十 一千零一十 二万零五 一亿零五"),
    ("hi", "मेरे पास 25 किताबें", "मेरे पास पच्चीस किताबें"),
    ("hi", "150000", "एक लाख पचास हज़ार"),
    ("en", "???", "symbol"),
    ("ja", "🙂", "記号"),
    ("en", " ", ""),
]


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_is_read_in_its_language(language: str, written: str, spoken: str) -> None:
    assert normalise(written, language) == spoken


@pytest.mark.parametrize("language", SPEECH)
def test_every_language_reads_small_and_large_numbers(language: str) -> None:
    numbers = ["0", "7", "10", "11", "20", "99", "100", "1001", "12345", "1000000", "123456789012345", "1" * 30]
    readings = [normalise(number, language) for number in numbers]
    assert len(set(readings)) == len(numbers)
    assert all(
        character.isalpha() or character in " -'" for reading in readings for character in reading if not _mark(character)
    )


def _mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


@pytest.mark.parametrize("language", ["xx", "sv", "", "portuguese"])
def test_an_unknown_language_is_refused_with_the_known_ones(language: str) -> None:
    with pytest.raises(InvalidArgument, match=r"use one of pt, en, .* hi\.$"):
        normalise("1", language)
