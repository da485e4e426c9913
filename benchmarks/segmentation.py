"""How well and how fast are recordings cut? Beside ours stands the usual recipe: librosa's split, joined greedily.

Voice kept is counted over the frames of the clean recording that lie within 40 dB of its loud speech. A cut is in a word when
the silence around it (30 dB under the speech, in the clean recording: breaths are silence) is shorter than 0.15 s. Run with
TIMBRE_TEST_DATA naming a folder that has `ljspeech/wavs`, `pt_br` and `jfk.flac` to include real recordings.

    python benchmarks/segmentation.py [--hours 10]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from services.dataset.decode import to_wav
from services.dataset.segment import SegmentOptions, plan_segments, write_segment
from services.dataset.voice_activity import read_envelope, speech_level_db
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import make_recording

RATE = 22_050
OPTIONS = SegmentOptions()
Times = list[tuple[float, float]]


@dataclass(frozen=True)
class Recording:
    """A recording as it is cut, and the same without what was added to make it hard."""

    name: str
    wav: Path
    clean: Path


def spoken(folder: Path) -> list[Recording]:
    """Recordings by espeak-ng."""
    clean = folder / "espeak.wav"
    random = np.random.default_rng(0)
    make_recording(clean, SENTENCES, pause_seconds=random.uniform(0.25, 2, len(SENTENCES)).tolist())
    fast = folder / "espeak_fast.wav"
    make_recording(fast, SENTENCES, pause_seconds=0.25, words_per_minute=260, voice="pt-br+f2")
    return [Recording("espeak", clean, clean), Recording("espeak, fast, short pauses", fast, fast), *harder("espeak", clean)]


def harder(name: str, clean: Path) -> list[Recording]:
    """Make a noisy and a quiet version."""
    audio = sf.read(clean)[0]
    noise = np.random.default_rng(1).standard_normal(len(audio))
    noisy, quiet = clean.with_name(f"{clean.stem}_noisy.wav"), clean.with_name(f"{clean.stem}_quiet.wav")
    sf.write(noisy, np.clip(audio + noise * 10 ** (-47 / 20), -1, 1), RATE)
    sf.write(quiet, audio * 0.02 + noise * 10 ** (-85 / 20), RATE)
    return [Recording(f"{name}, noise at -47 dBFS", noisy, clean), Recording(f"{name}, 34 dB quieter", quiet, clean)]


def real(folder: Path, data: Path) -> list[Recording]:
    """Recordings of people."""
    random = np.random.default_rng(2)
    lj, brazil, jfk = folder / "lj.wav", folder / "pt_br.wav", folder / "jfk.wav"
    parts = []
    for wav in sorted((data / "ljspeech/wavs").glob("*.wav")):
        parts += [sf.read(wav)[0], np.zeros(int(random.uniform(0.2, 2) * RATE))]
    sf.write(lj, np.concatenate(parts), RATE)
    parts = []
    for wav in sorted((data / "pt_br").glob("*.wav")):
        to_wav(wav, brazil)
        parts += [sf.read(brazil)[0], np.zeros(RATE // 2)]
    sf.write(brazil, np.concatenate(parts), RATE)
    to_wav(data / "jfk.flac", jfk)
    return [
        Recording("LJ Speech", lj, lj),
        *harder("LJ Speech", lj),
        Recording("Brazilian sentences, 16 kHz", brazil, brazil),
        Recording("jfk, 44.1 kHz stereo", jfk, jfk),
    ]


def greedy(wav: Path) -> Times:
    """The usual recipe: split 40 dB under the peak, join while it fits, drop what stays too short, chop what is too long."""
    from librosa.effects import split  # not where memory is measured

    joined: Times = []
    for first, after in split(sf.read(wav, dtype="float32")[0], top_db=40):
        start, end = first / RATE, after / RATE
        while end - start > OPTIONS.max_seconds:
            joined.append((start, start + OPTIONS.max_seconds))
            start += OPTIONS.max_seconds
        if joined and end - joined[-1][0] <= OPTIONS.max_seconds:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return [(start, end) for start, end in joined if end - start >= OPTIONS.min_seconds]


def quality(recording: Recording, segments: Times) -> tuple[float, int]:
    """Return the percentage of voice kept and the number of cuts in words."""
    envelope = read_envelope(recording.clean)
    second = envelope.rate / envelope.hop
    level, reference = envelope.level_db, speech_level_db(envelope)
    voice, quiet = level > reference - 40, level < reference - 30
    kept = np.zeros_like(voice)
    in_words = 0
    for start, end in segments:
        kept[round(start * second) : round(end * second)] = True
        in_words += sum(silence_around(quiet, round(t * second)) < 0.15 * second for t in (start, end))
    return 100 * float((voice & kept).sum() / voice.sum()), in_words


def silence_around(quiet: np.ndarray, frame: int) -> float:
    """Return how many silent frames lie around one; what is outside the recording is silent."""
    if frame < 15 or frame >= len(quiet) - 15:
        return float("inf")
    loud = np.flatnonzero(~quiet)
    if not quiet[frame]:
        return 0
    after = np.searchsorted(loud, frame)
    right = loud[after] if after < len(loud) else len(quiet)
    return float(right - (loud[after - 1] if after else -1) - 1)


def report(recording: Recording, folder: Path) -> None:
    """Cut one recording both ways and print a line for each."""
    cuts = plan_segments(recording.wav, OPTIONS)
    facts = [write_segment(recording.wav, cut, folder / "segment.wav") for cut in cuts]
    kept, in_words = quality(recording, [(c.start_seconds, c.end_seconds) for c in cuts])
    lengths = [c.duration_seconds for c in cuts]
    print(
        f"{recording.name:30} ours   {kept:6.2f} {in_words:5} {len(cuts):5} {min(lengths):6.2f} {np.mean(lengths):6.2f} "
        f"{max(lengths):6.2f} {sum('forced_cut' in c.flags for c in cuts):6} {sum(c.padding_seconds for c in cuts):6.2f} "
        f"{min(f.loudness_lufs for f in facts):7.2f} {max(f.loudness_lufs for f in facts):7.2f} "
        f"{max(f.peak_dbfs for f in facts):6.2f} {np.median([f.snr_db for f in facts]):5.0f}"
    )
    segments = greedy(recording.wav)
    kept, in_words = quality(recording, segments)
    lengths = [end - start for start, end in segments] or [0.0]
    print(
        f"{'':30} greedy {kept:6.2f} {in_words:5} {len(segments):5} {min(lengths):6.2f} {np.mean(lengths):6.2f} "
        f"{max(lengths):6.2f}"
    )


def endurance(wav: Path, hours: float, folder: Path) -> None:
    """Print time and memory of a long recording, cut in a process of its own."""
    audio = sf.read(wav, dtype="int16")[0]
    long = folder / "long.wav"
    with sf.SoundFile(long, "w", RATE, 1, "PCM_16") as file:
        while file.frames < hours * 3600 * RATE:
            file.write(audio)
    subprocess.run([sys.executable, __file__, "--cut", str(long)], check=True)


def cut_alone(wav: Path) -> None:
    """Cut one recording in this process and print what it took."""
    begin = time.perf_counter()
    cuts = plan_segments(wav, OPTIONS)
    planned = time.perf_counter()
    some = cuts[:: max(1, len(cuts) // 100)]
    for cut in some:
        write_segment(wav, cut, wav.with_name("segment.wav"))
    written = time.perf_counter() - planned
    hours = sf.info(wav).duration / 3600
    print(f"\n{hours:.1f} hours: {len(cuts)} segments planned in {planned - begin:.1f} s, ", end="")
    print(
        f"{written / len(some) * 1000:.0f} ms to write one (all on one core: {written / len(some) * len(cuts):.0f} s), ", end=""
    )
    print(f"at most {peak_megabytes():.0f} MB")


def peak_megabytes() -> float:
    """Return the most memory this process held; `ru_maxrss` would count its parent's too, up to the exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Run everything in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10, help="length of the long recording")
    parser.add_argument("--cut", type=Path, help="only cut this recording and print time and memory")
    arguments = parser.parse_args()
    if arguments.cut:
        cut_alone(arguments.cut)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = spoken(folder)
        if data := os.environ.get("TIMBRE_TEST_DATA"):
            recordings += real(folder, Path(data))
        print(f"{'':30} {'':6} {'kept %':>6} {'in':>5} {'seg-':>5} {'length, seconds':>20} {'forced':>6} {'padded':>6}", end="")
        print(f" {'loudness, LUFS':>15} {'peak':>6} {'SNR':>5}")
        print(
            f"{'recording':30} {'':6} {'voice':>6} {'words':>5} {'ments':>5} {'min':>6} {'mean':>6} {'max':>6} {'cuts':>6}",
            end="",
        )
        print(f" {'s':>6} {'min':>7} {'max':>7} {'dBTP':>6} {'dB':>5}")
        for recording in recordings:
            report(recording, folder)
        endurance(recordings[0].wav, arguments.hours, folder)


if __name__ == "__main__":
    main()
