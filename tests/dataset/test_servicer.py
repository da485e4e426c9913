"""DatasetService over a real channel, with a real store, queue and supervisor; the jobs themselves are tested elsewhere."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import soundfile as sf
from timbre.dataset.v1 import dataset_pb2 as pb
from timbre.dataset.v1 import dataset_pb2_grpc

from services.dataset import layout
from services.dataset.manifest import Segment, write_segments
from services.dataset.servicer import KINDS, DatasetServicer
from services.dataset.settings import DatasetSettings
from services.runtime.database import open_database
from services.runtime.interceptors import ChassisInterceptor
from services.runtime.jobs import JobQueue
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.server import SERVER_OPTIONS
from services.runtime.store import ObjectStore, open_store

FOLDER = "datasets/voice"
NOT_FOUND = grpc.StatusCode.NOT_FOUND
INVALID = grpc.StatusCode.INVALID_ARGUMENT
REFUSED = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def settings(tmp_path: Path) -> DatasetSettings:
    return DatasetSettings(data_dir=tmp_path / "data", upload_max_bytes=3_000_000, download_hosts=("youtube.com", "youtu.be"))


@pytest.fixture
def store(settings: DatasetSettings) -> ObjectStore:
    return open_store(settings.storage_url)


@pytest.fixture
def queue(settings: DatasetSettings) -> Iterator[JobQueue]:
    engine = open_database(settings.database_url)
    yield JobQueue(engine)
    engine.dispose()


@pytest.fixture
async def stub(
    settings: DatasetSettings, store: ObjectStore, queue: JobQueue
) -> AsyncIterator[dataset_pb2_grpc.DatasetServiceAsyncStub]:
    server = grpc.aio.server(interceptors=[ChassisInterceptor()], options=SERVER_OPTIONS)
    supervisor = Supervisor(queue, "services.dataset.work", KINDS, 1, settings)  # never run: jobs stay queued
    servicer = DatasetServicer(settings, store, queue, supervisor)
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield dataset_pb2_grpc.DatasetServiceStub(channel)
    await server.stop(None)


def segments(count: int) -> list[Segment]:
    row = Segment("segment_00001", "a", 0.0, 9.0, 9.0, 396_944, transcript="Olá.", normalised="Olá.")
    return [
        replace(row, id=layout.segment_id(n), start_s=9.0 * n, end_s=9.0 * n + 9, transcript="Olá." if n % 2 else None)
        for n in range(1, count + 1)
    ]


async def fails(call: object, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code() is code, caught.value
    return str(caught.value.details())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://youtube.com/watch?v=a",
        "https://",
        "not a url",
        "https://example.org/watch?v=a",
        "https://youtube.com.evil.org/a",
        "http://127.0.0.1/a",
        "file:///etc/passwd",
    ],
)
async def test_one_bad_url_starts_nothing(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, queue: JobQueue, url: str) -> None:
    good = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"
    request = pb.StartDownloadRequest(urls=[good, url], folder=FOLDER)
    assert await fails(stub.StartDownload(request), REFUSED)
    assert queue.count() == 0


async def test_download_is_queued_once_a_video(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, queue: JobQueue) -> None:
    url = "https://youtu.be/dQw4w9WgXcQ"
    answer = await stub.StartDownload(pb.StartDownloadRequest(urls=[url, url], folder=FOLDER))
    assert (answer.video_count, answer.output_folder) == (1, f"{FOLDER}/raw")
    assert queue.get(answer.job_id).parameters == {"urls": [url], "folder": FOLDER}
    for urls in ([], [url] * 501):
        assert "1 to 500" in await fails(stub.StartDownload(pb.StartDownloadRequest(urls=urls, folder=FOLDER)), INVALID)


@pytest.mark.parametrize(
    "folder",
    [
        "",
        "voice",
        "/datasets/voice",
        "datasets/../x",
        "datasets//x",
        "datasets/voice/",
        "datasets/a b",
        "datasets/" + "x" * 200,
        "datasets/ç",
    ],
)
async def test_names_are_checked_everywhere(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, folder: str) -> None:
    calls = (
        stub.StartDownload(pb.StartDownloadRequest(urls=["https://youtu.be/dQw4w9WgXcQ"], folder=folder)),
        stub.StartSegmentation(pb.StartSegmentationRequest(folder=folder)),
        stub.StartTranscription(pb.StartTranscriptionRequest(folder=folder)),
        stub.GetDatasetStats(pb.GetDatasetStatsRequest(folder=folder)),
        stub.ListDatasetFiles(pb.ListDatasetFilesRequest(folder=folder)),
    )
    for call in calls:
        assert (await fails(call, INVALID)).startswith("folder is ")


async def test_work_needs_something_to_work_on_or_a_job_that_brings_it(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, queue: JobQueue
) -> None:
    segmentation, transcription = pb.StartSegmentationRequest(folder=FOLDER), pb.StartTranscriptionRequest(folder=FOLDER)
    assert "no recordings" in await fails(stub.StartSegmentation(segmentation), NOT_FOUND)
    assert "no segments" in await fails(stub.StartTranscription(transcription), NOT_FOUND)
    download = await stub.StartDownload(pb.StartDownloadRequest(urls=["https://youtu.be/dQw4w9WgXcQ"], folder=FOLDER))
    segmenting = await stub.StartSegmentation(segmentation)
    transcribing = await stub.StartTranscription(transcription)
    assert queue.get(segmenting.job_id).after == [download.job_id]
    assert queue.get(transcribing.job_id).after == [download.job_id, segmenting.job_id]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"min_duration_seconds": 2.9}, "min_duration"),
        ({"max_duration_seconds": 20.1}, "max_duration"),
        ({"vad_threshold_db": -61.0}, "vad_threshold"),
        ({"vad_threshold_db": float("nan")}, "vad_threshold"),
        ({"min_duration_seconds": 13.0, "max_duration_seconds": 12.0}, "min_duration"),
    ],
)
async def test_segmentation_values_are_checked(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, values: dict[str, float], field: str
) -> None:
    assert field in await fails(stub.StartSegmentation(pb.StartSegmentationRequest(folder=FOLDER, **values)), INVALID)


async def test_a_caller_cannot_name_a_file_as_model(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore) -> None:
    store.put(layout.segment_key(FOLDER, "segment_00001"), b"x")
    for model in ("/etc/passwd", "../x", "a b"):
        request = pb.StartTranscriptionRequest(folder=FOLDER, model=model)
        assert "model is" in await fails(stub.StartTranscription(request), INVALID)
    request = pb.StartTranscriptionRequest(folder=FOLDER, language="Portuguese")
    assert "language is" in await fails(stub.StartTranscription(request), INVALID)


async def test_stats_and_files(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore) -> None:
    empty = await stub.GetDatasetStats(pb.GetDatasetStatsRequest(folder=FOLDER))
    assert (empty.file_count, empty.total_hours, empty.transcribed_percent) == (0, 0.0, 0.0)
    assert not (await stub.ListDatasetFiles(pb.ListDatasetFilesRequest(folder=FOLDER))).files
    write_segments(store, FOLDER, segments(150))
    stats = await stub.GetDatasetStats(pb.GetDatasetStatsRequest(folder=FOLDER))
    assert (stats.file_count, stats.transcribed_percent) == (150, 50.0)
    assert stats.total_hours == pytest.approx(150 * 9 / 3600)
    page = await stub.ListDatasetFiles(pb.ListDatasetFilesRequest(folder=FOLDER))
    assert (len(page.files), page.total_count) == (100, 150)
    assert (page.files[0].name, page.files[0].size_bytes) == ("segment_00001.wav", 396_944)
    page = await stub.ListDatasetFiles(pb.ListDatasetFilesRequest(folder=FOLDER, limit=20, offset=140))
    assert [file.path for file in page.files] == [f"{FOLDER}/segments/{layout.segment_id(n)}.wav" for n in range(141, 151)]
    for limit in (-1, 10_001):
        assert await fails(stub.ListDatasetFiles(pb.ListDatasetFilesRequest(folder=FOLDER, limit=limit)), INVALID)


async def test_stats_follow_a_manifest_that_others_wrote(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore
) -> None:
    write_segments(store, FOLDER, segments(3))
    lines = store.get(layout.manifest_key(FOLDER))
    store.put(layout.manifest_key(FOLDER), lines + lines.splitlines()[0] + b"\n")
    assert (await stub.GetDatasetStats(pb.GetDatasetStatsRequest(folder=FOLDER))).file_count == 4


async def test_datasets_are_listed_without_their_contents(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore
) -> None:
    for folder in ("datasets/b", "datasets/a", "datasets/a-2", "datasets/team/c"):
        write_segments(store, folder, segments(2))
        store.put(layout.segment_key(folder, "segment_00001"), b"x")
    listed = await stub.ListDatasets(pb.ListDatasetsRequest())
    assert sorted(entry.folder for entry in listed.datasets) == ["datasets/a", "datasets/a-2", "datasets/b", "datasets/team/c"]
    assert {entry.stats.file_count for entry in listed.datasets} == {2}


def upload(folder: str, filename: str, data: bytes, step: int = 100_000) -> Iterator[pb.UploadRecordingRequest]:
    yield pb.UploadRecordingRequest(header=pb.UploadHeader(folder=folder, filename=filename))
    for start in range(0, len(data), step):
        yield pb.UploadRecordingRequest(chunk=data[start : start + step])


async def test_upload_stores_a_recording(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore) -> None:
    flac = io.BytesIO()
    sf.write(flac, [[0.1 * (n % 50) / 50] * 2 for n in range(44_100)], 44_100, format="FLAC")
    answer = await stub.UploadRecording(upload(FOLDER, "../Minha Gravação.flac", flac.getvalue()))
    assert answer.key == f"{FOLDER}/raw/{answer.source}.wav"
    assert answer.duration_seconds == pytest.approx(1.0, abs=0.05)
    info = sf.info(io.BytesIO(store.get(answer.key)))
    assert (info.samplerate, info.channels, info.subtype) == (22_050, 1, "PCM_16")
    assert (await stub.UploadRecording(upload(FOLDER, "again.flac", flac.getvalue()))).existed


async def test_bad_uploads_store_nothing(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore, settings: DatasetSettings
) -> None:
    assert await fails(stub.UploadRecording(upload(FOLDER, "a.wav", b"this is no audio" * 100)), INVALID)
    assert "larger than" in await fails(stub.UploadRecording(upload(FOLDER, "a.wav", b"x" * 3_100_000)), INVALID)
    assert "empty" in await fails(stub.UploadRecording(upload(FOLDER, "a.wav", b"")), INVALID)
    headless = iter([pb.UploadRecordingRequest(chunk=b"x")])
    assert "header" in await fails(stub.UploadRecording(headless), INVALID)
    assert list(store.list("datasets/")) == []
    assert list((settings.data_dir / "uploads").iterdir()) == []


# ── review ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_segments_are_listed_with_all_that_is_known(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore
) -> None:
    empty = await stub.ListSegments(pb.ListSegmentsRequest(folder=FOLDER))
    assert (empty.folder, empty.revision, empty.total_count, list(empty.segments)) == (FOLDER, "", 0, [])
    rows = [
        replace(row, loudness=-20.0, snr_db=30.0, clipping=0.0, language="pt", confidence=0.5, flags=["padded"])
        for row in segments(1500)
    ]
    write_segments(store, FOLDER, rows)
    page = await stub.ListSegments(pb.ListSegmentsRequest(folder=FOLDER))
    assert (len(page.segments), page.total_count) == (1000, 1500)
    first, second = page.segments[:2]
    assert (first.transcript, first.characters_per_second, first.loudness_lufs) == ("Olá.", pytest.approx(4 / 9), -20.0)
    assert (first.path, first.duration_seconds) == (f"{FOLDER}/segments/segment_00001.wav", 9.0)
    assert not second.HasField("transcript")
    assert not second.HasField("characters_per_second")
    everything = await stub.ListSegments(pb.ListSegmentsRequest(folder=FOLDER, limit=10000, offset=1499))
    assert [one.id for one in everything.segments] == ["segment_01500"]
    for request in (pb.ListSegmentsRequest(folder=FOLDER, limit=10001), pb.ListSegmentsRequest(folder=FOLDER, offset=-1)):
        await fails(stub.ListSegments(request), INVALID)


async def test_a_segment_is_edited(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore) -> None:
    write_segments(store, FOLDER, segments(3))
    seen = (await stub.GetSegment(pb.GetSegmentRequest(folder=FOLDER, id="segment_00002"))).segment
    edit = pb.UpdateSegmentRequest(folder=FOLDER, id=seen.id, transcript="São 2 horas.", revision=seen.revision)
    now = (await stub.UpdateSegment(edit)).segment
    assert (now.transcript, now.normalised, now.edited) == ("São 2 horas.", "São duas horas.", True)
    assert now.revision != seen.revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.UpdateSegment(edit)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert (await stub.GetSegment(pb.GetSegmentRequest(folder=FOLDER, id=seen.id))).segment == now
    listed = await stub.ListSegments(pb.ListSegmentsRequest(folder=FOLDER))
    assert listed.segments[1] == now
    stats = await stub.GetDatasetStats(pb.GetDatasetStatsRequest(folder=FOLDER))
    assert stats.transcribed_percent == 100.0
    unknown = pb.UpdateSegmentRequest(folder=FOLDER, id="segment_00009", excluded=True)
    assert "segment_00009" in await fails(stub.UpdateSegment(unknown), NOT_FOUND)
    long = pb.UpdateSegmentRequest(folder=FOLDER, id=seen.id, transcript="x" * 2001)
    assert "2,000" in await fails(stub.UpdateSegment(long), INVALID)


async def test_an_editor_does_not_wait_forever(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segments(store, FOLDER, segments(1))
    monkeypatch.setattr("services.dataset.servicer._EDIT_SECONDS", 0.05)
    edit = pb.UpdateSegmentRequest(folder=FOLDER, id="segment_00001", excluded=True)
    with queue.exclusive(FOLDER):
        assert "try again" in await fails(stub.UpdateSegment(edit), grpc.StatusCode.UNAVAILABLE)
    assert (await stub.UpdateSegment(edit)).segment.excluded


async def test_those_who_wait_for_a_dataset_hinder_nobody_else(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore, queue: JobQueue
) -> None:
    other = "datasets/other"
    for folder in (FOLDER, other):
        write_segments(store, folder, segments(1))
    with queue.exclusive(FOLDER):
        waiting = [stub.DeleteDataset(pb.DeleteDatasetRequest(folder=FOLDER)) for _ in range(40)]  # more than threads
        assert len((await stub.ListDatasets(pb.ListDatasetsRequest(), timeout=20)).datasets) == 2
        edit = pb.UpdateSegmentRequest(folder=other, id="segment_00001", excluded=True)
        assert (await stub.UpdateSegment(edit, timeout=20)).segment.excluded
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    codes = [answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert codes == [NOT_FOUND] * 39, "one has deleted it, and the others came after"


async def test_many_are_left_out(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore) -> None:
    write_segments(store, FOLDER, segments(3))
    ids = ["segment_00001", "segment_00003"]
    assert (await stub.ExcludeSegments(pb.ExcludeSegmentsRequest(folder=FOLDER, ids=ids, excluded=True))).changed_count == 2
    assert (await stub.ExcludeSegments(pb.ExcludeSegmentsRequest(folder=FOLDER, ids=ids, excluded=True))).changed_count == 0
    assert (await stub.GetDatasetStats(pb.GetDatasetStatsRequest(folder=FOLDER))).excluded_count == 2
    for wrong in ([], ["x"] * 10001):
        request = pb.ExcludeSegmentsRequest(folder=FOLDER, ids=wrong, excluded=True)
        assert "1 to 10000" in await fails(stub.ExcludeSegments(request), INVALID)


async def test_recordings_and_deletions(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore, queue: JobQueue
) -> None:
    assert not (await stub.ListRecordings(pb.ListRecordingsRequest(folder=FOLDER))).recordings
    store.put(layout.recording_key(FOLDER, "a"), b"RIFF")
    store.put(
        layout.provenance_key(FOLDER, "a"),
        b'{"title": "A", "url": "https://youtu.be/x", "uploader": null, "license": "CC BY", "duration": 27.5,'
        b' "added_at": "2026-11-23T14:30:00+00:00"}',
    )
    write_segments(store, FOLDER, segments(3))
    [one] = (await stub.ListRecordings(pb.ListRecordingsRequest(folder=FOLDER))).recordings
    assert (one.source, one.title, one.url, one.licence, one.duration_seconds) == (
        "a",
        "A",
        "https://youtu.be/x",
        "CC BY",
        27.5,
    )
    assert not one.HasField("uploader")
    assert (one.segment_count, one.path) == (3, f"{FOLDER}/raw/a.wav")
    assert one.create_time.ToJsonString() == "2026-11-23T14:30:00Z"
    deletion = pb.DeleteRecordingRequest(folder=FOLDER, source="a")
    job = queue.submit("dataset.transcribe", FOLDER, {"folder": FOLDER})
    assert job.id in await fails(stub.DeleteRecording(deletion), REFUSED)
    assert job.id in await fails(stub.DeleteDataset(pb.DeleteDatasetRequest(folder=FOLDER)), REFUSED)
    queue.cancel(job.id)
    for wrong in ("", "../a", "a/b", "ç"):
        assert "source is" in await fails(stub.DeleteRecording(pb.DeleteRecordingRequest(folder=FOLDER, source=wrong)), INVALID)
    assert (await stub.DeleteRecording(deletion)).segment_count == 3
    assert "'a'" in await fails(stub.DeleteRecording(deletion), NOT_FOUND)
    assert (await stub.DeleteDataset(pb.DeleteDatasetRequest(folder=FOLDER))).segment_count == 0
    assert list(store.list("datasets/")) == []
    await fails(stub.DeleteDataset(pb.DeleteDatasetRequest(folder=FOLDER)), NOT_FOUND)


async def test_a_preview(
    stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore, recording: tuple[Path, object]
) -> None:
    store.put(layout.recording_key(FOLDER, "interview"), recording[0])
    made = await stub.PreviewSegmentation(pb.PreviewSegmentationRequest(folder=FOLDER, source="interview"))
    assert made.duration_seconds == pytest.approx(sf.info(recording[0]).duration)
    assert made.total_seconds == pytest.approx(sum(one.end_seconds - one.start_seconds for one in made.segments), abs=1)
    assert len(made.speech) >= 15
    assert len(made.levels_db) == len(made.peaks) > 1000
    request = pb.PreviewSegmentationRequest(folder=FOLDER, source="interview", min_duration_seconds=2.0)
    assert "min_duration" in await fails(stub.PreviewSegmentation(request), INVALID)
    request = pb.PreviewSegmentationRequest(folder=FOLDER, source="nobody")
    assert "nobody" in await fails(stub.PreviewSegmentation(request), NOT_FOUND)


async def test_an_export(stub: dataset_pb2_grpc.DatasetServiceAsyncStub, store: ObjectStore) -> None:
    async def read() -> list[bytes]:
        return [message.chunk async for message in stub.ExportDataset(pb.ExportDatasetRequest(folder=FOLDER))]

    assert "no segments" in await fails(read(), NOT_FOUND)
    rows = segments(4)
    for row in rows:
        store.put(layout.segment_key(FOLDER, row.id), row.id.encode() * 50_000)
    write_segments(store, FOLDER, rows)
    chunks = await read()
    assert max(map(len, chunks)) <= 1 << 20
    packed = zipfile.ZipFile(io.BytesIO(b"".join(chunks)))
    assert packed.read("wavs/segment_00004.wav") == b"segment_00004" * 50_000
    assert packed.read("metadata.csv").decode().count("\n") == 2
    stream = stub.ExportDataset(pb.ExportDatasetRequest(folder=FOLDER))
    await stream.read()
    store.delete(layout.segment_key(FOLDER, "segment_00004"))
    stream.cancel()
