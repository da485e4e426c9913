"""The gRPC server every service boots on: health, reflection, keepalive, message limits, graceful drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.runtime import tls
from services.runtime.auth import check_listen, open_verifier
from services.runtime.errors import Internal, TimbreError, Unavailable, recognise
from services.runtime.interceptors import ChassisInterceptor
from services.runtime.settings import RuntimeSettings

logger = logging.getLogger(__name__)

Health = health_pb2.HealthCheckResponse

# Requests carry names and figures, and uploads in chunks of at most 1 MiB; nothing legitimate is larger than this.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024

# The whole log of a long training comes in one reply.
MAX_REPLY_BYTES = 64 * 1024 * 1024

SERVER_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_REPLY_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # clients may ask that often whether we live
    # Clients connect anew, and see replicas that were added: they look up the name only when a connection ends. Calls under
    # way finish on the old connection, however long they take.
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.so_reuseport", 0),  # two services on one port would share its calls by chance
)
"""What a server of ours allows and asks of its connections; test servers take the same, or clients' pings offend them."""

# Addresses of gRPC that no other machine reaches (https://github.com/grpc/grpc/blob/master/doc/naming.md).
_SOCKETS_OF_THIS_MACHINE = ("unix:", "unix-abstract:")

# Makes a servicer's registration on a server: `lambda server: add_XServicer_to_server(servicer, server)`.
Register = Callable[[grpc.aio.Server], None]


class BackgroundEnded(Internal):
    """What a service does beside answering ended by itself."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a service; what keeps it from serving is said in a sentence, and the process ends with exit code 1."""
    try:
        asyncio.run(main)
    except Exception as error:
        known = recognise(error)
        if known is None:
            raise
        logger.error("%s", known.message)
        raise SystemExit(1) from None


async def serve(
    listen: str,
    services: Mapping[str, Register],
    settings: RuntimeSettings,
    *,
    scopes: Mapping[str, Collection[str]] | None = None,
    background: Sequence[Coroutine[Any, Any, None]] = (),
    warm_ups: Mapping[str, Coroutine[Any, Any, None]] = MappingProxyType({}),
    on_ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serves until SIGTERM or SIGINT, then lets the calls under way finish and the background tasks end.

    Args:
        listen: Address to bind, e.g. `127.0.0.1:50051`; port 0 takes a free one.
        services: Full service name to its registration.
        settings: Shared settings.
        scopes: Full method to the scopes of which a caller needs one; what is not listed needs `admin`.
        background: Tasks that run beside the server and are cancelled, and awaited, at its end.
        warm_ups: Full service name to what has to be done before its health is SERVING; it answers calls meanwhile.
        on_ready: Called with the port once calls are answered.

    Raises:
        FailedPrecondition: The address lets other machines in, and there is no authentication.
        Unavailable: The address cannot be bound.
        BackgroundEnded: A background task ended by itself.
    """
    try:
        if not listen.startswith(_SOCKETS_OF_THIS_MACHINE):
            check_listen(listen.rpartition(":")[0], settings)
        healthy = health.aio.HealthServicer()
        server = _make_server(services, settings, scopes, healthy)
        port = _bind(server, listen, tls.of_services(settings))
        probed = await _answer_probes(settings.health_listen, healthy)
    except TimbreError:
        for coroutine in (*background, *warm_ups.values()):
            coroutine.close()
        raise
    await server.start()
    for name in ("", *services):
        cold = name in warm_ups
        await healthy.set(name, Health.NOT_SERVING if cold else Health.SERVING)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(coroutine) for coroutine in background]
    warming = [asyncio.create_task(_warm_up(healthy, name, coroutine)) for name, coroutine in warm_ups.items()]
    logger.info("serving %s on port %d", ", ".join(services), port)
    on_ready(port)
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
    # Better a restart than a service that does half its work.
    ended = [_say_why(task) for task in tasks if task.done()]
    logger.info("stopping")
    await healthy.enter_graceful_shutdown()
    for task in (*tasks, *warming):
        task.cancel()
    await asyncio.gather(server.stop(settings.drain_grace_seconds), *tasks, *warming, return_exceptions=True)
    if probed:
        await probed.stop(None)
    waiter.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiter
    logger.info("stopped")
    if ended:
        raise BackgroundEnded(f"The service stopped because {', '.join(ended)} ended by itself; its log says why.")


def _make_server(
    services: Mapping[str, Register],
    settings: RuntimeSettings,
    scopes: Mapping[str, Collection[str]] | None,
    healthy: health.aio.HealthServicer,
) -> grpc.aio.Server:
    """Makes the server of these services, with health and reflection beside them; it listens nowhere yet."""
    chassis = ChassisInterceptor(open_verifier(settings), scopes)
    options = [*SERVER_OPTIONS, ("grpc.max_concurrent_streams", settings.max_streams)]
    server = grpc.aio.server(interceptors=[chassis], options=options)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for register in services.values():
        register(server)
    reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return server


def _bind(server: grpc.aio.Server, listen: str, certificates: tls.Certificates | None) -> int:
    """Makes a server listen; returns the port.

    Raises:
        FailedPrecondition: There is an authority, but no certificate to show.
        Unavailable: The address cannot be bound.
    """
    try:
        if certificates is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, tls.server_credentials(certificates))
    except RuntimeError as error:
        raise Unavailable(f"Cannot listen on {listen}: the port may be taken, choose another one.") from error


async def _answer_probes(listen: str, healthy: health.aio.HealthServicer) -> grpc.aio.Server | None:
    """Answers health checks in plain text where a setting says so. There is nothing else there, so anybody may ask.

    Kubernetes' gRPC probes know no TLS (https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes).
    """
    if not listen:
        return None
    server = grpc.aio.server(options=SERVER_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    _bind(server, listen, None)
    await server.start()
    return server


async def _warm_up(healthy: health.aio.HealthServicer, name: str, work: Coroutine[Any, Any, None]) -> None:
    await work
    await healthy.set(name, Health.SERVING)
    logger.info("%s is ready", name)


def _say_why(ended: asyncio.Task[None]) -> str:
    """Logs what ended a background task; returns its name."""
    name = getattr(ended.get_coro(), "__qualname__", ended.get_name())
    logger.critical("%s ended by itself", name, exc_info=ended.exception())
    return name
