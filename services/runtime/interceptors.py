"""What happens around every RPC: a request id, one log line, and errors turned into google.rpc.Status."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.runtime import audit, telemetry, traces
from services.runtime.auth import ADMIN, AUTHORIZATION, Verifier, authorization, caller, only
from services.runtime.errors import Internal, TimbreError, recognise
from services.runtime.idempotency import IDEMPOTENCY_KEY, idempotency_key
from services.runtime.logs import request_id

logger = logging.getLogger("timbre.rpc")

# A string: only the type stubs know its parameters.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Admit: TypeAlias = Callable[[], Awaitable[None]]

REQUEST_ID_KEY = "x-request-id"
DOMAIN = "timbre"


# Who may call them is nobody's secret: probes and load balancers have no tokens.
_OPEN = "/grpc.health."


class ChassisInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method, unary or streaming, so that an error is translated wherever it is raised, mid-stream too.

    Args:
        verifier: What checks tokens; None lets everybody in.
        scopes: Full method, e.g. `/timbre.jobs.v1.JobsService/GetJob`, to the scopes of which a caller needs one. What is
            not listed needs `admin`.
    """

    def __init__(self, verifier: Verifier | None = None, scopes: Mapping[str, Collection[str]] | None = None) -> None:
        self._verifier, self._scopes = verifier, scopes or {}

    async def intercept_service(  # noqa: D102
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata or ())
        sent_id, parent = str(metadata.get(REQUEST_ID_KEY, ""))[:64], str(metadata.get(traces.TRACEPARENT, ""))
        key = str(metadata.get(IDEMPOTENCY_KEY, ""))
        kind = (
            ("stream" if handler.request_streaming else "unary") + "_" + ("stream" if handler.response_streaming else "unary")
        )
        inner = getattr(handler, kind)
        wrap = _wrap_stream if handler.response_streaming else _wrap_unary
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        headers = [str(value) for key, value in handler_call_details.invocation_metadata or () if key == AUTHORIZATION]
        wrapped: Handler = make(
            wrap(inner, partial(self._admit, method, headers, key), method, sent_id, parent),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    async def _admit(self, method: str, headers: Sequence[str], key: str) -> None:
        """Lets a call in, and remembers whose it is and which, or raises what is missing."""
        idempotency_key.set(key)
        if self._verifier is None or method.startswith(_OPEN):
            return
        header = only(headers)
        found = await self._verifier.verify(header)
        found.check(self._scopes.get(method, (ADMIN,)))
        caller.set(found)
        authorization.set(header)


def _wrap_unary(inner: Callable[..., Any], admit: Admit, method: str, sent_id: str, parent: str) -> Callable[..., Any]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        with _Call(method, sent_id, parent) as logged:
            try:
                await admit()
                request = _noted(request)
                result = inner(request, context)
                if asyncio.iscoroutine(result):
                    result = await result
                audit.note(result)
                return result
            except Exception as error:
                await _abort(context, error, logged)

    return call


def _wrap_stream(inner: Callable[..., Any], admit: Admit, method: str, sent_id: str, parent: str) -> Callable[..., Any]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        with _Call(method, sent_id, parent) as logged:
            try:
                await admit()
                responses = inner(_noted(request), context)
                if asyncio.iscoroutine(responses):  # writes by itself, as the health service's Watch does
                    await responses
                    return
                async for response in responses:
                    yield response
            except Exception as error:
                await _abort(context, error, logged)

    return call


def _noted(request: Any) -> Any:
    """Returns a request, or the messages of a stream, and notes the objects that it, or the first of them, names."""
    if isinstance(request, Message):
        audit.note(request)
        return request

    async def messages() -> AsyncIterator[Any]:
        first = True
        async for message in request:
            if first:
                audit.note(message)
                first = False
            yield message

    return messages()


class _Call:
    """Times one RPC and writes its log line, and that of the audit when it changes something."""

    def __init__(self, method: str, sent_id: str, parent: str) -> None:
        self._method, self._parent = method, parent
        self.code = grpc.StatusCode.OK
        self._id = sent_id or secrets.token_hex(8)

    def __enter__(self) -> _Call:
        self._began = time.perf_counter()
        request_id.set(self._id)  # each RPC runs in a context of its own
        if audit.is_change(self._method):
            audit.begin()
        self._span = traces.begin(self._method.removeprefix("/"), self._parent)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is asyncio.CancelledError or kind is GeneratorExit:
            self.code = grpc.StatusCode.CANCELLED
        quiet = self._method.startswith(("/grpc.health.", "/grpc.reflection."))
        level = logging.DEBUG if quiet else logging.INFO
        seconds = time.perf_counter() - self._began
        logger.log(level, "%s %s %.1f ms", self._method, self.code.name, 1000 * seconds)
        if audit.is_change(self._method):
            audit.write(self._method, self.code.name)
        telemetry.observe("timbre_rpc_seconds", seconds, self._method, self.code.name)
        if self._span:
            self._span.set_attribute("rpc.grpc.status_code", self.code.value[0])
            self._span.end()


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception, call: _Call) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        call.code = context.code() or grpc.StatusCode.UNKNOWN
        raise error
    known = recognise(error)
    if known is None:
        logger.exception("an RPC failed")
        known = Internal("Something went wrong on our side; the log of the service says what.")
    elif known is not error:
        logger.warning("an RPC failed: %s", error)
    call.code = known.code
    status = rpc_status.to_status(_to_rpc_status(known))
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise AssertionError("abort() does not return")


def _to_rpc_status(error: TimbreError) -> status_pb2.Status:
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=text) for field, text in error.fields.items()
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code_pb2.Code.Value(error.code.name), message=error.message, details=packed)
