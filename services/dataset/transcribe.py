"""Speech to text with Whisper: many short recordings, each in one of several processes, as fast as the machine allows.

paths ─▶ one file at a time to each worker process, which has loaded the model once ─▶ transcripts, as they finish

On a GPU there is one worker, in half precision; on CPUs one for each core, as far as memory goes. A process for each instead
of a pool of the standard library: when a worker is killed, it is known which file it had, and the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from services.dataset.whisper_models import Progress, resolve_whisper
from services.dataset.whisper_worker import LoadFailed, Ready, Transcript, TranscriptionFailed, serve
from services.runtime.errors import InvalidArgument, Unavailable

__all__ = ["Transcript", "TranscriptionFailed", "WhisperBroken", "language_code", "transcribe_files"]

_ATTEMPTS = 2
_LOAD_ATTEMPTS = 3
_EXIT_SECONDS = 5.0

# A worker holds the checkpoint's half-precision weights in single precision, and needs as much again for a moment while it
# loads; torch, whisper and the work on a 30 s window take 700 MB (measured with torch 2.11).
_WEIGHT_FACTOR = 3
_WORKER_BYTES = 700 << 20


class WhisperBroken(Unavailable):
    """The model cannot be loaded."""


def transcribe_files(
    paths: Iterable[Path],
    *,
    model: str,
    language: str,
    cache_dir: Path,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Iterator[tuple[Path, Transcript | TranscriptionFailed]]:
    """Transcribes recordings and hands each on as soon as it is done, in no particular order.

    A recording that cannot be transcribed is reported in its place, and the others go on. One whose worker dies is tried
    once more in a new one. The same file, model and number of threads give the same transcript. When the caller leaves the
    iterator, or closes it, every worker is gone.

    Args:
        paths: The recordings, of up to some minutes; taken from their iterator a few ahead of the work.
        model: A name that `resolve_whisper` knows, or a path.
        language: Spoken language: Whisper's code, its English name, or either with a region (`pt`, `portuguese`, `pt-BR`).
        cache_dir: Where models are kept.
        workers: Most worker processes; default one for each core. Fewer are used when the memory does not hold as many
            models, and one when there is a GPU.
        on_progress: Told how far the making or fetching of the model is, if that has to be done.

    Yields:
        Each path with its transcript, or with why there is none.

    Raises:
        InvalidArgument: Language or model are unknown.
        WhisperUnavailable: The model cannot be fetched.
        WhisperBroken: The model cannot be loaded.
    """
    code = language_code(language)
    checkpoint = resolve_whisper(model, cache_dir, on_progress)
    return _transcribe(paths, checkpoint, code, workers)


def language_code(language: str) -> str:
    """Returns Whisper's code of a language.

    Args:
        language: A code or an English name, in any case, with or without a region: `pt`, `Portuguese`, `pt-BR`, `pt_BR`.

    Raises:
        InvalidArgument: Whisper does not know it.
    """
    from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

    name = language.strip().lower()
    for candidate in (name, name.replace("_", "-").split("-")[0]):
        if candidate in LANGUAGES:
            return candidate
        if candidate in TO_LANGUAGE_CODE:
            return str(TO_LANGUAGE_CODE[candidate])
    problem = f"language is {language[:40]!r}, which Whisper does not know: use a code such as pt, en or es."
    raise InvalidArgument(problem, reason="UNKNOWN_LANGUAGE", fields={"language": problem})


def plan_workers(checkpoint_bytes: int, wanted: int, free_bytes: int) -> int:
    """Returns how many worker processes a machine holds, at least 1.

    Args:
        checkpoint_bytes: Size of the model's file, in half precision.
        wanted: Most that are of use.
        free_bytes: Memory that is free.
    """
    return max(1, min(wanted, free_bytes // (_WEIGHT_FACTOR * checkpoint_bytes + _WORKER_BYTES)))


def _transcribe(
    paths: Iterable[Path], checkpoint: Path, language: str, workers: int | None
) -> Iterator[tuple[Path, Transcript | TranscriptionFailed]]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = 1 if device == "cuda" else plan_workers(checkpoint.stat().st_size, workers or cores, _free_bytes())
    pool = _Pool(count, checkpoint, language, device, max(1, cores // count))
    try:
        yield from pool.run(iter(paths))
    finally:
        pool.close()


def _free_bytes() -> int:
    """Memory that can be had without swapping: the kernel's estimate, or a quarter of it all where there is none."""
    try:
        with open("/proc/meminfo") as lines:
            figures = dict(line.split(":", 1) for line in lines)
        return int(figures["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


@dataclass
class _Worker:
    """A worker process; `task` is the path it works on and the number of the attempt."""

    process: BaseProcess
    connection: Connection
    ready: bool = False
    task: tuple[Path, int] | None = None


class _Pool:
    """Worker processes and the files they work on; see `transcribe_files`."""

    def __init__(self, count: int, checkpoint: Path, language: str, device: str, threads: int) -> None:
        self._count = count
        self._arguments = (str(checkpoint), language, device, threads)
        self._model = checkpoint.stem
        self._workers: list[_Worker] = []
        self._waiting: deque[tuple[Path, int]] = deque()
        self._load_deaths = 0

    def run(self, paths: Iterator[Path]) -> Iterator[tuple[Path, Transcript | TranscriptionFailed]]:
        """Yields every path with its outcome."""
        left = True
        while True:
            # One file waits for each worker, so that none idles while the caller gets the next one ready.
            while left and len(self._waiting) < self._count:
                path = next(paths, None)
                if path is None:
                    left = False
                else:
                    self._waiting.append((path, 1))
                    self._dispatch()
            self._dispatch()
            if not self._waiting and not any(worker.task for worker in self._workers):
                return
            for worker in self._heard_from():
                outcome = self._receive(worker)
                if outcome:
                    self._dispatch()
                    yield outcome

    def close(self) -> None:
        """Ends all workers, whatever they are at."""
        for worker in self._workers:
            worker.process.kill()
        while self._workers:
            self._remove(self._workers[0])

    def _dispatch(self) -> None:
        for worker in self._workers:
            if self._waiting and worker.ready and not worker.task:
                task = self._waiting.popleft()
                try:
                    worker.connection.send(task[0])
                except OSError:  # it died while it had nothing to do; the next look at its connection finds out
                    self._waiting.appendleft(task)
                    worker.ready = False
                else:
                    worker.task = task
        loading = sum(not worker.ready for worker in self._workers)
        while len(self._workers) < self._count and loading < len(self._waiting):
            self._start()
            loading += 1

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, os.getpid(), *self._arguments), name="whisper", daemon=True)
        process.start()
        theirs.close()  # so that our end tells when the process is gone
        self._workers.append(_Worker(process, ours))

    def _heard_from(self) -> list[_Worker]:
        readable = wait([worker.connection for worker in self._workers])
        return [worker for worker in self._workers if worker.connection in readable]

    def _receive(self, worker: _Worker) -> tuple[Path, Transcript | TranscriptionFailed] | None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if isinstance(message, LoadFailed):
            raise WhisperBroken(f"The Whisper model {self._model!r} could not be loaded: {message.why}.")
        if isinstance(message, Ready):
            worker.ready, self._load_deaths = True, 0
            return None
        assert worker.task is not None
        path, worker.task = worker.task[0], None
        return path, message

    def _bury(self, worker: _Worker) -> tuple[Path, TranscriptionFailed] | None:
        """Removes a dead worker; its file is tried once more."""
        task, loaded = worker.task, worker.ready
        self._remove(worker)
        if task and task[1] < _ATTEMPTS:
            self._waiting.appendleft((task[0], task[1] + 1))
        elif task:
            name = task[0].name
            return task[0], TranscriptionFailed(f"{name} was given up: the process that transcribed it died {_ATTEMPTS} times.")
        elif not loaded:
            self._load_deaths += 1
            if self._load_deaths >= _LOAD_ATTEMPTS:
                raise WhisperBroken(
                    f"The process that loads the Whisper model {self._model!r} died {_LOAD_ATTEMPTS} times, most likely for "
                    "lack of memory: use a smaller model or fewer workers."
                )
        return None

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.kill()
        worker.process.join(_EXIT_SECONDS)
        if worker.process.exitcode is not None:
            worker.process.close()
