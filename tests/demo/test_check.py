"""Looking into audio files: right ones are measured, wrong ones named."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from timbre.demo.check import AudioFacts, AudioWrong, check_audio


def write_tone(path: Path, *, seconds: float = 2.0, peak: float = 0.5, rate: int = 22_050, subtype: str = "PCM_16") -> Path:
    times = np.arange(round(seconds * rate)) / rate
    sf.write(path, peak * np.sin(2 * np.pi * 997 * times), rate, subtype=subtype)
    return path


def test_figures_of_a_tone(tmp_path: Path) -> None:
    facts = check_audio(write_tone(tmp_path / "tone.wav"))
    assert facts.duration_seconds == pytest.approx(2.0)
    assert facts.peak_dbfs == pytest.approx(-6.02, abs=0.05)
    # ITU-R BS.1770: a full-scale 997 Hz sine in one channel has -3.01 LUFS.
    assert facts.loudness_lufs == pytest.approx(-3.01 - 6.02, abs=0.1)


def test_figures_in_words() -> None:
    facts = AudioFacts(Path("tone.wav"), 22_050, 1, 2.0, -6.02, -9.03)
    assert str(facts) == "2.00 s, 22,050 Hz mono, peak -6.0 dBFS, -9.0 LUFS"
    assert "2 channels" in str(replace(facts, channels=2))


def test_a_moment_has_no_loudness(tmp_path: Path) -> None:
    facts = check_audio(write_tone(tmp_path / "short.wav", seconds=0.2))
    assert math.isnan(facts.loudness_lufs)
    assert str(facts).endswith("dBFS")


@pytest.mark.parametrize("wrong", [{"rate": 44_100}, {"subtype": "PCM_24"}])
def test_another_format_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(AudioWrong, match="not 22,050 Hz mono 16-bit"):
        check_audio(write_tone(tmp_path / "other.wav", **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("peak", [0.0, 0.0005])
def test_silence_is_refused(tmp_path: Path, peak: float) -> None:
    with pytest.raises(AudioWrong, match="nothing to hear"):
        check_audio(write_tone(tmp_path / "silent.wav", peak=peak))
