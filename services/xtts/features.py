"""What the model takes in, computed from audio: spectrograms, audio codes, and the conditioning that makes a voice.

Everything equals stock coqui-tts to the last bit (tests/xtts/test_features.py), but takes float tensors instead of paths:
torchaudio reads files only with system FFmpeg libraries, so audio is read with soundfile here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
import torch
import torchaudio
from torch import Tensor
from TTS.tts.layers.xtts.dvae import DiscreteVAE
from TTS.tts.models.xtts import Xtts

from services.runtime.errors import InvalidArgument

SAMPLE_RATE_HERTZ = 22_050
"""Rate of everything that goes into the model: conditioning, DVAE, datasets."""

SAMPLES_PER_CODE = 1_024
"""Audio samples at 22,050 Hz behind one audio code: hop 256 times the DVAE's two strides of 2; 21.5 codes a second."""

MIN_REFERENCE_SECONDS = 0.33
"""Below this, `Xtts.get_gpt_cond_latents` finds nothing to condition on."""


class ReferenceUnreadable(InvalidArgument):
    """A reference recording is no audio, or too short."""


@dataclass(frozen=True)
class VoiceLatents:
    """A voice, as the model is conditioned on it.

    Attributes:
        gpt_cond_latent: What the GPT sees of the voice, [1, 32, width], float32.
        speaker_embedding: What the vocoder sees of it, unit length, [1, 512, 1], float32.
    """

    gpt_cond_latent: Tensor
    speaker_embedding: Tensor


def read_audio(source: Path | BinaryIO) -> Tensor:
    """Reads a sound file as mono at 22,050 Hz.

    Args:
        source: Anything soundfile reads: WAV, FLAC, MP3, Ogg, Opus.

    Returns:
        Samples in -1..1, float32, [samples].

    Raises:
        ReferenceUnreadable: It is no audio file, or has no samples.
    """
    try:
        samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ReferenceUnreadable("The recording cannot be read as audio: use WAV, FLAC, MP3 or Ogg.") from error
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if mono.size == 0:
        raise ReferenceUnreadable("The recording is empty: use one with at least a few seconds of speech.")
    if rate != SAMPLE_RATE_HERTZ:
        mono = soxr.resample(mono, rate, SAMPLE_RATE_HERTZ)
    return torch.from_numpy(np.clip(mono, -1.0, 1.0).astype(np.float32))


def conditioning_mel(audio: Tensor, mel_stats: Tensor) -> Tensor:
    """Returns the spectrogram that the conditioning encoder takes (2,048-point FFT).

    Args:
        audio: Samples at 22,050 Hz, [batch, samples].
        mel_stats: The base's mel_stats.pth, [80].

    Returns:
        Normalised log mel spectrogram, [batch, 80, 1 + samples // 256].
    """
    return _log_mel(audio, mel_stats, fft_size=2_048)


def dvae_mel(audio: Tensor, mel_stats: Tensor) -> Tensor:
    """Returns the spectrogram that the DVAE takes (1,024-point FFT); shapes as in `conditioning_mel`."""
    return _log_mel(audio, mel_stats, fft_size=1_024)


@torch.no_grad()
def audio_codes(dvae: DiscreteVAE, audio: Tensor, mel_stats: Tensor) -> Tensor:
    """Returns the audio codes of one clip, which the GPT learns to predict.

    Args:
        dvae: The base's DVAE, in evaluation mode.
        audio: Samples at 22,050 Hz, [samples].
        mel_stats: The base's mel_stats.pth, [80].

    Returns:
        Codes, int64, [ceil((1 + samples // 256) / 4)]: one more than `code_count` where the length is an exact multiple.
    """
    codes: Tensor = dvae.get_codebook_indices(dvae_mel(audio.unsqueeze(0), mel_stats))
    return codes[0]


def code_count(samples: int) -> int:
    """Returns how many audio codes stand for a clip of so many samples, as `GPT.forward` counts them."""
    return -(-samples // SAMPLES_PER_CODE)


@torch.no_grad()
def conditioning_latents(
    model: Xtts,
    recordings: Sequence[Tensor],
    *,
    max_reference_seconds: int | None = None,
    cond_seconds: int | None = None,
    cond_chunk_seconds: int | None = None,
) -> VoiceLatents:
    """Computes a voice from recordings of it, as `Xtts.get_conditioning_latents` does from files.

    Args:
        model: The whole model, in evaluation mode.
        recordings: Samples at 22,050 Hz, each [samples].
        max_reference_seconds: How much of each recording is used; by default the base's `max_ref_len`.
        cond_seconds: How much of all recordings joined the GPT is conditioned on; by default the base's `gpt_cond_len`.
        cond_chunk_seconds: Length of the pieces whose latents are averaged; by default the base's `gpt_cond_chunk_len`.

    Raises:
        ReferenceUnreadable: No recording is given, or the recordings are shorter than a third of a second.
    """
    config = model.config
    limit = SAMPLE_RATE_HERTZ * (max_reference_seconds or config.max_ref_len)
    clips = [recording[:limit].unsqueeze(0).to(model.device) for recording in recordings]
    if not clips or min(clip.shape[1] for clip in clips) < MIN_REFERENCE_SECONDS * SAMPLE_RATE_HERTZ:
        raise ReferenceUnreadable("The reference recording is too short: use one with at least a few seconds of speech.")
    speakers = [model.get_speaker_embedding(clip, SAMPLE_RATE_HERTZ) for clip in clips]
    latent = model.get_gpt_cond_latents(
        torch.cat(clips, dim=-1),
        SAMPLE_RATE_HERTZ,
        length=cond_seconds or config.gpt_cond_len,
        chunk_length=cond_chunk_seconds or config.gpt_cond_chunk_len,
    )
    # coqui computes in inference mode, whose tensors autograd refuses: the copies are ordinary ones.
    return VoiceLatents(latent.clone().cpu(), torch.stack(speakers).mean(dim=0).clone().cpu())


def _log_mel(audio: Tensor, mel_stats: Tensor, fft_size: int) -> Tensor:
    mel = _mel_transform(fft_size, audio.device)(audio)
    # 1e-5 is the floor of coqui's `wav_to_mel_cloning`.
    logarithm = torch.log(torch.clamp(mel, min=1e-5))
    return logarithm / mel_stats.to(audio.device).unsqueeze(0).unsqueeze(-1)


@functools.cache
def _mel_transform(fft_size: int, device: torch.device) -> torchaudio.transforms.MelSpectrogram:
    """The parameters of coqui's `wav_to_mel_cloning` (as `Xtts` calls it) and `dvae_wav_to_mel`; made once a device."""
    return torchaudio.transforms.MelSpectrogram(
        n_fft=fft_size,
        hop_length=256,
        win_length=1_024,
        power=2,
        normalized=False,
        sample_rate=SAMPLE_RATE_HERTZ,
        f_min=0,
        f_max=8_000,
        n_mels=80,
        norm="slaney",
    ).to(device)
