"""The gateway's part of a trace: it continues the client's, and its calls continue its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from timbre.dataset.v1 import dataset_pb2

from services.runtime import traces
from tests.collector import collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.asyncio(loop_scope="session")
async def test_a_request_and_its_call_are_in_the_trace_of_the_client(stack: Any) -> None:
    stack.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
    async with collecting() as (kept, endpoint):
        traces.start(endpoint, "gateway")
        try:
            await stack.client.get("/training/dataset/stats", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        finally:
            await asyncio.to_thread(traces.stop)
    request = kept.spans["timbre.gateway", "GET /training/dataset/stats"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, "00f067aa0ba902b7")
    sent = stack.script.metadata["GetDatasetStats"]["traceparent"]
    assert sent == f"00-{TRACE}-{request.span_id.hex()}-01"


@pytest.mark.asyncio(loop_scope="session")
async def test_nothing_travels_while_traces_are_off(stack: Any) -> None:
    stack.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
    await stack.client.get("/training/dataset/stats", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert "traceparent" not in stack.script.metadata["GetDatasetStats"]
