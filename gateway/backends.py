"""The services behind the gateway: channels, stubs, and the one way to call them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc
from fastapi import Request
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2_grpc
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from timbre.inference.v1 import inference_pb2, inference_pb2_grpc
from timbre.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from timbre.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from gateway.balancing import service_config
from gateway.channels import open_channel
from gateway.settings import GatewaySettings
from services.runtime import audit, tls, traces
from services.runtime.auth import AUTHORIZATION, authorization
from services.runtime.idempotency import IDEMPOTENCY_KEY
from services.runtime.interceptors import REQUEST_ID_KEY
from services.runtime.logs import request_id

if TYPE_CHECKING:
    from timbre.dataset.v1.dataset_pb2_grpc import DatasetServiceAsyncStub
    from timbre.inference.v1.inference_pb2_grpc import InferenceServiceAsyncStub
    from timbre.jobs.v1.jobs_pb2_grpc import JobsServiceAsyncStub
    from timbre.trainer.v1.trainer_pb2_grpc import TrainerServiceAsyncStub

# Whole logs and metrics of long trainings are the largest replies.
_MAX_REPLY_BYTES = 64 * 1024 * 1024

_SERVICES = (
    dataset_pb2.DESCRIPTOR.services_by_name["DatasetService"],
    trainer_pb2.DESCRIPTOR.services_by_name["TrainerService"],
    inference_pb2.DESCRIPTOR.services_by_name["InferenceService"],
    jobs_pb2.DESCRIPTOR.services_by_name["JobsService"],
)

# A method and its request belong together: buf's lint sees to it that no two methods share one.
_READS = frozenset(
    GetMessageClass(method.input_type)
    for service in _SERVICES
    for method in service.methods
    if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
)

_CHANNEL_OPTIONS: Sequence[tuple[str, int | str]] = (
    ("grpc.max_receive_message_length", _MAX_REPLY_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # gRPC waits up to 2 minutes before it looks again for a service that was away; one that restarts is back in seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),  # a replica that takes the place of another has a new address
    ("grpc.service_config", service_config(_SERVICES)),
)

RequestT = TypeVar("RequestT", bound=Message)
ReplyT = TypeVar("ReplyT", bound=Message)


Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[RequestT, ReplyT]"
"""A unary method of an asynchronous stub."""

StreamMethod: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[RequestT, ReplyT]"
"""A method of an asynchronous stub that streams its replies."""


class CallFailed(Exception):
    """A service answered with an error, or not at all.

    Args:
        service: Its name, e.g. `trainer`.
        error: What gRPC says.
        timeout_seconds: The deadline the call had.
    """

    def __init__(self, service: str, error: grpc.aio.AioRpcError, timeout_seconds: float | None = None) -> None:
        super().__init__(f"{service}: {error.code().name}: {error.details()}")
        self.service = service
        self.error = error
        self.timeout_seconds = timeout_seconds


class ClientGone(Exception):
    """The client hung up before its answer was there; nobody is left to read one."""


@dataclass(frozen=True)
class Backends:
    """Stubs for every service, over one channel each.

    Attributes:
        settings: Addresses and deadlines.
        channels: Name of a service to its channel.
        dataset: The dataset service.
        trainer: The trainer service.
        inference: The inference service.
        jobs: The jobs, as served by the dataset service, then by the trainer: both answer for every job.
        health: Name of a service to its health service.
    """

    settings: GatewaySettings
    channels: dict[str, grpc.aio.Channel]
    dataset: DatasetServiceAsyncStub
    trainer: TrainerServiceAsyncStub
    inference: InferenceServiceAsyncStub
    jobs: tuple[JobsServiceAsyncStub, ...]
    health: dict[str, Any] = field(default_factory=dict)
    _asked: dict[Hashable, asyncio.Task[Any]] = field(default_factory=dict)

    async def call(
        self,
        method: Method[RequestT, ReplyT],
        request: RequestT,
        timeout: float | None = None,
        *,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> ReplyT:
        """Calls a method with a deadline and the id of the HTTP request.

        Args:
            method: A unary method of one of the stubs.
            request: What to ask.
            timeout: Deadline in seconds; by default the settings' for quick calls.
            metadata: What goes along besides what goes with every call.

        Raises:
            CallFailed: The service answered with an error, or not at all.
        """
        timeout = timeout or self.settings.call_timeout_seconds
        # a trace shows the call of each request
        if type(request) in _READS and not metadata and not traces.current.get():
            return await self._ask_together(method, request, timeout)
        return await self._send(method, request, timeout, metadata)

    async def _send(
        self, method: Method[RequestT, ReplyT], request: RequestT, timeout: float, metadata: Sequence[tuple[str, str]] = ()
    ) -> ReplyT:
        audit.note(request)
        try:
            reply = await method(request, timeout=timeout, metadata=(*call_metadata(), *metadata))
        except grpc.aio.AioRpcError as error:
            raise CallFailed(service_of(request), error, timeout) from error
        audit.note(reply)
        return reply

    async def _ask_together(self, method: Method[RequestT, ReplyT], request: RequestT, timeout: float) -> ReplyT:
        """Calls a method that only reads, once for all who ask it the same with the same token at the same moment.

        Many poll one training: the more of them there are, the more share a call. It goes out in the next turn of the event
        loop, so after everybody who shares it has asked: nobody gets an answer that is older than their question. One who
        hangs up takes it from nobody else.
        """
        question = (method, request.SerializeToString(deterministic=True), authorization.get(), timeout)
        answer = self._asked.get(question)
        if answer is None:

            async def ask() -> ReplyT:
                del self._asked[question]
                return await self._send(method, request, timeout)

            answer = self._asked[question] = asyncio.create_task(ask())
        audit.note(request)
        reply: ReplyT = await asyncio.shield(answer)
        audit.note(reply)
        return reply

    async def submit(self, method: Method[RequestT, ReplyT], request: RequestT, key: str | None) -> ReplyT:
        """Calls a method that accepts a job; if a replica does not live to answer, another one is asked for the same job.

        Args:
            method: A unary method of one of the stubs.
            request: What to ask.
            key: The client's idempotency key; without one, only what is sent again here counts as the same.

        Raises:
            CallFailed: The service answered with an error, or not at all.
        """
        return await self.call(method, request, metadata=((IDEMPOTENCY_KEY, key or secrets.token_hex(16)),))

    async def stream(self, method: StreamMethod[RequestT, ReplyT], request: RequestT) -> AsyncIterator[ReplyT]:
        """Calls a method that answers with a stream; returns once the first message is there.

        It has no deadline, as its reader sets the pace: closing the iterator, or a connection that dies, ends it.

        Raises:
            CallFailed: The service answered with an error before the first message; later ones are raised in the middle.
        """
        call = method(request, metadata=call_metadata())
        replies = aiter(call)
        try:
            first = await anext(replies, None)
        except grpc.aio.AioRpcError as error:
            raise CallFailed(service_of(request), error) from error

        async def messages() -> AsyncIterator[ReplyT]:
            try:
                if first is not None:
                    yield first
                async for message in replies:
                    yield message
            except grpc.aio.AioRpcError as error:
                raise CallFailed(service_of(request), error) from error
            finally:
                call.cancel()

        return messages()

    async def call_while_connected(
        self, http: Request, method: Method[RequestT, ReplyT], request: RequestT, timeout: float, times: int = 1
    ) -> ReplyT:
        """Calls a method that computes for long, and cancels it when the HTTP client hangs up.

        Args:
            http: The request to answer; its body must have been read.
            method: A unary method of one of the stubs.
            request: What to ask.
            timeout: Deadline in seconds.
            times: How often to call it at once: as often as there are replicas, each of which then gets one call. One reply is
                enough; what the others do is for their own good.

        Raises:
            CallFailed: The service answered with an error, or not at all.
            ClientGone: The client hung up.
        """
        rpc = asyncio.create_task(self._call_times(times, method, request, timeout))
        hang_up = asyncio.create_task(_hung_up(http))
        try:
            await asyncio.wait({rpc, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if not rpc.done():
                raise ClientGone
            return rpc.result()
        finally:
            for task in (rpc, hang_up):
                task.cancel()
                with suppress(asyncio.CancelledError, CallFailed):
                    await task

    async def _call_times(self, times: int, method: Method[RequestT, ReplyT], request: RequestT, timeout: float) -> ReplyT:
        if times == 1:
            return await self._send(method, request, timeout)
        found = await asyncio.gather(*(self._send(method, request, timeout) for _ in range(times)), return_exceptions=True)
        failures = [one for one in found if isinstance(one, BaseException)]
        if len(failures) == times:
            raise failures[0]
        return next(one for one in found if not isinstance(one, BaseException))

    async def stream_while_connected(
        self, http: Request, method: StreamMethod[RequestT, ReplyT], request: RequestT, timeout: float
    ) -> AsyncGenerator[ReplyT, None]:
        """Calls a method that answers with a stream, and cancels it when the HTTP client hangs up or nobody reads on.

        Args:
            http: The request to answer; its body must have been read.
            method: A method of one of the stubs that streams its replies.
            request: What to ask.
            timeout: Deadline in seconds, for the whole.

        Raises:
            CallFailed: The service answered with an error, at once or in the middle, or not at all.
            ClientGone: The client hung up.
        """
        rpc = method(request, timeout=timeout, metadata=call_metadata())
        hang_up = asyncio.create_task(_hung_up(http))
        hang_up.add_done_callback(lambda _: rpc.cancel())
        try:
            async for reply in rpc:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise CallFailed(service_of(request), error, timeout) from error
        except asyncio.CancelledError:
            if hang_up.done() and not hang_up.cancelled():
                raise ClientGone from None
            raise
        finally:
            rpc.cancel()
            hang_up.cancel()

    async def call_jobs(self, name: str, request: Message) -> Any:
        """Calls a method of the jobs service at the first of the services behind it that can be reached.

        Args:
            name: The method, e.g. `GetJob`.
            request: What to ask.

        Raises:
            CallFailed: A service answered with an error, or none could be reached.
        """
        *others, last = self.jobs
        for stub in others:
            try:
                return await self.call(getattr(stub, name), request)
            except CallFailed as failed:
                if failed.error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
        return await self.call(getattr(last, name), request)

    async def close(self) -> None:
        """Closes the channels; calls under way end as cancelled."""
        await asyncio.gather(*(channel.close() for channel in self.channels.values()))


def open_backends(settings: GatewaySettings, certificates: tls.Certificates | None = None) -> Backends:
    """Opens a channel to each service; it connects on first use. To be called in a running event loop.

    Args:
        settings: Addresses and deadlines.
        certificates: What the gateway shows the services and asks of them; None: plain text.
    """
    addresses = {
        "dataset": settings.dataset_address,
        "trainer": settings.trainer_address,
        "inference": settings.inference_address,
    }
    channels = {name: open_channel(address, _CHANNEL_OPTIONS, certificates) for name, address in addresses.items()}
    return Backends(
        settings=settings,
        channels=channels,
        dataset=dataset_pb2_grpc.DatasetServiceStub(channels["dataset"]),
        trainer=trainer_pb2_grpc.TrainerServiceStub(channels["trainer"]),
        inference=inference_pb2_grpc.InferenceServiceStub(channels["inference"]),
        jobs=tuple(jobs_pb2_grpc.JobsServiceStub(channels[name]) for name in ("dataset", "trainer")),
        health={name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()},
    )


def call_metadata() -> tuple[tuple[str, str], ...]:
    """Returns what goes with every call: the id of the HTTP request, its place in a trace, who asks."""
    known = (
        (REQUEST_ID_KEY, request_id.get()),
        (traces.TRACEPARENT, traces.current.get()),
        (AUTHORIZATION, authorization.get()),
    )
    return tuple((key, value) for key, value in known if value)


def service_of(request: Message) -> str:
    """Returns the name of the service that a message belongs to: `trainer` for `timbre.trainer.v1`.

    Jobs have no process of their own: the trainer is the last that is asked for them.
    """
    name = request.DESCRIPTOR.file.package.split(".")[1]
    return "trainer" if name == "jobs" else name


async def _hung_up(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
