"""Uploads: streamed through to the service, each file for itself."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from timbre.dataset.v1 import dataset_pb2

from services.runtime.errors import InvalidArgument, ResourceExhausted

pytestmark = pytest.mark.asyncio(loop_scope="session")

UPLOAD = "/training/dataset/upload"
IMPORT = "/training/dataset/import"


async def receive(messages: Any, context: Any) -> dataset_pb2.UploadRecordingResponse:
    """Stores nothing, and answers with what came; a file named bad*.wav is refused at its first bytes."""
    header, size = None, 0
    async for message in messages:
        if message.WhichOneof("part") == "header":
            header = message.header
            continue
        assert 0 < len(message.chunk) <= 1024 * 1024
        size += len(message.chunk)
        if header.filename.startswith("bad"):
            raise InvalidArgument(f"{header.filename} holds no audio: send a recording.", reason="AUDIO_UNREADABLE")
    source = header.filename.removesuffix(".wav")
    key = f"{header.folder}/raw/{source}.wav"
    existed = source == "twin"
    return dataset_pb2.UploadRecordingResponse(source=source, key=key, duration_seconds=2.5, size_bytes=size, existed=existed)


async def test_one_recording(stack: Any) -> None:
    stack.answer(UploadRecording=receive)
    data = bytes(range(256)) * 4000
    answer = await stack.client.post(UPLOAD, data={"folder": "datasets/v"}, files={"files": ("á b.wav", data)})
    assert answer.status_code == 200, answer.text
    one = {"name": "á b.wav", "status": "stored", "source": "á b", "path": "datasets/v/raw/á b.wav", "duration": 2.5}
    assert answer.json() == {
        "status": "stored",
        "folder": "datasets/v",
        "files": [{**one, "size": len(data), "detail": None}],
    }


async def test_the_bytes_arrive_as_they_were(stack: Any) -> None:
    stack.answer(UploadRecording=dataset_pb2.UploadRecordingResponse(source="a"))
    data = b"\r\n--not-a-boundary\r\n" * 30_000 + b"end"
    await stack.client.post(UPLOAD, data={"folder": "datasets/v"}, files={"files": ("a.wav", data)})
    messages = stack.asked("UploadRecording")
    assert messages[0].header == dataset_pb2.UploadHeader(folder="datasets/v", filename="a.wav")
    assert b"".join(message.chunk for message in messages[1:]) == data


async def test_a_bad_recording_among_good_ones(stack: Any) -> None:
    stack.answer(UploadRecording=receive)
    big = b"x" * 3_000_000  # of which much is on its way when the service refuses
    files = [("files", ("a.wav", b"1")), ("files", ("bad.wav", big)), ("files", ("twin.wav", b"22"))]
    answer = await stack.client.post(UPLOAD, data={"folder": "datasets/v"}, files=files)
    assert answer.status_code == 200
    found = [(file["name"], file["status"], file["size"]) for file in answer.json()["files"]]
    assert found == [("a.wav", "stored", 1), ("bad.wav", "failed", None), ("twin.wav", "existed", 2)]
    assert answer.json()["files"][1]["detail"] == "bad.wav holds no audio: send a recording."


async def test_only_bad_recordings(stack: Any) -> None:
    stack.answer(UploadRecording=receive)
    files = [("files", ("bad1.wav", b"1")), ("files", ("bad2.wav", b"2"))]
    answer = await stack.client.post(UPLOAD, data={"folder": "datasets/v"}, files=files)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "bad1.wav holds no audio: send a recording."
    assert [file["status"] for file in answer.json()["files"]] == ["failed", "failed"]


@pytest.mark.parametrize("path", [UPLOAD, IMPORT])
async def test_too_large(stack: Any, path: str) -> None:
    error = ResourceExhausted("The file is larger than 2 GB: split it.", reason="TOO_LARGE")
    stack.answer(UploadRecording=error, UploadArchive=error)
    answer = await stack.client.post(path, data={"folder": "datasets/v"}, files={"file": ("a.wav", b"1" * 2_000_000)})
    assert (answer.status_code, answer.json()["detail"]) == (413, "The file is larger than 2 GB: split it.")


@pytest.mark.parametrize("order", ["folder first", "folder last"])
async def test_the_folder_may_come_last(stack: Any, order: str) -> None:
    stack.answer(UploadRecording=receive)
    folder = b'--B\r\nContent-Disposition: form-data; name="folder"\r\n\r\ndatasets/v\r\n'
    file = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\nabc\r\n'
    parts = folder + file if order == "folder first" else file + folder
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await stack.client.post(UPLOAD, content=parts + b"--B--\r\n", headers=headers)
    assert (answer.status_code, answer.json()["files"][0]["size"]) == (200, 3)


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def early(number: int, data: bytes) -> bytes:
    """A part of a form with a file; those named bad*.wav are refused."""
    name = f"{'bad' if number % 5 == 2 else ''}{number}"
    return f'--B\r\nContent-Disposition: form-data; name="files"; filename="{name}.wav"\r\n\r\n'.encode() + data + b"\r\n"


async def test_files_before_their_folder_are_told_apart(stack: Any) -> None:
    got: dict[str, bytes] = {}

    async def store(messages: Any, context: Any) -> dataset_pb2.UploadRecordingResponse:
        header = (await anext(messages)).header
        if header.filename.startswith("bad"):  # before its bytes have been read
            raise InvalidArgument(f"{header.filename} holds no audio: send a recording.", reason="AUDIO_UNREADABLE")
        got[header.filename] = b"".join([message.chunk async for message in messages])
        return dataset_pb2.UploadRecordingResponse(source=header.filename, size_bytes=len(got[header.filename]))

    stack.answer(UploadRecording=store)
    files = {
        number: bytes([number]) * (number * 100_000) for number in range(16)
    }  # one is empty, and some are larger than a chunk
    folder = b'--B\r\nContent-Disposition: form-data; name="folder"\r\n\r\ndatasets/v\r\n'
    parts = b"".join(early(number, data) for number, data in files.items()) + folder + early(20, b"late")
    answer = await stack.client.post(UPLOAD, content=parts + b"--B--\r\n", headers=FORM)
    assert answer.status_code == 200, answer.text
    assert got == {f"{number}.wav": data for number, data in {**files, 20: b"late"}.items() if number % 5 != 2}
    assert [file["status"] for file in answer.json()["files"]].count("failed") == 3


async def test_many_files_before_their_folder_are_refused(stack: Any) -> None:
    before, kept = temporary_files(), 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal kept
        for number in range(16):
            yield early(number, b"x" * 100_000)
        await asyncio.sleep(0.3)  # until they are kept
        kept = temporary_files()
        yield early(16, b"x") + b"--B--\r\n"

    answer = await stack.client.post(UPLOAD, content=pieces(), headers=FORM)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The form names its folder after more than 16 files: send the field folder first."
    assert kept - before <= 1, "one for all, or a few such forms use up the descriptors"
    assert temporary_files() == before


def temporary_files() -> int:
    """How many files this process, and so the gateway in it, has open that nobody else can see."""
    paths = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
    return sum(path.startswith(f"{tempfile.gettempdir()}/") and path.endswith("(deleted)") for path in paths)


async def test_a_form_in_many_small_pieces(stack: Any) -> None:
    stack.answer(UploadRecording=receive)
    form = (
        b'--B\r\nContent-Disposition: form-data; name="folder"\r\n\r\ndatasets/v\r\n'
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n\r\n--Bee\r\n\r\n--B--\r\n'
    )

    async def pieces() -> AsyncIterator[bytes]:
        for byte in form:
            yield bytes([byte])

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await stack.client.post(UPLOAD, content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["files"][0]["size"]) == (200, len(b"\r\n--Bee\r\n"))


async def test_an_archive(stack: Any) -> None:
    stack.answer(UploadArchive=dataset_pb2.UploadArchiveResponse(job_id="job_5"))
    form = {"folder": "datasets/v", "language": "en"}
    answer = await stack.client.post(IMPORT, data=form, files={"file": ("lj.zip", b"zip")})
    assert answer.status_code == 200
    assert answer.json() == {"status": "started", "folder": "datasets/v", "job_id": "job_5"}
    messages = stack.asked("UploadArchive")
    assert messages[0].header == dataset_pb2.UploadHeader(folder="datasets/v", filename="lj.zip", language="en")


@pytest.mark.parametrize("path", [UPLOAD, IMPORT])
async def test_forms_that_are_none(stack: Any, path: str) -> None:
    client, form = stack.client, {"Content-Type": "multipart/form-data; boundary=B"}
    file = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\nabc'
    for answer in (
        await client.post(path, json={"folder": "datasets/v"}),
        await client.post(path),
        await client.post(path, content=b"nonsense", headers=form),
        await client.post(path, content=b"", headers=form),
        await client.post(path, content=file, headers=form),  # cut off
        await client.post(path, content=file, headers={"Content-Type": "multipart/form-data"}),
        await client.post(path, content=b"--B\r\nX: y\r\n\r\nabc\r\n--B--", headers=form),
        await client.post(path, files={"files": ("a.wav", b"1")}),
        await client.post(path, data={"folder": "datasets/v"}, files={"files": ("", b"")}),
    ):
        assert answer.status_code == 422, answer.text
        assert isinstance(answer.json()["detail"], str)


async def test_hanging_up_in_the_middle_cancels_the_call(stack: Any) -> None:
    ended = asyncio.Event()

    async def wait(messages: Any, context: Any) -> Any:
        try:
            async for _ in messages:
                pass
            return dataset_pb2.UploadRecordingResponse(source="should not be stored")
        finally:
            ended.set()

    stack.answer(UploadRecording=wait)
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b'--B\r\nContent-Disposition: form-data; name="folder"\r\n\r\ndatasets/v\r\n'
        yield b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n' + b"x" * 500_000
        begun.set()
        await asyncio.sleep(30)

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    request = asyncio.create_task(stack.client.post(UPLOAD, content=pieces(), headers=headers))
    await asyncio.wait_for(begun.wait(), 5)
    request.cancel()
    await asyncio.wait_for(ended.wait(), 5)
