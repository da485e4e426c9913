"""What can go wrong in the client.

Error:
├── InvalidConnection       the URL, the token or the certificates that the client was given are none
├── InvalidValue            a number that is none, or a text that is no Unicode
├── ConnectionFailed        no answer: the server is away, or the network
├── UnexpectedAnswer        what answered is not Timbre, or a much later one
├── JobEnded                a job that was waited for did not succeed
│   ├── JobFailed           … but failed
│   └── JobStopped          … but was stopped
└── ApiError                the server answered that it cannot do this, in a sentence
├── BadRequest          400  not possible in the present state
├── Unauthenticated     401  no token, or none that counts
├── PermissionDenied    403  the token lacks a scope
├── NotFound            404
├── Conflict            409  somebody else changed it meanwhile
├── TooLarge            413
├── InvalidArgument     422  a value is malformed or out of range
├── RateLimited         429  too often; `retry_after_seconds` says when to come back
└── ServerError         5xx
├── Unavailable     503  a service is away or full; `retry_after_seconds`
└── DeadlineExceeded 504 it took too long and was cancelled
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from gateway.schemas.jobs import Job


class Error(Exception):
    """Whatever the client raises."""


class InvalidConnection(Error, ValueError):
    """The URL, the token or the certificates that the client was given are none."""


class InvalidValue(Error, ValueError):
    """A value that no request can carry: a number that is none, or a text that is no Unicode."""


class ConnectionFailed(Error):
    """No answer came."""


class UnexpectedAnswer(Error):
    """What came back is no answer of Timbre's."""


class JobEnded(Error):
    """A job that was waited for did not succeed.

    Attributes:
        job: As it stands.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.id} ({job.kind}) {job.state}: {job.error or 'its log says why'}")
        self.job = job


class JobFailed(JobEnded):
    """A job that was waited for failed; `job.error` says why."""


class JobStopped(JobEnded):
    """A job that was waited for was stopped."""


class ApiError(Error):
    """The server answered with an error.

    Attributes:
        status: HTTP status.
        detail: What was wrong and what to do, in a sentence.
        reason: The same for programs: a stable name in capitals.
        fields: Name of a field of the request to what is wrong with it.
        body: Everything that the server answered.
        retry_after_seconds: When to come back, where the server says so.
    """

    def __init__(self, status: int, body: Mapping[str, Any], retry_after_seconds: float | None = None) -> None:
        self.status = status
        self.detail = str(body.get("detail") or f"The server answered with status {status}.")
        self.reason = str(body.get("reason") or "")
        rows = body.get("errors")
        known = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []  # not so from a proxy, perhaps
        self.fields = {str(row.get("field")): str(row.get("message")) for row in known}
        self.body = dict(body)
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class BadRequest(ApiError):
    """400: not possible in the present state."""


class Unauthenticated(ApiError):
    """401: there is no token, or it does not count."""


class PermissionDenied(ApiError):
    """403: the token lacks a scope."""


class NotFound(ApiError):
    """404: there is no such thing."""


class Conflict(ApiError):
    """409: somebody else changed it meanwhile."""


class TooLarge(ApiError):
    """413: the request is larger than allowed."""


class InvalidArgument(ApiError):
    """422: a value is malformed or out of range; `fields` names it."""


class RateLimited(ApiError):
    """429: asked too often."""


class ServerError(ApiError):
    """5xx: something broke on the other side."""


class Unavailable(ServerError):
    """503: a service is away or full."""


class DeadlineExceeded(ServerError):
    """504: it took longer than allowed and was cancelled."""


_CLASSES: Mapping[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidArgument,
    429: RateLimited,
    503: Unavailable,
    504: DeadlineExceeded,
}


def error_of(answer: httpx.Response) -> ApiError:
    """Returns the error that an answer is; its body must have been read."""
    try:
        body = answer.json()
    except ValueError:  # a proxy in between, perhaps
        body = {}
    if not isinstance(body, dict):
        body = {}
    if answer.has_redirect_location:  # not followed: the token is for the server that was named
        body = {"detail": f"{answer.url} has moved to {answer.headers['location']}: name the server as it is called there."}
    kind = _CLASSES.get(answer.status_code, ServerError if answer.status_code >= 500 else ApiError)
    wait = answer.headers.get("retry-after", "")
    return kind(answer.status_code, body, float(wait) if wait.isascii() and wait.isdigit() else None)


def check_ended(job: Job) -> Job:
    """Returns a job that has succeeded.

    Raises:
        JobFailed: It failed.
        JobStopped: It was stopped.
    """
    if job.state == "succeeded":
        return job
    raise (JobFailed if job.state == "failed" else JobStopped)(job)
