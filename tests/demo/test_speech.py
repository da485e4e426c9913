from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import SAMPLE_RATE_HERTZ, SpeechError, Utterance, make_recording, speak, speak_all


def test_speaks_without_silence_at_the_ends() -> None:
    audio = speak(SENTENCES[0])
    assert audio.dtype == np.float32
    assert 2 < len(audio) / SAMPLE_RATE_HERTZ < 6
    frame = SAMPLE_RATE_HERTZ // 20
    assert np.abs(audio[:frame]).max() > 0.001
    assert np.abs(audio[-frame:]).max() > 0.001


def test_an_utterance_is_the_same_alone_and_among_others() -> None:
    alone = speak(SENTENCES[1])
    among = speak_all([Utterance(SENTENCES[0]), Utterance(SENTENCES[1]), Utterance(SENTENCES[1])])
    np.testing.assert_array_equal(alone, among[1])
    np.testing.assert_array_equal(alone, among[2])


def test_voice_pitch_and_speed_change_the_sound() -> None:
    text = SENTENCES[2]
    plain, other, high, fast = speak_all(
        [Utterance(text), Utterance(text, "pt-br+f2"), Utterance(text, pitch=80), Utterance(text, words_per_minute=240)]
    )
    assert not np.array_equal(plain[:4000], other[:4000])
    assert not np.array_equal(plain[:4000], high[:4000])
    assert len(fast) < 0.8 * len(plain)


@pytest.mark.parametrize(("text", "voice", "complaint"), [("!!", "pt-br", "say '!!'"), ("Olá.", "no-one", "no-one")])
def test_what_cannot_be_said_is_an_error(text: str, voice: str, complaint: str) -> None:
    with pytest.raises(SpeechError, match=complaint):
        speak(text, voice=voice)


def test_a_recording_is_speech_where_it_says_and_silence_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "r.wav"
    spans = make_recording(path, SENTENCES[:4], pause_seconds=(0.3, 1.2), noise_dbfs=-math.inf, peak_dbfs=-12)
    audio, rate = sf.read(path)
    assert (rate, sf.info(path).channels, sf.info(path).subtype) == (22_050, 1, "PCM_16")
    assert np.abs(audio).max() == pytest.approx(10 ** (-12 / 20), abs=1e-3)
    assert [s.text for s in spans] == list(SENTENCES[:4])
    pauses = [b.start_seconds - a.end_seconds for a, b in itertools.pairwise(spans)]
    assert pauses == pytest.approx([0.3, 1.2, 0.3], abs=1e-3)
    spoken = np.zeros(len(audio), bool)
    for span in spans:
        place = slice(round(span.start_seconds * rate), round(span.end_seconds * rate))
        spoken[place] = True
        assert np.sqrt(np.mean(audio[place] ** 2)) > 0.01
    assert np.abs(audio[~spoken]).max() == 0


def test_noise_has_the_level_asked_for(tmp_path: Path) -> None:
    spans = make_recording(tmp_path / "r.wav", SENTENCES[:2], pause_seconds=1.0, noise_dbfs=-40)
    audio, rate = sf.read(tmp_path / "r.wav")
    pause = audio[round(spans[0].end_seconds * rate) : round(spans[1].start_seconds * rate)]
    assert 20 * np.log10(np.sqrt(np.mean(pause**2))) == pytest.approx(-40, abs=0.3)
