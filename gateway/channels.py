"""Channels to the services: in plain text, or by TLS with the newest certificate that there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from services.runtime import tls

Options = Sequence[tuple[str, int | str]]

# What is under way on a channel whose certificate was replaced may go on for this long; streams of events begin anew.
_GRACE_SECONDS = 60.0


def open_channel(address: str, options: Options, certificates: tls.Certificates | None) -> grpc.aio.Channel:
    """Opens a channel; it connects on first use. To be called in a running event loop.

    Args:
        address: As gRPC names it: `host:port` or `dns:///host:port`.
        options: Of the channel.
        certificates: What is shown and asked for; None: plain text.
    """
    if certificates is None:
        return grpc.aio.insecure_channel(address, options=options)
    return RenewedChannel(address, options, certificates)


class RenewedChannel(grpc.aio.Channel):
    """A channel that is replaced when its certificate is: gRPC would connect again with the one it began with, even expired."""

    def __init__(self, address: str, options: Options, certificates: tls.Certificates) -> None:
        self._address, self._options, self._certificates = address, options, certificates
        self._closing: set[asyncio.Task[None]] = set()
        self._pem = certificates.pem
        self._channel = self._open()

    def _open(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(self._address, tls.channel_credentials(self._pem), options=self._options)

    def _newest(self) -> grpc.aio.Channel:
        if self._pem is not self._certificates.pem:
            closing = asyncio.create_task(self._channel.close(_GRACE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._pem = self._certificates.pem
            self._channel = self._open()
        return self._channel

    def _method(self, kind: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        channel, method = self._channel, getattr(self._channel, kind)(*args, **kwargs)

        def call(*call_args: Any, **call_kwargs: Any) -> Any:
            nonlocal channel, method
            if channel is not self._newest():
                channel, method = self._channel, getattr(self._channel, kind)(*args, **kwargs)
            return method(*call_args, **call_kwargs)

        return call

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._method("unary_unary", *args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._method("unary_stream", *args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._method("stream_unary", *args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return self._method("stream_stream", *args, **kwargs)

    async def close(self, grace: float | None = None) -> None:  # noqa: D102
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, self._channel.close(grace), return_exceptions=True)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: D102
        return self._newest().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:  # noqa: D102
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:  # noqa: D102
        await self._newest().channel_ready()

    async def __aenter__(self) -> RenewedChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
