"""Speech by espeak-ng: recordings with known sentences at known places.

espeak-ng comes as a shared library with its data in the `espeakng-loader` package and is called through ctypes, so
nothing has to be installed on the machine. It keeps random state between utterances: only the first utterance of a
process is the same everywhere. Therefore this module starts itself as a fresh process (`python -m
timbre.demo.speech`) that sets espeak-ng up once and forks for every sentence: each is a first utterance, and the same
arguments give the same samples on every run.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile as sf

from timbre.demo.sentences import SENTENCES

SAMPLE_RATE_HERTZ = 22_050
"""Rate of everything this module makes; espeak-ng's own."""

RENDER_TIMEOUT_SECONDS = 120.0
"""Ample: espeak-ng speaks about 100 times faster than real time."""

SILENCE_RATIO = 0.003
"""Samples below this part of the peak (-50 dB) at the ends of an utterance are not speech, and are trimmed."""

# From speak_lib.h of espeak-ng 1.51.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_RATE, _PITCH = 1, 3
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Span:
    """Where one sentence lies in a recording, in seconds from its beginning."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True)
class Utterance:
    """One text and the way to say it.

    Attributes:
        text: What is said.
        voice: espeak-ng voice; a variant after a plus sign is another speaker, e.g. `pt-br+f2`.
        pitch: 0 to 100, 50 is the voice's own.
        words_per_minute: 80 to 450.
    """

    text: str
    voice: str = "pt-br"
    pitch: int = 50
    words_per_minute: int = 160


class SpeechError(RuntimeError):
    """espeak-ng could not say something."""


def speak(text: str, *, voice: str = "pt-br", pitch: int = 50, words_per_minute: int = 160) -> Audio:
    """Say one text.

    Args:
        text: What is said.
        voice: espeak-ng voice, e.g. `pt-br`, `en-us`, `pt-br+f2`.
        pitch: 0 to 100.
        words_per_minute: 80 to 450.

    Returns:
        Samples in -1..1, shape [time], at 22,050 Hz, without silence at the ends; the same on every run.

    Raises:
        SpeechError: The voice is unknown, or nothing in the text can be said.
    """
    return speak_all([Utterance(text, voice, pitch, words_per_minute)])[0]


def speak_all(utterances: Sequence[Utterance]) -> list[Audio]:
    """Say several texts in one fresh process.

    Args:
        utterances: What to say and how.

    Returns:
        One array for each utterance, as `speak` returns it.

    Raises:
        SpeechError: One of them cannot be said.
    """
    spec = json.dumps([asdict(utterance) for utterance in utterances]).encode()
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "timbre.demo.speech"],
        input=spec,
        capture_output=True,
        env=environment,
        timeout=RENDER_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["espeak-ng ended without a word"]
        raise SpeechError(lines[-1])
    return [_trim(samples) for samples in _read_frames(done.stdout)]


def make_recording(
    path: Path,
    sentences: Iterable[str] = SENTENCES,
    *,
    pause_seconds: float | Sequence[float] = 0.7,
    voice: str = "pt-br",
    pitch: int = 50,
    words_per_minute: int = 160,
    peak_dbfs: float = -6.0,
    noise_dbfs: float = -70.0,
    edge_seconds: float = 0.5,
    seed: int = 0,
) -> list[Span]:
    """Write a recording of sentences with pauses between them, and say where each lies.

    Args:
        path: The WAV to write: 22,050 Hz, mono, 16-bit.
        sentences: What is said, in order.
        pause_seconds: Length of every pause, or one length for each pause; a sequence that is too short starts again.
        voice: espeak-ng voice, e.g. `pt-br`, `pt-br+f2`.
        pitch: 0 to 100.
        words_per_minute: 80 to 450.
        peak_dbfs: Peak of the speech.
        noise_dbfs: RMS of the white noise under everything, in dB of full scale; `-math.inf` for digital silence.
        edge_seconds: Silence before the first and after the last sentence.
        seed: Of the noise.

    Returns:
        The span of each sentence, in order.

    Raises:
        SpeechError: One of the sentences cannot be said.
    """
    said = list(sentences)
    pauses = [float(p) for p in pause_seconds] if isinstance(pause_seconds, Sequence) else [float(pause_seconds)]
    spoken = speak_all([Utterance(text, voice, pitch, words_per_minute) for text in said])
    gain = 10 ** (peak_dbfs / 20) / max((float(np.abs(a).max()) for a in spoken), default=1.0)
    parts: list[Audio] = [_silence(edge_seconds)]
    position, spans = len(parts[0]), []
    for index, (text, audio) in enumerate(zip(said, spoken, strict=True)):
        after = _silence(pauses[index % len(pauses)] if index + 1 < len(said) else edge_seconds)
        spans.append(Span(position / SAMPLE_RATE_HERTZ, (position + len(audio)) / SAMPLE_RATE_HERTZ, text))
        parts += [audio * np.float32(gain), after]
        position += len(audio) + len(after)
    recording = np.concatenate(parts)
    noise = np.random.default_rng(seed).standard_normal(len(recording), dtype=np.float32)
    recording = np.clip(recording + noise * np.float32(10 ** (noise_dbfs / 20)), -1, 1)
    sf.write(path, recording, SAMPLE_RATE_HERTZ, subtype="PCM_16", format="WAV")
    return spans


def _silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLE_RATE_HERTZ), np.float32)


def _trim(samples: npt.NDArray[np.int16]) -> Audio:
    audio: Audio = samples.astype(np.float32) / np.float32(32_768)
    heard = np.flatnonzero(np.abs(audio) > SILENCE_RATIO * np.abs(audio).max())
    return audio[heard[0] : heard[-1] + 1]


def _read_frames(stream: bytes) -> list[npt.NDArray[np.int16]]:
    """Split what the rendering process wrote: for each utterance a 32-bit byte count and 16-bit samples."""
    frames, offset = [], 0
    while offset < len(stream):
        (size,) = struct.unpack_from("<I", stream, offset)
        frames.append(np.frombuffer(stream, "<i2", size // 2, offset + 4))
        offset += 4 + size
    return frames


# What follows runs in the rendering process.


def _load_espeak() -> Any:
    import espeakng_loader

    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    if rate != SAMPLE_RATE_HERTZ:
        raise SpeechError(f"espeak-ng answered {rate} instead of its sample rate; is its data folder complete?")
    return library


def _say(library: Any, utterance: Utterance) -> bytes:
    """Return 16-bit mono samples of one utterance."""
    pieces: list[bytes] = []

    def keep(samples: Any, count: int, _events: int | None) -> int:
        if samples and count:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    # espeak-ng keeps only the address: the callback object has to live until the synthesis is over.
    callback = _SYNTH_CALLBACK(keep)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(utterance.voice.encode()):
        raise SpeechError(f"espeak-ng has no voice {utterance.voice!r}.")
    library.espeak_SetParameter(_RATE, utterance.words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
    text = utterance.text.encode() + b"\0"
    failed = (
        library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        or library.espeak_Synchronize()
    )
    if failed or not any(piece.strip(b"\0") for piece in pieces):
        raise SpeechError(f"espeak-ng could not say {utterance.text!r}.")
    return b"".join(pieces)


def _say_in_child(library: Any, utterance: Utterance) -> bytes:
    """Say it in a forked process, so that it is that process's first utterance."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        status = 1
        try:
            with open(send, "wb") as pipe:
                pipe.write(_say(library, utterance))
            status = 0
        except (SpeechError, OSError) as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(status)  # without the clean-up of the parent's objects
    os.close(send)
    with open(receive, "rb") as pipe:
        samples = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(1)
    return samples


def _render(source: BinaryIO, target: BinaryIO) -> None:
    library = _load_espeak()
    for entry in json.load(source):
        samples = _say_in_child(library, Utterance(**entry))
        target.write(struct.pack("<I", len(samples)) + samples)


if __name__ == "__main__":
    _render(sys.stdin.buffer, sys.stdout.buffer)
