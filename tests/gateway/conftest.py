"""A gateway on a real port, in front of real gRPC servers whose answers each test writes down."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from timbre.inference.v1 import inference_pb2, inference_pb2_grpc
from timbre.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from timbre.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from gateway.__main__ import Server
from gateway.app import create_app
from gateway.settings import GatewaySettings
from services.runtime import tls
from services.runtime.auth import open_verifier
from services.runtime.interceptors import ChassisInterceptor
from services.runtime.server import SERVER_OPTIONS
from services.runtime.settings import RuntimeSettings
from services.scopes import RPC_SCOPES

SERVICES = {
    "dataset": (dataset_pb2, dataset_pb2_grpc, "DatasetService"),
    "trainer": (trainer_pb2, trainer_pb2_grpc, "TrainerService"),
    "inference": (inference_pb2, inference_pb2_grpc, "InferenceService"),
    "jobs": (jobs_pb2, jobs_pb2_grpc, "JobsService"),
}


@dataclass
class Script:
    """What the services answer, and what they were asked.

    Attributes:
        answers: By method: a reply, an error to raise, or an async function (a generator for streams) of request and context.
        requests: By method: every request; a list of messages where the client streams.
        metadata: By method: the metadata of the last call.
        seconds_left: By method: what was left of the deadline when the last call came in.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds_left: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, request: Any, context: Any) -> Any:
        self.requests[name].append(request)
        self.metadata[name] = dict(context.invocation_metadata())
        self.seconds_left[name] = context.time_remaining()
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Stack:
    """A running gateway and what is behind it."""

    client: httpx.AsyncClient
    script: Script
    servers: dict[str, grpc.aio.Server]
    health: dict[str, Any]
    settings: GatewaySettings
    server: Server

    def answer(self, **answers: Any) -> None:
        self.script.answers.update(answers)

    def asked(self, name: str) -> Any:
        """The last request to a method."""
        return self.script.requests[name][-1]


StartStack = Callable[..., Any]


@pytest.fixture(scope="session")
def start_stack(tmp_path_factory: pytest.TempPathFactory) -> StartStack:
    """An async context manager that starts a gateway; settings by name."""

    @asynccontextmanager
    async def start(
        service_auth: RuntimeSettings | None = None, trust: ssl.SSLContext | None = None, **settings: Any
    ) -> AsyncIterator[Stack]:
        script = Script()
        servers, checks, addresses = {}, {}, {}
        for name in ("dataset", "trainer", "inference"):
            servers[name], checks[name], port = await _start_service(name, script, known_to=service_auth)
            addresses[f"{name}_address"] = f"127.0.0.1:{port}"
        known = GatewaySettings(data_dir=tmp_path_factory.mktemp("gateway"), port=0, **{**addresses, **settings})
        server = Server(create_app(known), known)
        running = asyncio.create_task(server.serve())
        while not server.started:
            assert not running.done(), "the gateway did not start"
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        scheme = "https" if known.https_cert else "http"
        async with httpx.AsyncClient(base_url=f"{scheme}://127.0.0.1:{port}", timeout=10, verify=trust or True) as client:
            yield Stack(client, script, servers, checks, known, server)
        server.should_exit = True
        await running
        await asyncio.gather(*(one.stop(None) for one in servers.values()))

    return start


@pytest.fixture(scope="session")
def start_service() -> Callable[..., Any]:
    """Starts one more server for a service: name, script, port."""
    return _start_service


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stack(start_stack: StartStack) -> AsyncIterator[Stack]:
    async with start_stack(call_timeout_seconds=5.0, synthesis_timeout_seconds=0.5, event_comment_seconds=0.2) as running:
        yield running


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """A gateway with short deadlines, one for all tests, and an empty script."""
    shared_stack.script.__init__()  # type: ignore[misc]
    return shared_stack


async def _start_service(
    name: str, script: Script, port: int = 0, known_to: RuntimeSettings | None = None
) -> tuple[grpc.aio.Server, Any, int]:
    """Starts a server for a service, with jobs and health beside it as the real ones have them."""
    chassis = ChassisInterceptor(open_verifier(known_to) if known_to else None, RPC_SCOPES)
    server = grpc.aio.server(interceptors=[chassis], options=SERVER_OPTIONS)
    check = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(check, server)
    await check.set("", health_pb2.HealthCheckResponse.SERVING)
    for served in {name, "jobs"}:
        messages, stubs, service = SERVICES[served]
        await check.set(messages.DESCRIPTOR.services_by_name[service].full_name, health_pb2.HealthCheckResponse.SERVING)
        servicer = _servicer(messages.DESCRIPTOR.services_by_name[service], getattr(stubs, f"{service}Servicer"), script)
        getattr(stubs, f"add_{service}Servicer_to_server")(servicer, server)
    certificates = tls.of_services(known_to) if known_to else None
    listen = f"127.0.0.1:{port}"
    secure = tls.server_credentials(certificates) if certificates else None
    port = server.add_secure_port(listen, secure) if secure else server.add_insecure_port(listen)
    await server.start()
    return server, check, port


def _servicer(service: ServiceDescriptor, base: type, script: Script) -> Any:
    return type("Scripted", (base,), {method.name: _handler(method, script) for method in service.methods})()


def _handler(method: MethodDescriptor, script: Script) -> Any:
    if method.server_streaming:

        async def stream(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            async for message in script.note(method.name, request, context)(request, context):
                yield message

        return stream

    async def call(self: Any, request: Any, context: Any) -> Any:
        if method.client_streaming and not callable(script.answers[method.name]):
            request = [message async for message in request]
        answer = script.note(method.name, request, context)
        return await answer(request, context) if callable(answer) else answer

    return call
