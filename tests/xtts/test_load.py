"""Base folders load as published, and a damaged one says what is wrong with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig
from TTS.tts.models import xtts as coqui_xtts

from services.xtts.base import BaseIncomplete
from services.xtts.load import load_dvae, load_for_training, load_mel_stats, load_model


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def test_a_file_as_coqui_published_it_loads(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published model.pth pickles its configuration as objects, by names that coqui has since moved."""
    weights = torch.load(base / "model.pth", weights_only=True)["model"]
    for cls in (XttsArgs, XttsAudioConfig):
        monkeypatch.setattr(cls, "__module__", coqui_xtts.__name__)
    config = XttsConfig(datasets=[BaseDatasetConfig()])
    torch.save({"config": config, "model": weights}, base / "model.pth")
    before = (base / "model.pth").read_bytes()
    monkeypatch.undo()
    model = load_for_training(base)
    assert torch.equal(model.gpt.mel_head.weight, weights["gpt.mel_head.weight"])
    assert (base / "model.pth").read_bytes() == before


def test_second_names_of_weights_are_left_out(base: Path) -> None:
    inference = load_model(base)
    torch.save({"config": {}, "model": inference.state_dict()}, base / "model.pth")
    assert load_for_training(base).gpt.state_dict().keys() < inference.gpt.state_dict().keys()


def test_a_dvae_without_training_buffers_loads(base: Path) -> None:
    weights = torch.load(base / "dvae.pth", weights_only=True)
    torch.save({n: v for n, v in weights.items() if not n.startswith("discrete_loss.")}, base / "dvae.pth")
    dvae = load_dvae(base)
    assert not dvae.training
    assert torch.equal(dvae.codebook.embed, weights["codebook.embed"])


def test_mel_stats_come_from_their_file(base: Path) -> None:
    stats = torch.linspace(1.0, 2.0, 80)
    torch.save(stats, base / "mel_stats.pth")
    assert torch.equal(load_model(base).mel_stats, stats)
    torch.save(torch.ones(3), base / "mel_stats.pth")
    with pytest.raises(BaseIncomplete, match=r"mel_stats\.pth"):
        load_mel_stats(base)


@pytest.mark.parametrize(
    ("name", "content"), [("model.pth", b""), ("model.pth", b"x" * 999), ("dvae.pth", b"PK\x03\x04"), ("dvae.pth", None)]
)
def test_a_damaged_base_says_which_file(base: Path, name: str, content: bytes | None) -> None:
    (base / name).unlink()
    if content is not None:
        (base / name).write_bytes(content)
    with pytest.raises(BaseIncomplete, match=name.replace(".", r"\.")):
        load_model(base) if name == "model.pth" else load_dvae(base)


def test_a_config_of_another_model_is_an_error(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    config["model_args"]["gpt_n_model_channels"] = 128
    config["model_args"]["decoder_input_dim"] = 128
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(BaseIncomplete, match=r"does not fit its config\.json"):
        load_model(base)
