"""Speech as OpenAI's API has it: between its JSON and our protos, its events, and its form of errors."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from timbre.inference.v1 import inference_pb2

from gateway.schemas import openai

PREFIX = "/v1/"
"""Below it OpenAI's form of errors is spoken."""

MEDIA_TYPES: Mapping[openai.SpeechFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
EVENT_STREAM = "text/event-stream"

_FORMATS: Mapping[openai.SpeechFormat, inference_pb2.AudioFormat.ValueType] = {
    "mp3": inference_pb2.AUDIO_FORMAT_MP3,
    "opus": inference_pb2.AUDIO_FORMAT_OPUS,
    "aac": inference_pb2.AUDIO_FORMAT_AAC,
    "flac": inference_pb2.AUDIO_FORMAT_FLAC,
    "wav": inference_pb2.AUDIO_FORMAT_WAV,
    "pcm": inference_pb2.AUDIO_FORMAT_PCM,
}

# What the services call the fields of a request for speech, as OpenAI does.
_FIELDS = {"text": "input", "checkpoint": "model"}

# OpenAI's names for what a status says; 422 is 400 there.
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def speech_request(body: openai.SpeechRequest) -> inference_pb2.SynthesizeStreamRequest:
    return inference_pb2.SynthesizeStreamRequest(
        parameters=inference_pb2.SpeechParameters(text=body.input, speed=body.speed, language=body.language or ""),
        format=_FORMATS[body.response_format],
        model=body.model,
        voice=body.voice,
    )


def model(message: inference_pb2.Model) -> openai.Model:
    return openai.Model(
        id=message.name,
        created=message.create_time.seconds,
        owned_by="coqui" if message.kind == inference_pb2.MODEL_KIND_BASE else "timbre",
    )


def models(reply: inference_pb2.ListModelsResponse) -> openai.Models:
    return openai.Models(data=[model(one) for one in reply.models])


def voices(reply: inference_pb2.ListModelsResponse) -> openai.SpeechVoices:
    named = (one.name for one in reply.models if one.kind == inference_pb2.MODEL_KIND_VOICE)
    return openai.SpeechVoices(voices=[openai.SpeechVoice(id=name, name=name) for name in ("default", *named)])


def audio(reply: inference_pb2.SynthesizeStreamResponse) -> bytes:
    return reply.encoded


def event(reply: inference_pb2.SynthesizeStreamResponse) -> bytes:
    """Returns a reply as the event that OpenAI sends for it: a delta of audio, or what it all took."""
    if reply.HasField("result"):
        read, written = reply.text_token_count, reply.audio_token_count
        usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
        return _event({"type": "speech.audio.done", "usage": usage})
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(reply.encoded).decode()})


def error_event(detail: str, reason: str) -> bytes:
    """Returns what a stream of events ends with when it breaks."""
    return _event({"type": "error", **error_body(500, detail, reason, ())})


def error_status(status: int) -> int:
    return 400 if status == 422 else status


def error_body(status: int, detail: str, reason: str, errors: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Returns the body of a response that is not a success."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    field = errors[0]["field"] if errors else ""
    return {
        "error": {"message": detail, "type": kind, "param": _FIELDS.get(field, field) or None, "code": reason.lower() or None}
    }


def _event(data: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
