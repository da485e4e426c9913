"""`/v1/…` as the official client of OpenAI sees it, in front of services that answer as written down."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import openai
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from timbre.inference.v1 import inference_pb2 as pb

from services.inference.models import ModelNotFound, VoiceNotFound
from services.runtime.errors import Internal, InvalidArgument, ResourceExhausted
from services.runtime.settings import RuntimeSettings

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHECKPOINT = "train/output/my_voice/checkpoints/checkpoint_epoch_10.pth"
SECRET = "a secret of the tests, well over 32 bytes long"
SPEECH = {"model": "my_voice", "voice": "alloy", "input": "Olá."}


def spoken(*parts: bytes, error: Exception | None = None) -> Any:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        for part in parts:
            yield pb.SynthesizeStreamResponse(encoded=part)
        if error:
            raise error
        result = pb.SynthesizeResponse(audio_key="inference/a.wav", duration_seconds=1, real_time_factor=1)
        yield pb.SynthesizeStreamResponse(result=result, text_token_count=3, audio_token_count=20)

    return stream


def client_of(stack: Any, key: str = "none", **options: Any) -> openai.AsyncOpenAI:
    url = f"{str(stack.client.base_url).rstrip('/')}/v1"
    return openai.AsyncOpenAI(api_key=key, base_url=url, **{"max_retries": 0, "timeout": 30, **options})


@pytest_asyncio.fixture(loop_scope="session")
async def client(stack: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(stack) as made:
        yield made


@pytest.mark.parametrize("wanted", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_speech_in_every_format(stack: Any, client: openai.AsyncOpenAI, wanted: Any) -> None:
    stack.answer(SynthesizeStream=spoken(b"ab", b"cd"))
    answer = await client.audio.speech.create(**SPEECH, response_format=wanted, speed=1.5, instructions="Kindly.")
    assert answer.content == b"abcd"
    assert answer.response.headers["content-type"].startswith("audio/")
    asked = stack.asked("SynthesizeStream")
    assert asked.format == pb.AudioFormat.Value(f"AUDIO_FORMAT_{wanted.upper()}")
    assert (asked.model, asked.voice, asked.parameters.text, asked.parameters.speed) == ("my_voice", "alloy", "Olá.", 1.5)


async def test_what_is_not_said_is_as_openai_has_it(stack: Any, client: openai.AsyncOpenAI) -> None:
    stack.answer(SynthesizeStream=spoken(b"ab"))
    answer = await client.audio.speech.create(**SPEECH)
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert stack.asked("SynthesizeStream").format == pb.AUDIO_FORMAT_MP3
    raw = await stack.client.post("/v1/audio/speech", json={"model": "tts-1", "input": "Olá.", "voice": {"id": "ana"}})
    assert (raw.status_code, stack.asked("SynthesizeStream").voice) == (200, "ana")
    raw = await stack.client.post("/v1/audio/speech", json={"model": "tts-1", "input": "Olá.", "language": "en"})
    assert (raw.status_code, stack.asked("SynthesizeStream").parameters.language) == (200, "en")


async def test_events(stack: Any, client: openai.AsyncOpenAI) -> None:
    stack.answer(SynthesizeStream=spoken(b"ab", b"cd"))
    async with client.audio.speech.with_streaming_response.create(**SPEECH, stream_format="sse") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in answer.iter_lines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["type"] for event in events] == ["speech.audio.delta", "speech.audio.delta", "speech.audio.done"]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:2]) == b"abcd"
    assert events[2]["usage"] == {"input_tokens": 3, "output_tokens": 20, "total_tokens": 23}


async def test_events_that_break_off_say_so(stack: Any) -> None:
    stack.answer(SynthesizeStream=spoken(b"ab", error=Internal("It broke.")))
    answer = await stack.client.post("/v1/audio/speech", json={**SPEECH, "stream_format": "sse"})
    last = json.loads(answer.text.strip().splitlines()[-1].removeprefix("data: "))
    error = {"message": "It broke.", "type": "server_error", "param": None, "code": "internal"}
    assert last == {"type": "error", "error": error}


async def test_audio_that_breaks_off_is_not_taken_for_whole(stack: Any) -> None:
    stack.answer(SynthesizeStream=spoken(b"ab", error=Internal("It broke.")))
    with pytest.raises(httpx.RemoteProtocolError):
        await stack.client.post("/v1/audio/speech", json=SPEECH)


async def test_models_and_voices(stack: Any, client: openai.AsyncOpenAI) -> None:
    made = Timestamp(seconds=1_765_031_459)
    models = [
        pb.Model(name="my_voice", kind=pb.MODEL_KIND_VOICE, checkpoint=CHECKPOINT, create_time=made),
        pb.Model(name="base", kind=pb.MODEL_KIND_BASE, checkpoint="base"),
        pb.Model(name=CHECKPOINT, kind=pb.MODEL_KIND_CHECKPOINT, checkpoint=CHECKPOINT, create_time=made),
    ]
    stack.answer(ListModels=pb.ListModelsResponse(models=models), GetModel=pb.GetModelResponse(model=models[2]))
    listed = await client.models.list()
    assert [(model.id, model.created, model.owned_by, model.object) for model in listed.data] == [
        ("my_voice", 1_765_031_459, "timbre", "model"),
        ("base", 0, "coqui", "model"),
        (CHECKPOINT, 1_765_031_459, "timbre", "model"),
    ]
    assert (await client.models.retrieve(CHECKPOINT)).id == CHECKPOINT
    assert stack.asked("GetModel").name == CHECKPOINT
    voices = (await stack.client.get("/v1/audio/voices")).json()
    assert voices == {"voices": [{"id": "default", "name": "default"}, {"id": "my_voice", "name": "my_voice"}]}


async def test_a_model_that_is_not_there(stack: Any, client: openai.AsyncOpenAI) -> None:
    stack.answer(GetModel=ModelNotFound("nobody"), SynthesizeStream=spoken(error=ModelNotFound("nobody")))
    for call in (client.models.retrieve("nobody"), client.audio.speech.create(**SPEECH)):
        with pytest.raises(openai.NotFoundError) as missing:
            await call
        assert (missing.value.code, missing.value.param, missing.value.type) == (
            "model_not_found",
            "model",
            "invalid_request_error",
        )
        assert "nobody" in missing.value.message


async def test_fields_are_named_as_openai_has_them(stack: Any, client: openai.AsyncOpenAI) -> None:
    for ours, theirs in (("text", "input"), ("checkpoint", "model"), ("speed", "speed")):
        stack.answer(SynthesizeStream=spoken(error=InvalidArgument("It is not good.", fields={ours: "not good"})))
        with pytest.raises(openai.BadRequestError) as refused:
            await client.audio.speech.create(**SPEECH)
        assert refused.value.param == theirs


async def test_a_voice_that_is_not_there(stack: Any, client: openai.AsyncOpenAI) -> None:
    stack.answer(SynthesizeStream=spoken(error=VoiceNotFound("nobody")))
    with pytest.raises(openai.BadRequestError) as refused:
        await client.audio.speech.create(**SPEECH)
    assert (refused.value.param, refused.value.code) == ("voice", "voice_not_found")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"model": ""}, "model"),
        ({"input": "a" * 10_001}, "input"),
        ({"speed": 0.25}, "speed"),
        ({"speed": 4.0}, "speed"),
        ({"response_format": "ogg"}, "response_format"),
        ({"stream_format": "json"}, "stream_format"),
        ({"voice": 5}, "voice"),
    ],
)
async def test_what_is_out_of_range_is_400(client: openai.AsyncOpenAI, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.audio.speech.create(**{**SPEECH, **changes})
    assert (refused.value.status_code, refused.value.param, refused.value.type) == (400, param, "invalid_request_error")
    assert param in refused.value.message


async def test_bodies_and_paths_that_are_none(stack: Any) -> None:
    for method, path, content, status in (
        ("POST", "/v1/audio/speech", b"{", 400),
        ("POST", "/v1/audio/speech", b"", 400),
        ("GET", "/v1/audio/speech", b"", 405),
        ("GET", "/v1/nothing", b"", 404),
        ("POST", "/v1/audio/speech", b" " * 2_000_000, 413),
    ):
        answer = await stack.client.request(method, path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, path
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_full_queue_says_when_to_come_back(stack: Any) -> None:
    stack.answer(SynthesizeStream=spoken(error=ResourceExhausted("Full.", retry_after_seconds=3)))
    answer = await stack.client.post("/v1/audio/speech", json=SPEECH)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.json()["error"]["type"] == "server_error"


async def test_keys_and_limits(start_stack: Any, tmp_path: Any) -> None:
    def key(scope: str) -> str:
        claims = {"sub": "ana", "iss": "timbre", "aud": "timbre", "exp": 2**33, "scope": scope}
        return jwt.encode(claims, SECRET, "HS256")

    locks = {"auth": "jwt", "jwt_secret": SECRET}
    limits = {"rate_limits": "on", "rate_limit_inference": "2/minute"}
    async with start_stack(service_auth=RuntimeSettings(data_dir=tmp_path, **locks), **locks, **limits) as stack:
        stack.answer(SynthesizeStream=spoken(b"ab"))
        async with client_of(stack, "sk-wrong") as client:
            with pytest.raises(openai.AuthenticationError) as nobody:
                await client.models.list()
        assert (nobody.value.type, nobody.value.code) == ("authentication_error", "token_invalid")
        async with client_of(stack, key("training")) as client:
            with pytest.raises(openai.PermissionDeniedError) as refused:
                await client.audio.speech.create(**SPEECH)
        assert (refused.value.type, "inference" in refused.value.message) == ("permission_error", True)
        async with client_of(stack, key("inference")) as client:
            for _ in range(2):
                assert (await client.audio.speech.create(**SPEECH)).content == b"ab"
            with pytest.raises(openai.RateLimitError) as often:
                await client.audio.speech.create(**SPEECH)
        assert (often.value.type, often.value.code) == ("rate_limit_error", "rate_limited")
        assert int(often.value.response.headers["retry-after"]) >= 1
