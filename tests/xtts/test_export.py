"""An exported folder loads in stock coqui-tts and speaks there, with the fine-tuned weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.models.xtts import Xtts

from services.xtts import tiny
from services.xtts.base import check_base, fingerprint
from services.xtts.build import Shrink, read_config
from services.xtts.checkpoint import Checkpoint, CheckpointMisfit, ReferenceVoice
from services.xtts.export import FolderExists, export_folder
from services.xtts.features import conditioning_latents
from services.xtts.load import load_for_training, load_model


def _checkpoint(base: Path, clip: Tensor) -> Checkpoint:
    """Returns a checkpoint with weights of its own, that stops early."""
    model = load_for_training(base)
    gpt = {name: value * 1.01 for name, value in model.gpt.state_dict().items()}
    gpt["mel_head.bias"][model.gpt.stop_audio_token] += 1.0
    return Checkpoint(
        model_name="minha_voz",
        epoch=1,
        base_name="tiny",
        base_fingerprint=fingerprint(base),
        config=read_config(base / "config.json").raw,
        language="pt",
        gpt=gpt,
        voice=ReferenceVoice(conditioning_latents(model, [clip]), (clip * 32_767).to(torch.int16), ("one",)),
        scores={},
        created="2026-01-02T03:04:05+00:00",
    )


def test_stock_coqui_loads_it_and_speaks(voices: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The speaker encoder at coqui's size is slow, and the quality of its fit plays no part here.
    monkeypatch.setattr(tiny, "_VOICES", 8)
    monkeypatch.setattr(tiny, "_TAKES", 2)
    base, target = tmp_path / "base", tmp_path / "exported"
    tiny.make_tiny(base, shrink=Shrink(dvae_width=32, dvae_code_width=32, dvae_blocks=1))
    checkpoint = _checkpoint(base, voices["low"])
    export_folder(checkpoint, base, target)

    config = XttsConfig()
    config.load_json(str(target / "config.json"))
    stock = Xtts(config)
    stock.load_checkpoint(config, checkpoint_dir=str(target), eval=True)
    assert torch.equal(stock.gpt.mel_head.weight, checkpoint.gpt["mel_head.weight"])
    torch.manual_seed(3)
    spoken = stock.synthesize("Olá, mundo.", speaker="minha_voz", language="pt")["wav"]
    assert len(spoken) > 1_024
    assert 0.005 < np.sqrt(np.mean(np.square(spoken))) < 0.5

    ours = load_model(base, checkpoint)
    latents = checkpoint.voice.latents
    torch.manual_seed(3)
    # `synthesize` takes the sampling defaults from config.json.
    settings = {k: config[k] for k in ("temperature", "length_penalty", "repetition_penalty", "top_k", "top_p")}
    same = ours.inference("Olá, mundo.", "pt", latents.gpt_cond_latent, latents.speaker_embedding, **settings)["wav"]
    np.testing.assert_allclose(spoken, same, atol=1e-5)


def test_it_is_a_base_and_carries_the_voice(tiny_base: Path, voices: dict[str, Tensor], tmp_path: Path) -> None:
    checkpoint = _checkpoint(tiny_base, voices["low"])
    export_folder(checkpoint, tiny_base, tmp_path / "exported")
    check_base(tmp_path / "exported")
    again = load_for_training(tmp_path / "exported")
    assert torch.equal(again.gpt.text_head.weight, checkpoint.gpt["text_head.weight"])
    samples, rate = soundfile.read(tmp_path / "exported" / "reference.wav", dtype="int16")
    assert rate == 22_050
    assert np.array_equal(samples, checkpoint.voice.audio.numpy())
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    with pytest.raises(FolderExists):
        export_folder(checkpoint, tiny_base, tmp_path / "exported")


def test_another_base_is_refused(tiny_base: Path, voices: dict[str, Tensor], tmp_path: Path) -> None:
    other = replace(_checkpoint(tiny_base, voices["low"]), base_fingerprint="0")
    with pytest.raises(CheckpointMisfit):
        export_folder(other, tiny_base, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []
