import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dataset.normalise import normalise
from services.dataset.normalise.other_tables import SPEECH

# Pieces of real text, so that the rules meet each other in orders nobody thought of.
_WRITTEN = """
R$ 1.234,56 US$ 3 mil milhões 5 10 21 200 2.000 3,14 1/2 3/12 24/7 03/12/2025 2025-12-03 14h30 14:30 9h às das os as em de
Dr. Sra. av. nº n. p. D. S. R. Pedro Maria II XIX I V X século capítulo e ou a o IBGE NASA EUA E.U.A. SP km/h °C kg m² t g h
% & + = @ # ° § ( ) - – — / \\ | * _ ~ ^ ... ? ! , ; : . ' " “ ” ½ ² ³ º ª 1º 2ª feira 2x1 10-20 (11) 98765-4321 0800 123 4567
www.gov.br a@b.com.br https://x.io/1 #Tag1 @eu A4 BR-116 4K etc. a.C. s/n c/ vc PESSOAS MENINAS NÃO pessoas carros das 🙂 \u200b
\u0301 ٣ Ⅷ ① 〇 ª1 1a mi bi 50" 4x4 123456789 12345678901234567890 000 1,2,3 1.2.3 5,899 - 5 -5 p.p. A.B. J. K. N. v2 CO2 F1
"""
PIECES = _WRITTEN.split()
PORTUGUESE = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from([" ", " ", " ", ""])), min_size=1, max_size=12).map(
    "".join
)
SPACED = st.lists(st.sampled_from(PIECES), min_size=1, max_size=10).map(" ".join)
ANY_TEXT = st.one_of(st.text(max_size=60), PORTUGUESE, SPACED)
NUMERIC = st.text(alphabet=st.characters(categories=["Nd", "Nl", "No", "Sc", "Sm", "Po", "Zs"]), min_size=1, max_size=20)


def check(text: str, language: str) -> None:
    spoken = normalise(text, language)
    assert not [c for c in spoken if c.isdigit() or unicodedata.category(c)[0] == "N"]
    assert not {c for c in spoken if unicodedata.category(c)[0] not in "LM"} - set(" .,?!;:'-")
    assert bool(spoken) == bool(text.strip())
    assert spoken == " ".join(spoken.split())
    assert unicodedata.is_normalized("NFC", spoken)
    assert normalise(spoken, language) == spoken


@settings(max_examples=400, deadline=None)
@given(ANY_TEXT)
def test_portuguese_properties(text: str) -> None:
    check(text, "pt")


@settings(max_examples=150, deadline=None)
@given(NUMERIC)
def test_portuguese_properties_with_every_kind_of_digit_and_symbol(text: str) -> None:
    check(text, "pt")


@settings(max_examples=300, deadline=None)
@given(st.one_of(ANY_TEXT, NUMERIC), st.sampled_from([*SPEECH, "zh-cn"]))
def test_other_languages_properties(text: str, language: str) -> None:
    check(text, language)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ["1", "1-", "M.", "a@", "a.", "<a ", "XI ", "**a", "1 a "])
def test_the_longest_texts_take_linear_time(piece: str) -> None:
    # Quadratic rules took minutes here.
    assert normalise((piece * 50_000)[:50_000])
