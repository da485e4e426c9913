import pytest

from services.dataset.normalise.gender import counts_feminine, is_feminine_noun
from services.dataset.normalise.numbers import cardinal, digits, fraction, number, ordinal
from services.dataset.normalise.roman import value_of


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (101, "cento e um"),
        (1_000, "mil"),
        (1_022, "mil e vinte e dois"),
        (1_200, "mil e duzentos"),
        (2_345, "dois mil trezentos e quarenta e cinco"),
        (100_100, "cem mil e cem"),
        (1_000_001, "um milhão e um"),
        (3_200_000_000, "três bilhões e duzentos milhões"),
        (10**17, "cem quatrilhões"),
    ],
)
def test_cardinals_join_their_classes_as_portuguese_does(value: int, words: str) -> None:
    assert cardinal(value) == words


def test_only_thousands_and_units_agree_in_gender() -> None:
    assert cardinal(2_222_222, feminine=True) == "dois milhões duzentas e vinte e duas mil duzentas e vinte e duas"


def test_numbers_without_a_name_are_read_digit_by_digit() -> None:
    assert cardinal(10**18) == digits("1" + "0" * 18)


@pytest.mark.parametrize(
    ("value", "feminine", "words"),
    [
        (1, True, "primeira"),
        (22, True, "vigésima segunda"),
        (700, False, "septingentésimo"),
        (1_000, False, "milésimo"),
        (0, False, "zero"),
    ],
)
def test_ordinals(value: int, feminine: bool, words: str) -> None:
    assert ordinal(value, feminine) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("0,05", "zero vírgula zero cinco"),
        ("10,75", "dez vírgula setenta e cinco"),
        ("1,00", "um vírgula zero zero"),
        ("2,7182", "dois vírgula sete um oito dois"),
        ("1.000,5", "mil vírgula cinco"),
        ("040", "zero quarenta"),
        ("007", "zero zero sete"),
    ],
)
def test_written_numbers(written: str, words: str) -> None:
    assert number(written) == words


@pytest.mark.parametrize(
    ("above", "below", "words"),
    [
        (1, 2, "um meio"),
        (2, 3, "dois terços"),
        (5, 12, "cinco doze avos"),
        (7, 100, "sete centésimos"),
        (1, 0, "um sobre zero"),
    ],
)
def test_fractions(above: int, below: int, words: str) -> None:
    assert fraction(above, below) == words


FEMININE = (
    "casa casas cidade viagem viagens canção canções regiões decisões mão mãos mulher mulheres flor flores lei vezes noites "
    "manhã manhãs maçãs fotos tribos crises teses análises árvores vozes entrevistas questões paixões equipes tonelada"
)
MASCULINE = (
    "carro homem homens dia dias mapa problemas sistemas jornalistas artistas corações aviões cartões milhões limões países "
    "meses ingleses animais quilogramas gramas clima planetas reais pães cães lápis"
)


@pytest.mark.parametrize("noun", FEMININE.split())
def test_feminine_nouns(noun: str) -> None:
    assert is_feminine_noun(noun) is True


@pytest.mark.parametrize("noun", MASCULINE.split())
def test_masculine_nouns(noun: str) -> None:
    assert is_feminine_noun(noun) is False


@pytest.mark.parametrize(
    ("before", "written", "after", "feminine"),
    [
        ("", "2", " casas", True),
        ("", "2", " a 3 casas", True),
        ("", "2", " mil casas", True),
        ("em ", "2022", " mulheres votaram", False),
        ("de ", "2022", " mulheres", True),
        ("às ", "2", "", True),
        ("os ", "2", " e as casas", False),
        ("em ", "2000", " era assim", False),
        ("", "1", " para cada", False),
        ("", "2", "", False),
    ],
)
def test_what_is_counted_decides(before: str, written: str, after: str, feminine: bool) -> None:
    assert counts_feminine(before, written, after) is feminine


@pytest.mark.parametrize(("numeral", "value"), [("IV", 4), ("XIV", 14), ("XC", 90), ("MCMXCIX", 1999), ("XXI", 21)])
def test_roman_numerals(numeral: str, value: int) -> None:
    assert value_of(numeral) == value
