from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from services.inference.engine.coqui_engine import CODES_A_PIECE, SPARE_CODES, CoquiEngine, CoquiLoader
from services.inference.engine.decoder import generate_codes
from services.inference.engine.interface import Sampling, SpeechCancelled
from services.inference.engine.sampling import Distribution
from services.xtts.features import VoiceLatents

Samples = npt.NDArray[np.float32]
TEXT = "Minha avó fazia pão de queijo."
GREEDY = Distribution(temperature=0.75, top_k=1, top_p=1.0, repetition_penalty=10.0)


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def voice(engine: CoquiEngine, speech: dict[str, Samples]) -> VoiceLatents:
    return engine.condition([speech["vowel"], speech["other take"]])


def test_equals_stock_inference(engine: CoquiEngine, voice: VoiceLatents) -> None:
    stock = engine.model.inference(
        TEXT, "pt", voice.gpt_cond_latent, voice.speaker_embedding,
        do_sample=False, repetition_penalty=GREEDY.repetition_penalty, top_k=None, top_p=None,
    )  # fmt: skip
    tokens = torch.tensor([engine.encoder.encode(TEXT, "pt")])
    codes = generate_codes(
        engine.model.gpt, tokens, voice.gpt_cond_latent, GREEDY,
        generator=torch.Generator(), max_codes=10_000, cancelled=never,
    )  # fmt: skip
    assert codes.latents.shape == stock["gpt_latents"].shape
    np.testing.assert_allclose(codes.latents.numpy(), stock["gpt_latents"], atol=2e-5)
    np.testing.assert_allclose(engine._vocode(codes.latents, voice, 1.0), stock["wav"], atol=2e-4)


def test_speaks_at_24_khz_within_bounds(engine: CoquiEngine, voice: VoiceLatents) -> None:
    said = engine.speak(TEXT, "pt", voice, Sampling(seed=1), never)
    assert said.sample_rate == 24_000
    assert said.samples.dtype == np.float32
    assert said.samples.ndim == 1
    codes = len(said.stop_probabilities)
    assert len(said.samples) == pytest.approx(codes * 1024 / 22_050 * 24_000, abs=512)
    assert codes <= CODES_A_PIECE * len(TEXT) / 203 + SPARE_CODES + 1
    assert np.all((said.stop_probabilities > 0) & (said.stop_probabilities < 1))
    assert np.abs(said.samples).max() > 0.01


def test_the_seed_decides_and_nothing_else(engine: CoquiEngine, voice: VoiceLatents) -> None:
    first = engine.speak(TEXT, "pt", voice, Sampling(seed=1), never)
    torch.manual_seed(99)
    again = engine.speak(TEXT, "pt", voice, Sampling(seed=1), never)
    other = engine.speak(TEXT, "pt", voice, Sampling(seed=2), never)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples[:4000], other.samples[:4000])


def test_speed_changes_the_length(engine: CoquiEngine, voice: VoiceLatents) -> None:
    lengths = {
        speed: len(engine.speak(TEXT, "pt", voice, Sampling(speed=speed, seed=4), never).samples) for speed in (0.5, 1.0, 2.0)
    }
    assert lengths[0.5] == pytest.approx(2 * lengths[1.0], rel=0.02)
    assert lengths[2.0] == pytest.approx(0.5 * lengths[1.0], rel=0.02)


def test_the_voice_decides_the_sound(engine: CoquiEngine, voice: VoiceLatents, speech: dict[str, Samples]) -> None:
    other = engine.condition([speech["other speaker"]])
    one, two = (engine.speak(TEXT, "pt", v, Sampling(seed=1), never) for v in (voice, other))
    shorter = min(len(one.samples), len(two.samples))
    assert not np.allclose(one.samples[:shorter], two.samples[:shorter], atol=1e-3)


def test_cancelling_stops_between_two_tokens(engine: CoquiEngine, voice: VoiceLatents) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(SpeechCancelled):
        engine.speak(TEXT, "pt", voice, Sampling(), cancelled)
    assert asked == 6


def test_a_model_that_never_stops_is_stopped(engine: CoquiEngine, voice: VoiceLatents) -> None:
    bias = engine.model.gpt.mel_head.bias
    stop = engine.model.gpt.stop_audio_token
    before = bias.data[stop].item()
    bias.data[stop] = -1e9
    try:
        one_word = engine.speak("Oi", "pt", voice, Sampling(), never)
        full = engine.speak("palavra " * 25, "pt", voice, Sampling(), never)
    finally:
        bias.data[stop] = before
    assert not one_word.finished
    assert len(one_word.stop_probabilities) < SPARE_CODES + 10
    assert CODES_A_PIECE - 10 < len(full.stop_probabilities) <= CODES_A_PIECE


def test_limits_are_those_of_the_language(engine: CoquiEngine) -> None:
    assert engine.language_code("pt-BR") == "pt"
    assert engine.limits("pt").characters == 203
    assert engine.limits("en").characters == 250
    tokens = engine.limits("pt").count_tokens("olá mundo")
    assert tokens == len(engine.encoder.encode("olá mundo", "pt"))
    assert engine.limits("pt").tokens < 402


def test_embeddings_have_length_one_and_tell_noise_from_speech(engine: CoquiEngine, speech: dict[str, Samples]) -> None:
    embedding = engine.embed(speech["vowel"])
    assert embedding.shape == (512,)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(embedding, engine.embed(speech["vowel"]), atol=1e-6)


def test_loaded_models_share_the_vocoder_but_not_the_gpt(tiny_base: Path) -> None:
    loader = CoquiLoader(tiny_base, device="cpu")
    one, two = loader.load(None), loader.load(None)
    assert one.model.hifigan_decoder is two.model.hifigan_decoder
    assert one.model.gpt is not two.model.gpt
    assert one.own_voice() is not None
    assert dataclasses.replace(one, base_voice=None).own_voice() is None


def test_a_short_sentence_takes_less_than_two_seconds(engine: CoquiEngine, voice: VoiceLatents) -> None:
    began = time.perf_counter()
    engine.speak(TEXT, "pt", voice, Sampling(seed=1), never)
    assert time.perf_counter() - began < 2
