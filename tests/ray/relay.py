"""Carries connections from one place to another: `python relay.py LISTEN TARGET`, each a path of a socket or a port."""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def relay(listen: str, target: str) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if target.isdigit():
                there = await asyncio.open_connection("127.0.0.1", int(target))
            else:
                there = await asyncio.open_unix_connection(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    if listen.isdigit():
        server = await asyncio.start_server(connected, "127.0.0.1", int(listen))
    else:
        server = await asyncio.start_unix_server(connected, listen)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(relay(*sys.argv[1:]))
