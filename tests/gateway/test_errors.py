"""Every error answers in the documented form, with the documented status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from timbre.inference.v1 import inference_pb2
from timbre.trainer.v1 import trainer_pb2

from gateway.errors import HTTP_STATUS
from services.runtime import errors
from services.runtime.errors import InvalidArgument, ResourceExhausted, TimbreError

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRAINING = {"model_name": "m", "dataset_folder": "datasets/v"}
SEGMENT = {"folder": "datasets/v"}
SPEECH = {"checkpoint": "base", "text": "Olá."}


def check_form(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    assert isinstance(body["detail"], str)
    assert body["detail"].strip()
    assert "Traceback" not in body["detail"]
    return body


async def test_every_grpc_status_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(grpc.StatusCode)
    assert all(400 <= status < 600 for code, status in HTTP_STATUS.items() if code is not grpc.StatusCode.OK)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.NotFound, 404),
        (errors.InvalidArgument, 422),
        (errors.FailedPrecondition, 400),
        (errors.AlreadyExists, 400),
        (errors.Conflict, 409),
        (errors.Unavailable, 503),
        (errors.DeadlineExceeded, 504),
        (errors.Internal, 500),
    ],
)
async def test_an_error_of_a_service(stack: Any, kind: type[TimbreError], status: int) -> None:
    stack.answer(GetTrainingStatus=kind("This is what was wrong; do that.", reason="SOME_REASON"))
    answer = await stack.client.get("/training/status")
    assert check_form(answer, status) == {"detail": "This is what was wrong; do that.", "reason": "SOME_REASON"}
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_fields_that_a_service_names(stack: Any) -> None:
    stack.answer(StartTraining=InvalidArgument("model_name is 'a/b': bad.", fields={"model_name": "bad"}))
    body = check_form(await stack.client.post("/training/start", json=TRAINING), 422)
    assert body["errors"] == [{"field": "model_name", "message": "bad"}]


async def test_a_full_queue_says_when_to_come_back(start_stack: Any) -> None:
    async with start_stack(synthesis_timeout_seconds=30) as stack:  # each replica is asked first
        stack.answer(Synthesize=ResourceExhausted("The queue is full: come back in 3 s.", retry_after_seconds=2.3))
        answer = await stack.client.post("/training/inference/synthesize", json=SPEECH)
    assert check_form(answer, 503)["detail"] == "The queue is full: come back in 3 s."
    assert answer.headers["retry-after"] == "3"


async def test_what_is_too_large_is_413(stack: Any) -> None:
    stack.answer(StartTraining=ResourceExhausted("The file is larger than 2 GB.", reason="TOO_LARGE"))
    assert check_form(await stack.client.post("/training/start", json=TRAINING), 413)["reason"] == "TOO_LARGE"


async def test_an_unknown_error_says_nothing_of_itself(stack: Any) -> None:
    stack.answer(GetTrainingStatus=ValueError("secret of /etc/passwd"))
    body = check_form(await stack.client.get("/training/status"), 500)
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_status_that_is_not_ours_says_nothing_of_itself(stack: Any, code: grpc.StatusCode) -> None:
    async def abort(request: Any, context: Any) -> Any:
        await context.abort(code, "secret at ipv4:10.0.0.1:50051")

    stack.answer(GetTrainingStatus=abort)
    body = check_form(await stack.client.get("/training/status"), HTTP_STATUS[code])
    assert "secret" not in json.dumps(body)
    assert body["reason"] == code.name


async def test_a_service_that_is_away_is_named_and_comes_back(start_stack: Any, start_service: Any) -> None:
    async with start_stack() as stack:
        stack.answer(GetTrainingLogs=trainer_pb2.GetTrainingLogsResponse(log_lines=["back"]))
        port = int(stack.settings.trainer_address.rpartition(":")[2])
        await stack.servers["trainer"].stop(None)
        answer = await stack.client.get("/training/logs")
        body = check_form(answer, 503)
        assert "trainer service" in body["detail"]
        assert "python -m services.trainer" in body["detail"]
        assert str(port) not in body["detail"]
        assert answer.headers["retry-after"] == "1"
        stack.servers["trainer"], _, _ = await start_service("trainer", stack.script, port)
        async with asyncio.timeout(8):
            while (answer := await stack.client.get("/training/logs")).status_code != 200:
                await asyncio.sleep(0.05)
        assert answer.json() == {"logs": "back"}


async def test_a_synthesis_that_takes_too_long_is_504_and_cancelled(stack: Any) -> None:
    cancelled = asyncio.Event()

    async def never(request: Any, context: Any) -> Any:
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    stack.answer(Synthesize=never)
    body = check_form(await stack.client.post("/training/inference/synthesize", json=SPEECH), 504)
    assert "0.5 s" in body["detail"]
    await asyncio.wait_for(cancelled.wait(), 2)
    assert 0 < stack.script.seconds_left["Synthesize"] < 0.6


async def test_hanging_up_cancels_the_synthesis(start_stack: Any) -> None:
    async with start_stack() as stack:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def never(request: Any, context: Any) -> Any:
            begun.set()
            try:
                await asyncio.sleep(30)
            finally:
                cancelled.set()

        stack.answer(Synthesize=never, CompareCheckpoint=never)
        for path in ("synthesize", "ab-test"):
            begun.clear()
            cancelled.clear()
            request = asyncio.create_task(stack.client.post(f"/training/inference/{path}", json=SPEECH))
            await asyncio.wait_for(begun.wait(), 5)
            request.cancel()
            await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_synthesis_goes_on_while_the_client_waits(stack: Any) -> None:
    async def slow(request: Any, context: Any) -> Any:
        await asyncio.sleep(0.2)
        return inference_pb2.SynthesizeResponse(audio_key="inference/a.wav")

    stack.answer(Synthesize=slow)
    assert (await stack.client.post("/training/inference/synthesize", json=SPEECH)).status_code == 200


@pytest.mark.parametrize(
    ("path", "base", "field", "values", "sentence"),
    [
        ("start", TRAINING, "epochs", [9, 1001, 10.5, True, "50", None, [], 1e400, -1], "a whole number from 10 to 1000"),
        ("start", TRAINING, "batch_size", [0, 17, False, "4"], "a whole number from 1 to 16"),
        ("start", TRAINING, "learning_rate", [0.0, 0.0000099, 0.011, True, "0.001"], "a number from 1e-05 to 0.01"),
        ("start", TRAINING, "use_deepspeed", [1, 0, "true", None], "true or false"),
        ("start", TRAINING, "resume", ["yes"], "true or false"),
        ("start", TRAINING, "model_name", [3, None, ["m"], {}], "text"),
        ("start", TRAINING, "dataset_folder", [3, None], "text"),
        ("dataset/segment", SEGMENT, "min_duration", [2.99, 15.01, "7", True], "a number from 3 to 15"),
        ("dataset/segment", SEGMENT, "max_duration", [4.99, 20.5, None], "a number from 5 to 20"),
        ("dataset/segment", SEGMENT, "vad_threshold", [-60.1, -19.9, 40], "a number from -60 to -20"),
        ("dataset/download", SEGMENT, "urls", [[], ["u"] * 501, "u", None], "a list of 1 to 500 URLs"),
        ("dataset/transcribe", SEGMENT, "force", ["x"], "true or false"),
        ("inference/synthesize", SPEECH, "temperature", [0.09, 1.51, "hot"], "a number from 0.1 to 1.5"),
        ("inference/synthesize", SPEECH, "speed", [0.49, 2.01], "a number from 0.5 to 2"),
        ("inference/synthesize", SPEECH, "text", ["", " \n\t", "a" * 10_001], "1 to 10,000 characters"),
        ("inference/ab-test", SPEECH, "text", ["", "a" * 10_001], "1 to 10,000 characters"),
        ("inference/synthesize", SPEECH, "seed", [-1, 0.5, 2**60], "a whole number from 0"),
    ],
)
async def test_values_out_of_range(
    stack: Any, path: str, base: dict[str, Any], field: str, values: list[Any], sentence: str
) -> None:
    for value in values:
        content = json.dumps({**base, field: value})
        headers = {"Content-Type": "application/json"}
        answer = await stack.client.post(f"/training/{path}", content=content, headers=headers)
        body = check_form(answer, 422)
        assert body["detail"].startswith(f"{field} is "), body
        assert sentence in body["detail"]
        assert body["errors"][0]["field"] == field
        assert "Value error" not in body["detail"]
    assert not any(stack.script.requests.values())


@pytest.mark.parametrize(
    ("path", "base", "field", "values"),
    [
        ("start", TRAINING, "epochs", [10, 1000, 50.0]),
        ("start", TRAINING, "batch_size", [1, 16]),
        ("start", TRAINING, "learning_rate", [0.00001, 0.01]),
        ("dataset/segment", SEGMENT, "min_duration", [3, 12.0]),
        ("dataset/segment", SEGMENT, "max_duration", [7, 20]),
        ("dataset/segment", SEGMENT, "vad_threshold", [-60, -20]),
        ("inference/synthesize", SPEECH, "temperature", [0.1, 1.5]),
        ("inference/synthesize", SPEECH, "speed", [0.5, 2]),
        ("inference/synthesize", SPEECH, "text", ["a", "é" * 10_000, "🎤"]),
    ],
)
async def test_values_at_the_bounds(stack: Any, path: str, base: dict[str, Any], field: str, values: list[Any]) -> None:
    stack.answer(
        StartTraining=InvalidArgument("it came through"),
        StartSegmentation=InvalidArgument("it came through"),
        Synthesize=InvalidArgument("it came through"),
    )
    for value in values:
        answer = await stack.client.post(f"/training/{path}", json={**base, field: value})
        assert check_form(answer, 422)["detail"] == "it came through"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dataset/files?limit=0", "limit is 0: it must be a whole number from 1 to 10000."),
        ("dataset/files?limit=10001", "limit is 10001: it must be a whole number from 1 to 10000."),
        ("dataset/files?limit=ten", "limit is ten: it must be a whole number from 1 to 10000."),
        ("dataset/files?limit=1.5", "limit is 1.5: it must be a whole number from 1 to 10000."),
        ("dataset/files?offset=-1", "offset is -1: it must be a whole number from 0 to 2147483647."),
        ("jobs?limit=0", "limit is 0: it must be a whole number from 1 to 1000."),
        ("jobs/x/log?tail=0", "tail is 0: it must be a whole number from 1 to 1000000."),
    ],
)
async def test_queries_out_of_range(stack: Any, path: str, sentence: str) -> None:
    assert check_form(await stack.client.get(f"/training/{path}"), 422)["detail"] == sentence


async def test_a_state_that_is_none(stack: Any) -> None:
    body = check_form(await stack.client.get("/training/jobs?state=asleep"), 422)
    assert "state[0] is asleep" in body["detail"]
    assert "'queued'" in body["detail"]


async def test_several_values_out_of_range(stack: Any) -> None:
    body = check_form(await stack.client.post("/training/start", json={"epochs": 1, "batch_size": 99}), 422)
    assert body["detail"] == "model_name is missing: it is required."
    assert [error["field"] for error in body["errors"]] == ["model_name", "dataset_folder", "epochs", "batch_size"]
    assert body["reason"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'{"epochs": 1,}', "application/json"),
        (b"[]", "application/json"),
        (b"3", "application/json"),
        (b"null", "application/json"),
        (b'"text"', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"epochs": ' + b"9" * 5000 + b"}", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"model_name": "m", "dataset_folder": "datasets/v"}', "text/plain"),
        (b'{"model_name": "m", "dataset_folder": "datasets/v"}', "application/x-www-form-urlencoded"),
        (b'{"model_name": "m", "dataset_folder": "datasets/v"}', ""),
    ],
)
async def test_bodies_that_are_no_json_object(stack: Any, content: bytes, kind: str) -> None:
    answer = await stack.client.post("/training/start", content=content, headers={"Content-Type": kind} if kind else {})
    assert "JSON" in check_form(answer, 422)["detail"]
    assert not any(stack.script.requests.values())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_that_are_none(stack: Any, number: str) -> None:
    content = f'{{"model_name": "m", "dataset_folder": "datasets/v", "learning_rate": {number}}}'
    answer = await stack.client.post("/training/start", content=content, headers={"Content-Type": "application/json"})
    assert check_form(answer, 422)["detail"].startswith("learning_rate is ")


async def test_text_that_has_no_utf8_form(stack: Any) -> None:
    for path, content in (
        ("inference/synthesize", r'{"checkpoint": "base", "text": "\ud800"}'),
        ("dataset/download", r'{"urls": ["http://x/\ud800"], "folder": "datasets/v"}'),
        ("start", r'{"model_name": "\udfff", "dataset_folder": "datasets/v"}'),
    ):
        answer = await stack.client.post(f"/training/{path}", content=content, headers={"Content-Type": "application/json"})
        assert "valid Unicode" in check_form(answer, 422)["detail"]


async def test_a_long_value_is_quoted_in_part(stack: Any) -> None:
    answer = await stack.client.post("/training/start", json={**TRAINING, "epochs": "x" * 100_000})
    assert len(check_form(answer, 422)["detail"]) < 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_json_body_that_is_too_large(stack: Any, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    content: Any = pieces() if chunked else b"x" * 2_000_000
    answer = await stack.client.post("/training/start", content=content, headers={"Content-Type": "application/json"})
    assert check_form(answer, 413)["reason"] == "TOO_LARGE"


@pytest.mark.parametrize("path", ["/nothing", "/training", "/training/nothing", "/webui/nothing.js", "/docs/assets/nothing"])
async def test_a_path_that_is_none(stack: Any, path: str) -> None:
    body = check_form(await stack.client.get(path), 404)
    assert path in body["detail"]
    assert body["reason"] == "NOT_FOUND"


async def test_a_method_that_is_not_possible(stack: Any) -> None:
    answer = await stack.client.get("/training/start")
    body = check_form(answer, 405)
    assert "GET" in body["detail"]
    assert answer.headers["allow"] == "POST"
    check_form(await stack.client.delete("/files/inference/a.wav"), 405)


async def test_a_bug_in_the_gateway(stack: Any, caplog: Any) -> None:
    state = trainer_pb2.TRAINING_STATE_UNSPECIFIED  # which no service may send
    stack.answer(GetTrainingStatus=trainer_pb2.GetTrainingStatusResponse(state=state))
    answer = await stack.client.get("/training/status", headers={"X-Request-ID": "bug-1"})
    body = check_form(answer, 500)
    assert body["reason"] == "INTERNAL"
    assert "bug-1" in body["detail"]
    assert answer.headers["x-request-id"] == "bug-1"
    assert "Traceback" in caplog.text
