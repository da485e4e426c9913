"""Text as it is spoken: numbers, abbreviations, symbols and acronyms written out as words."""

from __future__ import annotations

from services.dataset.normalise.other import language_code, normalise_other
from services.dataset.normalise.portuguese import normalise_portuguese

__all__ = ["language_code", "normalise"]


def normalise(text: str, language: str = "pt") -> str:
    """Write a text the way it is read aloud.

    The result has no digit and no symbol: only letters, spaces and the marks ``. , ? ! ; : - '``. It is one line in Unicode
    NFC, empty only for a blank text, and normalising it again changes nothing.

    Args:
        text: Any text of any length.
        language: The ISO 639-1 code of a language of XTTS-v2, with or without a region ("pt", "pt-BR", "zh-cn").
            Portuguese has full rules for Brazil, the others have numbers, common symbols and cleaning.

    Returns:
        The text in words.

    Raises:
        InvalidArgument: The language is not one of them.
    """
    code = language_code(language)
    if not text.strip():
        return ""
    return normalise_portuguese(text) if code == "pt" else normalise_other(text, code)
