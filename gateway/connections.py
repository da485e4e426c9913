"""Bounds on connections: how many, how long a client may take to ask, and to read what it is told.

uvicorn itself waits for ever for the end of a head that never ends, and for a reader that never reads, and keeps a head of
any size. Bodies, which may rightly take long, are bounded in `gateway.middleware`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import Failure
from gateway.settings import GatewaySettings

_MAX_HEAD_BYTES = 64 * 1024  # what uvicorn's other parser, h11, allows


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with clocks.

    Args:
        settings: How many connections, and how long.
        uvicorn: What uvicorn gives its protocols.
    """

    def __init__(self, settings: GatewaySettings, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._settings = settings
        self._request_clock: asyncio.TimerHandle | None = None
        self._reader_clock: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives a new client some time to say what it wants."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows what asyncio has
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clocks."""
        self._stop_clock()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bounds a head that comes in pieces."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self.send_400_response("The head of the request is larger than 64 KiB.")
                return
        super().data_received(data)
        if self._in_head and self._request_clock is None:  # most heads come in one piece, and need no clock
            self._start_clock()

    def on_message_begin(self) -> None:
        """Notes that a head has begun."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stops the clock for the head; refuses the request when there are too many clients."""
        self._in_head = False
        self._stop_clock()
        self.app = self.config.loaded_app if len(self.connections) <= self._settings.max_connections else _full
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stops the clock for what is left of a body that nobody waits for."""
        self._stop_clock()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Gives a client that is still sending, though it has its answer, some time to end."""
        if self.cycle.more_body and not self.transport.is_closing():
            self._start_clock()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Starts the clock for a client that does not read."""
        super().pause_writing()
        if self._reader_clock is None:
            self._reader_clock = self.loop.call_later(self._settings.send_timeout_seconds, self._hang_up)

    def resume_writing(self) -> None:
        """Stops it."""
        if self._reader_clock is not None:
            self._reader_clock.cancel()
            self._reader_clock = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP in our form, and hangs up."""
        body = json.dumps({"detail": f"{msg.rstrip('.')}: send HTTP/1.1.", "reason": "BAD_REQUEST"}).encode()
        head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()

    def _start_clock(self) -> None:
        self._stop_clock()
        self._request_clock = self.loop.call_later(self._settings.head_timeout_seconds, self._hang_up)

    def _stop_clock(self) -> None:
        if self._request_clock is not None:
            self._request_clock.cancel()
            self._request_clock = None

    def _hang_up(self) -> None:
        self.transport.abort()  # closing would wait until what is buffered has been read


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers in place of the application."""
    headers = {"Retry-After": "1", "Connection": "close"}
    failure = Failure(503, "The gateway has as many connections as it takes: try again later.", "TOO_BUSY", headers=headers)
    await failure.response()(scope, receive, send)
