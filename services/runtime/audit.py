"""The audit log: who changed what, on which object, with what result; one line at every door that a change goes through.

The objects are found by the names of fields in the messages that carry the change out, so no method can forget to tell them.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from functools import lru_cache

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from services.runtime.auth import caller

AUDIT = "timbre.audit"
"""The logger; it writes whatever TIMBRE_LOG_LEVEL says."""

_OBJECTS = (
    *("folder", "dataset_folder", "filename", "source", "segment", "segment_id", "model_name", "checkpoint", "job_id"),
    *("comparison_id", "utterance_id"),
    *("key", "archive_key", "audio_key", "base_audio_key", "finetuned_audio_key"),
)
_MAX_LENGTH = 500  # of what is told of one kind of object: names are short, those of hostile callers need not be

_noted: ContextVar[dict[str, list[str]] | None] = ContextVar("audit", default=None)

_logger = logging.getLogger(AUDIT)


@lru_cache(maxsize=256)
def is_change(method: str) -> bool:
    """Whether a method, as gRPC writes it in full, changes anything: its proto says so by `idempotency_level`."""
    service, _, name = method.removeprefix("/").partition("/")
    try:
        found = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return not service.startswith("grpc.")
    return found.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS and not service.startswith("grpc.")


def begin() -> None:
    """Begins a change in this context; what is noted from now on belongs to it."""
    _noted.set({})


def note(message: object) -> None:
    """Notes the objects that a request or a reply names, while there is a change."""
    noted = _noted.get()
    if noted is None or not isinstance(message, Message):
        return
    for field, value in message.ListFields():
        if isinstance(value, Message):
            note(value)
        elif field.name in _OBJECTS and isinstance(value, str) and value not in noted.setdefault(field.name, []):
            noted[field.name].append(value)


def write(what: str, result: str) -> None:
    """Writes the line.

    Args:
        what: Method and path, or the method of a service.
        result: HTTP status, or gRPC code.
    """
    objects = (f" {name}={', '.join(values)[:_MAX_LENGTH]!r}" for name, values in sorted((_noted.get() or {}).items()))
    _logger.info("%r %s%s %s", caller.get().subject, what, "".join(objects), result)
