"""Domain errors: the one tree every module raises from.

    TimbreError
    ├── NotFound              404   the named thing does not exist
    ├── InvalidArgument       422   a value is malformed or out of range, whatever the state of the system
    ├── FailedPrecondition    400   the request is well formed, but not possible in the present state
    ├── AlreadyExists         400   the thing to be created is there
    ├── Conflict              409   somebody else was faster
    ├── Unavailable           503   try again later
    ├── ResourceExhausted     503   full for now; `retry_after_seconds` says when to come back
    ├── DeadlineExceeded      504   the time allowed for the request ran out
    ├── Unauthenticated       401   nobody knows who asks
    ├── PermissionDenied      403   who asks is known, and may not
    └── Internal              500   our fault, with a sentence that is safe to show

The server interceptor turns them into a google.rpc.Status (see `services.runtime.interceptors`), the gateway turns that into
an HTTP status and `{"detail": message}`. The message is shown to the caller word for word: one sentence that says what was
wrong and what to do, without host paths or secrets.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

import grpc


class TimbreError(Exception):
    """Base of every error that may be shown to a caller.

    Args:
        message: One sentence a user can act on.
        reason: A stable UPPER_SNAKE_CASE identifier for programs; by default made from the class name.
        fields: For bad input: field name to what is wrong with it.
        metadata: Further machine-readable facts, e.g. the id of the job that is in the way.
    """

    code = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        fields: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or _upper_snake(type(self).__name__)
        self.fields = dict(fields or {})
        self.metadata = dict(metadata or {})


class NotFound(TimbreError):
    """The named thing does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class InvalidArgument(TimbreError):
    """A value is malformed or out of range."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class FailedPrecondition(TimbreError):
    """The request is well formed, but not possible in the present state."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AlreadyExists(TimbreError):
    """The thing to be created is there already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class Conflict(TimbreError):
    """Somebody else changed the thing since the caller looked at it."""

    code = grpc.StatusCode.ABORTED


class Unavailable(TimbreError):
    """Something needed is out of reach for the moment."""

    code = grpc.StatusCode.UNAVAILABLE


class ResourceExhausted(TimbreError):
    """A bounded queue is full.

    Args:
        message: One sentence a user can act on.
        retry_after_seconds: When it makes sense to come back.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0, reason: str = "") -> None:
        super().__init__(message, reason=reason, metadata={"retry_after_seconds": f"{retry_after_seconds:g}"})


class DeadlineExceeded(TimbreError):
    """The time allowed for the request ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unauthenticated(TimbreError):
    """There are no credentials, or they do not count."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(TimbreError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Internal(TimbreError):
    """Something broke on our side, and there is a sentence that is safe to show."""

    code = grpc.StatusCode.INTERNAL


_recognisers: list[Callable[[BaseException], TimbreError | None]] = []


def add_recogniser(recognise: Callable[[BaseException], TimbreError | None]) -> None:
    """Has errors of a library recognised as ours. The module that brings the library in calls this, so that no other has to."""
    _recognisers.append(recognise)


def recognise(error: BaseException) -> TimbreError | None:
    """Returns what an error is to a caller: itself when it is ours, what a library's stands for, or None."""
    if isinstance(error, TimbreError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("A disk of this machine is full; free some space and try again.", reason="DISK_FULL")
    return next((known for known in (recognise(error) for recognise in _recognisers) if known is not None), None)


def _upper_snake(name: str) -> str:
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()
