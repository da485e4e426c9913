"""Errors, once: whatever goes wrong becomes an HTTP status and `{"detail": "<one sentence>"}` here."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from starlette.exceptions import HTTPException

from gateway import openai
from gateway.backends import CallFailed, ClientGone
from gateway.schemas.fields import shown
from services.runtime.errors import TimbreError
from services.runtime.interceptors import DOMAIN
from services.runtime.logs import request_id

logger = logging.getLogger("timbre.gateway")

CLIENT_CLOSED_REQUEST = 499
"""nginx's code for a client that hung up; only the access log ever shows it."""

HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: CLIENT_CLOSED_REQUEST,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 400,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 422,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
"""Every gRPC status and the HTTP status it becomes."""

TOO_LARGE = "TOO_LARGE"
"""The reason that makes 413 of a status: gRPC has none for it."""

# What a user reads when the sentence does not come from one of our services: gRPC's own tell of addresses and internals.
_SENTENCES: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.CANCELLED: "The request was cancelled before its answer was there: try again.",
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        "This took longer than {timeout:g} s and was cancelled: ask for less at once, or try again when less is running."
    ),
    grpc.StatusCode.UNAVAILABLE: (
        "The {service} service cannot be reached: start it (timbre serve starts everything, python -m services.{service} "
        "only this one), then try again."
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The {service} service cannot take or send this much now: try again later.",
    grpc.StatusCode.UNIMPLEMENTED: "The {service} service does not offer this: bring it to the gateway's version.",
    grpc.StatusCode.UNAUTHENTICATED: "The {service} service wants to know who asks: send credentials.",
    grpc.StatusCode.PERMISSION_DENIED: "The {service} service does not allow this to you.",
}
_FALLBACK = "Something went wrong in the {service} service; its log says what."

_RETRY_SECONDS = "1"


@dataclass(frozen=True)
class Failure:
    """What a client is told.

    Attributes:
        status: HTTP status.
        detail: One sentence.
        reason: A stable name for programs.
        errors: Per wrong field: its name and what is wrong.
        extra: Further keys of the body.
        headers: Headers of the response.
    """

    status: int
    detail: str
    reason: str
    errors: Sequence[Mapping[str, str]] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, path: str = "") -> JSONResponse:
        """Returns it as an HTTP response, in the form that is usual at a path."""
        if path.startswith(openai.PREFIX):
            said = openai.error_body(self.status, self.detail, self.reason, self.errors)
            return JSONResponse(said, openai.error_status(self.status), headers=dict(self.headers))
        body = {"detail": self.detail, "reason": self.reason, **self.extra}
        if self.errors:
            body["errors"] = list(self.errors)
        return JSONResponse(body, self.status, headers=dict(self.headers))


def install(app: FastAPI) -> None:
    """Makes every error of an application, its own or a service's, answer in the documented form."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return explain(error, request).response(request.url.path)

    for kind in (CallFailed, TimbreError, RequestValidationError, HTTPException, ClientGone, Exception):
        app.add_exception_handler(kind, handle)


def explain(error: Exception, request: Request) -> Failure:
    """Returns what a client is told of an error that a handler raised."""
    match error:
        case CallFailed():
            return of_call(error)
        case TimbreError():
            return of_timbre(error)
        case RequestValidationError():
            return _of_validation(error)
        case HTTPException():
            return _of_http(error, request)
        case ClientGone():
            return Failure(CLIENT_CLOSED_REQUEST, "The client hung up before its answer was there.", "CLIENT_CLOSED_REQUEST")
    # The traceback is logged by the server, to which the error is raised again.
    headers = {"X-Request-ID": request_id.get()} if request_id.get() else {}
    detail = f"Something went wrong in the gateway; its log says what, under request {request_id.get() or 'unknown'}."
    return Failure(500, detail, "INTERNAL", headers=headers)


def of_call(failed: CallFailed) -> Failure:
    """Returns what a client is told of a failed call: the service's own words when it said any, ours otherwise."""
    error, code = failed.error, failed.error.code()
    info, violations = _details(error)
    if info is None:
        sentence = _SENTENCES.get(code, _FALLBACK)
        detail = sentence.format(service=failed.service, timeout=failed.timeout_seconds or 0.0)
        return _failure(code, detail, code.name, {})
    errors = [{"field": violation.field, "message": violation.description} for violation in violations]
    return _failure(code, error.details() or "", info.reason, dict(info.metadata), errors)


def of_timbre(error: TimbreError) -> Failure:
    """Returns what a client is told of an error that the gateway itself raised."""
    errors = [{"field": name, "message": message} for name, message in error.fields.items()]
    return _failure(error.code, error.message, error.reason, error.metadata, errors)


def _failure(
    code: grpc.StatusCode,
    detail: str,
    reason: str,
    metadata: Mapping[str, str],
    errors: Sequence[Mapping[str, str]] = (),
) -> Failure:
    status = 413 if reason == TOO_LARGE else HTTP_STATUS[code]
    headers = {"Retry-After": _whole_seconds(metadata.get("retry_after_seconds", ""))} if status == 503 else {}
    if status == 401:
        headers = {
            "WWW-Authenticate": 'Bearer realm="timbre"' + ("" if reason == "TOKEN_MISSING" else ', error="invalid_token"')
        }
    elif "scope" in metadata:
        headers = {"WWW-Authenticate": f'Bearer realm="timbre", error="insufficient_scope", scope="{metadata["scope"]}"'}
    extra = {"job_id": metadata["job_id"]} if "job_id" in metadata else {}
    return Failure(status, detail, reason, errors, extra, headers)


def _whole_seconds(text: str) -> str:
    """Rounds up to what Retry-After allows: whole seconds, at least one."""
    try:
        return str(max(1, -int(-float(text) // 1)))
    except (ValueError, OverflowError):
        return _RETRY_SECONDS


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, Sequence[error_details_pb2.BadRequest.FieldViolation]]:
    """Unpacks the google.rpc.Status beside an error; None unless it comes from one of our own services."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the status contradicts the call: not made by our interceptor
        return None, []
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for packed in status.details if status else ():
        _ = packed.Unpack(info) or packed.Unpack(bad)
    return (info, bad.field_violations) if info.domain == DOMAIN else (None, [])


def _of_http(error: HTTPException, request: Request) -> Failure:
    path = shown(request.url.path)[1:-1]
    match error.status_code:
        case 404:
            return Failure(404, f"There is nothing at {path}: /docs lists what there is.", "NOT_FOUND")
        case 405:
            allowed = (error.headers or {}).get("Allow", "")
            detail = f"{request.method} is not possible at {path}: use {allowed or 'another method'}."
            return Failure(405, detail, "METHOD_NOT_ALLOWED", headers=error.headers or {})
        case 413:
            return Failure(413, "The body of the request is too large: send less at once.", TOO_LARGE)
        case 400 if error.__cause__ is not None:  # FastAPI could not decode a body: bad UTF-8, a number of 5,000 digits, …
            return Failure(422, _NOT_JSON, "INVALID_ARGUMENT", [{"field": "", "message": "it is not JSON in UTF-8"}])
    return Failure(error.status_code, str(error.detail), f"HTTP_{error.status_code}", headers=error.headers or {})


_NOT_JSON = "The body cannot be read: send JSON in UTF-8 with the header Content-Type: application/json."

# pydantic's types of errors in our words; what is missing here says it well enough itself (fields.py).
_MESSAGES = {
    "missing": "it is required",
    "string_type": "it must be text",
    "bool_type": "it must be true or false",
    "list_type": "it must be a list",
}


def _of_validation(error: RequestValidationError) -> Failure:
    found = [_of_field(flaw) for flaw in error.errors()]
    errors = [{"field": name, "message": message} for name, message, _ in found]
    return Failure(422, found[0][2], "INVALID_ARGUMENT", errors)


def _of_field(flaw: Mapping[str, Any]) -> tuple[str, str, str]:
    """Returns the name of a wrong field, what is wrong, and both with its value as a sentence."""
    place, kind = list(flaw["loc"]), flaw["type"]
    if kind == "json_invalid":
        message = f"it is not valid JSON at character {place[-1]} ({flaw['ctx']['error']})"
        return "", message, f"The body cannot be read: {message}."
    if len(place) <= 1:
        return "", "it must be a JSON object", _NOT_JSON if kind != "missing" else "The body is missing: send a JSON object."
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place[1:]).removeprefix(".")
    name = shown(name)[1:-1]
    message = _MESSAGES.get(kind, str(flaw["msg"]))
    if kind == "missing":
        return name, message, f"{name} is missing: {message}."
    return name, message, f"{name} is {_value(flaw)}: {message}."


def _value(flaw: Mapping[str, Any]) -> str:
    value = flaw.get("input")
    if flaw["loc"][0] == "query" and isinstance(value, str):
        return shown(value)[1:-1] or "empty"
    if isinstance(value, str) and len(value) > 1000:
        value = value[:1000]
    return shown(value)
