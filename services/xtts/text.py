"""Text as the model takes it: coqui's tokenizer, and the limits within which XTTS speaks well."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.xtts.build import BaseConfig

_NEEDS = {"ja": "cutlet", "zh": "pypinyin", "ko": "hangul_romanize"}
"""Modules that coqui's text cleaning imports for a language, and that it does not install by itself."""

_DEFAULT_CHARACTERS = 250
"""What coqui's tokenizer takes for languages that it lists no limit for."""


class LanguageUnknown(InvalidArgument):
    """The model has no token for the language."""


class LanguageUnavailable(FailedPrecondition):
    """The language needs a package that is not installed."""


class TextUnspeakable(InvalidArgument):
    """The text is empty, too long for one piece, or has characters the model has no token for."""


@dataclass(frozen=True)
class TextEncoder:
    """Turns text into the GPT's tokens.

    Attributes:
        tokenizer: coqui's tokenizer, with the base's vocabulary.
        languages: Codes the base names, such as `pt` and `zh-cn`.
        max_tokens: A piece of text must have fewer tokens (402 in XTTS-v2, language token included).
    """

    tokenizer: VoiceBpeTokenizer
    languages: tuple[str, ...]
    max_tokens: int

    @classmethod
    def from_base(cls, folder: Path, config: BaseConfig) -> TextEncoder:
        """Returns the encoder of a base folder."""
        return cls(
            tokenizer=VoiceBpeTokenizer(str(folder / "vocab.json")),
            languages=tuple(config.xtts.languages),
            max_tokens=config.xtts.model_args.gpt_max_text_tokens,
        )

    def max_characters(self, language: str) -> int:
        """Returns how many characters one piece should have at most, by coqui's table (pt 203, en 250)."""
        limit: int = self.tokenizer.char_limits.get(self.check_language(language).split("-")[0], _DEFAULT_CHARACTERS)
        return limit

    def check_language(self, language: str) -> str:
        """Returns the base's code for a language: `pt` for `pt`, `pt-BR` and `PT_br`.

        Raises:
            LanguageUnknown: The base does not speak it.
            LanguageUnavailable: A package it needs is not installed.
        """
        wanted = language.lower().replace("_", "-")
        short = wanted.split("-")[0]
        code = next((code for code in self.languages if code in (wanted, short) or code.split("-")[0] == short), None)
        if not short or code is None:
            raise LanguageUnknown(
                f"The language {language!r} is not spoken by this model: use one of {', '.join(self.languages)}."
            )
        needed = _NEEDS.get(short)
        if needed and importlib.util.find_spec(needed) is None:
            raise LanguageUnavailable(f"The language {code!r} needs the Python package {needed!r}: install it first.")
        return code

    def encode(self, text: str, language: str) -> list[int]:
        """Returns the tokens of one piece of text, led by the language's token; text is cleaned as coqui does.

        Raises:
            LanguageUnknown: The base does not speak the language.
            LanguageUnavailable: A package the language needs is not installed.
            TextUnspeakable: Nothing is left to speak, or there are too many tokens.
        """
        code = self.check_language(language)
        tokens: list[int] = self.tokenizer.encode(text.strip().lower(), code)
        if len(tokens) < 2:
            raise TextUnspeakable("The text has nothing to speak: give it at least a letter.")
        if len(tokens) >= self.max_tokens:
            raise TextUnspeakable(
                f"The text has {len(tokens)} tokens, and the model takes fewer than {self.max_tokens}: split it."
            )
        return tokens

    def unknown_characters(self, text: str, language: str) -> str:
        """Returns the characters of a text, cleaned as coqui does, that the vocabulary has no token for."""
        code = self.check_language(language)
        cleaned: str = self.tokenizer.preprocess_text(text.strip().lower(), code.split("-")[0])
        unknown = self.tokenizer.tokenizer.token_to_id("[UNK]")
        return "".join(sorted({c for c in cleaned if not c.isspace() and unknown in self.tokenizer.tokenizer.encode(c).ids}))
