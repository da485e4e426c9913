"""Makes the `tiny` base: XTTS's architecture in small, with random weights, so that everything runs without a download.

It is the real thing except for what it has learnt: coqui's classes, the files that coqui publishes under their names,
the real limits of text and audio. It stands in for the mechanics, not for the sound. Random weights as the classes
initialise them would make a poor stand-in, so they are conditioned:

- the DVAE gets variance-preserving convolutions, and its codebook is sampled from its own encoder's outputs, so that
  speech gives many distinct codes and there is something to learn;
- the conditioning encoder's output projections, zero by initialisation, are filled, so that the voice has an influence;
- the speaker encoder's last layer is fitted to tell synthetic voices apart, so that voices differ by cosine;
- the stop token is made likelier, so that an untrained model ends after a few seconds;
- the vocoder's convolutions keep variance and end at the level of speech, so that what is said and by whom is audible.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from TTS.tts.layers.xtts.dvae import DiscreteVAE
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.xtts import Xtts

from services.xtts.base import SPEAKERS_FILE
from services.xtts.build import EXTRA_KEY, Shrink, build_dvae, build_model, parse_config
from services.xtts.features import SAMPLE_RATE_HERTZ, conditioning_latents, conditioning_mel, dvae_mel
from services.xtts.tiny_text import LANGUAGES, write_vocabulary

TINY_FINGERPRINT = "tiny-1"
"""Stated in config.json in place of a hash of the weights, which differ in the last bit between kinds of processor.

Raise the number with any change to the weights or the tokenizer: checkpoints of the old one will be refused.
"""

CODE_COUNT = 256
"""Audio codes, against 1,024 in XTTS-v2."""

SHRINK = Shrink(
    vocoder_channels=32,
    speaker_filters=(8, 8, 16, 16),
    speaker_blocks=(1, 1, 1, 1),
    conditioning_blocks=1,
    perceiver_heads=2,
    perceiver_head_size=32,
    dvae_width=32,
    dvae_code_width=32,
    dvae_blocks=1,
)

STOP_BIAS = 0.5
"""Added to the stop token's logit: under the default sampling the untrained model then stops after about 3 s."""

_VOICES, _TAKES, _SECONDS = 16, 3, 2

LATENT_RMS = 0.05
"""Level of the vocoder's output on random latents; on the model's own it is about twice that, -20 dBFS, as speech is."""


def make_tiny(folder: Path, *, shrink: Shrink = SHRINK) -> None:
    """Makes the stand-in base folder, or raises and leaves nothing behind.

    Args:
        folder: Where to; must not exist.
        shrink: Sizes of the parts that coqui's classes fix. `Shrink(dvae_width=32, dvae_code_width=32, dvae_blocks=1)`
            leaves them at coqui's sizes, and the folder loads in stock coqui-tts (90 MB, slower).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        target = Path(scratch) / folder.name
        target.mkdir()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums come out the same on every machine
        try:
            _write(target, shrink)
        finally:
            torch.set_num_threads(threads)
        target.rename(folder)


@torch.no_grad()
def _write(folder: Path, shrink: Shrink) -> None:
    raw = _config(shrink)
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    write_vocabulary(folder / "vocab.json")
    config = parse_config(raw)
    voices = [[torch.from_numpy(_synthetic_speech(voice, take)) for take in range(_TAKES)] for voice in range(_VOICES)]
    clips = [takes[0] for takes in voices]
    mel_stats = _mel_statistics(clips)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(config, VoiceBpeTokenizer(str(folder / "vocab.json")))
        dvae = build_dvae(config)
        model.mel_stats.copy_(mel_stats)
        # Not model.eval(): coqui's adds the inference wrapper, whose weights would be stored a second time.
        model.gpt.eval()
        model.hifigan_decoder.eval()
        _condition_dvae(dvae, clips, mel_stats)
        _condition_gpt(model)
        _condition_speaker_encoder(model, voices)
        _condition_vocoder(model)
    torch.save({"config": raw, "model": model.state_dict()}, folder / "model.pth")
    torch.save(dvae.state_dict(), folder / "dvae.pth")
    torch.save(mel_stats, folder / "mel_stats.pth")
    voice = conditioning_latents(model, voices[0])
    speaker = {"gpt_cond_latent": voice.gpt_cond_latent, "speaker_embedding": voice.speaker_embedding}
    torch.save({"synthetic": speaker}, folder / SPEAKERS_FILE)


def _config(shrink: Shrink) -> dict[str, Any]:
    """Returns a config.json in the form of XTTS-v2's, whose limits and generation defaults it keeps."""
    width = 64
    return {
        "model": "xtts",
        "model_args": {
            "gpt_max_audio_tokens": 605,
            "gpt_max_text_tokens": 402,
            "gpt_max_prompt_tokens": 70,
            "gpt_layers": 2,
            "gpt_n_model_channels": width,
            "gpt_n_heads": 2,
            "gpt_num_audio_tokens": CODE_COUNT + 2,
            "gpt_start_audio_token": CODE_COUNT,
            "gpt_stop_audio_token": CODE_COUNT + 1,
            "gpt_code_stride_len": 1024,
            "gpt_use_masking_gt_prompt_approach": True,
            "gpt_use_perceiver_resampler": True,
            "decoder_input_dim": width,
            "d_vector_dim": 512,
        },
        "audio": {"sample_rate": 22050, "output_sample_rate": 24000, "dvae_sample_rate": 22050},
        "languages": list(LANGUAGES),
        "temperature": 0.75,
        "length_penalty": 1.0,
        "repetition_penalty": 5.0,
        "top_k": 50,
        "top_p": 0.85,
        "gpt_cond_len": 30,
        "gpt_cond_chunk_len": 4,
        "max_ref_len": 30,
        "sound_norm_refs": False,
        EXTRA_KEY: {"name": "tiny", "fingerprint": TINY_FINGERPRINT, "shrink": shrink.to_json()},
    }


def _condition_dvae(dvae: DiscreteVAE, voices: list[Tensor], mel_stats: Tensor) -> None:
    """Makes the encoder keep variance, its outputs standard, and its codebook a sample of them."""
    for layer in dvae.encoder.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                layer.bias.zero_()
    mels = torch.cat([dvae_mel(voice.unsqueeze(0), mel_stats) for voice in voices], dim=-1)
    last = dvae.encoder[-1]
    outputs = dvae.encoder(mels)[0]  # [code width, frames]
    scale = outputs.std(dim=1)
    last.weight.div_(scale[:, None, None])
    last.bias.copy_(-outputs.mean(dim=1) / scale)
    frames = dvae.encoder(mels)[0]
    chosen = torch.randperm(frames.shape[1])[:CODE_COUNT]
    dvae.codebook.embed.copy_(frames[:, chosen])
    dvae.codebook.embed_avg.copy_(dvae.codebook.embed)


def _condition_gpt(model: Xtts) -> None:
    """Lets the voice reach the GPT, and makes the stop token likelier."""
    for block in model.gpt.conditioning_encoder.attn:
        nn.init.xavier_normal_(block.proj_out.weight)
    for attention, _ in model.gpt.conditioning_perceiver.layers:
        # Sharper than uniform attention: otherwise the mean over all frames says little about the voice.
        attention.to_q.weight.mul_(8.0)
    model.gpt.mel_head.bias[model.gpt.stop_audio_token] = STOP_BIAS


def _condition_speaker_encoder(model: Xtts, voices: list[list[Tensor]]) -> None:
    """Makes the last layer tell voices apart, by linear discriminant analysis.

    It is centred, since random ReLU features all point one way whoever speaks, and whitened by how much the features of
    one voice vary between takes.
    """
    encoder = model.hifigan_decoder.speaker_encoder
    pooled: list[Tensor] = []
    with encoder.fc.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0])):
        for take in itertools.chain.from_iterable(voices):
            model.get_speaker_embedding(take.unsqueeze(0), SAMPLE_RATE_HERTZ)
    features = torch.cat(pooled).double().view(len(voices), -1, encoder.fc.in_features)  # [voices, takes, features]
    within = (features - features.mean(dim=1, keepdim=True)).flatten(0, 1)
    _, deviations, directions = torch.linalg.svd(within, full_matrices=False)
    # There are fewer takes than features: where nothing was seen, a tenth of the mean variance is assumed.
    assumed = 0.1 * deviations.square().sum() / encoder.fc.in_features
    damping = 1.0 - (assumed / (assumed + deviations.square())).sqrt()
    projection = nn.init.orthogonal_(torch.empty_like(encoder.fc.weight, dtype=torch.double))
    projection -= (projection @ directions.T * damping) @ directions
    encoder.fc.weight.copy_(projection)
    encoder.fc.bias.copy_(-projection @ features.mean(dim=(0, 1)))


def _set_weight(layer: nn.Conv1d | nn.ConvTranspose1d, weight: Tensor) -> None:
    """Sets a weight, also of a layer whose weight is kept as norm and direction."""
    if is_parametrized(layer):
        layer.weight = weight
    else:
        layer.weight.copy_(weight)


def _condition_vocoder(model: Xtts) -> None:
    """Makes every convolution keep variance, so that latents and voice both show in the output, at the level of speech."""
    generator = model.hifigan_decoder.waveform_decoder
    for name, layer in generator.named_modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            fan_in = layer.in_channels * layer.kernel_size[0] / layer.stride[0] ** isinstance(layer, nn.ConvTranspose1d)
            # Residual branches add up, and the voice's embedding has unit length: both come in at a part of the signal.
            deviation = 0.5 if "cond" in name else (0.3 if "convs2" in name else 1.0) * (2.0 / fan_in) ** 0.5
            _set_weight(layer, torch.randn_like(layer.weight) * deviation)
            if layer.bias is not None:
                layer.bias.zero_()
    latents = torch.randn(4, 16, model.args.gpt_n_model_channels)
    embeddings = nn.functional.normalize(torch.randn(4, 512, 1), dim=1)
    levels = [model.hifigan_decoder(x[None], g=g[None]).square().mean() for x, g in zip(latents, embeddings, strict=True)]
    generator.conv_post.weight.mul_(LATENT_RMS / torch.stack(levels).mean().sqrt())


def _mel_statistics(voices: list[Tensor]) -> Tensor:
    """Returns what log mel spectrograms are divided by, [80]: their mean magnitude a band, as in XTTS-v2's mel_stats.pth."""
    ones = torch.ones(80)
    mels = torch.cat([conditioning_mel(voice.unsqueeze(0), ones) for voice in voices], dim=-1)[0]
    return mels.abs().mean(dim=1).clamp(min=1.0)


def _synthetic_speech(voice: int, take: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Returns 2 s of something like speech: syllables of a gliding pitch through moving formants, noise and pauses.

    Args:
        voice: Decides pitch, length of the vocal tract, pace, and breathiness.
        take: Decides what is said.
    """
    person, random = np.random.default_rng(voice), np.random.default_rng([voice, take])
    rate = SAMPLE_RATE_HERTZ
    pieces = [np.zeros(rate // 10)]
    pitch = 90.0 * 2.0 ** person.uniform(0.0, 1.4)
    tract, pace, breath, width = (person.uniform(*span) for span in ((0.85, 1.2), (0.7, 1.4), (0.0, 0.12), (70, 180)))
    while sum(map(len, pieces)) < _SECONDS * rate:
        count = int(rate * pace * random.uniform(0.08, 0.3))
        time = np.arange(count) / rate
        glide = pitch * (1.0 + random.uniform(-0.2, 0.2) * time / time[-1])
        phase = 2.0 * np.pi * np.cumsum(glide) / rate
        formants = tract * np.array([random.uniform(250, 850), random.uniform(800, 2400), random.uniform(2300, 3400)])
        voiced = np.zeros(count)
        for harmonic in range(1, int(8_000 / pitch)):
            gain = np.sum(1.0 / (1.0 + ((harmonic * pitch - formants) / width) ** 2)) + 0.002
            voiced += gain / harmonic**0.5 * np.sin(harmonic * phase)
        envelope = np.sin(np.pi * np.arange(count) / count) ** 0.7
        pieces.append(0.15 * voiced * envelope)
        fricative = np.diff(random.standard_normal(int(rate * random.uniform(0.02, 0.1)))) * breath
        pieces.append(fricative)
        if random.random() < 0.2:
            pieces.append(np.zeros(int(rate * random.uniform(0.05, 0.25))))
    speech = np.concatenate(pieces)[: _SECONDS * rate]
    speech += 1e-3 * random.standard_normal(speech.size)
    return np.clip(speech, -1.0, 1.0).astype(np.float32)
