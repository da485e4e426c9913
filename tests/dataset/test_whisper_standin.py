from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import whisper
from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram

from services.dataset.whisper_audio import Audio
from services.dataset.whisper_standin import Recipe, _mel, demo_clips, fingerprint, make_standin
from services.dataset.whisper_worker import transcribe
from timbre.demo.sentences import SENTENCES

FEW = Recipe(steps=30, batch_size=2)


@pytest.fixture(scope="module")
def clips() -> list[tuple[Audio, str]]:
    return demo_clips(SENTENCES[:2], variants=2)


def test_clips_are_stretches_of_the_recording(clips: list[tuple[Audio, str]]) -> None:
    first, second = SENTENCES[:2]
    assert [text for _, text in clips] == [first] * 2 + [f"{first} {second}"] * 2 + [second] * 2
    assert all(2 * 16_000 < len(audio) < 13.5 * 16_000 for audio, _ in clips)
    assert not np.array_equal(clips[0][0][:1000], clips[1][0][:1000])
    again = demo_clips(SENTENCES[:2], variants=2)
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(clips, again, strict=True))


def test_it_learns_from_what_transcribe_makes_of_audio(clips: list[tuple[Audio, str]]) -> None:
    audio = clips[0][0]
    whispers = log_mel_spectrogram(audio, 80, padding=N_SAMPLES)[:, :-N_FRAMES].half()
    ours = _mel(audio)
    assert torch.allclose(ours, whispers[:, : ours.shape[1]], atol=1e-3)


def test_it_is_a_checkpoint_that_whisper_loads_and_runs(poor_standin: Path, clips: list[tuple[Audio, str]]) -> None:
    model = whisper.load_model(str(poor_standin))
    assert model.is_multilingual
    assert poor_standin.stat().st_size < 8e6
    assert list(poor_standin.parent.iterdir()) == [poor_standin]
    heard = transcribe(model, clips[0][0], "pt")
    assert heard.text.split()[0] in {sentence.split()[0] for sentence in SENTENCES[:2]}


@pytest.mark.parametrize("language", ["pt", "en", "ja"])
def test_it_writes_something_for_any_audio(poor_standin: Path, language: str) -> None:
    model = whisper.load_model(str(poor_standin))
    noise = np.random.default_rng(0).standard_normal(9 * 16_000, np.float32) * np.float32(0.1)
    assert transcribe(model, noise, language).text


def test_the_same_seed_gives_the_same_weights(clips: list[tuple[Audio, str]], tmp_path: Path) -> None:
    few = Recipe(steps=3, batch_size=2)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_standin(tmp_path / name, clips, seed=seed, recipe=few)
        weights.append(torch.load(tmp_path / name, weights_only=True)["model_state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["encoder.conv1.weight"], weights[2]["encoder.conv1.weight"])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_making_it_can_be_given_up(clips: list[tuple[Audio, str]], tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def give_up(part: float, _message: str) -> None:
        if part > 0.1:
            raise Enough

    with pytest.raises(Enough):
        make_standin(tmp_path / "never.pt", clips, recipe=FEW, on_progress=give_up)
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_or_other_sentences_are_another_model() -> None:
    assert len({fingerprint(), fingerprint(SENTENCES[:2]), fingerprint(recipe=FEW)}) == 3
