"""JSON of `/v1/…`: speech as programs written for OpenAI's API ask for it (its reference: Audio, Create speech; Models)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from gateway.schemas.base import Answer, Body
from gateway.schemas.dataset import Language
from gateway.schemas.fields import Number, Speech, Text

SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]


def _id_of(value: Any) -> Any:
    """A voice may also be an object with its id."""
    return value["id"] if isinstance(value, dict) and "id" in value else value


class SpeechRequest(Body):
    """What to say, with which model and voice."""

    model: Annotated[Text, Field(min_length=1, examples=["my_voice_model"])]
    """Name of a voice (its current checkpoint speaks), path of a checkpoint, or `base`. `tts-1`, `tts-1-hd` and
    `gpt-4o-mini-tts` stand for the voice that `voice` names, else for the one trained last, else for the base model."""

    input: Annotated[Speech, Field(examples=["Bom dia! Este é um teste."])]
    """Text to synthesize, 1 to 10,000 characters."""

    voice: Annotated[Text, BeforeValidator(_id_of), Field(examples=["my_voice_model"])] = "default"
    """In whose voice: the name of a voice, or the object key of a reference WAV. `default` and the names of OpenAI's own
    voices, such as `alloy`, mean the model's own voice. An object with an `id` is that id."""

    response_format: SpeechFormat = "mp3"
    """`pcm` is 24,000 Hz mono 16-bit, little-endian, without a header."""

    speed: Annotated[float, Number(0.5, 2.0)] = 1.0
    """Speech speed multiplier. OpenAI's goes from 0.25 to 4.0; what the model cannot do is refused, not rounded."""

    stream_format: Literal["audio", "sse"] = "audio"
    """Bytes of audio as they are made, or server-sent events with them in base64."""

    instructions: Annotated[Text | None, Field(examples=[None])] = None
    """Ignored: the model takes none."""

    language: Language | None = None
    """ISO 639-1 code of the text's language (OpenAI's has no such field); without it the checkpoint's own."""


class Model(Answer):
    """One model."""

    id: Annotated[str, Field(examples=["my_voice_model"])]
    """What `model` of a speech request may be."""
    object: Literal["model"] = "model"
    created: Annotated[int, Field(examples=[1765031459])]
    """When its checkpoint was written, seconds since 1970 UTC; 0 for the base model."""
    owned_by: Annotated[Literal["timbre", "coqui"], Field(examples=["timbre"])]
    """`coqui` made the base model."""


class Models(Answer):
    """The models that can speak."""

    object: Literal["list"] = "list"
    data: list[Model]


class SpeechVoice(Answer):
    """One voice."""

    id: Annotated[str, Field(examples=["my_voice_model"])]
    """What `voice` of a speech request may be."""
    name: Annotated[str, Field(examples=["my_voice_model"])]
    """The same, for people."""


class SpeechVoices(Answer):
    """The voices there are."""

    voices: list[SpeechVoice]


class ErrorBody(Answer):
    """What went wrong."""

    message: Annotated[str, Field(examples=["There is no model 'nobody': GET /v1/models lists those there are."])]
    """One sentence that says what to do."""
    type: Annotated[str, Field(examples=["invalid_request_error"])]
    """`invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error` or `server_error`."""
    param: Annotated[str | None, Field(examples=["model"])]
    """The field that is wrong, if one is."""
    code: Annotated[str | None, Field(examples=["model_not_found"])]
    """What was wrong, for programs."""


class Error(Answer):
    """Body of every response below `/v1/` that is not a success."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    error: ErrorBody


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route below `/v1/` that can fail with these status codes, besides those that any can."""
    return {code: {"model": Error, "description": _WHEN[code]} for code in sorted({*codes, 401, 403, 500, 503, 504})}


_WHEN = {
    400: "A value is malformed or out of range, or this is not possible in the present state.",
    401: "There is no API key (a token of Timbre), or it does not count.",
    403: "The API key lacks the scope `inference`.",
    404: "There is no such model.",
    429: "You ask too often; `Retry-After` says when to come back.",
    500: "Something broke on our side.",
    503: "The model cannot be reached, or too many wait for it; `Retry-After` says when to come back.",
    504: "It took longer than allowed and was cancelled.",
}
