"""The losses are those of stock coqui-tts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram

from services.runtime.store import ObjectStore
from services.trainer.clips import Clip
from services.trainer.evaluate import compute_losses, held_out_loss
from services.trainer.features import Example, FeatureMaker, make_batch, middle_crop, random_crop
from services.trainer.optimise import learning_rate_at, make_optimizer
from services.trainer.options import MAX_CROP_SAMPLES
from services.xtts.load import load_dvae, load_for_training, load_mel_stats

CPU = torch.device("cpu")


@pytest.fixture
def examples(tiny_base: Path, store: ObjectStore, clips: list[Clip], tmp_path: Path) -> list[Example]:
    """Four clips of one length: stock computes codes from padded audio, and the padding changes a shorter clip's last."""
    maker = FeatureMaker(tiny_base, store, tmp_path / "features", CPU)
    for clip in clips[:4]:
        with store.open(clip.key) as file:
            samples, rate = soundfile.read(file, dtype="int16")
        soundfile.write(tmp_path / "cut.wav", samples[:45_000], rate)
        store.put(clip.key, tmp_path / "cut.wav")
    return [maker.make(clip) for clip in clips[:4]]


def test_they_equal_those_of_stock_training(tiny_base: Path, examples: list[Example]) -> None:
    """The same clips and crops through the steps of coqui's `GPTTrainer.format_batch_on_device` and `train_step`."""
    gpt = load_for_training(tiny_base).gpt
    stats_file = str(tiny_base / "mel_stats.pth")
    random = np.random.default_rng(0)
    crops = [random_crop(example.samples, random) for example in examples]

    lengths = [len(example.samples) for example in examples]
    wavs = torch.zeros(len(examples), max(lengths))
    padded_crops = torch.zeros(len(examples), 1, 1, MAX_CROP_SAMPLES)
    texts = torch.zeros(len(examples), max(len(example.tokens) for example in examples), dtype=torch.int)
    for row, (example, crop) in enumerate(zip(examples, crops, strict=True)):
        wavs[row, : lengths[row]] = torch.from_numpy(np.asarray(example.samples) / np.float32(32_767))
        padded_crops[row, 0, 0, : len(crop)] = crop
        texts[row, : len(example.tokens)] = example.tokens
    style = TorchMelSpectrogram(2_048, 256, 1_024, mel_norm_file=stats_file)
    cond_mels = style(padded_crops.view(len(examples), 1, MAX_CROP_SAMPLES)).unsqueeze(1)
    codes = load_dvae(tiny_base).get_codebook_indices(TorchMelSpectrogram(mel_norm_file=stats_file)(wavs))
    token_lengths = torch.tensor([len(example.tokens) for example in examples])
    gpt.eval()  # stock evaluation: `cond_idxs` is None there
    stock_text, stock_audio, _ = gpt(texts, token_lengths, codes, torch.tensor(lengths), cond_mels, None, None)

    losses = compute_losses(gpt, make_batch(examples, crops, load_mel_stats(tiny_base)), CPU)
    assert float(losses.text.detach()) == pytest.approx(float(stock_text.detach()), abs=1e-6)
    assert float(losses.audio.detach()) == pytest.approx(float(stock_audio.detach()), abs=1e-6)
    stock_total = 0.01 * stock_text + 1.0 * stock_audio
    assert float(losses.total.detach()) == pytest.approx(float(stock_total.detach()), abs=1e-6)


def test_the_held_out_loss_is_always_the_same_and_depends_on_no_batch_size(tiny_base: Path, examples: list[Example]) -> None:
    gpt = load_for_training(tiny_base).gpt.train()
    stats = load_mel_stats(tiny_base)
    values = [held_out_loss(gpt, examples, stats, size, CPU) for size in (1, 3, 4, 4)]
    assert values[2] == values[3]
    assert values == pytest.approx([values[0]] * 4, rel=2e-3)
    assert gpt.training
    assert np.isnan(held_out_loss(gpt, [], stats, 4, CPU))
    batch = make_batch(examples, [middle_crop(example.samples) for example in examples], stats)
    assert values[2] == pytest.approx(float(compute_losses(gpt.eval(), batch, CPU).total.detach()), abs=1e-6)


def test_weights_decay_and_nothing_else(tiny_base: Path) -> None:
    gpt = load_for_training(tiny_base).gpt
    decayed, others = make_optimizer(gpt, 1e-4).param_groups
    names = {id(parameter): name for name, parameter in gpt.named_parameters()}
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    assert decayed["weight_decay"] == 0.01
    assert others["weight_decay"] == 0.0
    plain = {names[id(parameter)] for parameter in others["params"]}
    assert {"gpt.h.0.ln_1.weight", "gpt.h.0.ln_1.bias", "text_embedding.weight", "mel_head.bias"} <= plain
    assert not {"gpt.h.0.attn.c_attn.weight", "mel_head.weight"} & plain
    assert decayed["betas"] == (0.9, 0.96)


def test_the_learning_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [learning_rate_at(step, 2_000, 1.0) for step in range(2_000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == rates[100] == max(rates) == 1.0
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=1e-5)
    assert learning_rate_at(0, 1, 1.0) == 1.0
