"""Examples are what stock training would compute, are computed once, and unfit clips are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from services.runtime.store import ObjectStore
from services.trainer.clips import Clip
from services.trainer.features import (
    FeatureMaker,
    make_batch,
    make_examples,
    middle_crop,
    random_crop,
)
from services.trainer.options import MAX_CROP_SAMPLES, MIN_CROP_SAMPLES
from services.xtts.features import audio_codes, read_audio
from services.xtts.load import load_dvae, load_mel_stats

MakeMaker = Callable[[], FeatureMaker]


@pytest.fixture
def make_maker(tiny_base: Path, store: ObjectStore, tmp_path: Path) -> MakeMaker:
    return lambda: FeatureMaker(tiny_base, store, tmp_path / "features", torch.device("cpu"))


def test_an_example_is_computed_once(
    make_maker: MakeMaker, clips: list[Clip], tiny_base: Path, store: ObjectStore, tmp_path: Path
) -> None:
    first = make_maker().make(clips[0])
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()}
    again = make_maker().make(clips[0])
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()} == files
    with store.open(clips[0].key) as file:
        audio = read_audio(file)
    expected = audio_codes(load_dvae(tiny_base), audio, load_mel_stats(tiny_base))
    for example in (first, again):
        assert torch.equal(example.codes, expected)
        assert np.abs(np.asarray(example.samples) / 32_767 - audio.numpy()).max() < 1e-4
        assert len(example.tokens) > 10


def test_changed_audio_is_computed_again(make_maker: MakeMaker, clips: list[Clip], store: ObjectStore) -> None:
    before = make_maker().make(clips[0])
    store.copy(clips[1].key, clips[0].key)
    assert len(make_maker().make(clips[0]).samples) != len(before.samples)


def test_a_half_written_example_is_computed_again(make_maker: MakeMaker, clips: list[Clip], tmp_path: Path) -> None:
    before = make_maker().make(clips[0])
    (codes,) = (tmp_path / "features").glob("*.codes.npy")
    codes.unlink()
    assert torch.equal(make_maker().make(clips[0]).codes, before.codes)


def _put_audio(store: ObjectStore, tmp_path: Path, name: str, samples: np.ndarray) -> str:
    path = tmp_path / f"{name}.wav"
    soundfile.write(path, samples, 22_050)
    key = f"datasets/voice/segments/{name}.wav"
    store.put(key, path)
    return key


def test_unfit_clips_are_named_and_left_out(
    make_maker: MakeMaker, clips: list[Clip], store: ObjectStore, tmp_path: Path
) -> None:
    good = clips[0]
    tone = 0.1 * np.sin(np.arange(22_050 * 29) * 0.05)
    store.put("datasets/voice/segments/broken.wav", b"no audio")
    unfit = {
        "short": (_put_audio(store, tmp_path, "short", tone[:20_000]), good.text, "is too short (0.91 s"),
        "long": (_put_audio(store, tmp_path, "long", tone), good.text, "is too long (29.0 s, at most 28.0 s"),
        "silent": (_put_audio(store, tmp_path, "silent", np.zeros(50_000)), good.text, "is silent"),
        "broken": ("datasets/voice/segments/broken.wav", good.text, "has no readable audio"),
        "missing": ("datasets/voice/segments/missing.wav", good.text, "has no audio"),
        "wordless": (good.key, "  ", "has no text"),
        "endless": (good.key, "palavra " * 200, "cannot be used: The text has"),
        "foreign": (good.key, "olá 語", "has letters that the model does not know (語)"),
    }
    mixed = [good, *(replace(good, name=name, key=key, text=text) for name, (key, text, _) in unfit.items()), clips[1]]
    seen: list[str] = []
    examples, left_out = make_examples(make_maker(), mixed, lambda _, clip: seen.append(clip.name))
    assert seen == [clip.name for clip in mixed]
    assert [example.clip.name for example in examples] == [good.name, clips[1].name]
    assert [clip.name for clip in left_out] == list(unfit)
    for clip in left_out:
        assert clip.reason.startswith(unfit[clip.name][2]), clip


def test_signs_without_a_token_are_dropped_from_the_text(make_maker: MakeMaker, clips: list[Clip]) -> None:
    maker = make_maker()
    plain = maker.make(replace(clips[0], text="Olá mundo"))
    assert torch.equal(maker.make(replace(clips[0], text="Olá ♪mundo♪")).tokens, plain.tokens)


def test_the_longest_clip_fits_the_model(
    make_maker: MakeMaker, clips: list[Clip], store: ObjectStore, tmp_path: Path, tiny_base: Path
) -> None:
    """The length at which `is too long` begins is right: what passes goes through `GPT.forward`."""
    from services.trainer.evaluate import compute_losses
    from services.xtts.load import load_for_training

    noise = 0.1 * np.random.default_rng(0).standard_normal(603 * 1_024 + 1).clip(-1, 1)
    longest = replace(clips[0], key=_put_audio(store, tmp_path, "longest", noise[:-1]), text="a " * 198)
    longer = replace(clips[0], name="longer", key=_put_audio(store, tmp_path, "longer", noise))
    (example,), (left_out,) = make_examples(make_maker(), [longest, longer], lambda _index, _clip: None)
    assert left_out.name == "longer"
    gpt = load_for_training(tiny_base).gpt
    batch = make_batch([example], [middle_crop(example.samples)], load_mel_stats(tiny_base))
    assert torch.isfinite(compute_losses(gpt, batch, torch.device("cpu")).total)


@pytest.mark.parametrize("length", [22_050, 66_149, 66_150, 100_000, 400_000])
def test_crops_are_inside_the_clip_and_as_long_as_published(length: int) -> None:
    samples = np.arange(length).astype(np.int16)
    for seed in range(20):
        crop = random_crop(samples, np.random.default_rng(seed))
        assert len(crop) == length // 2 or MIN_CROP_SAMPLES <= len(crop) <= min(length, MAX_CROP_SAMPLES)
        back = (crop * 32_767).round().to(torch.int16).numpy()
        assert back.tobytes() in samples.tobytes()
    assert len(middle_crop(samples)) == (99_225 if length >= 99_225 else length // 2)
