"""What is streamed, kept, compared and voted on, checkpoint by checkpoint and voice by voice, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from timbre.inference.v1 import inference_pb2
from timbre.trainer.v1 import trainer_pb2

from services.runtime.errors import FailedPrecondition, Internal, NotFound, ResourceExhausted
from services.runtime.settings import RuntimeSettings
from services.runtime.store import open_store

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHECKPOINT = "train/output/my_voice_model/checkpoints/checkpoint_epoch_100.pth"
MOMENT = Timestamp(seconds=1_765_031_459)
SECRET = "a secret of the tests, well over 32 bytes long"

UTTERANCE = inference_pb2.Utterance(
    utterance_id="inference_20251206_143000",
    audio_key="inference/inference_20251206_143000.wav",
    text="Olá.",
    checkpoint=CHECKPOINT,
    temperature=0.5,
    speed=1.5,
    language="pt",
    seed=2**53 - 1,
    duration_seconds=1.5,
    real_time_factor=0.25,
    create_time=MOMENT,
)
UTTERANCE_JSON = {
    "id": "inference_20251206_143000",
    "path": "inference/inference_20251206_143000.wav",
    "audio_url": "/files/inference/inference_20251206_143000.wav",
    "text": "Olá.",
    "checkpoint": CHECKPOINT,
    "temperature": 0.5,
    "speed": 1.5,
    "language": "pt",
    "speaker": None,
    "seed": 9007199254740991,
    "duration_s": 1.5,
    "real_time_factor": 0.25,
    "created_at": "2025-12-06T14:30:59Z",
}


def spoken(*parts: bytes, error: Exception | None = None, field: str = "encoded") -> Any:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        for part in parts:
            yield inference_pb2.SynthesizeStreamResponse(**{field: part})
        if error:
            raise error
        result = inference_pb2.SynthesizeResponse(audio_key="inference/a.wav", duration_seconds=1, real_time_factor=1)
        yield inference_pb2.SynthesizeStreamResponse(result=result, text_token_count=3, audio_token_count=20)

    return stream


async def test_a_stream_is_passed_on(stack: Any) -> None:
    stack.answer(SynthesizeStream=spoken(b"RIFF", b"1234"))
    body = {"checkpoint": CHECKPOINT, "text": "Olá.", "temperature": 0.5, "speed": 1.5, "seed": 7}
    answer = await stack.client.post("/training/inference/stream", json=body)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"RIFF1234", "audio/wav")
    assert "content-length" not in answer.headers
    asked = stack.asked("SynthesizeStream")
    assert asked == inference_pb2.SynthesizeStreamRequest(
        parameters=inference_pb2.SpeechParameters(**body), format=inference_pb2.AUDIO_FORMAT_WAV
    )
    stack.answer(SynthesizeStream=spoken(b"12", b"34", field="pcm"))
    answer = await stack.client.post("/training/inference/stream", json={**body, "format": "pcm"})
    assert (answer.content, answer.headers["content-type"]) == (b"1234", "audio/pcm;rate=22050;channels=1")
    assert stack.asked("SynthesizeStream").format == inference_pb2.AUDIO_FORMAT_UNSPECIFIED
    for wrong in ({**body, "format": "mp3"}, {**body, "text": " "}, {**body, "speed": 3}):
        assert (await stack.client.post("/training/inference/stream", json=wrong)).status_code == 422


async def test_the_first_audio_comes_before_the_last_is_made(stack: Any) -> None:
    go_on = asyncio.Event()

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        yield inference_pb2.SynthesizeStreamResponse(encoded=b"first")
        await go_on.wait()
        yield inference_pb2.SynthesizeStreamResponse(encoded=b"second")

    stack.answer(SynthesizeStream=stream)
    body = {"checkpoint": "base", "text": "Olá."}
    async with stack.client.stream("POST", "/training/inference/stream", json=body) as answer:
        chunks = answer.aiter_raw()
        assert await anext(chunks) == b"first"
        go_on.set()
        assert await anext(chunks) == b"second"


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotFound("no"), 404), (ResourceExhausted("full", retry_after_seconds=7), 503), (Internal("broken"), 500)],
)
async def test_an_error_before_the_first_byte_has_its_status(stack: Any, error: Exception, status: int) -> None:
    stack.answer(SynthesizeStream=spoken(error=error))
    answer = await stack.client.post("/training/inference/stream", json={"checkpoint": "base", "text": "Olá."})
    assert (answer.status_code, answer.json()["detail"]) == (status, str(error))
    assert answer.headers.get("retry-after") == ("7" if status == 503 else None)


async def test_a_stream_that_breaks_is_not_taken_for_whole(stack: Any) -> None:
    stack.answer(SynthesizeStream=spoken(b"part", error=Internal("broken")))
    with pytest.raises(httpx.RemoteProtocolError):
        await stack.client.post("/training/inference/stream", json={"checkpoint": "base", "text": "Olá."})


@pytest.mark.parametrize("after_first", [False, True])
async def test_hanging_up_cancels_the_stream(stack: Any, after_first: bool) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            if after_first:
                yield inference_pb2.SynthesizeStreamResponse(encoded=b"first")
            began.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    stack.answer(SynthesizeStream=stream)

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=stack.client.base_url, timeout=30) as client:
            await client.post("/training/inference/stream", json={"checkpoint": "base", "text": "Olá."})

    asking = asyncio.create_task(ask())
    await asyncio.wait_for(began.wait(), 10)
    asking.cancel()
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_the_history(stack: Any) -> None:
    stack.answer(ListUtterances=inference_pb2.ListUtterancesResponse(utterances=[UTTERANCE]))
    answer = await stack.client.get("/training/inference/history")
    assert answer.json() == {"utterances": [UTTERANCE_JSON]}
    assert stack.asked("ListUtterances") == inference_pb2.ListUtterancesRequest(limit=50)
    await stack.client.get(f"/training/inference/history?checkpoint={CHECKPOINT}&limit=7&before=inference_20251206_143000")
    assert stack.asked("ListUtterances") == inference_pb2.ListUtterancesRequest(
        checkpoint=CHECKPOINT, limit=7, before="inference_20251206_143000"
    )
    assert (await stack.client.get("/training/inference/history?limit=0")).status_code == 422
    stack.answer(DeleteUtterance=inference_pb2.DeleteUtteranceResponse(utterance_id="inference_20251206_143000"))
    answer = await stack.client.delete("/training/inference/history/inference_20251206_143000")
    assert answer.json() == {"status": "deleted", "id": "inference_20251206_143000"}
    stack.answer(DeleteUtterance=NotFound("There is no utterance 'x'."))
    assert (await stack.client.delete("/training/inference/history/x")).status_code == 404


async def test_any_two_are_compared(stack: Any) -> None:
    stack.answer(CompareCheckpoint=inference_pb2.CompareCheckpointResponse(comparison_id="comparison_1"))
    body = {"checkpoint": CHECKPOINT, "against": CHECKPOINT.replace("100", "50"), "text": "Texto."}
    answer = await stack.client.post("/training/inference/ab-test", json=body)
    assert answer.json()["comparison_id"] == "comparison_1"
    assert stack.asked("CompareCheckpoint") == inference_pb2.CompareCheckpointRequest(**body)


async def test_votes(stack: Any) -> None:
    tally = inference_pb2.VoteTally(
        checkpoint=CHECKPOINT, against="base", finetuned_count=3, base_count=1, tie_count=2, blind_count=6, preference=0.75,
        low=0.301, high=0.954,
    )  # fmt: skip
    counted = {
        "checkpoint": CHECKPOINT,
        "against": "base",
        "finetuned": 3,
        "base": 1,
        "ties": 2,
        "blind": 6,
        "preference": 0.75,
        "low": 0.301,
        "high": 0.954,
    }
    stack.answer(CastVote=inference_pb2.CastVoteResponse(tally=tally), GetVotes=inference_pb2.GetVotesResponse(tally=tally))
    body = {"comparison_id": "comparison_1", "preferred": "finetuned", "blind": True}
    assert (await stack.client.post("/training/inference/votes", json=body)).json() == counted
    assert stack.asked("CastVote") == inference_pb2.CastVoteRequest(
        comparison_id="comparison_1", preferred=inference_pb2.PREFERENCE_FINETUNED, blind=True
    )
    assert (await stack.client.get(f"/training/inference/votes?checkpoint={CHECKPOINT}")).json() == counted
    assert stack.asked("GetVotes") == inference_pb2.GetVotesRequest(checkpoint=CHECKPOINT, against="base")
    for wrong in ({**body, "preferred": "both"}, {**body, "blind": 1}, {"preferred": "tie"}):
        assert (await stack.client.post("/training/inference/votes", json=wrong)).status_code == 422
    stack.answer(GetVotes=inference_pb2.GetVotesResponse(tally=inference_pb2.VoteTally(checkpoint=CHECKPOINT, high=1)))
    assert (await stack.client.get(f"/training/inference/votes?checkpoint={CHECKPOINT}")).json()["preference"] is None


async def test_checkpoints_are_deleted_and_promoted(stack: Any) -> None:
    stack.answer(
        DeleteCheckpoint=trainer_pb2.DeleteCheckpointResponse(checkpoint=CHECKPOINT),
        PromoteCheckpoint=trainer_pb2.PromoteCheckpointResponse(model_name="my_voice_model", checkpoint=CHECKPOINT),
    )
    answer = await stack.client.delete("/training/checkpoints", params={"checkpoint_path": CHECKPOINT})
    assert (answer.status_code, answer.json()) == (200, {"status": "deleted", "checkpoint": CHECKPOINT})
    answer = await stack.client.post("/training/checkpoints/promote", params={"checkpoint_path": CHECKPOINT})
    assert answer.json() == {"status": "promoted", "model_name": "my_voice_model", "checkpoint": CHECKPOINT}
    stack.answer(DeleteCheckpoint=FailedPrecondition("It is being trained: stop first.", metadata={"job_id": "job_1"}))
    answer = await stack.client.delete("/training/checkpoints", params={"checkpoint_path": CHECKPOINT})
    assert (answer.status_code, answer.json()["job_id"]) == (400, "job_1")
    assert (await stack.client.delete("/training/checkpoints")).status_code == 422


async def test_an_export_is_a_zip(stack: Any) -> None:
    async def parts(request: Any, context: Any) -> AsyncIterator[Any]:
        for part in (b"PK", b"rest"):
            yield inference_pb2.ExportCheckpointResponse(content=part)

    stack.answer(ExportCheckpoint=parts)
    answer = await stack.client.get("/training/checkpoints/export", params={"checkpoint_path": CHECKPOINT})
    assert (answer.content, answer.headers["content-type"]) == (b"PKrest", "application/zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="my_voice_model-checkpoint_epoch_100.zip"'
    for outside in ("base", "../x", 'train/output/a"b/x.pth'):
        answer = await stack.client.get("/training/checkpoints/export", params={"checkpoint_path": outside})
        assert answer.status_code == 422


async def test_the_file_of_a_checkpoint(stack: Any) -> None:
    store = open_store(stack.settings.storage_url)
    store.put(CHECKPOINT, b"0123456789")
    store.put("train/output/my_voice_model/state.pth", b"secret")
    path = {"checkpoint_path": CHECKPOINT}
    answer = await stack.client.get("/training/checkpoints/file", params=path, headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert answer.headers["content-disposition"] == 'attachment; filename="my_voice_model-checkpoint_epoch_100.pth"'
    head = await stack.client.head("/training/checkpoints/file", params=path)
    assert (head.headers["content-length"], head.content) == ("10", b"")
    for path, status in (
        (CHECKPOINT.replace("100", "99"), 404),
        ("train/output/my_voice_model/state.pth", 404),
        ("train/output/../x.pth", 422),
        ("datasets/v/segments.jsonl", 422),
        ("", 422),
    ):
        assert (await stack.client.get("/training/checkpoints/file", params={"checkpoint_path": path})).status_code == status
    # nor does /files serve it, or what lies beside audio
    store.put("inference/inference_20251206_143000.0a0a0a0a-0b0b0b0b.json", b"{}")
    store.put("ab_test/votes/x/comparison_1.abc.json", b"{}")
    for key in (
        CHECKPOINT,
        "inference/inference_20251206_143000.0a0a0a0a-0b0b0b0b.json",
        "ab_test/votes/x/comparison_1.abc.json",
    ):
        assert (await stack.client.get(f"/files/{key}")).status_code == 404


async def test_runs_and_their_series(stack: Any) -> None:
    run = trainer_pb2.Run(
        job_id="job_4",
        model_name="m",
        state=trainer_pb2.TRAINING_STATE_COMPLETED,
        start_time=MOMENT,
        parameters=trainer_pb2.StartTrainingRequest(
            model_name="m", dataset_folder="datasets/v", epochs=20, batch_size=2, learning_rate=0.001, language="pt"
        ),
        epoch_count=20,
        last_loss=2.5,
        seconds_per_step=1.5,
    )
    stack.answer(ListRuns=trainer_pb2.ListRunsResponse(runs=[run]))
    answer = await stack.client.get("/training/runs?model_name=m&limit=5")
    assert stack.asked("ListRuns") == trainer_pb2.ListRunsRequest(model_name="m", limit=5)
    assert answer.json() == {
        "runs": [
            {
                "job_id": "job_4",
                "model_name": "m",
                "state": "completed",
                "started_at": "2025-12-06T14:30:59Z",
                "ended_at": None,
                "parameters": {
                    "model_name": "m",
                    "dataset_folder": "datasets/v",
                    "epochs": 20,
                    "batch_size": 2,
                    "learning_rate": 0.001,
                    "use_deepspeed": False,
                    "resume": False,
                    "overwrite": False,
                    "language": "pt",
                },
                "epochs_done": 20,
                "last_loss": 2.5,
                "last_eval_loss": None,
                "seconds_per_step": 1.5,
            }
        ]
    }
    stack.answer(GetTrainingMetrics=trainer_pb2.GetTrainingMetricsResponse(model_name="m"))
    await stack.client.get("/training/metrics?job_id=job_4")
    assert stack.asked("GetTrainingMetrics").job_id == "job_4"


async def test_an_estimate(stack: Any) -> None:
    stack.answer(
        EstimateTraining=trainer_pb2.EstimateTrainingResponse(step_count=230, clip_count=90, hours=0.25, basis="Nothing yet.")
    )
    answer = await stack.client.post("/training/estimate", json={"model_name": "m", "dataset_folder": "datasets/v"})
    assert answer.json() == {
        "steps": 230,
        "clips": 90,
        "hours": 0.25,
        "disk_bytes": None,
        "seconds": None,
        "basis": "Nothing yet.",
    }
    assert stack.asked("EstimateTraining").training == trainer_pb2.StartTrainingRequest(
        model_name="m", dataset_folder="datasets/v", epochs=100, batch_size=4, learning_rate=0.0001, language="pt"
    )
    bad = {"model_name": "m", "dataset_folder": "datasets/v", "epochs": 5}
    assert (await stack.client.post("/training/estimate", json=bad)).status_code == 422


async def test_voices(stack: Any) -> None:
    full = trainer_pb2.Voice(
        name="my_voice_model",
        dataset_folder="datasets/v",
        language="pt",
        current_checkpoint=CHECKPOINT,
        checkpoint_count=6,
        best_checkpoint=CHECKPOINT,
        last_loss=2.5,
        last_eval_loss=2.75,
        state=trainer_pb2.TRAINING_STATE_RUNNING,
        update_time=MOMENT,
        sample=UTTERANCE,
    )
    empty = trainer_pb2.Voice(name="new", language="pt", state=trainer_pb2.TRAINING_STATE_FAILED, update_time=MOMENT)
    stack.answer(ListVoices=trainer_pb2.ListVoicesResponse(voices=[full, empty]))
    known, new = (await stack.client.get("/training/voices")).json()["voices"]
    assert known == {
        "name": "my_voice_model",
        "dataset_folder": "datasets/v",
        "language": "pt",
        "current": CHECKPOINT,
        "checkpoints": 6,
        "best_checkpoint": CHECKPOINT,
        "last_loss": 2.5,
        "last_eval_loss": 2.75,
        "state": "running",
        "updated_at": "2025-12-06T14:30:59Z",
        "sample": UTTERANCE_JSON,
    }
    empty_keys = ("dataset_folder", "current", "best_checkpoint", "last_loss", "last_eval_loss", "sample")
    assert [new[name] for name in empty_keys] == [None] * 6


async def test_who_asks(stack: Any, start_stack: Any, tmp_path: Path) -> None:
    anybody = (await stack.client.get("/training/me")).json()
    assert anybody == {"auth": "off", "subject": "anonymous", "scopes": ["admin"]}
    locks = {"auth": "jwt", "jwt_secret": SECRET}
    async with start_stack(service_auth=RuntimeSettings(data_dir=tmp_path, **locks), **locks) as locked:
        assert (await locked.client.get("/training/me")).status_code == 401
        claims = {"sub": "ana", "iss": "timbre", "aud": "timbre", "exp": 2**33, "scope": "training dataset:read"}
        header = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}
        found = (await locked.client.get("/training/me", headers=header)).json()
        assert found == {"auth": "jwt", "subject": "ana", "scopes": ["dataset:read", "training"]}
