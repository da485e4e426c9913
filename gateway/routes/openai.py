"""`/v1/…`: speech for programs written for OpenAI's API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from timbre.inference.v1 import inference_pb2

from gateway import errors, openai
from gateway.backends import CallFailed
from gateway.reply import Services, reply, reply_stream
from gateway.schemas import openai as schemas
from gateway.schemas.fields import Text

router = APIRouter(prefix="/v1", tags=["OpenAI"])

_EVENTS = (
    'data: {"type": "speech.audio.delta", "audio": "SUQzBAAAAAAAI1RTU0UAAAAP…"}\n\n'
    'data: {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}}\n\n'
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SPEECH: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Audio as it is made, or events with it; hanging up cancels it.",
        "content": {
            **{kind.partition(";")[0]: _BINARY for kind in openai.MEDIA_TYPES.values()},
            openai.EVENT_STREAM: {"schema": {"type": "string"}, "example": _EVENTS},
        },
    }
}


@router.post("/audio/speech", response_class=Response, responses={**_SPEECH, **schemas.problems(400, 404, 429)})
async def create_speech(request: Request, body: schemas.SpeechRequest, services: Services) -> Response:
    """Speak a text, and send the audio while it is made."""
    wanted, timeout = openai.speech_request(body), services.settings.stream_timeout_seconds
    replies = services.stream_while_connected(request, services.inference.SynthesizeStream, wanted, timeout)
    if body.stream_format == "sse":
        return await reply_stream(replies, openai.event, openai.EVENT_STREAM, write_error=_error_event)
    return await reply_stream(replies, openai.audio, openai.MEDIA_TYPES[body.response_format])


@router.get("/audio/voices", response_model=schemas.SpeechVoices, responses=schemas.problems())
async def list_speech_voices(services: Services) -> Response:
    """List the voices that `voice` of a speech request may name."""
    return reply(openai.voices(await services.call(services.inference.ListModels, inference_pb2.ListModelsRequest())))


@router.get("/models", response_model=schemas.Models, responses=schemas.problems())
async def list_models(services: Services) -> Response:
    """List the models that can speak: voices, the base model, and every checkpoint."""
    return reply(openai.models(await services.call(services.inference.ListModels, inference_pb2.ListModelsRequest())))


@router.get("/models/{model:path}", response_model=schemas.Model, responses=schemas.problems(404))
async def get_model(model: Text, services: Services) -> Response:
    """Get one model by its id."""
    found = await services.call(services.inference.GetModel, inference_pb2.GetModelRequest(name=model))
    return reply(openai.model(found.model))


def _error_event(failed: CallFailed) -> bytes:
    failure = errors.of_call(failed)
    return openai.error_event(failure.detail, failure.reason)
