"""The asynchronous client: the same methods as the blocking one, to be awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
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
    ThreadedStream,
    check_files,
    total_of,
    whole_file,
)

T = TypeVar("T")


class AsyncClient(Endpoints):
    """Speaks to a Timbre server. Use it as a context manager, or close it.

        async with AsyncClient() as timbre:
            await timbre.upload("datasets/my_voice", "interview.mp3")
            job = await timbre.segment("datasets/my_voice")
            await job.wait()

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
        self._http = httpx.AsyncClient(**self._connection.arguments(), timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    # ── what the methods of `Endpoints` call ────────────────────────────────────────────────────────────────────────

    async def send(self, request: Request[T]) -> T:
        """Sends a request and returns its answer.

        Raises:
            ApiError: The server answered with an error.
            ConnectionFailed: No answer came.
        """

        async def once() -> T:
            with errors_told(self._http.base_url):
                answer = await self._http.request(request.method, request.path, **request.arguments())
            if not answer.is_success:
                raise error_of(answer)
            return request.parse(answer)

        return await self._retried(once, safe=request.repeatable)

    async def start(self, request: Request[Any]) -> AsyncJobHandle:
        """Sends a request that starts a job."""
        started = await self.send(request.once())
        return AsyncJobHandle(self, started.job_id, started)

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def upload(self, folder: str, *paths: str | os.PathLike[str], progress: Progress | None = None) -> Uploaded:
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
        for path in await asyncio.to_thread(check_files, paths):
            try:
                stored = await self._send_file(UPLOAD_PATH, "files", path, {"folder": folder}, Uploaded, progress)
                results += stored.files
            except ApiError as error:
                errors.append(error)
                results.append(UploadedFile(name=path.name, status="failed", detail=error.detail))
        return transfer.uploaded(folder, results, errors)

    async def import_archive(
        self, folder: str, path: str | os.PathLike[str], *, language: str = "pt", progress: Progress | None = None
    ) -> AsyncJobHandle:
        """Imports an LJSpeech archive (zip or tar of `wavs/` and `metadata.csv`)."""
        from gateway.schemas.dataset import ImportStarted

        fields = {"folder": folder, "language": language}
        started = await self._send_file(IMPORT_PATH, "file", Path(path), fields, ImportStarted, progress)
        return AsyncJobHandle(self, started.job_id, started)

    async def fetch(self, url: str) -> bytes:
        """Returns a file that an answer named, such as its `audio_url`."""

        async def once() -> bytes:
            async with self._opened("GET", self._connection.own(url)) as answer:
                return await answer.aread()

        return await self._retried(once, safe=True)

    async def save(self, url: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
        """Downloads a file that an answer named; it appears when it is whole."""
        target = Path(path)

        async def once() -> Path:
            async with self._opened("GET", self._connection.own(url)) as answer:
                with whole_file(target) as file:
                    done, total = 0, total_of(answer)
                    async for piece in answer.aiter_bytes():
                        await asyncio.to_thread(file.write, piece)
                        done += len(piece)
                        if progress:
                            progress(done, total)
            return target

        return await self._retried(once, safe=True)

    async def export_dataset(self, folder: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
        """Downloads a dataset as a zip of `metadata.csv` and `wavs/` (LJSpeech), without what is excluded."""
        return await self.save(f"{DATASET_EXPORT_PATH}?{urlencode({'folder': folder})}", path, progress=progress)

    async def export_checkpoint(
        self, checkpoint: str, path: str | os.PathLike[str], *, progress: Progress | None = None
    ) -> Path:
        """Downloads a checkpoint as a zip of the folder that stock coqui-tts loads."""
        return await self.save(
            f"{CHECKPOINT_EXPORT_PATH}?{urlencode({'checkpoint_path': checkpoint})}", path, progress=progress
        )

    async def stream(
        self,
        text: str,
        checkpoint: str = BASE,
        *,
        temperature: float | None = None,
        speed: float | None = None,
        language: str | None = None,
        speaker: str | None = None,
        seed: int | None = None,
    ) -> AsyncGenerator[bytes]:
        """Speaks a text and yields the audio while it is made: 22,050 Hz mono 16-bit samples, little-endian, no header.

        Raises:
            ApiError: The server answered with an error.
            ConnectionFailed: No answer came, or it broke off.
            InvalidValue: A number is none, or a text no Unicode.
        """
        body = {**speech_body(text, checkpoint, temperature, speed, language, speaker, seed), "format": "pcm"}
        async with self._opened("POST", STREAM_PATH, json=given(body), timeout=SPEECH_TIMEOUT) as answer:
            async for piece in answer.aiter_bytes():
                yield piece

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def job(self, job_id: str) -> AsyncJobHandle:
        """Returns a handle of a job by its id."""
        return AsyncJobHandle(self, job_id)

    async def follow(self, path: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """Yields events as they happen; a connection that breaks is made again and goes on where it was.

        Args:
            path: `/training/events` for all jobs, or that of one job.
            after: Only log lines after this sequence number.

        Raises:
            ApiError: The server answered with an error.
            ConnectionFailed: It could not be reached, several times in a row.
        """
        from httpx_sse import EventSource

        attempt, limit = 0, self._retries
        while True:
            headers = {"Accept": EVENT_STREAM, "Last-Event-ID": str(after)}
            try:
                async with self._opened("GET", path, headers=headers, timeout=follow_timeout()) as answer:
                    async for sent in EventSource(answer).aiter_sse():
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
                attempt = await self._pause(error, attempt, safe=True, limit=limit)

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send_file(
        self, path: str, field: str, file: Path, fields: dict[str, str], answer: type[T], progress: Progress | None
    ) -> T:
        headers = new_key()

        async def once() -> T:
            with CountedFile(file, progress) as opened, errors_told(self._http.base_url):
                files = {field: (file.name, opened)}
                form = self._http.build_request("POST", path, data=fields, files=files, headers=headers, timeout=UPLOAD_TIMEOUT)
                assert isinstance(form.stream, httpx.SyncByteStream)  # httpx's forms are both
                form.stream = ThreadedStream(form.stream)
                reply = await self._http.send(form)
            if not reply.is_success:
                raise error_of(reply)
            return Request("POST", path, answer).parse(reply)

        return await self._retried(once, safe=True)

    @asynccontextmanager
    async def _opened(self, method: str, path: str, **arguments: Any) -> AsyncIterator[httpx.Response]:
        with errors_told(self._http.base_url):
            async with self._http.stream(method, path, **arguments) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise error_of(answer)
                yield answer

    async def _retried(self, once: Callable[[], Awaitable[T]], *, safe: bool) -> T:
        attempt = 0
        while True:
            try:
                return await once()
            except Error as error:
                attempt = await self._pause(error, attempt, safe=safe)

    async def _pause(self, error: Error, attempt: int, *, safe: bool, limit: int | None = None) -> int:
        """Waits before the next attempt and returns its number, or raises what happened."""
        allowed = attempt < (self._retries if limit is None else limit)
        pause = pause_before_retry(error, attempt=attempt, safe=safe) if allowed else None
        if pause is None:
            raise error
        await asyncio.sleep(pause)
        return attempt + 1


class AsyncJobHandle:
    """A job on the server.

    Attributes:
        id: Its id.
        started: What the server answered when it was started; None for a job that was looked up.
    """

    def __init__(self, client: AsyncClient, job_id: str, started: Any = None) -> None:
        self._client = client
        self.id = job_id
        self.started = started

    def __repr__(self) -> str:
        return f"AsyncJobHandle({self.id!r})"

    async def get(self) -> Job:
        """Returns the job as it stands."""
        return await self._client.get_job(self.id)

    async def log(self) -> str:
        """Returns its log so far."""
        return (await self._client.job_log(self.id)).logs

    async def cancel(self) -> Job:
        """Asks it to stop; it saves what it has first."""
        return await self._client.cancel_job(self.id)

    def events(self, *, after: int = 0) -> AsyncGenerator[Event]:
        """Yields its changes and log lines as they happen, and `Ended` as the last.

        Args:
            after: Only log lines after this sequence number.
        """
        return self._client.follow(events_path(self.id), after=after)

    async def wait(self, *, timeout: float | None = None, on_change: Callable[[Job], object] | None = None) -> Job:
        """Returns the job when it has succeeded.

        Args:
            timeout: How long to wait, in seconds; the job goes on when that is over.
            on_change: Called with the job whenever it has changed.

        Raises:
            JobFailed: It failed.
            JobStopped: It was stopped.
            TimeoutError: It had not ended after `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout), aclosing(self.events()) as events:
                async for event in events:
                    if isinstance(event, Changed) and on_change:
                        on_change(event.job)
        except TimeoutError as error:
            raise TimeoutError(f"{self.id} has not ended after {timeout:g} s; it goes on.") from error
        return check_ended(await self.get())
