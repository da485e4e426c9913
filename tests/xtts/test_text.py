"""Text becomes coqui's tokens, within the limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.xtts.build import read_config
from services.xtts.text import LanguageUnavailable, LanguageUnknown, TextEncoder, TextUnspeakable


@pytest.fixture(scope="module")
def encoder(tiny_base: Path) -> TextEncoder:
    return TextEncoder.from_base(tiny_base, read_config(tiny_base / "config.json"))


def test_tokens_are_coquis_and_led_by_the_language(encoder: TextEncoder) -> None:
    tokens = encoder.encode("Olá, mundo!", "pt-BR")
    assert tokens == encoder.tokenizer.encode("olá, mundo!", "pt")
    assert tokens[0] == encoder.tokenizer.tokenizer.token_to_id("[pt]")
    assert encoder.tokenizer.decode(tokens) == "[pt]olá, mundo!"


@pytest.mark.parametrize(("asked", "code"), [("pt", "pt"), ("pt-BR", "pt"), ("PT_br", "pt"), ("en-us", "en")])
def test_regions_are_understood(encoder: TextEncoder, asked: str, code: str) -> None:
    assert encoder.check_language(asked) == code


def test_limits_are_coquis(encoder: TextEncoder) -> None:
    assert encoder.max_tokens == 402
    assert (encoder.max_characters("pt"), encoder.max_characters("en")) == (203, 250)


@pytest.mark.parametrize("language", ["xx", "", "ja"])
def test_other_languages_are_refused(encoder: TextEncoder, language: str) -> None:
    with pytest.raises(LanguageUnknown, match="use one of pt, en"):
        encoder.encode("olá", language)


def test_a_language_without_its_package_says_which(encoder: TextEncoder) -> None:
    with_japanese = TextEncoder(encoder.tokenizer, (*encoder.languages, "ja"), encoder.max_tokens)
    with pytest.raises(LanguageUnavailable, match="'cutlet'"):
        with_japanese.encode("こんにちは", "ja")


@pytest.mark.parametrize("text", ["", "  ", "a " * 500])
def test_unspeakable_text_is_refused(encoder: TextEncoder, text: str) -> None:
    with pytest.raises(TextUnspeakable):
        encoder.encode(text, "pt")


def test_unknown_characters_are_named(encoder: TextEncoder) -> None:
    assert encoder.unknown_characters("Ação, você! Três pães.", "pt") == ""
    assert encoder.unknown_characters("ação ж語", "pt") == "ж語"
