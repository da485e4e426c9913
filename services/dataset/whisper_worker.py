"""The process that has a Whisper model and transcribes what it is sent; `services.dataset.transcribe` starts it."""

from __future__ import annotations

import logging
import os
import pickle
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.dataset.whisper_audio import SAMPLE_RATE_HERTZ, Audio, read_audio
from services.runtime.errors import FailedPrecondition
from services.runtime.processes import die_with_parent

if TYPE_CHECKING:
    from whisper import Whisper

WINDOW_SECONDS = 30
"""What Whisper hears at once."""

_NOTHING_HEARD = -1.0  # whisper.transcribe drops a window as silent only when the mean log-probability is under this

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transcript:
    """What Whisper heard.

    Attributes:
        text: The words, as one line; empty when nobody was heard to speak.
        language: Whisper's code of the language it listened for.
        mean_log_probability: Mean natural log-probability of the tokens, at most 0; -1 when nothing was heard.
        no_speech_probability: That nobody speaks, 0 to 1; 1 when nothing was heard.
        compression_ratio: Bytes of the text over its zlib-compressed size: the higher, the more it repeats itself.
    """

    text: str
    language: str
    mean_log_probability: float
    no_speech_probability: float
    compression_ratio: float


class TranscriptionFailed(FailedPrecondition):
    """A recording could not be transcribed."""


@dataclass(frozen=True)
class Ready:
    """Sent when the model is loaded."""


@dataclass(frozen=True)
class LoadFailed:
    """Sent instead of `Ready`, with the reason."""

    why: str


def serve(connection: Connection, parent: int, checkpoint: str, language: str, device: str, threads: int) -> None:
    """Loads the model, then answers every path with a `Transcript` or `TranscriptionFailed` until the connection ends.

    Args:
        connection: To the process that started this one.
        parent: Number of that process; this one dies with it.
        checkpoint: The model's file.
        language: Whisper's code.
        device: `cpu` or `cuda`.
        threads: Threads to compute with.
    """
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent to answer
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch
    import whisper

    torch.set_num_threads(threads)
    try:
        model = whisper.load_model(checkpoint, device=device)
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        log.exception("cannot load %s", checkpoint)
        connection.send(LoadFailed(f"it is no Whisper checkpoint, or too large for this machine ({type(error).__name__})"))
        return
    connection.send(Ready())
    while True:
        try:
            path = connection.recv()
        except EOFError:
            return
        connection.send(transcribe_file(model, path, language))


def transcribe(model: Whisper, audio: Audio, language: str) -> Transcript:
    """Transcribes audio with Whisper's own decoding and its fallback to higher temperatures.

    What fits in one window is decoded without timestamps: with them, Whisper often stops before the end and listens to the
    remaining half second as a window of its own, in which it hears words that nobody said.

    Args:
        model: The model.
        audio: Mono samples in -1..1, shape [time], at 16 kHz.
        language: Whisper's code.
    """
    import torch
    from whisper.utils import compression_ratio

    torch.manual_seed(0)  # temperatures above 0 draw: the same audio gives the same text whatever came before it
    heard: dict[str, Any] = model.transcribe(
        audio,
        language=language,
        condition_on_previous_text=False,
        without_timestamps=len(audio) <= WINDOW_SECONDS * SAMPLE_RATE_HERTZ,
        fp16=model.device.type == "cuda",
    )
    pieces = [piece for piece in heard["segments"] if piece["text"].strip()]
    if not pieces:
        return Transcript("", language, _NOTHING_HEARD, 1.0, 0.0)
    # A piece's figures are means over its window: weighed by tokens, they give those of the whole.
    weights = [max(len(piece["tokens"]), 1) for piece in pieces]
    text = " ".join("".join(piece["text"] for piece in pieces).split())
    return Transcript(
        text=text,
        language=language,
        mean_log_probability=_mean([piece["avg_logprob"] for piece in pieces], weights),
        no_speech_probability=_mean([piece["no_speech_prob"] for piece in pieces], weights),
        compression_ratio=float(compression_ratio(text)),
    )


def transcribe_file(model: Whisper, path: Path, language: str) -> Transcript | TranscriptionFailed:
    """Transcribes a recording, or says why that cannot be done."""
    try:
        audio = read_audio(path)
    except (OSError, RuntimeError, ValueError) as error:  # soundfile's errors are RuntimeErrors
        why = str(error) if isinstance(error, ValueError) else "it is not audio that can be read"
        return TranscriptionFailed(f"{path.name} could not be transcribed: {why}.", reason="AUDIO_UNREADABLE")
    try:
        return transcribe(model, audio, language)
    except (RuntimeError, ValueError) as error:  # such as too little GPU memory
        log.exception("cannot transcribe %s", path.name)
        return TranscriptionFailed(f"{path.name} could not be transcribed: Whisper failed with {type(error).__name__}.")


def _mean(values: list[float], weights: list[int]) -> float:
    return float(sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights))
