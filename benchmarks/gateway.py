"""What does the gateway cost? Calls a second and latencies beside a plain FastAPI hop; memory for many watchers of one job.

Five ways lead to one server of fixed answers: a bare gRPC call, the same call behind the plainest FastAPI application, and
`GET /training/status` and `/training/dataset/stats` of the gateway with authentication (tokens), limits (so high that
nobody is refused), metrics and bounds on connections on. They take turns, so that whatever else the machine does hits all
alike; medians over the rounds are printed. What callers with one token ask at the same moment is asked once behind the
gateway; the fifth way has each caller ask about another dataset, so that nothing is shared and the whole cost of a request
shows. Then very many clients follow one job by server-sent events, and the gateway's memory and its streams from the service
are counted.

The load comes from this process over bare sockets. On a machine of few cores it competes with what it measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from pydantic import SecretStr
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from timbre.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from timbre.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from services.runtime.auth import mint
from services.runtime.settings import RuntimeSettings
from timbre.serve import choose_places

CALLERS = (1, 16, 64, 256)
ROUNDS = 12
ROUND_SECONDS = float(os.environ.get("BENCHMARK_SECONDS", "0.5"))
WATCHERS = 1000
LARGEST_MEBIBYTES = 300
SLOWEST = 1.25  # of the plain hop's time for a call

JOB = jobs_pb2.Job(id="job_1", kind="trainer.train", subject="voice", state=jobs_pb2.JOB_STATE_RUNNING, progress=0.25)
STATUS = trainer_pb2.GetTrainingStatusResponse(
    state=trainer_pb2.TRAINING_STATE_RUNNING,
    epoch=45,
    total_epochs=100,
    loss=0.0234,
    progress_percent=45,
    log_lines=[f"Epoch {epoch}/100 - Loss: 0.0234" for epoch in range(36, 46)],
    job_id=JOB.id,
    model_name="voice",
)
STATS = dataset_pb2.GetDatasetStatsResponse()

Call = Callable[[], Awaitable[object]]


# ── what is behind every way ────────────────────────────────────────────────────────────────────────────────────────────


class Trainer(trainer_pb2_grpc.TrainerServiceServicer):
    """Answers at once."""

    async def GetTrainingStatus(self, _request: Any, _context: Any) -> trainer_pb2.GetTrainingStatusResponse:  # noqa: D102
        return STATUS


class Dataset(dataset_pb2_grpc.DatasetServiceServicer):
    """Answers at once."""

    async def GetDatasetStats(self, _request: Any, _context: Any) -> dataset_pb2.GetDatasetStatsResponse:  # noqa: D102
        return STATS


class Jobs(jobs_pb2_grpc.JobsServiceServicer):
    """One job, whose log grows by a line a second; the log of "streams" says how many streams of it are open."""

    def __init__(self) -> None:
        self._streams = 0

    async def GetJob(self, _request: Any, _context: Any) -> jobs_pb2.GetJobResponse:  # noqa: D102
        return jobs_pb2.GetJobResponse(job=JOB)

    async def GetJobLog(self, request: Any, _context: Any) -> jobs_pb2.GetJobLogResponse:  # noqa: D102
        if request.job_id == "streams":
            return jobs_pb2.GetJobLogResponse(lines=[jobs_pb2.LogLine(sequence=1, text=str(self._streams))])
        return jobs_pb2.GetJobLogResponse()

    async def WatchJob(self, request: Any, _context: Any) -> AsyncIterator[jobs_pb2.WatchJobResponse]:  # noqa: D102
        self._streams += 1
        try:
            sequence = request.after_sequence
            while True:
                sequence += 1
                yield jobs_pb2.WatchJobResponse(job=JOB, lines=[jobs_pb2.LogLine(sequence=sequence, text="Epoch 45/100")])
                await asyncio.sleep(1)
        finally:
            self._streams -= 1


async def answer(port: str) -> None:
    """Runs the server of fixed answers, bare: without any interceptor."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    trainer_pb2_grpc.add_TrainerServiceServicer_to_server(Trainer(), server)
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(Dataset(), server)
    jobs_pb2_grpc.add_JobsServiceServicer_to_server(Jobs(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def hop(port: str, address: str) -> None:
    """Runs the plainest FastAPI application that makes the same call: a dictionary of what came, no more."""
    import uvicorn
    from fastapi import FastAPI

    stubs: list[Any] = []

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with grpc.aio.insecure_channel(address) as channel:
            stubs.append(trainer_pb2_grpc.TrainerServiceStub(channel))
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/echo")
    async def echo() -> dict[str, Any]:
        found = await stubs[0].GetTrainingStatus(trainer_pb2.GetTrainingStatusRequest(), timeout=10)
        return {
            "state": trainer_pb2.TrainingState.Name(found.state),
            "epoch": found.epoch,
            "total_epochs": found.total_epochs,
            "loss": found.loss,
            "progress": found.progress_percent,
            "logs": "\n".join(found.log_lines),
        }

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


# ── load ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class HttpCaller:
    """A client of one kept connection, that costs next to nothing."""

    def __init__(self, port: int, path: str, token: str = "") -> None:
        self._port = port
        self._ask = ask(path, token)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self) -> None:
        """Makes one call."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._ask)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]))

    def close(self) -> None:
        """Hangs up."""
        if self._streams:
            self._streams[1].close()


def ask(path: str, token: str) -> bytes:
    """Returns a request, as a client with a token sends it."""
    door = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{door}\r\n".encode()


async def load(calls: list[Call], seconds: float) -> tuple[float, list[float]]:
    """Has every caller call again and again; returns the calls a second, and how long each took."""
    start = time.perf_counter()
    end = start + seconds
    times: list[float] = []

    async def go_on(call: Call) -> None:
        while (began := time.perf_counter()) < end:
            await call()
            times.append(time.perf_counter() - began)

    await asyncio.gather(*map(go_on, calls))
    return len(times) / (time.perf_counter() - start), times


async def measure(backend: str, plain: int, gateway: int, token: str) -> float:
    """Prints the figures of every way; returns the worst ratio of ours to the plain hop, by the median of the rounds."""
    worst = 0.0
    async with grpc.aio.insecure_channel(backend) as channel:
        stub = trainer_pb2_grpc.TrainerServiceStub(channel)

        async def bare() -> None:
            await stub.GetTrainingStatus(trainer_pb2.GetTrainingStatusRequest(), timeout=10)

        for callers in CALLERS:
            ways: dict[str, list[Any]] = {
                "grpc.aio": [bare] * callers,
                "plain FastAPI": [HttpCaller(plain, "/echo") for _ in range(callers)],
                "/training/status": [HttpCaller(gateway, "/training/status", token) for _ in range(callers)],
                "/training/dataset/stats": [HttpCaller(gateway, "/training/dataset/stats", token) for _ in range(callers)],
                "the same, none shared": [
                    HttpCaller(gateway, f"/training/dataset/stats?folder=datasets/{number}", token) for number in range(callers)
                ],
            }
            for calls in ways.values():
                await load(calls, ROUND_SECONDS)
            rounds: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, calls in ways.items():
                    rounds[name].append(await load(calls, ROUND_SECONDS))
            for calls in ways.values():
                for call in calls:
                    if isinstance(call, HttpCaller):
                        call.close()
            worst = max(worst, describe(callers, rounds))
    return worst


def describe(callers: int, rounds: dict[str, list[tuple[float, list[float]]]]) -> float:
    """Prints the figures for a number of callers; returns the worst ratio of ours to the plain hop."""
    worst = 0.0
    for name, made in rounds.items():
        rate = statistics.median(found for found, _ in made)
        cuts = statistics.quantiles([one for _, times in made for one in times], n=100)
        # within a round, the ways were tried at nearly the same time, and the rest of the machine did nearly the same
        cost = statistics.median(plain / ours for (plain, _), (ours, _) in zip(rounds["plain FastAPI"], made, strict=True))
        print(
            f"{callers:4} callers  {name:<24} {rate:6.0f} calls/s   p50 {1000 * cuts[49]:7.2f} ms   "
            f"p99 {1000 * cuts[98]:7.2f} ms   {cost:5.2f} × the plain hop's time",
            flush=True,
        )
        worst = max(worst, cost) if name.startswith("/") else worst
    return worst


async def watch(backend: str, gateway: int, process: int, token: str) -> tuple[int, float]:
    """Follows one job many times; returns the streams from the service and the gateway's memory in MiB."""
    readers = [await open_events(gateway, token) for _ in range(WATCHERS)]
    for _ in range(3):  # everybody has a line, and another: the fan-out is at work, not only the connections
        await asyncio.gather(*(reader.readuntil(b"event: log") for reader, _ in readers))
    memory = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    async with grpc.aio.insecure_channel(backend) as channel:
        found = await jobs_pb2_grpc.JobsServiceStub(channel).GetJobLog(jobs_pb2.GetJobLogRequest(job_id="streams"))
    for _, writer in readers:
        writer.close()
    return int(found.lines[0].text), memory


async def open_events(port: int, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begins to follow the job."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ask(f"/training/jobs/{JOB.id}/events", token))
    return reader, writer


# ── putting it together ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, *command], env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


async def wait_for(port: int) -> None:
    """Waits until somebody listens."""
    for _ in range(600):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


async def main() -> int:
    """Measures everything; returns 1 when a bound is broken."""
    places = choose_places("127.0.0.1", 0, usual=False)
    backend, gateway = places.services["dataset"], places.port
    plain, metrics = (int(places.services[name].rpartition(":")[2]) for name in ("trainer", "inference"))
    addresses = {f"TIMBRE_{name}_ADDRESS": backend for name in ("DATASET", "TRAINER", "INFERENCE")}
    settings = RuntimeSettings(auth="jwt", jwt_secret=SecretStr(secrets.token_urlsafe(32)))
    assert settings.jwt_secret is not None
    token = mint(settings, "benchmark", ["training", "dataset:read"], 3600)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(__file__, "answer", backend.rpartition(":")[2]),
        running(__file__, "hop", str(plain), backend),
        running(
            "-m",
            "gateway",
            TIMBRE_PORT=str(gateway),
            TIMBRE_DATA_DIR=folder,
            TIMBRE_METRICS_LISTEN=f"127.0.0.1:{metrics}",
            TIMBRE_AUTH="jwt",
            TIMBRE_JWT_SECRET=settings.jwt_secret.get_secret_value(),
            TIMBRE_RATE_LIMITS="on",
            TIMBRE_RATE_LIMIT_DATASET="10000000/minute",
            **addresses,
        ) as process,
    ):
        for port in (int(backend.rpartition(":")[2]), plain, gateway):
            await wait_for(port)
        worst = await measure(backend, plain, gateway, token)
        print(f"ours takes at most {worst:.2f} × the time of the plain FastAPI hop (bound {SLOWEST})")
        streams, memory = await watch(backend, gateway, process.pid, token)
        print(
            f"{WATCHERS} watchers of one job: {streams} stream from the service, {memory:.0f} MiB (bound {LARGEST_MEBIBYTES})"
        )
    return int(worst > SLOWEST or streams != 1 or memory >= LARGEST_MEBIBYTES)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["answer", port]:
            asyncio.run(answer(port))
        case ["hop", port, address]:
            hop(port, address)
        case _:
            resource.setrlimit(resource.RLIMIT_NOFILE, (8192, max(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
            sys.exit(asyncio.run(main()))
