from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.sentences import (
    PARAGRAPH_PAUSE_SECONDS,
    SENTENCE_PAUSE_SECONDS,
    Limits,
    split_text,
    spoken_form,
)

PT = Limits(characters=203, tokens=402, count_tokens=len)


def texts(text: str, limits: Limits = PT) -> list[str]:
    return [piece.text for piece in split_text(text, limits)]


A = "O sol nasceu atrás da serra e iluminou a cidade."
B = "Minha avó fazia pão de queijo todo domingo."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A} {B}", [A, B]),
        (f"{A}\n\n{B}", [A, B]),
        (f"{A}\t\r\n{B}", [A, B]),
        ("O Dr. Silva e a Sra. Souza chegaram cedo à av. Paulista ontem.",) * 2,
        ("O livro de J. K. Rowling foi lido por todos os alunos.",) * 2,
        ("O preço subiu de 3.5 para 4.25 por cento em example.com hoje.",) * 2,
        ("Ele pensou... e depois de muito tempo resolveu falar.",) * 2,
        ("Ele pensou muito tempo… Depois de tudo isso resolveu ficar em casa.",
         ["Ele pensou muito tempo… Depois de tudo isso resolveu ficar em casa."]),
        ("“Vamos embora daqui agora mesmo!” disse ela em voz baixa.",) * 2,
        ("Ela disse a todos: “Vamos embora daqui.” Ninguém se mexeu do seu lugar.",
         ["Ela disse a todos: “Vamos embora daqui.”", "Ninguém se mexeu do seu lugar."]),
        ("Você vem hoje à noite com a gente? Espero muito que você venha mesmo!",
         ["Você vem hoje à noite com a gente?", "Espero muito que você venha mesmo!"]),
        ("Uma linha quebrada no meio\nda frase não é uma pausa, é largura.",
         ["Uma linha quebrada no meio da frase não é uma pausa, é largura."]),
        ("Compre pão, queijo, leite, etc. Depois volte para casa sem demora.",
         ["Compre pão, queijo, leite, etc.", "Depois volte para casa sem demora."]),
        ("1. Abra a porta da frente com a chave.\n2. Entre na casa sem fazer barulho.",
         ["1. Abra a porta da frente com a chave.", "2. Entre na casa sem fazer barulho."]),
    ],
)  # fmt: skip
def test_cuts_at_sentence_ends_and_nowhere_else(text: str, expected: str | list[str]) -> None:
    assert texts(text) == ([expected] if isinstance(expected, str) else expected)


def test_short_sentences_go_with_a_neighbour() -> None:
    assert texts(f"Sim. {A} Não.") == [f"Sim. {A} Não."]
    assert texts("Sim.") == ["Sim."]
    # A heading stays on its own; a single word does not, even across a paragraph.
    assert texts(f"{A}\n\nCapítulo dois\n\n{B}") == [A, "Capítulo dois", B]
    assert texts(f"Fim.\n\n{B}") == [f"Fim. {B}"]


def test_a_bare_line_is_joined_with_a_pause() -> None:
    assert texts(f"Nota\n{B}") == [f"Nota\n{B}"]
    assert spoken_form(f"Nota\n{B}", "pt") == f"Nota, {B[:-1]}"
    assert spoken_form("Note\nHe left.", "en") == "Note, He left."


def test_short_sentences_are_not_joined_over_the_limit() -> None:
    long = "a" * 100 + " " + "b" * 99 + "."
    assert texts(f"{long} Sim.") == [long, "Sim."]


def test_a_long_sentence_is_cut_at_its_strongest_break() -> None:
    left, right = "palavra " * 15 + "fim", "outra coisa, " * 8 + "fim."
    assert texts(f"{left}; {right}") == [f"{left};", right]
    commas = ", ".join(["uma expressão de algumas palavras"] * 8) + "."
    assert all(piece.endswith((",", ".")) for piece in texts(commas))
    clauses = " e ".join(["o homem que andava pela rua viu"] * 9)
    assert all(piece.startswith(("e ", "o ", "que ")) for piece in texts(clauses))


def test_pauses_tell_paragraph_from_sentence_from_word() -> None:
    words = "palavra " * 60
    pauses = [piece.pause_seconds for piece in split_text(f"{A} {B}\n\n{words.strip()}", PT)]
    assert pauses[:2] == [SENTENCE_PAUSE_SECONDS, PARAGRAPH_PAUSE_SECONDS]
    assert pauses[2] == 0
    assert pauses[-1] == PARAGRAPH_PAUSE_SECONDS


def test_the_token_limit_holds_where_the_character_limit_does_not_bind() -> None:
    dense = Limits(characters=203, tokens=40, count_tokens=lambda text: 2 * len(text))
    pieces = texts(f"{A} {B}", dense)
    assert all(len(piece) <= 20 for piece in pieces)
    assert " ".join(pieces) == f"{A} {B}"


def test_a_word_without_end_is_cut_without_tearing_accents() -> None:
    pieces = texts("a\u0301" * 500)
    assert "".join(pieces) == "a\u0301" * 500
    assert all(len(piece) <= 203 and piece[0] == "a" for piece in pieces)


def test_languages_without_spaces() -> None:
    limits = Limits(characters=82, tokens=402, count_tokens=len)
    assert texts("今天天气很好我们去公园散步。" * 2, limits) == ["今天天气很好我们去公园散步。"] * 2
    assert all(len(piece) <= 82 for piece in texts("今天天气很好我们去公园散步" * 30, limits))


@given(st.text(st.sampled_from('aábçé. ,;:!?…\n"”(ABD1-—e 。'), max_size=900) | st.text(max_size=500))
def test_nothing_is_lost_empty_or_over_the_limits(text: str) -> None:
    pieces = texts(text)
    assert re.sub(r"\s", "", "".join(pieces)) == re.sub(r"\s", "", text)
    assert all(piece.strip() == piece and 0 < len(piece) <= PT.characters for piece in pieces)


def test_ten_thousand_characters_take_no_time() -> None:
    pieces = texts("palavra comprida " * 580)
    assert sum(map(len, pieces)) > 9000
    assert min(map(len, pieces)) > 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ele saiu.", "Ele saiu"),
        ("Sim. Ele saiu.", "Sim, Ele saiu"),
        ("Ele saiu...", "Ele saiu"),
        ("Ele… talvez saia…", "Ele, talvez saia"),
        ("Ele saiu?", "Ele saiu?"),
        ("Ela disse: “Vamos.”", "Ela disse: “Vamos”"),
        ("“Vamos.” Ela saiu.", "“Vamos,” Ela saiu"),
        ("Primeiro isto,", "Primeiro isto"),
        ("Sério?. Sim", "Sério? Sim"),
        ("—", ""),
        ("?!", ""),
    ],
)
def test_portuguese_is_read_without_full_stops(text: str, expected: str) -> None:
    assert spoken_form(text, "pt") == expected
    assert spoken_form(text, "pt-br") == expected


def test_other_languages_keep_their_full_stops() -> None:
    assert spoken_form("He left. She stayed.", "en") == "He left. She stayed."


def test_lines_are_normalised_before_they_are_measured() -> None:
    seen: list[str] = []

    def spell(line: str) -> str:
        seen.append(line)
        return "" if line.startswith("*") else line.replace("9", "nove mil novecentos e noventa e nove")

    pieces = split_text(f"{A} {B}\n\n***\n\nSão 9, 9, 9, 9, 9, 9 e mais 9 ao todo.", PT, spell)
    assert seen == [f"{A} {B}", "***", "São 9, 9, 9, 9, 9, 9 e mais 9 ao todo."]
    assert [piece.text for piece in pieces[:2]] == [A, B]
    assert len(pieces) == 4
    assert all(len(piece.text) <= PT.characters for piece in pieces)
