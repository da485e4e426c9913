"""The documented interface, field by field: what goes to the services, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from timbre.dataset.v1 import dataset_pb2
from timbre.inference.v1 import inference_pb2
from timbre.trainer.v1 import trainer_pb2

from services.runtime.errors import FailedPrecondition, Internal, NotFound

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHECKPOINT = "train/output/my_voice_model/checkpoints/checkpoint_epoch_100.pth"


async def test_download(stack: Any) -> None:
    started = dataset_pb2.StartDownloadResponse(job_id="job_1", video_count=2, output_folder="datasets/my_voice/raw")
    stack.answer(StartDownload=started)
    urls = ["https://youtube.com/watch?v=VIDEO_ID_1", "https://youtube.com/watch?v=VIDEO_ID_2"]
    body = {"urls": urls, "folder": "datasets/my_voice"}
    answer = await stack.client.post("/training/dataset/download", json=body)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "started",
        "videos": 2,
        "output_folder": "datasets/my_voice/raw",
        "job_id": "job_1",
    }
    assert stack.asked("StartDownload") == dataset_pb2.StartDownloadRequest(urls=urls, folder="datasets/my_voice")


async def test_download_of_a_url_that_is_not_allowed(stack: Any) -> None:
    stack.answer(StartDownload=FailedPrecondition("ftp://x/y is not an http URL: give one.", reason="BAD_URL"))
    answer = await stack.client.post("/training/dataset/download", json={"urls": ["ftp://x/y"], "folder": "datasets/v"})
    assert answer.status_code == 400
    assert answer.json() == {"detail": "ftp://x/y is not an http URL: give one.", "reason": "BAD_URL"}


async def test_segment(stack: Any) -> None:
    stack.answer(
        StartSegmentation=dataset_pb2.StartSegmentationResponse(
            job_id="job_2", input_folder="datasets/v/raw", output_folder="datasets/v/segments"
        )
    )
    body = {"folder": "datasets/v", "min_duration": 3.5, "max_duration": 9, "vad_threshold": -35.5}
    answer = await stack.client.post("/training/dataset/segment", json=body)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "started",
        "input_folder": "datasets/v/raw",
        "output_folder": "datasets/v/segments",
        "job_id": "job_2",
    }
    assert stack.asked("StartSegmentation") == dataset_pb2.StartSegmentationRequest(
        folder="datasets/v", min_duration_seconds=3.5, max_duration_seconds=9.0, vad_threshold_db=-35.5
    )


async def test_segment_defaults(stack: Any) -> None:
    stack.answer(StartSegmentation=dataset_pb2.StartSegmentationResponse())
    await stack.client.post("/training/dataset/segment", json={"folder": "datasets/v"})
    assert stack.asked("StartSegmentation") == dataset_pb2.StartSegmentationRequest(
        folder="datasets/v", min_duration_seconds=7.0, max_duration_seconds=12.0, vad_threshold_db=-40.0
    )


async def test_transcribe(stack: Any) -> None:
    stack.answer(StartTranscription=dataset_pb2.StartTranscriptionResponse(job_id="job_3", folder="datasets/v/segments"))
    answer = await stack.client.post("/training/dataset/transcribe", json={"folder": "datasets/v"})
    assert answer.status_code == 200
    assert answer.json() == {"status": "started", "folder": "datasets/v/segments", "job_id": "job_3"}
    assert stack.asked("StartTranscription") == dataset_pb2.StartTranscriptionRequest(folder="datasets/v", language="pt")
    more = {"folder": "datasets/v", "language": "en", "model": "small", "force": True}
    await stack.client.post("/training/dataset/transcribe", json=more)
    assert stack.asked("StartTranscription") == dataset_pb2.StartTranscriptionRequest(**more)


async def test_transcribe_nothing(stack: Any) -> None:
    stack.answer(StartTranscription=NotFound("datasets/v has no segments: segment it first."))
    answer = await stack.client.post("/training/dataset/transcribe", json={"folder": "datasets/v"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "datasets/v has no segments: segment it first.")


async def test_stats(stack: Any) -> None:
    stack.answer(
        GetDatasetStats=dataset_pb2.GetDatasetStatsResponse(
            file_count=4922, total_hours=15.3, transcribed_percent=100.0, source_count=3, excluded_count=2, flagged_count=1
        )
    )
    answer = await stack.client.get("/training/dataset/stats?folder=datasets/v")
    assert answer.json() == {
        "files": 4922,
        "total_hours": 15.3,
        "transcribed_percent": 100.0,
        "sources": 3,
        "excluded": 2,
        "flagged": 1,
    }
    assert stack.asked("GetDatasetStats").folder == "datasets/v"
    await stack.client.get("/training/dataset/stats")
    assert stack.asked("GetDatasetStats").folder == "datasets/my_voice"


async def test_stats_of_nothing(stack: Any) -> None:
    stack.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
    stats = (await stack.client.get("/training/dataset/stats")).json()
    assert (stats["files"], stats["total_hours"], stats["transcribed_percent"]) == (0, 0.0, 0.0)
    assert isinstance(stats["total_hours"], float)
    assert isinstance(stats["transcribed_percent"], float)


async def test_files(stack: Any) -> None:
    path = "datasets/my_voice/segments/segment_00001.wav"
    file = dataset_pb2.DatasetFile(name="segment_00001.wav", size_bytes=264600, path=path)
    stack.answer(ListDatasetFiles=dataset_pb2.ListDatasetFilesResponse(files=[file], total_count=4922))
    answer = await stack.client.get("/training/dataset/files?folder=datasets/my_voice&limit=1&offset=7")
    assert answer.json() == {"files": [{"name": "segment_00001.wav", "size": 264600, "path": path}], "total": 4922}
    wanted = dataset_pb2.ListDatasetFilesRequest(folder="datasets/my_voice", limit=1, offset=7)
    assert stack.asked("ListDatasetFiles") == wanted
    await stack.client.get("/training/dataset/files")
    assert stack.asked("ListDatasetFiles") == dataset_pb2.ListDatasetFilesRequest(folder="datasets/my_voice", limit=100)


async def test_datasets(stack: Any) -> None:
    stats = dataset_pb2.GetDatasetStatsResponse(file_count=3, total_hours=0.5, transcribed_percent=50.0, source_count=1)
    found = dataset_pb2.ListDatasetsResponse(datasets=[dataset_pb2.Dataset(folder="datasets/v", stats=stats)])
    stack.answer(ListDatasets=found)
    answer = await stack.client.get("/training/datasets")
    assert answer.json() == {
        "datasets": [
            {
                "folder": "datasets/v",
                "files": 3,
                "total_hours": 0.5,
                "transcribed_percent": 50.0,
                "sources": 1,
                "excluded": 0,
                "flagged": 0,
            }
        ]
    }


async def test_start(stack: Any) -> None:
    stack.answer(
        StartTraining=trainer_pb2.StartTrainingResponse(job_id="job_4", model_name="m", output_folder="train/output/m")
    )
    body = {
        "model_name": "m",
        "dataset_folder": "datasets/v",
        "epochs": 50,
        "batch_size": 2,
        "learning_rate": 0.001,
        "use_deepspeed": True,
        "resume": True,
        "overwrite": True,
        "language": "en",
    }
    answer = await stack.client.post("/training/start", json=body)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "started",
        "model_name": "m",
        "output_folder": "train/output/m",
        "job_id": "job_4",
    }
    assert stack.asked("StartTraining") == trainer_pb2.StartTrainingRequest(**body)


async def test_start_defaults(stack: Any) -> None:
    stack.answer(StartTraining=trainer_pb2.StartTrainingResponse())
    await stack.client.post("/training/start", json={"model_name": "m", "dataset_folder": "datasets/v", "later": 1})
    assert stack.asked("StartTraining") == trainer_pb2.StartTrainingRequest(
        model_name="m", dataset_folder="datasets/v", epochs=100, batch_size=4, learning_rate=0.0001, language="pt"
    )


async def test_start_while_a_training_runs(stack: Any) -> None:
    stack.answer(StartTraining=FailedPrecondition("A training is running: stop it first.", metadata={"job_id": "job_4"}))
    answer = await stack.client.post("/training/start", json={"model_name": "m", "dataset_folder": "datasets/v"})
    assert answer.status_code == 400
    assert answer.json() == {
        "detail": "A training is running: stop it first.",
        "reason": "FAILED_PRECONDITION",
        "job_id": "job_4",
    }


async def test_stop(stack: Any) -> None:
    stack.answer(StopTraining=trainer_pb2.StopTrainingResponse(job_id="job_4"))
    answer = await stack.client.post("/training/stop")
    assert (answer.status_code, answer.json()) == (200, {"status": "stopped"})
    stack.answer(StopTraining=FailedPrecondition("No training is running."))
    answer = await stack.client.post("/training/stop")
    assert (answer.status_code, answer.json()["detail"]) == (400, "No training is running.")


async def test_status_before_any_training(stack: Any) -> None:
    stack.answer(GetTrainingStatus=trainer_pb2.GetTrainingStatusResponse(state=trainer_pb2.TRAINING_STATE_IDLE))
    answer = await stack.client.get("/training/status")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"state": "idle", "epoch": 0, "total_epochs": 0, "loss": None, "progress": 0, "logs": ""}


@pytest.mark.parametrize("state", ["running", "completed", "failed", "stopped"])
async def test_status(stack: Any, state: str) -> None:
    stack.answer(
        GetTrainingStatus=trainer_pb2.GetTrainingStatusResponse(
            state=getattr(trainer_pb2, f"TRAINING_STATE_{state.upper()}"),
            epoch=45,
            total_epochs=100,
            loss=0.0234,
            progress_percent=45,
            log_lines=["Epoch 44/100 - Loss: 0.0250", "Epoch 45/100 - Loss: 0.0234"],
            job_id="job_4",
            model_name="m",
            error="it broke",
        )
    )
    assert (await stack.client.get("/training/status")).json() == {
        "state": state,
        "epoch": 45,
        "total_epochs": 100,
        "loss": 0.0234,
        "progress": 45,
        "logs": "Epoch 44/100 - Loss: 0.0250\nEpoch 45/100 - Loss: 0.0234",
    }


async def test_a_loss_that_is_no_number_is_null(stack: Any) -> None:
    state = trainer_pb2.TRAINING_STATE_RUNNING
    stack.answer(GetTrainingStatus=trainer_pb2.GetTrainingStatusResponse(state=state, loss=float("nan")))
    assert (await stack.client.get("/training/status")).json()["loss"] is None


async def test_logs(stack: Any) -> None:
    stack.answer(GetTrainingLogs=trainer_pb2.GetTrainingLogsResponse(log_lines=["olá", "b"]))
    assert (await stack.client.get("/training/logs")).json() == {"logs": "olá\nb"}


async def test_metrics(stack: Any) -> None:
    points = [
        trainer_pb2.MetricPoint(step=1, value=5.5, create_time=Timestamp(seconds=1_764_080_000, nanos=500_000_000)),
        trainer_pb2.MetricPoint(step=2, value=float("inf"), create_time=Timestamp(seconds=1_764_080_004)),
    ]
    series = [trainer_pb2.MetricSeries(name="loss", points=points)]
    stack.answer(GetTrainingMetrics=trainer_pb2.GetTrainingMetricsResponse(model_name="m", series=series))
    answer = await stack.client.get("/training/metrics?model_name=m")
    assert answer.json() == {
        "model_name": "m",
        "series": {"loss": {"steps": [1, 2], "values": [5.5, None], "times": [1764080000.5, 1764080004.0]}},
    }
    assert stack.asked("GetTrainingMetrics").model_name == "m"


async def test_checkpoints(stack: Any) -> None:
    one = trainer_pb2.Checkpoint(
        name="checkpoint_epoch_100",
        path=CHECKPOINT,
        epoch=100,
        create_time=Timestamp(seconds=1_765_031_459),  # 2025-12-06 14:30:59 UTC
        size_bytes=247_118_430,
        model_name="my_voice_model",
        loss=2.5,
        eval_loss=2.75,
        current=True,
    )
    stack.answer(ListCheckpoints=trainer_pb2.ListCheckpointsResponse(checkpoints=[one]))
    answer = await stack.client.get("/training/checkpoints?model_name=my_voice_model")
    assert answer.json() == [
        {
            "name": "checkpoint_epoch_100",
            "path": CHECKPOINT,
            "epoch": 100,
            "date": "2025-12-06 14:30",
            "size_mb": 235.67,
            "model_name": "my_voice_model",
            "loss": 2.5,
            "eval_loss": 2.75,
            "similarity": None,
            "mfcc_score": None,
            "current": True,
            "best": False,
        }
    ]
    assert stack.asked("ListCheckpoints").model_name == "my_voice_model"
    stack.answer(ListCheckpoints=trainer_pb2.ListCheckpointsResponse())
    assert (await stack.client.get("/training/checkpoints")).json() == []
    assert stack.asked("ListCheckpoints").model_name == ""


async def test_load(stack: Any) -> None:
    stack.answer(LoadCheckpoint=inference_pb2.LoadCheckpointResponse(checkpoint=CHECKPOINT))
    answer = await stack.client.post("/training/checkpoints/load", params={"checkpoint_path": CHECKPOINT})
    assert (answer.status_code, answer.json()) == (200, {"status": "loaded", "checkpoint": CHECKPOINT})
    assert stack.asked("LoadCheckpoint").checkpoint == CHECKPOINT


async def test_load_what_is_no_checkpoint(stack: Any) -> None:
    stack.answer(LoadCheckpoint=Internal("x.pth is not a checkpoint of Timbre: choose one from the list."))
    answer = await stack.client.post("/training/checkpoints/load?checkpoint_path=train/output/m/x.pth")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "x.pth is not a checkpoint of Timbre: choose one from the list."
    assert (await stack.client.post("/training/checkpoints/load")).status_code == 422


async def test_synthesize(stack: Any) -> None:
    key = "inference/inference_20251206_143000.wav"
    stack.answer(Synthesize=inference_pb2.SynthesizeResponse(audio_key=key, duration_seconds=1.5, real_time_factor=0.5))
    body = {"checkpoint": CHECKPOINT, "text": "Este é um teste.", "temperature": 0.7, "speed": 1.0}
    answer = await stack.client.post("/training/inference/synthesize", json=body)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "audio_url": f"/files/{key}",
        "text": "Este é um teste.",
        "duration": 1.5,
        "real_time_factor": 0.5,
    }
    assert stack.asked("Synthesize").parameters == inference_pb2.SpeechParameters(**body)
    more = {"language": "en", "speaker": "datasets/v/segments/segment_00001.wav", "seed": 7}
    await stack.client.post("/training/inference/synthesize", json={**body, **more})
    assert stack.asked("Synthesize").parameters == inference_pb2.SpeechParameters(**body, **more)


async def test_ab_test(stack: Any) -> None:
    stack.answer(
        CompareCheckpoint=inference_pb2.CompareCheckpointResponse(
            base_audio_key="ab_test/base_1.wav",
            finetuned_audio_key="ab_test/finetuned_1.wav",
            similarity=85.5,
            mfcc_score=92.3,
            base_similarity=70.0,
            base_mfcc_score=80.25,
            comparison_id="comparison_1",
        )
    )
    answer = await stack.client.post("/training/inference/ab-test", json={"checkpoint": CHECKPOINT, "text": "Texto."})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "base_audio": "/files/ab_test/base_1.wav",
        "finetuned_audio": "/files/ab_test/finetuned_1.wav",
        "similarity": 85.5,
        "mfcc_score": 92.3,
        "base_similarity": 70.0,
        "base_mfcc_score": 80.25,
        "comparison_id": "comparison_1",
    }
    assert stack.asked("CompareCheckpoint") == inference_pb2.CompareCheckpointRequest(
        checkpoint=CHECKPOINT, text="Texto.", against="base"
    )


async def test_the_request_id_goes_to_the_service_and_back(stack: Any) -> None:
    stack.answer(GetTrainingLogs=trainer_pb2.GetTrainingLogsResponse())
    answer = await stack.client.get("/training/logs", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    assert stack.script.metadata["GetTrainingLogs"]["x-request-id"] == "abc-123"
    answer = await stack.client.get("/training/logs", headers={"X-Request-ID": "not good"})
    made = answer.headers["x-request-id"]
    assert made != "not good"
    assert len(made) == 16
    assert stack.script.metadata["GetTrainingLogs"]["x-request-id"] == made
