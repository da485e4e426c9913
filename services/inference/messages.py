"""Between what the modules of this service compute and the messages of its protos."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from typing import TYPE_CHECKING

from timbre.inference.v1 import inference_pb2 as pb

from services.runtime.errors import InvalidArgument
from services.voices.messages import timestamp

if TYPE_CHECKING:
    from services.inference.encode import Format
    from services.inference.models import Kind, Model
    from services.inference.votes import Preference, Tally

_FORMATS: dict[int, Format] = {
    pb.AUDIO_FORMAT_PCM: "pcm",
    pb.AUDIO_FORMAT_WAV: "wav",
    pb.AUDIO_FORMAT_MP3: "mp3",
    pb.AUDIO_FORMAT_OPUS: "opus",
    pb.AUDIO_FORMAT_AAC: "aac",
    pb.AUDIO_FORMAT_FLAC: "flac",
}
_PREFERENCES: dict[int, Preference] = {
    pb.PREFERENCE_BASE: "base",
    pb.PREFERENCE_FINETUNED: "finetuned",
    pb.PREFERENCE_TIE: "tie",
}
_KINDS: dict[Kind, pb.ModelKind.ValueType] = {
    "base": pb.MODEL_KIND_BASE,
    "voice": pb.MODEL_KIND_VOICE,
    "checkpoint": pb.MODEL_KIND_CHECKPOINT,
}


def format_of(number: int) -> Format:
    if number not in _FORMATS:
        raise InvalidArgument(f"format is {number}: it must be one of AudioFormat.", fields={"format": "unknown"})
    return _FORMATS[number]


def preference_of(number: int) -> Preference:
    if number not in _PREFERENCES:
        raise InvalidArgument("preferred must be base, finetuned or tie.", fields={"preferred": "base, finetuned or tie"})
    return _PREFERENCES[number]


def to_tally(tally: Tally) -> pb.VoteTally:
    low, high = tally.interval
    return pb.VoteTally(
        checkpoint=tally.checkpoint,
        against=tally.against,
        finetuned_count=tally.finetuned,
        base_count=tally.base,
        tie_count=tally.ties,
        blind_count=tally.blind,
        preference=tally.preference,
        low=low,
        high=high,
    )


def to_model(model: Model) -> pb.Model:
    created = timestamp(model.created) if model.created else None
    return pb.Model(name=model.name, kind=_KINDS[model.kind], checkpoint=model.checkpoint, create_time=created)
