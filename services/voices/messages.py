"""Between what was said and its message, which trainer and inference both send."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from timbre.inference.v1 import inference_pb2 as pb

if TYPE_CHECKING:
    from services.voices.history import Utterance


def to_utterance(said: Utterance) -> pb.Utterance:
    return pb.Utterance(
        utterance_id=said.id,
        audio_key=said.audio_key,
        text=said.text,
        checkpoint=said.checkpoint,
        temperature=said.temperature,
        speed=said.speed,
        language=said.language,
        speaker=said.speaker,
        seed=said.seed,
        duration_seconds=said.duration_seconds,
        real_time_factor=said.real_time_factor,
        create_time=timestamp(datetime.fromtimestamp(said.created_at, UTC)),
    )


def timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
