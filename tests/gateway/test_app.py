"""The application as a whole: what it documents, what it imports, its pages and its probes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from fastapi.routing import APIRoute
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from grpc_health.v1 import health_pb2
from pydantic import BaseModel
from timbre.dataset.v1 import dataset_pb2
from timbre.inference.v1 import inference_pb2
from timbre.jobs.v1 import jobs_pb2
from timbre.trainer.v1 import trainer_pb2

from gateway.app import create_app
from gateway.schemas import dataset, inference, jobs, openai, review, training
from gateway.settings import GatewaySettings

DOCUMENTED = {
    "/training/dataset/download": {"post": {200, 400, 500}},
    "/training/dataset/segment": {"post": {200, 404, 422, 500}},
    "/training/dataset/transcribe": {"post": {200, 404, 500}},
    "/training/dataset/stats": {"get": {200}},
    "/training/dataset/files": {"get": {200}},
    "/training/start": {"post": {200, 400, 404, 422, 500}},
    "/training/stop": {"post": {200, 400}},
    "/training/status": {"get": {200}},
    "/training/logs": {"get": {200}},
    "/training/checkpoints": {"get": {200}},
    "/training/checkpoints/load": {"post": {200, 404, 500}},
    "/training/inference/synthesize": {"post": {200, 404, 422, 500, 504}},
    "/training/inference/ab-test": {"post": {200}},
}

# Each schema, the message it is made from or made into, and how fields are named differently (None: has no counterpart).
PAIRS: list[tuple[type[BaseModel], Descriptor, dict[str, str | None]]] = [
    (dataset.DownloadRequest, dataset_pb2.StartDownloadRequest.DESCRIPTOR, {}),
    (dataset.DownloadStarted, dataset_pb2.StartDownloadResponse.DESCRIPTOR, {"videos": "video_count", "status": None}),
    (
        dataset.SegmentRequest,
        dataset_pb2.StartSegmentationRequest.DESCRIPTOR,
        {
            "min_duration": "min_duration_seconds",
            "max_duration": "max_duration_seconds",
            "vad_threshold": "vad_threshold_db",
        },
    ),
    (dataset.SegmentStarted, dataset_pb2.StartSegmentationResponse.DESCRIPTOR, {"status": None}),
    (dataset.TranscribeRequest, dataset_pb2.StartTranscriptionRequest.DESCRIPTOR, {}),
    (dataset.TranscribeStarted, dataset_pb2.StartTranscriptionResponse.DESCRIPTOR, {"status": None}),
    (
        dataset.UploadedFile,
        dataset_pb2.UploadRecordingResponse.DESCRIPTOR,
        {
            "name": None,
            "status": "existed",
            "path": "key",
            "duration": "duration_seconds",
            "size": "size_bytes",
            "detail": None,
        },
    ),
    (dataset.ImportStarted, dataset_pb2.UploadArchiveResponse.DESCRIPTOR, {"status": None, "folder": None}),
    (
        dataset.DatasetStats,
        dataset_pb2.GetDatasetStatsResponse.DESCRIPTOR,
        {"files": "file_count", "sources": "source_count", "excluded": "excluded_count", "flagged": "flagged_count"},
    ),
    (dataset.DatasetFile, dataset_pb2.DatasetFile.DESCRIPTOR, {"size": "size_bytes"}),
    (dataset.DatasetFiles, dataset_pb2.ListDatasetFilesResponse.DESCRIPTOR, {"total": "total_count"}),
    (dataset.Datasets, dataset_pb2.ListDatasetsResponse.DESCRIPTOR, {}),
    (
        review.Segment,
        dataset_pb2.Segment.DESCRIPTOR,
        {
            "name": None,
            "audio_url": None,
            "start_s": "start_seconds",
            "end_s": "end_seconds",
            "duration_s": "duration_seconds",
            "loudness": "loudness_lufs",
        },
    ),
    (review.Segments, dataset_pb2.ListSegmentsResponse.DESCRIPTOR, {"total": "total_count"}),
    (review.SegmentsChanged, dataset_pb2.ExcludeSegmentsResponse.DESCRIPTOR, {"changed": "changed_count"}),
    (
        review.Recording,
        dataset_pb2.Recording.DESCRIPTOR,
        {
            "duration_s": "duration_seconds",
            "audio_url": None,
            "segments": "segment_count",
            "excluded_segments": "excluded_segment_count",
            "added_at": "create_time",
        },
    ),
    (review.Recordings, dataset_pb2.ListRecordingsResponse.DESCRIPTOR, {}),
    (
        review.PreviewRequest,
        dataset_pb2.PreviewSegmentationRequest.DESCRIPTOR,
        {
            "min_duration": "min_duration_seconds",
            "max_duration": "max_duration_seconds",
            "vad_threshold": "vad_threshold_db",
        },
    ),
    (review.Preview, dataset_pb2.PreviewSegmentationResponse.DESCRIPTOR, {"duration_s": "duration_seconds"}),
    (
        review.PlannedSegment,
        dataset_pb2.PlannedSegment.DESCRIPTOR,
        {"start_s": "start_seconds", "end_s": "end_seconds"},
    ),
    (training.TrainingRequest, trainer_pb2.StartTrainingRequest.DESCRIPTOR, {}),
    (training.TrainingStarted, trainer_pb2.StartTrainingResponse.DESCRIPTOR, {"status": None}),
    (
        training.Checkpoint,
        trainer_pb2.Checkpoint.DESCRIPTOR,
        {"date": "create_time", "size_mb": "size_bytes"},
    ),
    (training.TrainingLogs, trainer_pb2.GetTrainingLogsResponse.DESCRIPTOR, {"logs": "log_lines"}),
    (training.TrainingMetrics, trainer_pb2.GetTrainingMetricsResponse.DESCRIPTOR, {}),
    (
        training.Series,
        trainer_pb2.MetricPoint.DESCRIPTOR,
        {"steps": "step", "values": "value", "times": "create_time"},
    ),
    (training.CheckpointLoaded, inference_pb2.LoadCheckpointResponse.DESCRIPTOR, {"status": None}),
    (training.CheckpointDeleted, trainer_pb2.DeleteCheckpointResponse.DESCRIPTOR, {"status": None}),
    (training.CheckpointPromoted, trainer_pb2.PromoteCheckpointResponse.DESCRIPTOR, {"status": None}),
    (
        training.Estimate,
        trainer_pb2.EstimateTrainingResponse.DESCRIPTOR,
        {"steps": "step_count", "clips": "clip_count", "seconds": "duration_seconds"},
    ),
    (training.RunParameters, trainer_pb2.StartTrainingRequest.DESCRIPTOR, {}),
    (
        training.Run,
        trainer_pb2.Run.DESCRIPTOR,
        {"started_at": "start_time", "ended_at": "end_time", "epochs_done": "epoch_count"},
    ),
    (training.Runs, trainer_pb2.ListRunsResponse.DESCRIPTOR, {}),
    (
        training.Voice,
        trainer_pb2.Voice.DESCRIPTOR,
        {"current": "current_checkpoint", "checkpoints": "checkpoint_count", "updated_at": "update_time"},
    ),
    (training.Voices, trainer_pb2.ListVoicesResponse.DESCRIPTOR, {}),
    (inference.SynthesisRequest, inference_pb2.SpeechParameters.DESCRIPTOR, {}),
    (
        inference.Synthesized,
        inference_pb2.SynthesizeResponse.DESCRIPTOR,
        {"status": None, "text": None, "audio_url": "audio_key", "duration": "duration_seconds"},
    ),
    (inference.StreamRequest, inference_pb2.SpeechParameters.DESCRIPTOR, {"format": None}),
    (
        inference.Utterance,
        inference_pb2.Utterance.DESCRIPTOR,
        {
            "id": "utterance_id",
            "path": "audio_key",
            "audio_url": "audio_key",
            "duration_s": "duration_seconds",
            "created_at": "create_time",
        },
    ),
    (inference.History, inference_pb2.ListUtterancesResponse.DESCRIPTOR, {}),
    (inference.UtteranceDeleted, inference_pb2.DeleteUtteranceResponse.DESCRIPTOR, {"status": None, "id": "utterance_id"}),
    (inference.Vote, inference_pb2.CastVoteRequest.DESCRIPTOR, {}),
    (
        inference.Votes,
        inference_pb2.VoteTally.DESCRIPTOR,
        {"finetuned": "finetuned_count", "base": "base_count", "ties": "tie_count", "blind": "blind_count"},
    ),
    (openai.Models, inference_pb2.ListModelsResponse.DESCRIPTOR, {"object": None, "data": "models"}),
    (inference.ComparisonRequest, inference_pb2.CompareCheckpointRequest.DESCRIPTOR, {}),
    (
        inference.Comparison,
        inference_pb2.CompareCheckpointResponse.DESCRIPTOR,
        {"status": None, "base_audio": "base_audio_key", "finetuned_audio": "finetuned_audio_key"},
    ),
    (
        jobs.Job,
        jobs_pb2.Job.DESCRIPTOR,
        {
            "attempts": "attempt_count",
            "created_at": "create_time",
            "started_at": "start_time",
            "ended_at": "end_time",
        },
    ),
    (jobs.Jobs, jobs_pb2.ListJobsResponse.DESCRIPTOR, {"total": "total_count"}),
]

_TYPES = {
    FieldDescriptor.CPPTYPE_STRING: "string",
    FieldDescriptor.CPPTYPE_INT32: "integer",
    FieldDescriptor.CPPTYPE_INT64: "integer",
    FieldDescriptor.CPPTYPE_DOUBLE: "number",
    FieldDescriptor.CPPTYPE_BOOL: "boolean",
}


@pytest.mark.parametrize(("schema", "message", "renamed"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_schemas_and_protos_agree(schema: type[BaseModel], message: Descriptor, renamed: dict[str, str | None]) -> None:
    matched = {name: renamed.get(name, name) for name in schema.model_fields}
    assert {name for name in matched.values() if name} == set(message.fields_by_name)
    properties = schema.model_json_schema()["properties"]
    for name, counterpart in matched.items():
        kind = _TYPES.get(message.fields_by_name[counterpart].cpp_type) if counterpart == name else None
        if kind and not message.fields_by_name[name].is_repeated:
            stated = [properties[name], *properties[name].get("anyOf", [])]
            assert kind in [one.get("type") for one in stated], (name, stated)


def test_every_enum_value_has_a_name_in_json() -> None:
    from gateway import translate

    assert set(translate.jobs.JOB_STATE_NUMBERS.values()) == set(jobs_pb2.JobState.values()) - {0}
    for number in set(trainer_pb2.TrainingState.values()) - {0}:
        assert translate.training.status(trainer_pb2.GetTrainingStatusResponse(state=number)).state


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return create_app(GatewaySettings(data_dir=tmp_path_factory.mktemp("data")))


def test_the_openapi_document_names_every_path_and_status(application: Any) -> None:
    document = application.openapi()
    for path, methods in DOCUMENTED.items():
        for method, codes in methods.items():
            assert codes <= {int(code) for code in document["paths"][path][method]["responses"]}, path
    start = document["components"]["schemas"]["TrainingRequest"]["properties"]
    assert start["epochs"].items() >= {"type": "integer", "minimum": 10, "maximum": 1000, "default": 100}.items()
    assert start["learning_rate"].items() >= {"minimum": 0.00001, "maximum": 0.01, "default": 0.0001}.items()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        assert schema.get("description")


def test_every_operation_says_what_it_does(application: Any) -> None:
    for methods in application.openapi()["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["description"].endswith(".")
    names = [route.name for route in application.routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert len(names) == len(set(names))


def test_the_gateway_imports_nothing_heavy() -> None:
    code = (
        "import sys, time; t = time.process_time(); import gateway.__main__; s = time.process_time() - t; import json;"
        "print(json.dumps([s, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, modules = json.loads(output)
    heavy = {"torch", "torchaudio", "TTS", "whisper", "librosa", "scipy", "numpy", "transformers", "ray", "sqlalchemy"}
    assert not heavy & set(modules)
    assert not {"minio", "yt_dlp", "soundfile"} & set(modules)
    assert seconds < 10  # of computing, which is about 1 s; whatever else the machine does


@pytest.mark.asyncio(loop_scope="session")
async def test_the_pages_load_nothing_from_elsewhere(stack: Any) -> None:
    assert (await stack.client.get("/")).headers["location"] == "/webui"
    for path in ("/webui", "/webui/", "/docs"):
        page = await stack.client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "<script>" not in page.text
        loaded = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert loaded
        for reference in loaded:
            assert reference.startswith("/"), reference
            assert (await stack.client.get(reference)).status_code == 200, reference


@pytest.mark.asyncio(loop_scope="session")
async def test_health(stack: Any) -> None:
    answer = await stack.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.asyncio(loop_scope="session")
async def test_readiness(start_stack: Any) -> None:
    async with start_stack() as stack:
        serving = {"dataset": "serving", "trainer": "serving", "inference": "serving"}
        answer = await stack.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "services": serving})
        # its process is well, and its model is not there yet
        await stack.health["trainer"].set("timbre.trainer.v1.TrainerService", health_pb2.HealthCheckResponse.NOT_SERVING)
        await stack.servers["inference"].stop(None)
        answer = await stack.client.get("/readyz")
        assert answer.status_code == 503
        assert "the trainer and inference services do not answer" in answer.json()["detail"]
        assert answer.json()["services"] == {"dataset": "serving", "trainer": "not serving", "inference": "unreachable"}
        await stack.servers["dataset"].stop(None)
        answer = await stack.client.get("/readyz")
        assert "the dataset, trainer and inference services do not answer" in answer.json()["detail"]
