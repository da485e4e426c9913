"""From text to audio: normalise, split, speak, trim, join."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soxr

from services.dataset.normalise import normalise
from services.inference.engine.interface import Engine, Sampling, Speech
from services.inference.loaded import Loaded, Voices
from services.inference.requests import SEED_LIMIT, SpeechRequest
from services.inference.sentences import Piece, split_text, spoken_form
from services.inference.waveform import join, limit_peak, trim
from services.runtime.errors import Internal, InvalidArgument

if TYPE_CHECKING:
    from services.xtts.features import VoiceLatents

Samples = npt.NDArray[np.float32]
Cancelled = Callable[[], bool]

SAMPLE_RATE_HERTZ = 22_050
"""Of all audio that leaves the service, as the documented API has it; the model itself speaks at 24,000 Hz."""


class NothingToSay(InvalidArgument):
    """There is no letter and no digit in the text."""


class NoSound(Internal):
    """The model gave silence."""


@dataclass
class Usage:
    """What speaking takes, counted while it goes on.

    Attributes:
        text_tokens: Tokens of text that the model read.
        audio_tokens: Codes of audio that it wrote.
    """

    text_tokens: int = 0
    audio_tokens: int = 0


@dataclass(frozen=True)
class Spoken:
    """What was spoken.

    Attributes:
        samples: The whole, 22,050 Hz.
        checkpoint: Key of the checkpoint that spoke, or `base`.
        language: Code of the language.
        usage: What it took.
        computed_seconds: How long that took.
    """

    samples: Samples
    checkpoint: str
    language: str
    usage: Usage
    computed_seconds: float

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return len(self.samples) / SAMPLE_RATE_HERTZ

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for a second of audio."""
        return self.computed_seconds / self.seconds


def synthesise(
    voices: Voices, request: SpeechRequest, cancelled: Cancelled, emit: Callable[[Samples], None] | None = None
) -> Spoken:
    """Speaks a text with the model and the voice that a request names.

    Args:
        voices: The models.
        request: What to say and how.
        cancelled: Asked before each token; makes this raise `SpeechCancelled`.
        emit: Gets stretches of the audio, each as soon as it is made; put together, they are the whole.

    Raises:
        TimbreError: What `Voices.get`, `Voices.voice` and `speak` raise.
    """
    began = time.perf_counter()
    loaded = voices.get(request.checkpoint)
    voice = voices.voice(loaded, request.speaker)
    language = request.language or loaded.language
    usage, stretches = Usage(), []
    for stretch in speak(loaded, voice, request.text, language, request.sampling, cancelled, usage):
        stretches.append(stretch)
        if emit:
            emit(stretch)
    return Spoken(np.concatenate(stretches), loaded.name, language, usage, time.perf_counter() - began)


def speak(
    loaded: Loaded,
    voice: VoiceLatents,
    text: str,
    language: str,
    sampling: Sampling,
    cancelled: Cancelled,
    usage: Usage | None = None,
) -> Iterator[Samples]:
    """Speaks a text with a loaded model, piece by piece (see `synthesise`), and counts in `usage` what that takes.

    Raises:
        LanguageUnknown: The model does not speak the language.
        NothingToSay: There is no letter and no digit in the text.
        NoSound: The model gave nothing but silence.
        SpeechCancelled: `cancelled` returned true.
    """
    engine = loaded.engine
    code = engine.language_code(language)
    pieces = _spoken_pieces(text, code, engine)
    if not pieces:
        raise NothingToSay("There is nothing to say in the text: give it at least a letter.", fields={"text": "nothing to say"})
    count = engine.limits(code).count_tokens
    said = (
        _speak_piece(engine, voice, piece, code, sampling, index, cancelled, usage or Usage(), count)
        for index, piece in enumerate(pieces)
    )
    heard = False
    for stretch in join(said, SAMPLE_RATE_HERTZ):
        heard = True
        yield stretch
    if not heard:
        raise NoSound("The model gave nothing but silence for this text: try again, or another checkpoint.")


def _spoken_pieces(text: str, language: str, engine: Engine) -> list[Piece]:
    def normalise_line(line: str) -> str:
        # A line of asterisks or dashes separates; the normaliser would read it out.
        return normalise(line, language.split("-")[0]) if any(map(str.isalnum, line)) else ""

    split = split_text(text, engine.limits(language), normalise_line)
    pieces = (replace(piece, text=spoken_form(piece.text, language)) for piece in split)
    return [piece for piece in pieces if piece.text]


def _speak_piece(
    engine: Engine,
    voice: VoiceLatents,
    piece: Piece,
    language: str,
    sampling: Sampling,
    index: int,
    cancelled: Cancelled,
    usage: Usage,
    count_tokens: Callable[[str], int],
) -> tuple[Samples, float]:
    own_seed = replace(sampling, seed=(sampling.seed + index) % SEED_LIMIT)
    said = engine.speak(piece.text, language, voice, own_seed, cancelled)
    usage.text_tokens += count_tokens(piece.text)
    usage.audio_tokens += len(said.stop_probabilities)
    return _clean(said, len(piece.text), sampling.speed), piece.pause_seconds


def _clean(said: Speech, characters: int, speed: float) -> Samples:
    trimmed = trim(
        said.samples,
        said.sample_rate,
        stop_probabilities=said.stop_probabilities,
        # Speech that is twice as fast can have said twice as many.
        characters=max(1, round(characters / speed)),
    )
    resampled = soxr.resample(trimmed, said.sample_rate, SAMPLE_RATE_HERTZ)
    return limit_peak(resampled.astype(np.float32))
