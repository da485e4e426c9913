"""What happens around every HTTP request: an id, which goes on to the services, one log line, a bound on JSON bodies.

Plain ASGI: Starlette's base class for middleware would add a task and two queues to every request.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import time
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.settings import GatewaySettings
from services.runtime import telemetry, traces
from services.runtime.logs import request_id

logger = logging.getLogger("timbre.http")

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_QUIET = ("/healthz", "/readyz")
_USABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """Takes the client's request id or makes one, returns it in the response, and logs each request in one line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        identifier = _sent_id(scope) or f"{random.getrandbits(64):016x}"  # different from others, which is all it must be
        request_id.set(identifier)  # the server runs each request in a context of its own
        span = traces.begin(_known_method(scope), _header(scope, b"traceparent"))

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (_REQUEST_ID, identifier.encode()), _NO_SNIFFING]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
            seconds = time.perf_counter() - began
            # the raw path, still encoded: a decoded one could carry line ends into the log
            path = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
            logger.log(level, "%s %s %d %.1f ms", scope["method"], path, status, 1000 * seconds)
            telemetry.observe("timbre_http_seconds", seconds, _known_method(scope), _route(scope), str(status))
            if span:
                span.update_name(f"{_known_method(scope)} {_route(scope)}")
                span.set_attribute("http.response.status_code", status)
                span.end()


class BodyLimit:
    """Refuses bodies that are too large to be JSON that anybody meant to send, and those that come too slowly.

    FastAPI's own `max_body_size` answers in plain text when Content-Length alone tells. A client that is slow gets 408 and
    is hung up on; only the time that we wait for it counts, not that in which a service takes what has come.

    Args:
        app: What is wrapped.
        settings: The bounds.
        streamed: Paths whose bodies are passed on as they come; whoever takes them bounds their size.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings, streamed: Collection[str]) -> None:
        self._app, self._settings, self._streamed = app, settings, streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        largest = math.inf if scope["path"] in self._streamed else self._settings.max_json_bytes
        read, waited, more = 0, 0.0, True

        async def receive_within_limits() -> Message:
            nonlocal read, waited, more
            if not more:  # what is waited for now is that the client hangs up, which may take as long as it likes
                return await receive()
            allowed = self._settings.body_timeout_seconds + read / self._settings.body_bytes_per_second
            began = time.monotonic()
            try:
                async with asyncio.timeout(allowed - waited):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, headers={"Connection": "close"}) from None
            waited += time.monotonic() - began
            more = message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > largest:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_within_limits, send)


def _sent_id(scope: Scope) -> str:
    text = _header(scope, b"x-request-id")
    return text if _USABLE_ID.fullmatch(text) else ""


def _header(scope: Scope, wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return ""


def _known_method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Scope) -> str:
    """The template of the route that answered: paths themselves are the caller's choice, and without number."""
    return getattr(scope.get("route"), "path", "none")
