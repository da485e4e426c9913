from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from pathlib import Path

import psutil
import pytest
import soundfile as sf

from services.dataset.transcribe import Transcript, TranscriptionFailed, WhisperBroken, plan_workers, transcribe_files
from timbre.demo.speech import Span

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def piece(recording: tuple[Path, list[Span]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first sentence of the recording."""
    path, spans = recording
    rate = sf.info(path).samplerate
    samples, _ = sf.read(path, stop=round(spans[0].end_seconds * rate))
    target = tmp_path_factory.mktemp("piece") / "piece.wav"
    sf.write(target, samples, rate)
    return target


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
    return found


def has_open(process: psutil.Process, path: Path) -> bool:
    try:
        return any(os.path.realpath(link) == str(path) for link in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:  # it is gone
        return False


def test_leaving_early_leaves_no_process(piece: Path, poor_standin: Path, tmp_path: Path) -> None:
    results = transcribe_files([piece] * 6, model=str(poor_standin), language="pt", cache_dir=tmp_path, workers=2)
    _, heard = next(results)
    assert isinstance(heard, Transcript)
    running = workers()
    assert running
    results.close()  # type: ignore[attr-defined]
    assert not any(process.is_running() for process in running)


def test_a_file_that_takes_its_worker_with_it_twice_is_given_up(piece: Path, poor_standin: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "deadly.wav"
    os.mkfifo(pipe)  # whoever reads it waits, and is killed
    kills: list[int] = []

    def kill_readers() -> None:
        deadline = time.monotonic() + 60
        while len(kills) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
            try:
                end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads
                    raise
                continue
            while (
                not (reading := [process for process in workers() if has_open(process, pipe)]) and time.monotonic() < deadline
            ):
                time.sleep(0.02)
            for process in reading:
                if process.pid not in kills:  # one that was killed is there for a moment
                    kills.append(process.pid)
                    process.kill()
            os.close(end)  # only now: it would end the waiting

    thread = threading.Thread(target=kill_readers)
    thread.start()
    results = dict(transcribe_files([pipe, piece], model=str(poor_standin), language="pt", cache_dir=tmp_path, workers=1))
    thread.join()
    failure = results[pipe]
    assert isinstance(failure, TranscriptionFailed)
    assert "deadly.wav was given up" in failure.message
    assert isinstance(results[piece], Transcript)
    assert workers() == []


def test_workers_that_never_get_ready_end_the_job(piece: Path, poor_standin: Path, tmp_path: Path) -> None:
    kills: list[int] = []

    def kill_all() -> None:
        while len(kills) < 3:
            for process in workers():
                if process.pid not in kills:
                    kills.append(process.pid)
                    process.kill()
            time.sleep(0.01)

    thread = threading.Thread(target=kill_all)
    thread.start()
    with pytest.raises(WhisperBroken, match="died 3 times"):
        list(transcribe_files([piece], model=str(poor_standin), language="pt", cache_dir=tmp_path, workers=1))
    thread.join()


def test_files_are_taken_only_a_few_ahead(piece: Path, poor_standin: Path, tmp_path: Path) -> None:
    taken = 0

    def count() -> Path:
        nonlocal taken
        taken += 1
        return piece

    paths = (count() for _ in range(50))
    results = transcribe_files(paths, model=str(poor_standin), language="pt", cache_dir=tmp_path, workers=1)
    next(results)
    assert taken <= 3
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("checkpoint_bytes", "wanted", "free_gigabytes", "expected"),
    [(7 << 20, 2, 16, 2), (145 << 20, 16, 8, 7), (3 << 30, 16, 24, 2), (3 << 30, 16, 4, 1), (7 << 20, 64, 1000, 64)],
)
def test_as_many_workers_as_the_memory_holds(checkpoint_bytes: int, wanted: int, free_gigabytes: int, expected: int) -> None:
    assert plan_workers(checkpoint_bytes, wanted, free_gigabytes << 30) == expected
