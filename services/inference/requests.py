"""What callers ask for, checked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from services.inference.engine.interface import Sampling
from services.runtime.errors import InvalidArgument

MAX_CHARACTERS = 10_000
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 1.5
MIN_SPEED, MAX_SPEED = 0.5, 2.0

SEED_LIMIT = 2**63
"""Seeds are below: a generator of torch takes 64 bits, signed."""

FRESH_SEED_LIMIT = 2**53
"""Those that nobody chose are below this: they are told in JSON, whose numbers are exact up to there."""


@dataclass(frozen=True)
class SpeechRequest:
    """What to say and how.

    Attributes:
        checkpoint: Key of the checkpoint, or `base`.
        text: 1 to 10,000 characters, not blank.
        language: Code of the text's language; empty for the checkpoint's own.
        speaker: Key of a reference recording, or of another checkpoint, whose reference is taken; empty for the
            checkpoint's own voice.
        sampling: How codes are drawn.

    Raises:
        InvalidArgument: A value is out of range.
    """

    checkpoint: str
    text: str
    language: str = ""
    speaker: str = ""
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if not 0 < len(self.text.strip()) <= len(self.text) <= MAX_CHARACTERS:
            what = f"{len(self.text):,} characters long" if self.text.strip() else "blank"
            raise InvalidArgument(
                f"text is {what}: it must have 1 to {MAX_CHARACTERS:,} characters and not be blank.",
                fields={"text": f"must have 1 to {MAX_CHARACTERS:,} characters"},
            )
        _check_range("temperature", self.sampling.temperature, MIN_TEMPERATURE, MAX_TEMPERATURE)
        _check_range("speed", self.sampling.speed, MIN_SPEED, MAX_SPEED)


def make_sampling(temperature: float | None = None, speed: float | None = None, seed: int | None = None) -> Sampling:
    """Returns how to draw: the documented defaults where nothing is given, and a fresh seed."""
    default = Sampling()
    return Sampling(
        temperature=default.temperature if temperature is None else temperature,
        speed=default.speed if speed is None else speed,
        seed=secrets.randbelow(FRESH_SEED_LIMIT) if seed is None else seed % SEED_LIMIT,
    )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # false for what is no number, too
        raise InvalidArgument(f"{name} is {value:g}: it must be {low} to {high}.", fields={name: f"must be {low} to {high}"})
