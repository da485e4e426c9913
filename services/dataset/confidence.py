"""How far a transcript can be trusted, and what a person should check: pure figures, no model.

The thresholds on log-probability, no-speech probability and compression ratio are the ones at which Whisper itself takes
its own output for a failure (`logprob_threshold`, `no_speech_threshold` and `compression_ratio_threshold` of
`whisper.transcribe`).
"""

from __future__ import annotations

import math
import unicodedata
from typing import Protocol

LOWEST_MEAN_LOG_PROBABILITY = -1.0
"""Below this mean log-probability of its tokens, Whisper takes a text for wrong and tries again."""

HIGHEST_NO_SPEECH_PROBABILITY = 0.6
"""Above this, Whisper takes the window for silence if the text is unlikely as well."""

HIGHEST_COMPRESSION_RATIO = 2.4
"""Above this ratio of length to zlib-compressed length, Whisper takes a text for a loop."""

HIGHEST_CHARACTERS_PER_SECOND = 30.0
"""Nobody speaks faster: twice the usual rate of read Portuguese or English (13 to 17 characters a second)."""

TOO_FAST, TOO_SLOW = 1.6, 0.5
"""Rates beyond these multiples of the dataset's median mean that the text holds words that were not said, or lacks some."""

_SCRIPTS = {
    "ar": {"ARABIC"},
    "fa": {"ARABIC"},
    "ur": {"ARABIC"},
    "be": {"CYRILLIC"},
    "bg": {"CYRILLIC"},
    "mk": {"CYRILLIC"},
    "ru": {"CYRILLIC"},
    "uk": {"CYRILLIC"},
    "el": {"GREEK"},
    "he": {"HEBREW"},
    "hi": {"DEVANAGARI"},
    "mr": {"DEVANAGARI"},
    "ja": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"},
    "ko": {"HANGUL", "CJK"},
    "yue": {"CJK", "IDEOGRAPHIC"},
    "zh": {"CJK", "IDEOGRAPHIC"},
}
"""First words of the Unicode names of a language's letters; Latin ones are at home everywhere."""

_LATIN_LANGUAGES = frozenset(
    [
        "af",
        "ca",
        "cs",
        "cy",
        "da",
        "de",
        "en",
        "es",
        "et",
        "eu",
        "fi",
        "fr",
        "gl",
        "hr",
        "hu",
        "id",
        "is",
        "it",
        "la",
        "lt",
        "lv",
        "ms",
        "mt",
        "nl",
        "nn",
        "no",
        "oc",
        "pl",
        "pt",
        "ro",
        "sk",
        "sl",
        "sq",
        "sv",
        "sw",
        "tl",
        "tr",
        "vi",
    ]
)

_SIGNS = frozenset("ªºµ")
"""Letters to Unicode, signs to writers."""


class Heard(Protocol):
    """What this module needs of a transcript; see `services.dataset.transcribe.Transcript`."""

    @property
    def text(self) -> str:
        """What was heard."""

    @property
    def language(self) -> str:
        """Whisper's code of the language."""

    @property
    def mean_log_probability(self) -> float:
        """Mean natural log-probability of the tokens."""

    @property
    def no_speech_probability(self) -> float:
        """Probability that nobody speaks, 0 to 1."""

    @property
    def compression_ratio(self) -> float:
        """Length over compressed length."""


def confidence(transcript: Heard, seconds: float) -> float:
    """Returns how likely a transcript is what was said: 0 (not at all) to 1.

    It is p · (1 - n) · r · s, where p = exp(mean log-probability) is the geometric mean probability of a token, n the
    probability that nobody speaks, r = min(1, 2.4 / compression ratio) makes little of loops, and s = min(1, 30 / rate) of
    more characters a second than anybody says. An empty text has 0.

    Args:
        transcript: What was heard.
        seconds: Length of the audio.
    """
    if not _has_words(transcript.text):
        return 0.0
    likely = math.exp(min(transcript.mean_log_probability, 0.0)) * (1 - min(max(transcript.no_speech_probability, 0.0), 1.0))
    loop = min(1.0, HIGHEST_COMPRESSION_RATIO / max(transcript.compression_ratio, 1e-9))
    rate = characters_per_second(transcript.text, seconds)
    return likely * loop * min(1.0, HIGHEST_CHARACTERS_PER_SECOND / max(rate, 1e-9))


def flags(transcript: Heard, seconds: float, median_characters_per_second: float | None) -> list[str]:
    """Returns what a person should check in a transcript, in a fixed order.

    `empty`: no word in it. `low_confidence`: mean log-probability under -1. `no_speech`: probability over 0.6. `repetitive`:
    compression ratio over 2.4. `too_fast`, `too_slow`: the rate is over 1.6 times or under half the dataset's median, or over
    30 characters a second. `foreign_characters`: letters that the language is not written with, or broken characters.

    Args:
        transcript: What was heard.
        seconds: Length of the audio.
        median_characters_per_second: Over the dataset; None when there is nothing to compare with.
    """
    if not _has_words(transcript.text):
        silent = transcript.no_speech_probability > HIGHEST_NO_SPEECH_PROBABILITY
        return ["empty", "no_speech"] if silent else ["empty"]
    rate = characters_per_second(transcript.text, seconds)
    usual = median_characters_per_second or 0.0
    found = {
        "low_confidence": transcript.mean_log_probability < LOWEST_MEAN_LOG_PROBABILITY,
        "no_speech": transcript.no_speech_probability > HIGHEST_NO_SPEECH_PROBABILITY,
        "repetitive": transcript.compression_ratio > HIGHEST_COMPRESSION_RATIO,
        "too_fast": rate > HIGHEST_CHARACTERS_PER_SECOND or (usual > 0 and rate > TOO_FAST * usual),
        "too_slow": rate < TOO_SLOW * usual,
        "foreign_characters": has_foreign_characters(transcript.text, transcript.language),
    }
    return [name for name, present in found.items() if present]


def characters_per_second(text: str, seconds: float) -> float:
    """Returns the rate of a text over its audio, pauses included."""
    return len(text) / max(seconds, 1e-3)


def has_foreign_characters(text: str, language: str) -> bool:
    """Tells whether a text holds letters that its language is not written with, control or replacement characters.

    Args:
        text: What was heard.
        language: Whisper's code. For a language whose script is not known here, every letter is at home.
    """
    if language in _LATIN_LANGUAGES:
        scripts = {"LATIN"}
    elif language in _SCRIPTS:
        scripts = _SCRIPTS[language] | {"LATIN"}
    else:
        scripts = set()
    return any(_is_foreign(character, scripts) for character in text)


def _is_foreign(character: str, scripts: set[str]) -> bool:
    category = unicodedata.category(character)
    if character == "\N{REPLACEMENT CHARACTER}" or category in ("Cc", "Co", "Cn", "Cs"):
        return True
    if not scripts or not category.startswith("L") or category == "Lm" or character in _SIGNS:
        return False
    return unicodedata.name(character, "").split(" ")[0] not in scripts


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)
