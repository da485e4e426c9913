"""The client that waits: every call returns when the answer is there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import httpx

from gateway.schemas.dataset import Uploaded, UploadedFile
from gateway.schemas.jobs import Job
from timbre.client import transfer
from timbre.client.endpoints import Endpoints
from timbre.client.endpoints.speech import BASE, speech_body
from timbre.client.errors import ApiError, ConnectionFailed, Error, check_ended, error_of
from timbre.client.events import (
    EVENT_STREAM,
    FOLLOW_RETRIES,
    Changed,
    Ended,
    Event,
    LogLine,
    events_path,
    follow_timeout,
    read_event,
)
from timbre.client.request import Request, errors_told, given, new_key, pause_before_retry
from timbre.client.settings import Connection, connection_of
from timbre.client.transfer import (
    CHECKPOINT_EXPORT_PATH,
    DATASET_EXPORT_PATH,
    IMPORT_PATH,
    SPEECH_TIMEOUT,
    STREAM_PATH,
    UPLOAD_PATH,
    UPLOAD_TIMEOUT,
    CountedFile,
    Progress,
    TimedStream,
    check_files,
    total_of,
    whole_file,
)

T = TypeVar("T")


class Client(Endpoints):
    """Speaks to a Timbre server. Use it as a context manager, or close it.

        with Client() as timbre:
            timbre.upload("datasets/my_voice", "interview.mp3")
            timbre.segment("datasets/my_voice").wait()

    Args:
        url: Where the server is. Default: the environment's `TIMBRE_URL`, else http://127.0.0.1:8000.
        token: What to authenticate with. Default: the environment's `TIMBRE_TOKEN`, else nothing.
        timeout: How long a quick answer may take, in seconds.
        retries: How often a request is sent again where that is safe.
        ca_file: Certificates that an https server is checked against. Default: `TIMBRE_CA_FILE`, else the system's.

    Raises:
        InvalidConnection: The URL, the token or the certificates are none.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 3,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._connection: Connection = connection_of(url, token, ca_file)
        self._retries = retries
        self._http = httpx.Client(**self._connection.arguments(), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    # ── what the methods of `Endpoints` call ────────────────────────────────────────────────────────────────────────

    def send(self, request: Request[T]) -> T:
        """Sends a request and returns its answer.

        Raises:
            ApiError: The server answered with an error.
            ConnectionFailed: No answer came.
        """

        def once() -> T:
            with errors_told(self._http.base_url):
                answer = self._http.request(request.method, request.path, **request.arguments())
            if not answer.is_success:
                raise error_of(answer)
            return request.parse(answer)

        return self._retried(once, safe=request.repeatable)

    def start(self, request: Request[Any]) -> JobHandle:
        """Sends a request that starts a job."""
        started = self.send(request.once())
        return JobHandle(self, started.job_id, started)

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def upload(self, folder: str, *paths: str | os.PathLike[str], progress: Progress | None = None) -> Uploaded:
        """Stores recordings of your own in a dataset, in any format that ffmpeg reads; those that fail say why.

        A file that is there already is not stored twice, so that one whose answer was lost is simply sent again.

        Args:
            folder: The dataset.
            paths: The files.
            progress: Told how much of the file under way has been sent.

        Raises:
            OSError: One of them cannot be read; none has been sent.
            ApiError: None could be stored.
        """
        results, errors = [], []
        for path in check_files(paths):
            try:
                results += self._send_file(UPLOAD_PATH, "files", path, {"folder": folder}, Uploaded, progress).files
            except ApiError as error:
                errors.append(error)
                results.append(UploadedFile(name=path.name, status="failed", detail=error.detail))
        return transfer.uploaded(folder, results, errors)

    def import_archive(
        self, folder: str, path: str | os.PathLike[str], *, language: str = "pt", progress: Progress | None = None
    ) -> JobHandle:
        """Imports an LJSpeech archive (zip or tar of `wavs/` and `metadata.csv`)."""
        from gateway.schemas.dataset import ImportStarted

        fields = {"folder": folder, "language": language}
        started = self._send_file(IMPORT_PATH, "file", Path(path), fields, ImportStarted, progress)
        return JobHandle(self, started.job_id, started)

    def fetch(self, url: str) -> bytes:
        """Returns a file that an answer named, such as its `audio_url`."""

        def once() -> bytes:
            with self._opened("GET", self._connection.own(url)) as answer:
                return answer.read()

        return self._retried(once, safe=True)

    def save(self, url: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
        """Downloads a file that an answer named; it appears when it is whole."""
        target = Path(path)

        def once() -> Path:
            with self._opened("GET", self._connection.own(url)) as answer, whole_file(target) as file:
                done, total = 0, total_of(answer)
                for piece in answer.iter_bytes():
                    file.write(piece)
                    done += len(piece)
                    if progress:
                        progress(done, total)
            return target

        return self._retried(once, safe=True)

    def export_dataset(self, folder: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
        """Downloads a dataset as a zip of `metadata.csv` and `wavs/` (LJSpeech), without what is excluded."""
        return self.save(f"{DATASET_EXPORT_PATH}?{urlencode({'folder': folder})}", path, progress=progress)

    def export_checkpoint(self, checkpoint: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
        """Downloads a checkpoint as a zip of the folder that stock coqui-tts loads."""
        url = f"{CHECKPOINT_EXPORT_PATH}?{urlencode({'checkpoint_path': checkpoint})}"
        return self.save(url, path, progress=progress)

    def stream(
        self,
        text: str,
        checkpoint: str = BASE,
        *,
        temperature: float | None = None,
        speed: float | None = None,
        language: str | None = None,
        speaker: str | None = None,
        seed: int | None = None,
    ) -> Generator[bytes]:
        """Speaks a text and yields the audio while it is made: 22,050 Hz mono 16-bit samples, little-endian, no header.

        Raises:
            ApiError: The server answered with an error.
            ConnectionFailed: No answer came, or it broke off.
            InvalidValue: A number is none, or a text no Unicode.
        """
        body = {**speech_body(text, checkpoint, temperature, speed, language, speaker, seed), "format": "pcm"}
        with self._opened("POST", STREAM_PATH, json=given(body), timeout=SPEECH_TIMEOUT) as answer:
            yield from answer.iter_bytes()

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def job(self, job_id: str) -> JobHandle:
        """Returns a handle of a job by its id."""
        return JobHandle(self, job_id)

    def follow(self, path: str, *, after: int = 0, deadline: float | None = None) -> Generator[Event]:
        """Yields events as they happen; a connection that breaks is made again and goes on where it was.

        Args:
            path: `/training/events` for all jobs, or that of one job.
            after: Only log lines after this sequence number.
            deadline: When, by `time.monotonic()`, to give up.

        Raises:
            ApiError: The server answered with an error.
            ConnectionFailed: It could not be reached, several times in a row.
            TimeoutError: The deadline is over.
        """
        from httpx_sse import EventSource

        attempt, limit = 0, self._retries
        while True:
            headers = {"Accept": EVENT_STREAM, "Last-Event-ID": str(after)}
            try:
                with self._opened("GET", path, headers=headers, timeout=follow_timeout(deadline)) as answer:
                    if deadline is not None:
                        assert isinstance(answer.stream, httpx.SyncByteStream)
                        answer.stream = TimedStream(answer.stream, deadline)
                    for sent in EventSource(answer).iter_sse():
                        attempt, limit = 0, FOLLOW_RETRIES  # it is there, and worth waiting for
                        event = read_event(sent)
                        if event is None:
                            continue
                        if isinstance(event, LogLine):
                            after = event.sequence
                        yield event
                        if isinstance(event, Ended):
                            return
                    raise ConnectionFailed("The stream of events broke off, several times in a row: is Timbre restarting?")
            except Error as error:
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError from error
                attempt = self._pause(error, attempt, safe=True, limit=limit)

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send_file(
        self, path: str, field: str, file: Path, fields: dict[str, str], answer: type[T], progress: Progress | None
    ) -> T:
        headers = new_key()

        def once() -> T:
            with CountedFile(file, progress) as opened, errors_told(self._http.base_url):
                files = {field: (file.name, opened)}
                reply = self._http.post(path, data=fields, files=files, headers=headers, timeout=UPLOAD_TIMEOUT)
            if not reply.is_success:
                raise error_of(reply)
            return Request("POST", path, answer).parse(reply)

        return self._retried(once, safe=True)

    @contextmanager
    def _opened(self, method: str, path: str, **arguments: Any) -> Iterator[httpx.Response]:
        with errors_told(self._http.base_url), self._http.stream(method, path, **arguments) as answer:
            if not answer.is_success:
                answer.read()
                raise error_of(answer)
            yield answer

    def _retried(self, once: Callable[[], T], *, safe: bool) -> T:
        attempt = 0
        while True:
            try:
                return once()
            except Error as error:
                attempt = self._pause(error, attempt, safe=safe)

    def _pause(self, error: Error, attempt: int, *, safe: bool, limit: int | None = None) -> int:
        """Waits before the next attempt and returns its number, or raises what happened."""
        allowed = attempt < (self._retries if limit is None else limit)
        pause = pause_before_retry(error, attempt=attempt, safe=safe) if allowed else None
        if pause is None:
            raise error
        time.sleep(pause)
        return attempt + 1


class JobHandle:
    """A job on the server.

    Attributes:
        id: Its id.
        started: What the server answered when it was started; None for a job that was looked up.
    """

    def __init__(self, client: Client, job_id: str, started: Any = None) -> None:
        self._client = client
        self.id = job_id
        self.started = started

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    def get(self) -> Job:
        """Returns the job as it stands."""
        return self._client.get_job(self.id)

    def log(self) -> str:
        """Returns its log so far."""
        return self._client.job_log(self.id).logs

    def cancel(self) -> Job:
        """Asks it to stop; it saves what it has first."""
        return self._client.cancel_job(self.id)

    def events(self, *, after: int = 0) -> Generator[Event]:
        """Yields its changes and log lines as they happen, and `Ended` as the last.

        Args:
            after: Only log lines after this sequence number.
        """
        return self._client.follow(events_path(self.id), after=after)

    def wait(self, *, timeout: float | None = None, on_change: Callable[[Job], object] | None = None) -> Job:
        """Returns the job when it has succeeded.

        Args:
            timeout: How long to wait, in seconds; the job goes on when that is over. While nothing happens it is looked at when
                the server says that it is still there, every 15 s.
            on_change: Called with the job whenever it has changed.

        Raises:
            JobFailed: It failed.
            JobStopped: It was stopped.
            TimeoutError: It had not ended after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for event in self._client.follow(events_path(self.id), deadline=deadline):
                if isinstance(event, Changed) and on_change:
                    on_change(event.job)
        except TimeoutError as error:
            raise TimeoutError(f"{self.id} has not ended after {timeout:g} s; it goes on.") from error
        return check_ended(self.get())
