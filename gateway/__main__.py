"""`python -m gateway`: serves HTTP until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from gateway.app import create_app
from gateway.connections import BoundedProtocol
from gateway.settings import GatewaySettings
from services.runtime import telemetry, tls, traces
from services.runtime.auth import check_listen
from services.runtime.errors import TimbreError
from services.runtime.logs import set_up_logging
from services.runtime.settings import describe


class Server(uvicorn.Server):
    """uvicorn that tells those who follow jobs to go home before it waits for its connections to end."""

    def __init__(self, app: FastAPI, settings: GatewaySettings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                settings.host,
                settings.port,
                log_config=None,
                access_log=False,  # gateway.middleware writes that line
                lifespan="on",
                http=partial(BoundedProtocol, settings),  # type: ignore[arg-type]  # what makes one is as good as its class
                ssl_context_factory=_https(app.state.https) if app.state.https else None,
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.drain_grace_seconds)),
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams of events, then everything else as uvicorn does."""
        await self._app.state.hub.close()
        await super().shutdown(sockets)


def _https(certificates: tls.Certificates) -> Callable[..., ssl.SSLContext]:
    return lambda *_: tls.server_context(certificates)


def main() -> int:
    """Runs the gateway; returns the exit code."""
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        for flaw in error.errors():
            print(describe(flaw), file=sys.stderr)  # noqa: T201
        return 2
    set_up_logging(settings)
    logging.getLogger("uvicorn.access").disabled = True
    try:
        check_listen(settings.host, settings)
        telemetry.start(settings.metrics_listen)
        traces.start(settings.traces_endpoint, "gateway")
        Server(create_app(settings), settings).run()
    except TimbreError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
