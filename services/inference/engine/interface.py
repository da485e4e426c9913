"""The seam between the service and the model: what an engine does, in terms that need no torch.

The service knows engines only by this interface. A faster one (its own kernels, batching of requests, a GPU) implements it
beside `coqui_engine`, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from services.inference.sentences import Limits

if TYPE_CHECKING:
    from services.xtts.checkpoint import Checkpoint
    from services.xtts.features import VoiceLatents

Samples = npt.NDArray[np.float32]


class SpeechCancelled(Exception):
    """Nobody waits for the speech any more; raised between two tokens by what `cancelled` returned."""


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn.

    Attributes:
        temperature: 0.1 to 1.5; lower is steadier, higher livelier.
        speed: 0.5 to 2.0, the factor by which speech is faster than the model's own.
        seed: The same seed, text and voice give the same speech on the same machine.
    """

    temperature: float = 0.7
    speed: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Speech:
    """What the model said.

    Attributes:
        samples: Mono, -1..1 or a little beyond, shape [time].
        sample_rate: Of the samples, Hz.
        stop_probabilities: For each code, the probability that the model gave to ending there, shape [codes].
        finished: Whether the model ended by itself, and not at the bound.
    """

    samples: Samples
    sample_rate: int
    stop_probabilities: Samples
    finished: bool


class Engine(Protocol):
    """One model, loaded and ready. Used by one thread at a time."""

    def language_code(self, language: str) -> str:
        """Returns the model's code for a language, e.g. `pt` for `pt-BR`.

        Raises:
            LanguageUnknown: The model does not speak it.
        """
        ...

    def limits(self, language: str) -> Limits:
        """Returns how much text the model takes at one go."""
        ...

    def condition(self, recordings: Sequence[Samples]) -> VoiceLatents:
        """Computes a voice from recordings of it, each 22,050 Hz.

        Raises:
            ReferenceUnreadable: They are too short.
        """
        ...

    def embed(self, recording: Samples) -> Samples:
        """Returns the speaker embedding of a recording, 22,050 Hz, as a vector of length 1."""
        ...

    def own_voice(self) -> VoiceLatents | None:
        """Returns the voice that came with the base, if one did."""
        ...

    def speak(self, text: str, language: str, voice: VoiceLatents, sampling: Sampling, cancelled: Callable[[], bool]) -> Speech:
        """Speaks one piece of text.

        Args:
            text: Within `limits`.
            language: As `language_code` returns it.
            voice: Whose voice.
            sampling: How.
            cancelled: Asked before each token.

        Raises:
            SpeechCancelled: `cancelled` returned true.
            TextUnspeakable: The model has no token for anything in the text, or it is too long.
        """
        ...


class EngineLoader(Protocol):
    """Loads engines; used by one thread at a time."""

    def load(self, checkpoint: Checkpoint | None) -> Engine:
        """Loads the base model, with the weights of a checkpoint in it if one is given.

        Raises:
            CheckpointMisfit: The checkpoint was trained from another base.
            BaseIncomplete: The base's files are missing or damaged.
        """
        ...
