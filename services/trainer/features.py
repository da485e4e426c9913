"""What the GPT is trained on, computed once a clip and kept in the job's scratch folder: tokens, audio codes, samples.

The DVAE is frozen, so its codes never change (stock coqui-tts computes them again at every step); only the conditioning
crops are drawn anew each time a clip is used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from services.runtime.errors import InvalidArgument, TimbreError
from services.runtime.store import ObjectInfo, ObjectStore
from services.trainer.clips import Clip, LeftOut
from services.trainer.options import MAX_CROP_SAMPLES, MIN_CROP_SAMPLES
from services.xtts.base import fingerprint
from services.xtts.build import read_config
from services.xtts.features import (
    SAMPLE_RATE_HERTZ,
    SAMPLES_PER_CODE,
    audio_codes,
    code_count,
    conditioning_mel,
    read_audio,
)
from services.xtts.load import load_dvae, load_mel_stats
from services.xtts.text import TextEncoder

MIN_SECONDS = 1.0
"""Shorter clips leave nothing to condition on once half is taken for the crop."""

SILENCE_DBFS = -60.0
"""A clip whose RMS level is below this holds no speech; datasets are normalised to -20 LUFS."""

_VERSION = "1"

Samples = npt.NDArray[np.int16]


class ClipUnusable(InvalidArgument):
    """A clip cannot be trained on; the message goes on from its name."""


@dataclass(frozen=True)
class Example:
    """A clip, ready to train on.

    Attributes:
        clip: What it is.
        tokens: Its text, int64, [tokens].
        codes: Its audio, int64, [codes].
        samples: Its audio at 22,050 Hz, int16, [samples], mapped from a file.
    """

    clip: Clip
    tokens: Tensor
    codes: Tensor
    samples: Samples


@dataclass(frozen=True)
class Batch:
    """What one step is computed from, as `GPT.forward` takes it.

    Attributes:
        tokens: Text, padded with 0, int64, [batch, tokens].
        token_lengths: int64, [batch].
        codes: Audio codes, padded with 0, int64, [batch, codes].
        sample_lengths: Samples of each clip, int64, [batch].
        crops: Conditioning mels, [batch, 1, 80, 517].
    """

    tokens: Tensor
    token_lengths: Tensor
    codes: Tensor
    sample_lengths: Tensor
    crops: Tensor


class FeatureMaker:
    """Makes examples of clips, with the base's tokenizer and DVAE.

    Args:
        base: The base folder.
        store: Where the clips' audio is.
        folder: Where examples are kept: a clip whose audio and text did not change is not computed again.
        device: What the DVAE runs on.
    """

    def __init__(self, base: Path, store: ObjectStore, folder: Path, device: torch.device) -> None:
        config = read_config(base / "config.json")
        self._encoder = TextEncoder.from_base(base, config)
        # `GPT.forward` adds three codes and two tokens to what its position table of `gpt_max_audio_tokens` + 3 must hold.
        self._max_codes = config.xtts.model_args.gpt_max_audio_tokens - 2
        self._dvae = load_dvae(base).to(device)
        self._mel_stats = load_mel_stats(base)
        self._fingerprint = fingerprint(base)
        self._store, self._folder, self._device = store, folder, device
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, clip: Clip) -> Example:
        """Computes an example, or takes it from the folder.

        Raises:
            ClipUnusable: The clip is too long, too short, silent, unreadable, or has no speakable text.
        """
        tokens = self._tokens(clip)
        info = self._store.stat(clip.key)
        if info is None:
            raise ClipUnusable("has no audio")
        path = self._folder / self._digest(clip, info)
        try:
            arrays = [np.load(path.with_suffix(end), mmap_mode="r") for end in (".codes.npy", ".samples.npy")]
        except FileNotFoundError:
            arrays = list(self._compute(clip, path))
        return Example(clip, tokens, torch.from_numpy(np.array(arrays[0])), arrays[1])

    def _tokens(self, clip: Clip) -> Tensor:
        if not clip.text.strip():
            raise ClipUnusable("has no text")
        try:
            unknown = self._encoder.unknown_characters(clip.text, clip.language)
            if any(character.isalnum() for character in unknown):
                raise ClipUnusable(f"has letters that the model does not know ({unknown[:10]})")
            # Signs that the vocabulary lacks are not spoken: they go, the clip stays.
            text = clip.text.lower().translate({ord(character): None for character in unknown})
            return torch.tensor(self._encoder.encode(text, clip.language))
        except ClipUnusable:
            raise
        except TimbreError as error:
            raise ClipUnusable(f"cannot be used: {error.message}") from error

    def _compute(self, clip: Clip, path: Path) -> tuple[npt.NDArray[np.int64], Samples]:
        wav = path.with_suffix(".wav")
        try:
            self._store.fetch(clip.key, wav)
            audio = read_audio(wav)
        except TimbreError as error:
            raise ClipUnusable("has no readable audio") from error
        finally:
            wav.unlink(missing_ok=True)
        self._check_audio(audio)
        codes = audio_codes(self._dvae, audio.to(self._device), self._mel_stats).cpu().numpy()
        samples = (audio * 32_767.0).round().to(torch.int16).numpy()
        # The codes last: where they are, the example is whole.
        _save(path.with_suffix(".samples.npy"), samples)
        _save(path.with_suffix(".codes.npy"), codes)
        return codes, samples

    def _check_audio(self, audio: Tensor) -> None:
        seconds = len(audio) / SAMPLE_RATE_HERTZ
        if seconds < MIN_SECONDS:
            raise ClipUnusable(f"is too short ({seconds:.2f} s, at least {MIN_SECONDS:g} s are needed)")
        if code_count(len(audio)) > self._max_codes:
            longest = self._max_codes * SAMPLES_PER_CODE / SAMPLE_RATE_HERTZ
            raise ClipUnusable(f"is too long ({seconds:.1f} s, at most {longest:.1f} s fit the model)")
        level = 10.0 * torch.log10(audio.double().square().mean() + 1e-20)
        if not level > SILENCE_DBFS:
            raise ClipUnusable("is silent")

    def _digest(self, clip: Clip, info: ObjectInfo) -> str:
        parts = (_VERSION, self._fingerprint, clip.key, info.etag, str(info.size))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def make_examples(
    maker: FeatureMaker, clips: Sequence[Clip], before_each: Callable[[int, Clip], None]
) -> tuple[list[Example], list[LeftOut]]:
    """Makes examples of all clips, and says of each that is left out why.

    Args:
        maker: Makes them.
        clips: Of what.
        before_each: Called with a clip's position and the clip before work on it; what it raises ends the work.
    """
    examples, left_out = [], []
    for index, clip in enumerate(clips):
        before_each(index, clip)
        try:
            examples.append(maker.make(clip))
        except ClipUnusable as error:
            left_out.append(LeftOut(clip.name, error.message))
    return examples, left_out


def make_batch(examples: Sequence[Example], crops: Sequence[Tensor], mel_stats: Tensor) -> Batch:
    """Pads examples and the crops that go with them to one batch.

    Args:
        examples: What is to be predicted.
        crops: What it is conditioned on, one an example: samples at 22,050 Hz, each at most `MAX_CROP_SAMPLES`.
        mel_stats: The base's mel_stats.pth.
    """
    padded = torch.stack([functional.pad(crop, (0, MAX_CROP_SAMPLES - len(crop))) for crop in crops])
    return Batch(
        tokens=torch.nn.utils.rnn.pad_sequence([example.tokens for example in examples], batch_first=True),
        token_lengths=torch.tensor([len(example.tokens) for example in examples]),
        codes=torch.nn.utils.rnn.pad_sequence([example.codes for example in examples], batch_first=True),
        sample_lengths=torch.tensor([len(example.samples) for example in examples]),
        crops=conditioning_mel(padded, mel_stats).unsqueeze(1),
    )


def random_crop(samples: Samples, random: np.random.Generator) -> Tensor:
    """Cuts 3 to 6 s out of a clip to condition on, or half of it when it is shorter, as stock training does.

    Args:
        samples: The clip, int16, [samples].
        random: Draws length and place.

    Returns:
        Samples in -1..1, float32.
    """
    length = int(random.integers(MIN_CROP_SAMPLES, MAX_CROP_SAMPLES, endpoint=True))
    if length > len(samples):
        length = len(samples) // 2
    start = int(random.integers(0, len(samples) - length, endpoint=True))
    return to_float(samples[start : start + length])


def middle_crop(samples: Samples) -> Tensor:
    """Cuts the crop that stock evaluation takes, always the same: 4.5 s from the start, or half of a shorter clip."""
    length = (MIN_CROP_SAMPLES + MAX_CROP_SAMPLES) // 2
    return to_float(samples[: length if length <= len(samples) else len(samples) // 2])


def to_float(samples: Samples) -> Tensor:
    """Returns 16-bit samples as floats in -1..1."""
    return torch.from_numpy(np.asarray(samples, dtype=np.float32) / 32_767.0)


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as target:
        np.save(target, array)
    os.replace(partial, path)
