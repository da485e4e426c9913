from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile as sf

from services.dataset.decode import to_wav
from services.dataset.loudness import true_peak_dbfs
from services.dataset.segment import Cut, SegmentOptions, plan_segments, speech_spans, write_segment
from services.runtime.errors import InvalidArgument
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import Span, make_recording

Recording = tuple[Path, list[Span]]
RATE = 22_050


def kept_share(cuts: list[Cut], truth: list[Span]) -> float:
    """Part of the spoken time that lies within segments."""
    kept = sum(max(0.0, min(c.end_seconds, s.end_seconds) - max(c.start_seconds, s.start_seconds)) for c in cuts for s in truth)
    return kept / sum(s.end_seconds - s.start_seconds for s in truth)


def check(cuts: list[Cut], options: SegmentOptions, truth: list[Span]) -> None:
    for cut in cuts:
        assert options.min_seconds - 1 / RATE <= cut.duration_seconds <= options.max_seconds + 1e-9
    for a, b in pairwise(cuts):
        assert a.end_seconds <= b.start_seconds
    assert kept_share(cuts, truth) >= 0.97
    ends = [t for c in cuts if "forced_cut" not in c.flags for t in (c.start_seconds, c.end_seconds)]
    assert not [t for t in ends for s in truth if s.start_seconds + 0.02 < t < s.end_seconds - 0.02]


@pytest.mark.parametrize("noise_dbfs", [-90.0, -50.0])
@pytest.mark.parametrize("limits", [(7, 12), (3, 5), (10, 10), (15, 20)])
def test_recordings_are_cut_between_sentences(tmp_path: Path, noise_dbfs: float, limits: tuple[float, float]) -> None:
    path = tmp_path / "r.wav"
    truth = make_recording(path, SENTENCES[:10], pause_seconds=(0.3, 0.8, 0.5, 2.0), noise_dbfs=noise_dbfs)
    options = SegmentOptions(*limits)
    cuts = plan_segments(path, options)
    check(cuts, options, truth)
    assert not any("forced_cut" in cut.flags for cut in cuts)


def test_a_plan_is_the_same_every_time(recording: Recording) -> None:
    assert plan_segments(recording[0], SegmentOptions()) == plan_segments(recording[0], SegmentOptions())


def test_segments_are_what_they_should_be(recording: Recording, tmp_path: Path) -> None:
    cuts = plan_segments(recording[0], SegmentOptions())
    assert len(cuts) >= 4
    for number, cut in enumerate(cuts, 1):
        target = tmp_path / f"segment_{number:05}.wav"
        facts = write_segment(recording[0], cut, target)
        audio, rate = sf.read(target)
        info = sf.info(target)
        assert (rate, info.channels, info.format, info.subtype) == (RATE, 1, "WAV", "PCM_16")
        assert info.duration == pytest.approx(cut.duration_seconds, abs=1 / RATE) == facts.duration_seconds
        assert pyloudnorm.Meter(rate).integrated_loudness(audio) == pytest.approx(facts.loudness_lufs, abs=0.1)
        assert facts.loudness_lufs == pytest.approx(-20, abs=0.1) or facts.peak_dbfs == pytest.approx(-1, abs=0.01)
        assert true_peak_dbfs(audio.astype(np.float32), rate) <= -0.99
        assert np.abs(audio[:20]).max() < 0.001 > np.abs(audio[-20:]).max()
        assert facts.snr_db > 30
        assert facts.clipping == 0
    assert len(os.listdir(tmp_path)) == len(cuts)


def test_fades_and_gain_leave_speech_as_it_was(recording: Recording, tmp_path: Path) -> None:
    path, truth = recording
    cut = plan_segments(path, SegmentOptions())[1]
    write_segment(path, cut, tmp_path / "s.wav")
    written, source = sf.read(tmp_path / "s.wav")[0], sf.read(path)[0]
    inside = [s for s in truth if cut.start_seconds < s.start_seconds and s.end_seconds < cut.end_seconds]
    offset = round(cut.start_seconds * RATE)
    first, last = round(inside[0].start_seconds * RATE), round(inside[-1].end_seconds * RATE)
    spoken, original = written[first - offset : last - offset], source[first:last]
    gain = np.dot(spoken, original) / np.dot(original, original)
    np.testing.assert_allclose(spoken, gain * original, atol=2 / 32_768)


def test_a_short_recording_is_padded_with_silence_at_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    make_recording(path, SENTENCES[:1], edge_seconds=0.2)
    (cut,) = plan_segments(path, SegmentOptions())
    assert cut.flags == ("padded",)
    facts = write_segment(path, cut, tmp_path / "s.wav")
    assert facts.duration_seconds == pytest.approx(7, abs=1 / RATE)
    audio = sf.read(tmp_path / "s.wav")[0]
    silent = round(cut.padding_seconds / 2 * RATE) - 1
    assert not audio[:silent].any()
    assert not audio[-silent:].any()
    assert audio[silent:-silent].any()


def test_clipping_and_noise_of_the_source_are_reported(recording: Recording, tmp_path: Path) -> None:
    audio = sf.read(recording[0])[0]
    audio = audio * 6 + np.random.default_rng(0).standard_normal(len(audio)) * 0.02
    sf.write(tmp_path / "bad.wav", np.clip(audio, -1, 1), RATE)
    facts = write_segment(tmp_path / "bad.wav", plan_segments(tmp_path / "bad.wav", SegmentOptions())[0], tmp_path / "s.wav")
    assert facts.clipping > 0.0005
    assert facts.snr_db < 25
    assert facts.peak_dbfs <= -1


def test_silence_has_no_segments(tmp_path: Path) -> None:
    sf.write(tmp_path / "silence.wav", np.zeros(30 * RATE), RATE)
    assert plan_segments(tmp_path / "silence.wav", SegmentOptions()) == []
    assert speech_spans(tmp_path / "silence.wav", SegmentOptions()) == []


def test_endless_sound_is_cut_by_force(tmp_path: Path) -> None:
    sf.write(tmp_path / "tone.wav", 0.2 * np.sin(np.arange(60 * RATE) * 0.05), RATE)
    cuts = plan_segments(tmp_path / "tone.wav", SegmentOptions())
    assert all(cut.flags == ("forced_cut",) for cut in cuts)
    assert sum(cut.duration_seconds for cut in cuts) == pytest.approx(60, abs=0.1)


def test_speech_spans_are_where_the_sentences_are(recording: Recording) -> None:
    path, truth = recording
    spans = speech_spans(path, SegmentOptions())
    assert spans[0].start_seconds == pytest.approx(truth[0].start_seconds, abs=0.06)
    assert spans[-1].end_seconds == pytest.approx(truth[-1].end_seconds, abs=0.15)
    assert len(spans) >= len(truth)


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ((2.9, 12, -40), "min_duration", "min_duration is 2.9, but must lie between 3 and 15 seconds."),
        ((7, 20.5, -40), "max_duration", "max_duration is 20.5, but must lie between 5 and 20 seconds."),
        ((7, 12, -61), "vad_threshold", "vad_threshold is -61, but must lie between -60 and -20 dB."),
        ((7, 12, float("nan")), "vad_threshold", "vad_threshold is nan"),
        ((9, 8, -40), "min_duration", "min_duration is 9, more than max_duration, 8"),
    ],
)
def test_options_out_of_range(values: tuple[float, float, float], field: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        SegmentOptions(*values)
    assert raised.value.message.startswith(message)
    assert list(raised.value.fields) == [field]


def test_memory_stays_flat_on_a_long_recording(recording: Recording, tmp_path: Path) -> None:
    """Half an hour is planned, and a segment of them written, with little more memory than a minute takes."""
    minute = sf.read(recording[0], dtype="int16")[0]
    with sf.SoundFile(tmp_path / "half_hour.wav", "w", RATE, 1, "PCM_16") as hour:
        for _ in range(int(1800 * RATE / len(minute))):
            hour.write(minute)
    program = (
        "import sys; from pathlib import Path\n"
        "from services.dataset.segment import *\n"
        "wav, target = map(Path, sys.argv[1:])\n"
        "write_segment(wav, plan_segments(wav, SegmentOptions())[-1], target)\n"
        "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024)"
    )

    def peak_megabytes(wav: Path) -> int:
        command = [sys.executable, "-c", program, str(wav), str(tmp_path / "s.wav")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return int(subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120).stdout)

    assert peak_megabytes(tmp_path / "half_hour.wav") - peak_megabytes(recording[0]) < 40  # the audio itself has 79 MB


def lj_speech_joined(data: Path, path: Path) -> list[Span]:
    random, parts, truth, position = np.random.default_rng(0), [], [], 0
    for wav in sorted((data / "ljspeech/wavs").glob("*.wav")):
        audio = sf.read(wav)[0]
        truth.append(Span(position / RATE, (position + len(audio)) / RATE, wav.stem))
        parts += [audio, random.standard_normal(int(random.uniform(0.3, 2) * RATE)) * 0.0003]
        position += len(parts[-2]) + len(parts[-1])
    sf.write(path, np.concatenate(parts), RATE)
    return truth


def test_real_recordings(tmp_path: Path) -> None:
    if "TIMBRE_TEST_DATA" not in os.environ:
        pytest.skip("TIMBRE_TEST_DATA names no folder with real recordings")
    data = Path(os.environ["TIMBRE_TEST_DATA"])
    options = SegmentOptions()
    truth = lj_speech_joined(data, tmp_path / "lj.wav")
    cuts = plan_segments(tmp_path / "lj.wav", options)
    assert kept_share(cuts, truth) >= 0.97
    assert all(options.min_seconds <= round(c.duration_seconds, 3) <= options.max_seconds for c in cuts)
    assert not any("forced_cut" in c.flags for c in cuts)
    for source in (*sorted((data / "pt_br").glob("*.wav")), data / "jfk.flac"):
        to_wav(source, tmp_path / "one.wav")
        (cut,) = plan_segments(tmp_path / "one.wav", options)
        facts = write_segment(tmp_path / "one.wav", cut, tmp_path / "s.wav")
        assert 7 - 1e-3 <= facts.duration_seconds <= 12
        assert facts.loudness_lufs == pytest.approx(-20, abs=0.1) or facts.peak_dbfs == pytest.approx(-1, abs=0.01)
