"""The gateway's own metrics: requests by the template of their route."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from timbre.dataset.v1 import dataset_pb2
from timbre.jobs.v1 import jobs_pb2

from services.runtime import telemetry


@pytest.fixture
def listening() -> Iterator[None]:
    telemetry.start("127.0.0.1:0")
    yield
    telemetry.stop()


@pytest.mark.asyncio(loop_scope="session")
async def test_requests_are_counted_by_route_never_by_path(listening: None, stack: Any) -> None:
    stack.answer(
        GetDatasetStats=dataset_pb2.GetDatasetStatsResponse(),
        GetJob=jobs_pb2.GetJobResponse(job=jobs_pb2.Job(id="job_1", state=jobs_pb2.JOB_STATE_RUNNING)),
    )
    for path in ("/training/dataset/stats", "/training/jobs/job_1", "/training/jobs/job_2", "/made/up", "/files/made/up"):
        await stack.client.get(path)
    await stack.client.request("PROPFIND", "/training/dataset/stats")
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{telemetry.port()}/metrics")).text
    counted = [line.partition("_count")[2] for line in text.splitlines() if line.startswith("timbre_http_seconds_count")]
    assert '{method="GET",route="/training/dataset/stats",status="200"} 1.0' in counted
    assert '{method="GET",route="/training/jobs/{job_id}",status="200"} 2.0' in counted
    assert '{method="GET",route="none",status="404"} 1.0' in counted
    assert any(line.startswith('{method="other"') for line in counted), counted
    assert "made/up" not in text
    assert "job_1" not in text
    assert "PROPFIND" not in text
