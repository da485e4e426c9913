"""The stand-in has the real limits, is the same every time, and behaves like a model that can be worked with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from TTS.tts.models.xtts import Xtts

from services.xtts.base import BASE_FILES, SPEAKERS_FILE
from services.xtts.build import read_config
from services.xtts.features import conditioning_latents
from services.xtts.tiny import make_tiny


def test_files_limits_and_size(tiny_base: Path) -> None:
    assert sorted(path.name for path in tiny_base.iterdir()) == sorted((*BASE_FILES, SPEAKERS_FILE))
    assert sum(path.stat().st_size for path in tiny_base.iterdir()) < 6_000_000
    arguments = read_config(tiny_base / "config.json").xtts.model_args
    assert (arguments.gpt_max_text_tokens, arguments.gpt_max_audio_tokens) == (402, 605)


def test_making_it_again_gives_the_same_files(tiny_base: Path, tmp_path: Path) -> None:
    make_tiny(tmp_path / "again")
    for name in (*BASE_FILES, SPEAKERS_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (tiny_base / name).read_bytes(), name


def test_voices_differ(tiny_model: Xtts, voices: dict[str, Tensor]) -> None:
    latents = {name: conditioning_latents(tiny_model, [clip]) for name, clip in voices.items()}

    def alike(one: str, other: str) -> float:
        pair = [latents[name].speaker_embedding.flatten() for name in (one, other)]
        return float(torch.cosine_similarity(*pair, dim=0))

    assert alike("low", "low again") > alike("low", "high") + 0.1
    assert alike("low", "low again") > alike("low again", "high") + 0.1
    gpt = [latents[name].gpt_cond_latent.flatten() for name in ("low", "high")]
    assert float(torch.cosine_similarity(*gpt, dim=0)) < 0.99


def test_it_speaks_and_stops(tiny_model: Xtts, voices: dict[str, Tensor]) -> None:
    latents = conditioning_latents(tiny_model, [voices["low"]])
    seconds = []
    for seed in range(4):
        torch.manual_seed(seed)
        spoken = tiny_model.inference("Olá, como vai você?", "pt", latents.gpt_cond_latent, latents.speaker_embedding)
        samples = torch.from_numpy(spoken["wav"])
        seconds.append(len(samples) / 24_000)
        assert 0.02 < float(samples.square().mean().sqrt()) < 0.3
        assert float(samples.abs().max()) < 1.0
    assert max(seconds) < 25.0
    assert sum(seconds) / len(seconds) > 0.5


def test_nothing_is_left_when_making_fails(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(OSError, match="there"):
        make_tiny(tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
