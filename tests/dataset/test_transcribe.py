from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile as sf

from services.dataset.confidence import confidence, flags
from services.dataset.segment import SegmentOptions, plan_segments, write_segment
from services.dataset.transcribe import (
    Transcript,
    TranscriptionFailed,
    WhisperBroken,
    language_code,
    transcribe_files,
)
from services.dataset.whisper_audio import read_audio
from services.dataset.whisper_models import WhisperUnavailable, WhisperUnknown, resolve_whisper
from services.runtime.errors import InvalidArgument
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import Span


@pytest.fixture(scope="module")
def segments(recording: tuple[Path, list[Span]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Segments of the recording, as the segmenter cuts them."""
    path, _ = recording
    folder = tmp_path_factory.mktemp("segments")
    paths = []
    for number, cut in enumerate(plan_segments(path, SegmentOptions()), start=1):
        paths.append(folder / f"segment_{number:05d}.wav")
        write_segment(path, cut, paths[-1])
    return paths


def transcribe(paths: list[Path], cache: Path, workers: int = 1) -> dict[str, Transcript | TranscriptionFailed]:
    results = transcribe_files(iter(paths), model="tiny-demo", language="pt", cache_dir=cache, workers=workers)
    return {path.name: heard for path, heard in results}


def test_known_speech_is_written_down(segments: list[Path], whisper_standin: Path) -> None:
    heard = transcribe(segments, whisper_standin)
    assert set(heard) == {path.name for path in segments}
    texts = [heard[path.name].text for path in segments if isinstance(heard[path.name], Transcript)]  # type: ignore[union-attr]
    assert len(texts) == len(segments)
    said = " ".join(texts)
    known = [sentence for sentence in SENTENCES[:15] if sentence in said]
    # It stands in for the machinery: most sentences come out to the letter, and no segment comes out empty.
    assert len(known) >= 9, said
    assert all(texts)


def test_processes_give_the_same_text_as_one(segments: list[Path], whisper_standin: Path) -> None:
    two, one = transcribe(segments, whisper_standin, workers=2), transcribe(segments, whisper_standin)
    assert {name: heard.text for name, heard in two.items()} == {name: heard.text for name, heard in one.items()}  # type: ignore[union-attr]


def test_a_broken_file_is_reported_and_the_rest_goes_on(segments: list[Path], whisper_standin: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF but no audio")
    heard = transcribe([segments[0], broken, segments[1]], whisper_standin)
    failure = heard["broken.wav"]
    assert isinstance(failure, TranscriptionFailed)
    assert "broken.wav" in failure.message
    assert isinstance(heard[segments[1].name], Transcript)


def test_a_killed_process_costs_no_file(segments: list[Path], whisper_standin: Path) -> None:
    killed = threading.Event()

    def kill_one() -> None:
        while not killed.is_set():
            for child in psutil.Process().children():
                if any("spawn_main" in word for word in child.cmdline()):
                    os.kill(child.pid, signal.SIGKILL)
                    killed.set()
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill_one)

    def paths() -> Iterator[Path]:
        for number, path in enumerate(segments):
            if number == 1:
                thread.start()
            yield path

    results = transcribe_files(paths(), model="tiny-demo", language="pt", cache_dir=whisper_standin, workers=2)
    heard = {path.name: result for path, result in results}
    thread.join()
    assert killed.is_set()
    assert set(heard) == {path.name for path in segments}
    assert all(isinstance(result, Transcript) for result in heard.values())
    assert psutil.Process().children() == [] or all(
        "spawn_main" not in " ".join(c.cmdline()) for c in psutil.Process().children()
    )


def test_audio_is_read_as_whisper_wants_it(tmp_path: Path) -> None:
    stereo = np.stack([np.sin(np.arange(44_100) / 20), np.zeros(44_100)], axis=1)
    sf.write(tmp_path / "a.flac", stereo, 44_100)
    audio = read_audio(tmp_path / "a.flac")
    assert (audio.dtype.name, audio.ndim, len(audio)) == ("float32", 1, 16_000)
    assert np.abs(audio).max() == pytest.approx(0.5, abs=0.05)


def test_languages_and_models_are_checked(tmp_path: Path) -> None:
    assert [language_code(name) for name in ("pt", "pt-BR", "Portuguese")] == ["pt"] * 3
    with pytest.raises(InvalidArgument, match="klingon"):
        list(transcribe_files([], model="base", language="klingon", cache_dir=tmp_path, workers=1))
    with pytest.raises(WhisperUnknown, match="large-v3"):
        resolve_whisper("huge", tmp_path)
    with pytest.raises(WhisperUnknown, match=r"path of a .pt file"):
        resolve_whisper(str(tmp_path / "nothing.pt"), tmp_path)


def test_a_model_that_cannot_be_fetched_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import whisper

    monkeypatch.setitem(whisper._MODELS, "base", "http://127.0.0.1:9/models/abc/base.pt")
    with pytest.raises(WhisperUnavailable, match="Whisper base is not on this machine"):
        resolve_whisper("base", tmp_path)


def test_a_model_file_is_never_run_as_code(tmp_path: Path, segments: list[Path]) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WhisperBroken):
        list(transcribe_files(segments[:1], model=str(path), language="pt", cache_dir=tmp_path, workers=1))
    assert not (tmp_path / "ran").exists()


def heard(text: str, mean: float = -0.1, silence: float = 0.0, ratio: float = 1.0, language: str = "pt") -> Transcript:
    return Transcript(text, language, mean, silence, ratio)


def test_confidence_is_a_probability() -> None:
    assert confidence(heard("Olá.", mean=0.0), 1.0) == 1.0
    assert confidence(heard("Olá.", mean=-1.0), 1.0) == pytest.approx(0.3679, abs=1e-4)
    assert confidence(heard("Olá.", mean=-1.0, silence=0.5), 1.0) == pytest.approx(0.1839, abs=1e-4)
    assert confidence(heard(""), 1.0) == 0.0


@pytest.mark.parametrize(
    ("transcript", "seconds", "usual", "expected"),
    [
        (heard("Uma frase comum de vinte."), 2.0, 13.0, []),
        (heard(""), 8.0, 13.0, ["empty"]),
        (heard("Uma frase.", mean=-1.1), 1.0, None, ["low_confidence"]),
        (heard("Uma frase.", silence=0.7), 1.0, None, ["no_speech"]),
        (heard("sim sim sim sim", ratio=2.5), 1.0, None, ["repetitive"]),
        (heard("x" * 100), 2.0, 13.0, ["too_fast"]),
        (heard("x" * 10), 8.0, 13.0, ["too_slow"]),
        (heard("Привет, мир."), 1.0, None, ["foreign_characters"]),
        (heard("Привет, мир.", language="ru"), 1.0, None, []),
        (heard("A 2ª é de São João: ação, pé!"), 2.0, 13.0, []),
    ],
)
def test_flags(transcript: Transcript, seconds: float, usual: float | None, expected: list[str]) -> None:
    assert flags(transcript, seconds, usual) == expected
