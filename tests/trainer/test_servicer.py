"""TrainerService over a real channel, with a real store and queue; training itself is tested elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from timbre.trainer.v1 import trainer_pb2 as pb
from timbre.trainer.v1 import trainer_pb2_grpc

from services.dataset.manifest import Segment, write_segments
from services.runtime.database import open_database
from services.runtime.interceptors import ChassisInterceptor
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.supervisor import Supervisor
from services.runtime.server import SERVER_OPTIONS
from services.runtime.store import ObjectStore, open_store
from services.trainer.runs import TRAIN
from services.trainer.servicer import KINDS, TrainerServicer
from services.trainer.settings import TrainerSettings
from services.voices.checkpoints import Run, checkpoint_key, write_run
from services.voices.history import Utterance, remember

FOLDER = "datasets/voice"
Stub = Any


@pytest.fixture
def settings(tmp_path: Path) -> TrainerSettings:
    return TrainerSettings(data_dir=tmp_path / "data", stop_grace_seconds=5)


@pytest.fixture
def store(settings: TrainerSettings) -> ObjectStore:
    return open_store(settings.storage_url)


@pytest.fixture
def queue(settings: TrainerSettings) -> Iterator[JobQueue]:
    engine = open_database(settings.database_url)
    yield JobQueue(engine)
    engine.dispose()


@pytest.fixture
async def stub(settings: TrainerSettings, store: ObjectStore, queue: JobQueue) -> AsyncIterator[Stub]:
    server = grpc.aio.server(interceptors=[ChassisInterceptor()], options=SERVER_OPTIONS)
    supervisor = Supervisor(queue, "services.trainer.work", KINDS, 1, settings)  # never run: the test is the worker
    trainer_pb2_grpc.add_TrainerServiceServicer_to_server(TrainerServicer(settings, store, queue, supervisor), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield trainer_pb2_grpc.TrainerServiceStub(channel)
    await server.stop(None)


def make_dataset(store: ObjectStore, transcript: str | None = "Olá.") -> None:
    write_segments(store, FOLDER, [Segment("segment_00001", "a", 0.0, 9.0, 9.0, 100, transcript=transcript)])


def request(**values: Any) -> pb.StartTrainingRequest:
    return pb.StartTrainingRequest(**{"model_name": "voice", "dataset_folder": FOLDER, **values})


def claim(queue: JobQueue) -> Job:
    job = queue.claim(KINDS)
    assert job is not None
    return job


async def fails(call: Any, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, caught.value
    return str(caught.value.details())


async def test_idle_before_any_training(stub: Stub) -> None:
    status = await stub.GetTrainingStatus(pb.GetTrainingStatusRequest())
    assert status == pb.GetTrainingStatusResponse(state=pb.TRAINING_STATE_IDLE)
    assert not (await stub.GetTrainingLogs(pb.GetTrainingLogsRequest())).log_lines
    assert not (await stub.GetTrainingMetrics(pb.GetTrainingMetricsRequest())).series
    assert not (await stub.ListCheckpoints(pb.ListCheckpointsRequest())).checkpoints
    assert "No training" in await fails(stub.StopTraining(pb.StopTrainingRequest()), grpc.StatusCode.FAILED_PRECONDITION)


async def test_start_fills_in_the_documented_defaults(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    answer = await stub.StartTraining(request())
    assert (answer.model_name, answer.output_folder) == ("voice", "train/output/voice")
    parameters = queue.get(answer.job_id).parameters
    assert (parameters["epochs"], parameters["batch_size"], parameters["learning_rate"]) == (100, 4, 1e-4)
    assert (await stub.GetTrainingStatus(pb.GetTrainingStatusRequest())).state == pb.TRAINING_STATE_RUNNING


async def test_a_start_that_is_repeated_is_the_same_training(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    key = (("idempotency-key", "k1"),)
    first = await stub.StartTraining(request(), metadata=key)
    assert await stub.StartTraining(request(), metadata=key) == first
    await fails(stub.StartTraining(request(epochs=11), metadata=key), grpc.StatusCode.INVALID_ARGUMENT)
    job = claim(queue)
    store.put(checkpoint_key("voice", 100), b"as if trained")
    queue.finish(job.id, job.lease, JobState.SUCCEEDED)
    assert await stub.StartTraining(request(), metadata=key) == first  # though there is a model of that name now
    assert "resume" in await fails(stub.StartTraining(request()), grpc.StatusCode.FAILED_PRECONDITION)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"epochs": 9}, "epochs"),
        ({"epochs": 1001}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 17}, "batch_size"),
        ({"learning_rate": 0.000009}, "learning_rate"),
        ({"learning_rate": 0.011}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"model_name": ""}, "model_name"),
        ({"model_name": "a/b"}, "model_name"),
        ({"model_name": "../a"}, "model_name"),
        *(({"model_name": name}, "model_name") for name in ("base", "Default", "alloy", "tts-1")),
        ({"dataset_folder": f"{FOLDER}/"}, "dataset_folder"),
        ({"model_name": "x" * 101}, "model_name"),
        ({"dataset_folder": "voice"}, "dataset_folder"),
        ({"resume": True, "overwrite": True}, "resume"),
        ({"language": "!"}, "language"),
    ],
)
async def test_values_are_checked(stub: Stub, store: ObjectStore, values: dict[str, Any], field: str) -> None:
    make_dataset(store)
    assert (await fails(stub.StartTraining(request(**values)), grpc.StatusCode.INVALID_ARGUMENT)).startswith(field)


async def test_a_dataset_must_have_segments_and_transcripts(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    assert "no segments" in await fails(stub.StartTraining(request()), grpc.StatusCode.NOT_FOUND)
    make_dataset(store, transcript=None)
    assert "no transcripts" in await fails(stub.StartTraining(request()), grpc.StatusCode.FAILED_PRECONDITION)
    transcribing = queue.submit("dataset.transcribe", FOLDER, {})
    answer = await stub.StartTraining(request())  # waits for the transcription
    assert queue.get(answer.job_id).after == [transcribing.id]


async def test_one_training_at_a_time(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    answers = await asyncio.gather(*(stub.StartTraining(request(model_name=f"m{n}")) for n in range(6)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(refused) == 5
    assert {error.code() for error in refused} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert "is running" in str(refused[0].details())
    assert queue.count(kind=TRAIN) == 1


async def test_a_model_with_checkpoints_needs_a_decision(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    assert "no checkpoint" in await fails(stub.StartTraining(request(resume=True)), grpc.StatusCode.FAILED_PRECONDITION)
    store.put(checkpoint_key("voice", 10), b"x")
    sentence = await fails(stub.StartTraining(request()), grpc.StatusCode.FAILED_PRECONDITION)
    assert "resume: true" in sentence
    assert "overwrite: true" in sentence
    queue.cancel((await stub.StartTraining(request(resume=True))).job_id)
    queue.cancel((await stub.StartTraining(request(overwrite=True))).job_id)


async def test_status_logs_and_metrics_follow_the_job(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    await stub.StartTraining(request(epochs=20))
    job = claim(queue)
    lines = [(float(n), f"Epoch {n}/20 - Loss: {1 / n:.4f}") for n in range(1, 61)]
    points = [(name, step, value, 0.0) for step in (1, 2) for name, value in (("epoch", step), ("loss", 1 / step))]
    queue.report(job.id, job.lease, {"progress": 0.999}, lines=lines, points=points)
    status = await stub.GetTrainingStatus(pb.GetTrainingStatusRequest())
    assert (status.state, status.epoch, status.total_epochs, status.loss) == (pb.TRAINING_STATE_RUNNING, 2, 20, 0.5)
    assert status.progress_percent == 99
    assert (len(status.log_lines), status.log_lines[-1]) == (50, lines[-1][1])
    assert len((await stub.GetTrainingLogs(pb.GetTrainingLogsRequest())).log_lines) == 60
    queue.finish(job.id, job.lease, JobState.SUCCEEDED)
    status = await stub.GetTrainingStatus(pb.GetTrainingStatusRequest())
    assert (status.state, status.progress_percent) == (pb.TRAINING_STATE_COMPLETED, 100)
    metrics = await stub.GetTrainingMetrics(pb.GetTrainingMetricsRequest(model_name="voice"))
    assert {series.name: [point.value for point in series.points] for series in metrics.series} == {
        "epoch": [1.0, 2.0],
        "loss": [1.0, 0.5],
    }


async def test_metrics_go_on_after_a_resume(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    store.put(checkpoint_key("voice", 1), b"x")
    for values, steps in (({"overwrite": True}, (1, 2)), ({"overwrite": True}, (1, 2, 3)), ({"resume": True}, (3, 4))):
        await stub.StartTraining(request(**values))
        job = claim(queue)
        queue.report(job.id, job.lease, {}, points=[("loss", step, 10.0 * step, 0.0) for step in steps])
        queue.finish(job.id, job.lease, JobState.SUCCEEDED)
    metrics = await stub.GetTrainingMetrics(pb.GetTrainingMetricsRequest())
    assert (metrics.model_name, [point.step for point in metrics.series[0].points]) == ("voice", [1, 2, 3, 4])


async def test_stop_waits_until_the_worker_has_saved(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    answer = await stub.StartTraining(request())
    job = claim(queue)
    stopping = asyncio.create_task(_stop(stub))
    await asyncio.sleep(0.3)
    assert not stopping.done()
    assert queue.report(job.id, job.lease, {}) is True  # the worker hears of it
    queue.finish(job.id, job.lease, JobState.STOPPED)
    assert (await stopping).job_id == answer.job_id
    assert (await stub.GetTrainingStatus(pb.GetTrainingStatusRequest())).state == pb.TRAINING_STATE_STOPPED


async def _stop(stub: Stub) -> pb.StopTrainingResponse:
    response: pb.StopTrainingResponse = await stub.StopTraining(pb.StopTrainingRequest())
    return response


async def test_checkpoints_are_listed_newest_first(stub: Stub, store: ObjectStore) -> None:
    for model, epoch in (("a", 10), ("a", 20), ("b", 10)):
        store.put(checkpoint_key(model, epoch), b"x" * epoch)
    listed = (await stub.ListCheckpoints(pb.ListCheckpointsRequest())).checkpoints
    assert [(entry.model_name, entry.name, entry.size_bytes) for entry in listed] == [
        ("b", "checkpoint_epoch_10", 10),
        ("a", "checkpoint_epoch_20", 20),
        ("a", "checkpoint_epoch_10", 10),
    ]
    of_a = (await stub.ListCheckpoints(pb.ListCheckpointsRequest(model_name="a"))).checkpoints
    assert [entry.path for entry in of_a] == [checkpoint_key("a", 20), checkpoint_key("a", 10)]
    assert "model_name" in await fails(
        stub.ListCheckpoints(pb.ListCheckpointsRequest(model_name="../a")), grpc.StatusCode.INVALID_ARGUMENT
    )


async def test_checkpoints_are_promoted_and_deleted(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    for epoch in (10, 20):
        store.put(checkpoint_key("voice", epoch), b"x")
    answer = await stub.PromoteCheckpoint(pb.PromoteCheckpointRequest(checkpoint=checkpoint_key("voice", 10)))
    assert (answer.model_name, answer.checkpoint) == ("voice", checkpoint_key("voice", 10))
    listed = (await stub.ListCheckpoints(pb.ListCheckpointsRequest(model_name="voice"))).checkpoints
    assert [(entry.epoch, entry.current, entry.HasField("loss")) for entry in listed] == [(20, False, False), (10, True, False)]
    await stub.StartTraining(request(resume=True))
    newest = pb.DeleteCheckpointRequest(checkpoint=checkpoint_key("voice", 20))
    assert "being trained" in await fails(stub.DeleteCheckpoint(newest), grpc.StatusCode.FAILED_PRECONDITION)
    older = pb.DeleteCheckpointRequest(checkpoint=checkpoint_key("voice", 10))
    assert (await stub.DeleteCheckpoint(older)).checkpoint == older.checkpoint
    await fails(stub.DeleteCheckpoint(older), grpc.StatusCode.NOT_FOUND)
    outside = pb.DeleteCheckpointRequest(checkpoint="datasets/voice/segments.jsonl")
    await fails(stub.DeleteCheckpoint(outside), grpc.StatusCode.INVALID_ARGUMENT)
    job = claim(queue)
    queue.finish(job.id, job.lease, JobState.STOPPED)
    await stub.DeleteCheckpoint(newest)
    assert not (await stub.ListCheckpoints(pb.ListCheckpointsRequest())).checkpoints


async def test_runs_their_series_and_estimates(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    wanted = pb.EstimateTrainingRequest(training=request(epochs=20, batch_size=1))
    estimated = await stub.EstimateTraining(wanted)
    assert (estimated.step_count, estimated.clip_count, estimated.hours) == (20, 1, 0.0025)
    assert not estimated.HasField("duration_seconds")
    started = await stub.StartTraining(request(epochs=20, batch_size=1))
    job = claim(queue)
    times = [("loss", step, 5.0, 100.0 + 1.5 * step) for step in (1, 2, 3)]
    queue.report(job.id, job.lease, {"progress": 0.55}, points=times)
    (run,) = (await stub.ListRuns(pb.ListRunsRequest(model_name="voice"))).runs
    assert (run.job_id, run.state, run.epoch_count) == (started.job_id, pb.TRAINING_STATE_RUNNING, 11)
    assert (run.last_loss, run.seconds_per_step, run.HasField("last_eval_loss")) == (5.0, 1.5, False)
    assert (run.parameters.epochs, run.parameters.dataset_folder, run.HasField("end_time")) == (20, FOLDER, False)
    write_run(store, "voice", Run(job.id, job.parameters, base_name="xtts_v2", device="the CPU with 1 thread"))
    assert (await stub.EstimateTraining(wanted)).duration_seconds == 30.0
    metrics = await stub.GetTrainingMetrics(pb.GetTrainingMetricsRequest(job_id=job.id))
    assert (metrics.model_name, [point.step for point in metrics.series[0].points]) == ("voice", [1, 2, 3])
    await fails(stub.GetTrainingMetrics(pb.GetTrainingMetricsRequest(job_id="job_x")), grpc.StatusCode.NOT_FOUND)
    await fails(stub.ListRuns(pb.ListRunsRequest(limit=101)), grpc.StatusCode.INVALID_ARGUMENT)
    nothing = pb.EstimateTrainingRequest(training=request(dataset_folder="datasets/none"))
    await fails(stub.EstimateTraining(nothing), grpc.StatusCode.NOT_FOUND)


async def test_voices_come_with_what_they_said_last(stub: Stub, store: ObjectStore, queue: JobQueue) -> None:
    make_dataset(store)
    store.put(checkpoint_key("voice", 10), b"x")
    said = Utterance("inference_20251206_143000", "Olá.", checkpoint_key("voice", 10), 0.7, 1, "pt", "", 7, 1.5, 0.4, 1.7e9)
    remember(store, said)
    await stub.StartTraining(request(resume=True))
    (voice,) = (await stub.ListVoices(pb.ListVoicesRequest())).voices
    assert (voice.name, voice.state, voice.dataset_folder) == ("voice", pb.TRAINING_STATE_RUNNING, FOLDER)
    assert (voice.current_checkpoint, voice.checkpoint_count, voice.best_checkpoint) == (checkpoint_key("voice", 10), 1, "")
    assert (voice.sample.text, voice.sample.seed, voice.sample.create_time.seconds) == ("Olá.", 7, 1_700_000_000)
    assert voice.update_time.seconds > 1_700_000_000
