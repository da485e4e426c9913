"""A checkpoint comes back as it was saved, and nothing else is taken for one."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from TTS.tts.models.xtts import Xtts

from services.xtts.base import fingerprint
from services.xtts.build import read_config
from services.xtts.checkpoint import (
    Checkpoint,
    CheckpointMisfit,
    NotACheckpoint,
    ReferenceVoice,
    load_checkpoint,
    save_checkpoint,
)
from services.xtts.features import conditioning_latents
from services.xtts.load import load_for_training, load_model


@pytest.fixture(scope="module")
def checkpoint(tiny_base: Path, tiny_model: Xtts, voices: dict[str, Tensor]) -> Checkpoint:
    """A checkpoint whose GPT differs from the base's in every weight."""
    clip = voices["low"]
    return Checkpoint(
        model_name="minha_voz",
        epoch=7,
        base_name="tiny",
        base_fingerprint=fingerprint(tiny_base),
        config=read_config(tiny_base / "config.json").raw,
        language="pt",
        gpt={name: value + 0.25 for name, value in load_for_training(tiny_base).gpt.state_dict().items()},
        voice=ReferenceVoice(conditioning_latents(tiny_model, [clip]), (clip * 32_767).to(torch.int16), ("one",)),
        scores={"train_loss": 2.5, "held_out_loss": 3.25},
        created="2026-01-02T03:04:05+00:00",
    )


def test_it_comes_back_as_it_was(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a" / "checkpoint.pth", checkpoint)
    back = load_checkpoint(tmp_path / "a" / "checkpoint.pth")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["checkpoint.pth"]
    assert back.gpt.keys() == checkpoint.gpt.keys()
    assert all(torch.equal(back.gpt[name], value) for name, value in checkpoint.gpt.items())
    assert torch.equal(back.voice.latents.gpt_cond_latent, checkpoint.voice.latents.gpt_cond_latent)
    assert torch.equal(back.voice.latents.speaker_embedding, checkpoint.voice.latents.speaker_embedding)
    assert torch.equal(back.voice.audio, checkpoint.voice.audio)
    for name in ("model_name", "epoch", "base_name", "base_fingerprint", "config", "language", "scores", "created"):
        assert getattr(back, name) == getattr(checkpoint, name)


def test_its_gpt_takes_the_place_of_the_bases(checkpoint: Checkpoint, tiny_base: Path) -> None:
    model = load_model(tiny_base, checkpoint)
    base = load_model(tiny_base)
    assert torch.equal(model.gpt.mel_head.weight, checkpoint.gpt["mel_head.weight"])
    assert torch.equal(model.gpt.gpt_inference.lm_head[1].weight, checkpoint.gpt["mel_head.weight"])
    assert torch.equal(
        model.hifigan_decoder.waveform_decoder.conv_pre.weight, base.hifigan_decoder.waveform_decoder.conv_pre.weight
    )


def test_another_base_is_refused(checkpoint: Checkpoint, tiny_base: Path) -> None:
    with pytest.raises(CheckpointMisfit, match="'other'"):
        load_model(tiny_base, replace(checkpoint, base_name="other", base_fingerprint="0"))
    cut = {name: value[:1] for name, value in checkpoint.gpt.items()}
    with pytest.raises(CheckpointMisfit):
        load_model(tiny_base, replace(checkpoint, gpt=cut))
    with pytest.raises(CheckpointMisfit):
        load_model(tiny_base, replace(checkpoint, gpt=dict(list(checkpoint.gpt.items())[1:])))


class Malicious:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def test_pickled_code_is_refused_and_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"format": "timbre.xtts.checkpoint", "version": 1, "gpt": Malicious(trace)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Malicious(trace)))
    torch.save({"gpt": Malicious(trace)}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("zip.pth", "bare.pth", "legacy.pth"):
        with pytest.raises(NotACheckpoint):
            load_checkpoint(tmp_path / name)
    assert not trace.exists()


def test_other_files_are_refused(checkpoint: Checkpoint, tiny_base: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "good.pth", checkpoint)
    good = (tmp_path / "good.pth").read_bytes()
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"format": "timbre.xtts.checkpoint", "version": 99}, tmp_path / "later.pth")
    torch.save({"format": "timbre.xtts.checkpoint", "version": 1, "gpt": {}}, tmp_path / "poor.pth")
    (tmp_path / "random.pth").write_bytes(os.urandom(5_000))
    (tmp_path / "empty.pth").touch()
    (tmp_path / "half.pth").write_bytes(good[: len(good) // 2])
    (tmp_path / "nearly.pth").write_bytes(good[:-1])
    for path in (*tmp_path.iterdir(), tiny_base / "model.pth", tiny_base / "vocab.json"):
        if path.name != "good.pth":
            with pytest.raises(NotACheckpoint, match="not a checkpoint of Timbre"):
                load_checkpoint(path)


def test_a_failed_save_leaves_the_old_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", checkpoint)
    unpicklable = replace(checkpoint, scores={"x": open})  # type: ignore[dict-item]
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save_checkpoint(tmp_path / "a.pth", replace(unpicklable, config={"x": lambda: None}))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
    assert load_checkpoint(tmp_path / "a.pth").epoch == 7
