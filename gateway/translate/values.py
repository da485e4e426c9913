"""Single values of the JSON: moments, what may be missing, and where objects are served."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Link: TypeAlias = Callable[[str], str]
"""Makes the URL of an object from its key: `file_url`, or one that signs it."""

DATASET_AUDIO = "/training/dataset/audio"
"""Where the audio of datasets is served, by `path`."""


def file_url(key: str) -> str:
    """Returns where an object is served; keys are made of characters that a URL takes as they are."""
    return f"{DATASET_AUDIO}?path={key}" if key.startswith("datasets/") else f"/files/{key}"


def given(message: Message, field: str) -> Any:
    """The value of an optional field, or None where there is none."""
    return getattr(message, field) if message.HasField(field) else None


def moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
