"""Uploads: from the parts of an HTTP form to the streaming calls of the dataset service, without keeping the bytes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, TypeVar

import grpc
from fastapi import Request
from fastapi.responses import Response
from google.protobuf.message import Message
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out
from timbre.dataset.v1 import dataset_pb2

from gateway import translate
from gateway.backends import Backends, CallFailed, call_metadata
from gateway.errors import TOO_LARGE, Failure, of_call, of_timbre
from gateway.multipart import Event, Field, FileEnd, FileStart, read_form
from gateway.reply import reply
from gateway.schemas import dataset
from services.runtime import audit
from services.runtime.errors import InvalidArgument, ResourceExhausted
from services.runtime.idempotency import IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from gateway.limits import UploadQuota

PATHS = ("/training/dataset/upload", "/training/dataset/import")
"""Where uploads go; the dataset service bounds them, and knows what it takes."""

# The service takes at most 1 MiB a message; larger pieces than these gain nothing.
_CHUNK_BYTES = 256 * 1024

# What is kept of a form on the gateway's own disk, which is no place for recordings, until its folder is known: the page,
# our client and whoever writes the fields in the order of the documentation name it first.
_MAX_EARLY_FILES = 16
_MAX_EARLY_BYTES = 1024**3

RequestT = TypeVar("RequestT", dataset_pb2.UploadRecordingRequest, dataset_pb2.UploadArchiveRequest)
ReplyT = TypeVar("ReplyT", dataset_pb2.UploadRecordingResponse, dataset_pb2.UploadArchiveResponse)


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


_FOLDER = {"type": "string", "description": "The dataset.", "examples": [dataset.DEFAULT_FOLDER]}
_FILE = {"type": "string", "format": "binary"}

RECORDINGS_FORM = _form(
    {"folder": _FOLDER, "files": {"type": "array", "items": _FILE, "description": "One or many recordings."}},
    ["folder", "files"],
)
"""The form of an upload, for the OpenAPI document."""

ARCHIVE_FORM = _form(
    {
        "folder": _FOLDER,
        "language": {"type": "string", "default": "pt", "description": "ISO 639-1 code of the transcripts' language."},
        "file": _FILE | {"description": "The archive."},
    },
    ["folder", "file"],
)
"""The form of an import, likewise."""


@dataclass(frozen=True)
class _Incoming:
    """A file of a form that is being sent.

    Attributes:
        name: Its own name.
        fields: The fields of the form, the folder among them.
        chunks: Its bytes.
    """

    name: str
    fields: dict[str, str]
    chunks: AsyncIterator[bytes]


async def store_recordings(request: Request, services: Backends) -> Response:
    """Stores the files of a form as recordings; answers with what became of each.

    Raises:
        InvalidArgument: The form is malformed, names no folder or holds no file.
    """
    results: list[dataset.UploadedFile] = []
    failures: list[Failure] = []
    folder = ""
    async for file in _files(request, "files"):
        folder = file.fields["folder"]
        header = dataset_pb2.UploadHeader(folder=folder, filename=file.name)
        first = dataset_pb2.UploadRecordingRequest(header=header)
        try:
            stored = await _send(services, services.dataset.UploadRecording, first, file.chunks)
            results.append(translate.dataset.uploaded_file(file.name, stored))
        except CallFailed as failed:
            failures.append(of_call(failed))
            results.append(dataset.UploadedFile(name=file.name, status="failed", detail=failures[-1].detail))
        except ResourceExhausted as full:  # nor may the files after it
            failures.append(of_timbre(full))
            results.append(dataset.UploadedFile(name=file.name, status="failed", detail=failures[-1].detail))
            break
    if len(failures) < len(results):
        return reply(dataset.Uploaded(folder=folder, files=results))
    files = [result.model_dump() for result in results]
    return replace(failures[0], extra={"files": files}).response()


async def store_archive(request: Request, services: Backends, key: str | None) -> dataset.ImportStarted:
    """Stores the one file of a form as an archive and has it imported.

    Raises:
        InvalidArgument: The form is malformed, names no folder or holds no file.
        CallFailed: The service refused it.
    """
    async for file in _files(request, "file"):
        folder, language = file.fields["folder"], file.fields.get("language", "")
        header = dataset_pb2.UploadHeader(folder=folder, filename=file.name, language=language)
        first = dataset_pb2.UploadArchiveRequest(header=header)
        accepted = await _send(services, services.dataset.UploadArchive, first, file.chunks, key)
        return translate.dataset.import_started(folder, accepted)
    raise AssertionError("_files yields a file or raises")


async def _files(request: Request, field: str) -> AsyncIterator[_Incoming]:
    """Yields the files of a form, whatever the fields they stand in, as their bytes arrive.

    The folder may follow the files, as some clients send it: those are then kept on disk until it is known.

    Raises:
        InvalidArgument: The form is malformed, names no folder or holds no file.
    """
    fields: dict[str, str] = {}
    early: list[tuple[str, int]] = []  # names and sizes of the files that lie one behind the other in `kept`
    found = False
    events = read_form(request)
    with tempfile.SpooledTemporaryFile(_CHUNK_BYTES) as kept:
        async for event in events:
            if isinstance(event, Field):
                fields[event.name] = event.value
            elif isinstance(event, FileStart):
                chunks = _until_end(events, request)
                if event.filename and "folder" in fields:
                    found = True
                    yield _Incoming(event.filename, fields, chunks)
                elif event.filename:
                    if len(early) == _MAX_EARLY_FILES:
                        raise _named_late(f"more than {_MAX_EARLY_FILES} files")
                    early.append((event.filename, await _keep(chunks, kept)))
                async for _ in chunks:  # what a call that failed has not taken, or a file input that was left empty
                    pass
        _require("folder" in fields, "folder", "name the dataset, such as datasets/my_voice")
        _require(found or bool(early), field, "send at least one file")
        start = 0
        for name, size in early:
            kept.seek(start)  # whatever became of the one before
            yield _Incoming(name, fields, _read(kept, size))
            start += size


def _require(given: bool, field: str, message: str) -> None:
    if not given:
        raise InvalidArgument(f"{field} is missing: {message}.", reason="INVALID_ARGUMENT", fields={field: message})


async def _until_end(events: AsyncIterator[Event], request: Request) -> AsyncIterator[bytes]:
    quota: UploadQuota | None = request.app.state.upload_quota
    async for event in events:
        if isinstance(event, FileEnd):
            return
        assert isinstance(event, bytes)  # nothing else comes between the start and the end of a file
        if quota is not None:
            await quota.take(request.scope, len(event))
        yield event


def _named_late(files: str, reason: str = "") -> InvalidArgument:
    advice = "send the field folder first"
    return InvalidArgument(f"The form names its folder after {files}: {advice}.", reason=reason, fields={"folder": advice})


async def _keep(chunks: AsyncIterator[bytes], kept: IO[bytes]) -> int:
    """Writes a file behind those that are kept already; returns its size."""
    start = kept.tell()
    async for piece in _in_pieces(chunks):
        if kept.tell() + len(piece) > _MAX_EARLY_BYTES:
            raise _named_late("very large files", TOO_LARGE)
        await asyncio.to_thread(kept.write, piece)
    return kept.tell() - start


async def _read(kept: IO[bytes], size: int) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(kept.read, min(size, _CHUNK_BYTES)):
        size -= len(piece)
        yield piece


async def _in_pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Joins small chunks, so that there are fewer messages and writes."""
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        while len(gathered) >= _CHUNK_BYTES:
            yield bytes(gathered[:_CHUNK_BYTES])
            del gathered[:_CHUNK_BYTES]
    if gathered:
        yield bytes(gathered)


async def _send(
    services: Backends,
    method: grpc.aio.StreamUnaryMultiCallable[RequestT, ReplyT],
    first: RequestT,
    chunks: AsyncIterator[bytes],
    key: str | None = None,
) -> ReplyT:
    """Streams a header and the bytes that follow it to a method.

    Raises:
        CallFailed: The service refused it, or cannot be reached.
    """
    audit.note(first)
    timeout = services.settings.upload_timeout_seconds
    metadata = (*call_metadata(), *(((IDEMPOTENCY_KEY, key),) if key else ()))
    call = method(timeout=timeout, metadata=metadata)
    try:
        try:
            await _write(call, first)
            async for piece in _in_pieces(chunks):
                await _write(call, type(first)(chunk=piece))
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, cygrpc.InternalError):
            pass  # the call has ended already: awaiting it says how
        reply = await call
        audit.note(reply)
        return reply
    except grpc.aio.AioRpcError as error:
        raise CallFailed("dataset", error, timeout) from error
    finally:
        call.cancel()  # when the client hung up, or sent something else than a form; otherwise it has ended


async def _write(call: Any, message: Message) -> None:
    """Sends a message as `call.write` does, but leaves it to the service to say how the call ended.

    When a service refuses a stream while a message is on its way, `StreamUnaryCall.write` (grpc/aio/_call.py, `_write`) makes
    INTERNAL of the message that could not be sent, and what the service said, which arrives a moment later, is lost.

    Raises:
        asyncio.InvalidStateError: The call has ended.
        cygrpc.InternalError: It is ending.
    """
    await call.wait_for_connection()
    if call.done():
        raise asyncio.InvalidStateError
    await call._cython_call.send_serialized_message(message.SerializeToString())
