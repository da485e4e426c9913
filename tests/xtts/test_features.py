"""Everything computed from audio equals stock coqui-tts."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram
from TTS.tts.models import xtts as coqui_xtts
from TTS.tts.models.xtts import Xtts

from services.xtts.features import (
    ReferenceUnreadable,
    audio_codes,
    code_count,
    conditioning_latents,
    conditioning_mel,
    dvae_mel,
    read_audio,
)
from services.xtts.load import load_dvae, load_mel_stats


def test_latents_equal_stock(tiny_model: Xtts, voices: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    # Stock reads files with torchaudio, which needs system FFmpeg libraries: here it gets the same samples.
    monkeypatch.setattr(coqui_xtts, "load_audio", lambda name, _rate: voices[name].unsqueeze(0))
    stock_latent, stock_speaker = tiny_model.get_conditioning_latents(
        ["low", "low again"], max_ref_length=30, gpt_cond_len=30, gpt_cond_chunk_len=4
    )
    ours = conditioning_latents(tiny_model, [voices["low"], voices["low again"]])
    assert torch.equal(ours.gpt_cond_latent, stock_latent)
    assert torch.equal(ours.speaker_embedding, stock_speaker)


def test_latents_can_be_trained_with(tiny_model: Xtts, voices: dict[str, Tensor]) -> None:
    latents = conditioning_latents(tiny_model, [voices["low"]])
    assert not latents.gpt_cond_latent.is_inference()
    assert not latents.speaker_embedding.is_inference()


def test_mels_equal_those_of_stock_training(tiny_base: Path, voices: dict[str, Tensor]) -> None:
    stats = load_mel_stats(tiny_base)
    batch = voices["high"].unsqueeze(0)
    stock = {
        2_048: TorchMelSpectrogram(2_048, 256, 1_024, mel_norm_file=str(tiny_base / "mel_stats.pth")),
        1_024: TorchMelSpectrogram(1_024, 256, 1_024, mel_norm_file=str(tiny_base / "mel_stats.pth")),
    }
    assert torch.equal(conditioning_mel(batch, stats), stock[2_048](batch))
    assert torch.equal(dvae_mel(batch, stats), stock[1_024](batch))


@pytest.mark.parametrize("samples", [22_050, 20_480, 20_481, 30_000])
def test_codes_equal_stock_and_suffice(tiny_base: Path, voices: dict[str, Tensor], samples: int) -> None:
    dvae, stats = load_dvae(tiny_base), load_mel_stats(tiny_base)
    clip = voices["low"][:samples]
    codes = audio_codes(dvae, clip, stats)
    stock_mel = TorchMelSpectrogram(mel_norm_file=str(tiny_base / "mel_stats.pth"))(clip.unsqueeze(0))
    assert torch.equal(codes, dvae.get_codebook_indices(stock_mel)[0])
    assert code_count(samples) <= len(codes) <= code_count(samples) + 1


def test_codes_of_speech_are_diverse(tiny_base: Path, voices: dict[str, Tensor]) -> None:
    codes = audio_codes(load_dvae(tiny_base), torch.cat(list(voices.values())), load_mel_stats(tiny_base))
    assert codes.unique().numel() > 40


@pytest.mark.parametrize("recordings", [[], [torch.zeros(7_000)]])
def test_too_little_reference_is_an_error(tiny_model: Xtts, recordings: list[Tensor]) -> None:
    with pytest.raises(ReferenceUnreadable, match="too short"):
        conditioning_latents(tiny_model, recordings)


def test_any_rate_and_channels_are_read_as_mono_22050() -> None:
    time = np.arange(48_000) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone, np.zeros_like(tone)], axis=1), 48_000, format="FLAC")
    file.seek(0)
    audio = read_audio(file)
    assert audio.shape == (22_050,)
    assert audio.dtype == torch.float32
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)
    assert np.abs(audio.numpy() - expected)[500:-500].max() < 1e-3


@pytest.mark.parametrize("content", [b"", b"no audio at all" * 100])
def test_what_is_no_audio_is_an_error(content: bytes) -> None:
    with pytest.raises(ReferenceUnreadable, match="cannot be read"):
        read_audio(io.BytesIO(content))
