"""A small HTTP server that answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Reply:
    """What is answered.

    Attributes:
        cut: Whether the connection breaks in the middle of the body.
        alive: Whether comments of an event stream follow the body until the client hangs up.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    alive: bool = False


class Scripted:
    """Attributes: asked: Method, path and headers of each request so far."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                script.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                reply = script.replies.pop(0)
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                if not reply.alive:
                    self.send_header("Content-Length", str(len(body) + reply.cut))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = reply.cut or reply.alive
                with suppress(OSError):
                    while reply.alive:
                        self.wfile.write(b": still here\n\n")
                        time.sleep(0.02)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    script = Scripted()
    yield script
    script.server.shutdown()
    script.server.server_close()
