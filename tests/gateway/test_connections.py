"""How many may come at once: connections, and streams of events. What clients may do slowly is in tests/e2e/hostile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from timbre.jobs.v1 import jobs_pb2

pytestmark = pytest.mark.asyncio(loop_scope="session")

RUNNING = jobs_pb2.Job(id="job_1", kind="trainer.train", state=jobs_pb2.JOB_STATE_RUNNING)


async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


async def test_connections_beyond_the_most_are_refused_in_a_sentence(start_stack: Any) -> None:
    async with start_stack(max_connections=2) as stack:
        port = stack.client.base_url.port
        kept = [await ask(port) for _ in range(2)]
        reader, writer, head = await ask(port)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in head.lower()
        assert json.loads(await reader.read())["reason"] == "TOO_BUSY"
        writer.close()
        await writer.wait_closed()
        for _, one, answered in kept:
            assert answered.startswith(b"HTTP/1.1 200")
            one.close()
            await one.wait_closed()
        head = b""
        while not head.startswith(b"HTTP/1.1 200"):
            _, writer, head = await ask(port)
            writer.close()
            await writer.wait_closed()


async def test_watchers_beyond_the_most_are_refused_in_a_sentence(start_stack: Any) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        yield jobs_pb2.WatchJobResponse(job=RUNNING)
        await asyncio.Event().wait()

    async with start_stack(max_watchers=2) as stack:
        stack.answer(
            GetJob=jobs_pb2.GetJobResponse(job=RUNNING),
            GetJobLog=jobs_pb2.GetJobLogResponse(),
            ListJobs=jobs_pb2.ListJobsResponse(),
            WatchJob=watch,
        )
        events = "/training/jobs/job_1/events"
        kept: list[AsyncIterator[str]] = []
        async with AsyncExitStack() as watching:
            for _ in range(2):
                stream = await watching.enter_async_context(stack.client.stream("GET", events))
                assert stream.status_code == 200
                kept.append(stream.aiter_lines())
                while await anext(kept[-1]) != "event: job":
                    pass
            for path in (events, "/training/events"):
                refused = await stack.client.get(path)
                assert (refused.status_code, refused.json()["reason"]) == (503, "RESOURCE_EXHAUSTED")
                assert refused.headers["retry-after"] == "5"
        while stack.server._app.state.hub._feeds:
            await asyncio.sleep(0.02)
        async with stack.client.stream("GET", events) as stream:
            assert stream.status_code == 200
