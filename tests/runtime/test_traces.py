"""One trace from a call into the worker of the job that it starts, as a real OTLP collector over gRPC receives it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc

from services.runtime import traces
from tests.collector import Collector, collecting
from tests.ports import free_port

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Collector, str]]:
    async with collecting() as running:
        yield running


async def test_a_trace_goes_from_the_call_into_the_worker(receiver: tuple[Collector, str], tmp_path: Path) -> None:
    kept, endpoint = receiver
    port = free_port()
    environment = {
        **os.environ,
        "TIMBRE_DATA_DIR": str(tmp_path),
        "TIMBRE_DATASET_LISTEN": f"127.0.0.1:{port}",
        "TIMBRE_TRACES_ENDPOINT": endpoint,
        "TIMBRE_DOWNLOAD_HOSTS": "voices.invalid",  # no such host: the job fails, and is traced all the same
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.dataset", env=environment)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = dataset_pb2.StartDownloadRequest(urls=["https://voices.invalid/one"], folder="datasets/a")
            parent = ((traces.TRACEPARENT, f"00-{TRACE}-00f067aa0ba902b7-01"),)
            stub = dataset_pb2_grpc.DatasetServiceStub(channel)
            await stub.StartDownload(request, metadata=parent, wait_for_ready=True, timeout=30)
        async with asyncio.timeout(60):
            while not any(name == "timbre.worker" for name, _ in kept.spans):
                await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()
    call = kept.spans["timbre.dataset", "timbre.dataset.v1.DatasetService/StartDownload"]
    job = kept.spans["timbre.worker", "dataset.download"]
    assert call.trace_id.hex() == job.trace_id.hex() == TRACE
    assert call.parent_span_id.hex() == "00f067aa0ba902b7"
    assert job.parent_span_id == call.span_id


def test_nothing_is_traced_without_an_endpoint() -> None:
    traces.start("", "test")
    assert traces.begin("anything", f"00-{TRACE}-00f067aa0ba902b7-01") is None
    assert traces.current.get() == ""
