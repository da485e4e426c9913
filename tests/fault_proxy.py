"""A TCP proxy that hurts: it refuses, resets, stalls, slows down, answers for the server, or changes a byte.

    with FaultProxy(port_of_the_server) as proxy:
        proxy.inject(Fault("reset", after=100_000))   # the next connection breaks after 100 kB of its answer
        with proxy.down(): ...                         # connections are refused meanwhile

Faults are taken by connections in turn; when none is left, bytes pass as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_BLOCK_BYTES = 1 << 16
_BUSY = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
)


@dataclass(frozen=True)
class Fault:
    """What happens to one connection.

    Attributes:
        kind: `reset` breaks it off, `stall` passes nothing more but keeps it open, `slow` passes little at a time, `flip`
            changes a byte, `busy` answers a request with S3's 503 in place of the server.
        after: So many bytes pass before.
        upward: They are counted, and the harm is done, in what the client sends; else in what the server answers.
        once: The connection is well until the client has sent what this pattern finds, too; the fault waits for a connection
            on which it does.
        rate: Of `slow`, bytes a second.
    """

    kind: Literal["reset", "stall", "slow", "flip", "busy"]
    after: int = 0
    upward: bool = False
    once: bytes = b""
    rate: float = 2e6


class FaultProxy:
    """Listens on a free port of this machine, in a thread of its own.

    Args:
        target: Port on this machine, or the path of a socket.
        tls: Ends TLS here.
    """

    def __init__(self, target: int | Path, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._faults: deque[Fault] = deque()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.accepted = 0
        """Connections so far."""

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def inject(self, *faults: Fault) -> None:
        """Has the next connections suffer; those that are open are ended, so that the next request needs a new one."""
        self._faults.extend(faults)
        self._run(self._drop())

    @property
    def left(self) -> int:
        """Faults that no connection has taken yet."""
        return len(self._faults)

    def heal(self) -> None:
        """Forgets the faults that no connection has taken."""
        self._faults.clear()

    def drop(self) -> None:
        """Breaks off every connection."""
        self._run(self._drop())

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Refuses connections, and breaks off those there are."""
        self._run(self._close())
        try:
            yield
        finally:
            self._run(self._listen())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._drop()

    async def _drop(self) -> None:
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.accepted += 1
        writers = [writer]
        try:
            fault = self._faults[0] if self._faults else None
            if fault is not None and not fault.once:
                self._faults.popleft()
            if fault is not None and fault.kind == "busy":
                return await _answer_busy(reader, writer)
            if isinstance(self._target, int):
                there = await asyncio.open_connection("127.0.0.1", self._target)
            else:
                there = await asyncio.open_unix_connection(str(self._target))
            writers.append(there[1])
            armed = asyncio.Event()
            both = [
                asyncio.create_task(self._carry(reader, there[1], fault, armed, upward=True)),
                asyncio.create_task(self._carry(there[0], writer, fault, armed, upward=False)),
            ]
            try:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
                for ended in done:
                    ended.result()
            finally:
                for one in both:
                    one.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except (OSError, _Broken, asyncio.CancelledError):
            for one_writer in writers:
                _reset(one_writer)
        finally:
            for one_writer in writers:
                one_writer.close()
            self._connections.discard(task)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fault: Fault | None,
        armed: asyncio.Event,
        *,
        upward: bool,
    ) -> None:
        mine = fault if fault is not None and fault.upward == upward else None
        passed, seen = 0, b""
        while data := await reader.read(_BLOCK_BYTES):
            if upward and fault is not None and not armed.is_set():
                seen = (seen + data)[-_BLOCK_BYTES * 2 :]
                if re.search(fault.once, seen, re.DOTALL):
                    armed.set()
                    if fault.once and fault in self._faults:
                        self._faults.remove(fault)
            if mine is not None and armed.is_set():
                whole = max(0, mine.after - passed)
                passed += len(data)
                if len(data) > whole:
                    data = await _hurt(mine, data, whole, writer)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class _Broken(Exception):
    """The connection is to be broken off."""


async def _hurt(fault: Fault, data: bytes, whole: int, writer: asyncio.StreamWriter) -> bytes:
    """Does the harm, `whole` bytes into the data; returns what is to be passed."""
    if fault.kind == "slow":
        await asyncio.sleep(len(data) / fault.rate)
        return data
    if fault.kind == "flip":
        # Only one byte of a connection is changed: what comes later lies far behind `after`.
        if whole or not fault.after:
            return data[:whole] + bytes([data[whole] ^ 1]) + data[whole + 1 :]
        return data
    writer.write(data[:whole])
    await writer.drain()
    if fault.kind == "stall":
        await asyncio.Event().wait()
    raise _Broken


async def _answer_busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
    if length:
        await reader.readexactly(int(length[1]))
    body, answer = _BUSY
    writer.write(answer % len(body) + (b"" if head.startswith(b"HEAD") else body))
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
