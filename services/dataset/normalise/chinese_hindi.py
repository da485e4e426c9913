"""Cardinals of the two languages of XTTS-v2 that num2words lacks."""

from __future__ import annotations

from services.dataset.normalise.rules import word_list

# Both readings below are complete up to here; longer numbers are read digit by digit.
LARGEST = 10**15

_CHINESE_DIGITS = "零一二三四五六七八九"
_CHINESE_PLACES = ((1000, "千"), (100, "百"), (10, "十"), (1, ""))
_CHINESE_CLASSES = ((10**12, "兆"), (10**8, "亿"), (10**4, "万"), (1, ""))
# Hindi has a word of its own for every number below a hundred.
_HINDI = word_list(
    "शून्य एक दो तीन चार पाँच छह सात आठ नौ दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस बीस इक्कीस "
    "बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस "
    "अड़तीस उनतालीस चालीस इकतालीस बयालीस तैंतालीस चौवालीस पैंतालीस छियालीस सैंतालीस अड़तालीस उनचास पचास इक्यावन "
    "बावन तिरेपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ साठ इकसठ बासठ तिरेसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर "
    "सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर पचहत्तर छिहत्तर सतहत्तर अठहत्तर उन्यासी अस्सी इक्यासी बयासी तिरासी "
    "चौरासी पचासी छियासी सत्तासी अट्ठासी नवासी नब्बे इक्यानवे बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे "
    "अट्ठानवे निन्यानवे"
)
_HINDI_SCALES = (
    (10**13, "नील"),
    (10**11, "खरब"),
    (10**9, "अरब"),
    (10**7, "करोड़"),
    (10**5, "लाख"),
    (10**3, "हज़ार"),
    (100, "सौ"),
)


def chinese(value: int) -> str:
    """The Mandarin cardinal of a number from 0 to `LARGEST`: 12 -> 十二, 105 -> 一百零五, 20,005 -> 二万零五."""
    if value < 10:
        return _CHINESE_DIGITS[value]
    words, skipped = "", False
    for size, name in _CHINESE_CLASSES:
        group, value = divmod(value, size)
        if not group:
            skipped = bool(words)
            continue
        if words and (skipped or group < 1000):
            words += "零"
        words += _chinese_group(group) + name
        skipped = False
    return words.removeprefix("一") if words.startswith("一十") else words


def _chinese_group(group: int) -> str:
    words, skipped = "", False
    for size, name in _CHINESE_PLACES:
        digit, group = divmod(group, size)
        if digit:
            words += ("零" if skipped and words else "") + _CHINESE_DIGITS[digit] + name
        skipped = not digit
    return words


def hindi(value: int) -> str:
    """The Hindi cardinal of a number from 0 to `LARGEST`, in Indian classes: 1,50,000 -> एक लाख पचास हज़ार."""
    words = []
    for size, name in _HINDI_SCALES:
        count, value = divmod(value, size)
        if count:
            words += [hindi(count), name]
    if value or not words:
        words.append(_HINDI[value])
    return " ".join(words)
