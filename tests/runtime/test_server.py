"""The gRPC chassis over real channels: errors as google.rpc.Status, health, reflection, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from timbre.jobs.v1 import jobs_pb2 as pb
from timbre.jobs.v1 import jobs_pb2_grpc

from services.runtime.database import open_database
from services.runtime.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from services.runtime.interceptors import ChassisInterceptor
from services.runtime.jobs import JobQueue
from services.runtime.jobs.servicer import JobsServicer
from services.runtime.server import MAX_MESSAGE_BYTES, SERVER_OPTIONS, BackgroundEnded, serve
from services.runtime.settings import RuntimeSettings
from tests.ports import free_port


class Faulty(JobsServicer):
    """A real servicer that breaks in known ways for known ids."""

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        if request.job_id == "bug":
            raise ValueError(f"a detail of {__file__}")
        if request.job_id == "full":
            raise ResourceExhausted("The queue is full: try again in 3 seconds.", retry_after_seconds=3)
        if request.job_id == "field":
            raise InvalidArgument("epochs is 5: it must be 10 to 1000.", fields={"epochs": "it must be 10 to 1000"})
        if request.job_id == "slow":
            await asyncio.sleep(30)
        return await super().GetJob(request, context)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        if request.job_id == "midway":
            yield pb.WatchJobResponse(lines=[pb.LogLine(text="first")])
            raise InvalidArgument("Something was wrong halfway.")
        async for response in super().WatchJob(request, context):
            yield response


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    engine = open_database(f"sqlite:///{tmp_path / 'jobs.db'}")
    server = grpc.aio.server(interceptors=[ChassisInterceptor()], options=SERVER_OPTIONS)
    jobs_pb2_grpc.add_JobsServiceServicer_to_server(Faulty(JobQueue(engine)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)
    engine.dispose()


def details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest]:
    status = rpc_status.from_call(error)
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(request)
    return info, request


async def failure(channel: grpc.aio.Channel, job_id: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await jobs_pb2_grpc.JobsServiceStub(channel).GetJob(pb.GetJobRequest(job_id=job_id))
    return caught.value


async def test_domain_errors_carry_reason_and_sentence(channel: grpc.aio.Channel) -> None:
    error = await failure(channel, "job_nowhere")
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "job_nowhere" in str(error.details())
    info, _ = details(error)
    assert (info.reason, info.domain) == ("JOB_NOT_FOUND", "timbre")


async def test_fields_and_metadata_travel(channel: grpc.aio.Channel) -> None:
    _, request = details(await failure(channel, "field"))
    assert [(v.field, v.description) for v in request.field_violations] == [("epochs", "it must be 10 to 1000")]
    info, _ = details(await failure(channel, "full"))
    assert info.metadata["retry_after_seconds"] == "3"


async def test_unknown_errors_tell_nothing(channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture) -> None:
    error = await failure(channel, "bug")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert __file__ not in str(error.details())
    assert "a detail of" in caplog.text  # the operator sees it


async def test_an_error_in_the_middle_of_a_stream_is_translated_too(channel: grpc.aio.Channel) -> None:
    stream = jobs_pb2_grpc.JobsServiceStub(channel).WatchJob(pb.WatchJobRequest(job_id="midway"))
    assert "first" in str(await stream.read())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Something was wrong halfway."


async def test_one_log_line_a_call_with_the_callers_request_id(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await jobs_pb2_grpc.JobsServiceStub(channel).ListJobs(pb.ListJobsRequest(), metadata=[("x-request-id", "abc")])
    with pytest.raises(grpc.aio.AioRpcError):
        await jobs_pb2_grpc.JobsServiceStub(channel).GetJob(pb.GetJobRequest(job_id="slow"), timeout=0.2)
    await asyncio.sleep(0.1)
    lines = [record.getMessage() for record in caplog.records if record.name == "timbre.rpc"]
    assert len(lines) == 2
    assert "ListJobs OK" in lines[0]
    assert "GetJob CANCELLED" in lines[1]  # the deadline of the caller ended the work


@pytest.mark.parametrize("module", ["dataset", "trainer", "inference"])
def test_a_service_is_healthy_soon_and_drains(module: str, tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "TIMBRE_DATA_DIR": str(tmp_path), f"TIMBRE_{module.upper()}_LISTEN": f"127.0.0.1:{port}"}
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", f"services.{module}"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=f"timbre.{module}.v1.{module.capitalize()}Service")
            )
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            print(f"{module}: healthy after {time.monotonic() - began:.2f} s")
            assert set(_reflected(channel)) >= {f"timbre.{module}.v1.{module.capitalize()}Service", "grpc.health.v1.Health"}
        assert not _loaded(process.pid, ("libtorch", "llvmlite")), "a service loads no model before it must"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


async def test_connections_are_renewed_and_no_call_is_lost() -> None:
    peers = []

    class Counting(jobs_pb2_grpc.JobsServiceServicer):
        async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
            peers.append(context.peer())
            await asyncio.sleep(2 if request.job_id == "long" else 0)
            return pb.GetJobResponse()

    age = "grpc.max_connection_age_ms"
    assert age in dict(SERVER_OPTIONS)
    server = grpc.aio.server(options=[(name, 300 if name == age else value) for name, value in SERVER_OPTIONS])
    jobs_pb2_grpc.add_JobsServiceServicer_to_server(Counting(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        stub = jobs_pb2_grpc.JobsServiceStub(opened)
        long = asyncio.ensure_future(stub.GetJob(pb.GetJobRequest(job_id="long")))
        while len(set(peers)) < 3:
            await stub.GetJob(pb.GetJobRequest(job_id="short"))
            await asyncio.sleep(0.01)
        await long
    await server.stop(None)


async def test_messages_over_the_limit_are_refused(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "TIMBRE_DATA_DIR": str(tmp_path), "TIMBRE_DATASET_LISTEN": f"127.0.0.1:{port}"}
    process = subprocess.Popen([sys.executable, "-m", "services.dataset"], env=environment)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 60)
            request = dataset_pb2.StartDownloadRequest(folder="datasets/x", urls=["u" * MAX_MESSAGE_BYTES])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await dataset_pb2_grpc.DatasetServiceStub(channel).StartDownload(request)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        process.terminate()
        process.wait(timeout=30)


async def test_a_connection_has_so_many_streams(tmp_path: Path) -> None:
    port = free_port()
    environment = {"TIMBRE_DATA_DIR": str(tmp_path), "TIMBRE_DATASET_LISTEN": f"127.0.0.1:{port}", "TIMBRE_MAX_STREAMS": "2"}
    process = subprocess.Popen([sys.executable, "-m", "services.dataset"], env={**os.environ, **environment})
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 60)
            stub = jobs_pb2_grpc.JobsServiceStub(channel)
            streams = [stub.WatchJobs(pb.WatchJobsRequest()) for _ in range(2)]
            readers = [asyncio.create_task(stream.read()) for stream in streams]  # there are no jobs, so nothing to read
            await asyncio.sleep(0.2)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListJobs(pb.ListJobsRequest(), timeout=2)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            streams[0].cancel()
            await stub.ListJobs(pb.ListJobsRequest(), timeout=30)
            streams[1].cancel()
            await asyncio.gather(*readers, return_exceptions=True)
    finally:
        process.terminate()
        process.wait(timeout=60)


# A service whose background task breaks when somebody has asked it for a job; that call is under way then.
_BREAKS = """
import asyncio, sys
from timbre.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from services.runtime.server import run, serve
from services.runtime.settings import RuntimeSettings
asked = asyncio.Event()
class Jobs(jobs_pb2_grpc.JobsServiceServicer):
    async def GetJob(self, request, context):
        asked.set()
        await asyncio.sleep(1)
        return jobs_pb2.GetJobResponse(job=jobs_pb2.Job(id=request.job_id))
async def breaks():
    await asked.wait()
    if sys.argv[2] == "raises":
        raise ValueError("the moon is full")
add = lambda server: jobs_pb2_grpc.add_JobsServiceServicer_to_server(Jobs(), server)
run(serve(f"127.0.0.1:{sys.argv[1]}", {"timbre.jobs.v1.JobsService": add}, RuntimeSettings(), background=[breaks()]))
"""


@pytest.mark.parametrize("how", ["raises", "returns"])
def test_a_background_task_that_ends_is_no_good_end(how: str) -> None:
    port = free_port()
    command = [sys.executable, "-c", _BREAKS, str(port), how]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = jobs_pb2_grpc.JobsServiceStub(channel)
            answer = stub.GetJob(pb.GetJobRequest(job_id="job_1"), wait_for_ready=True, timeout=60)
            assert answer.job.id == "job_1", "calls under way are answered still"
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "breaks ended by itself" in said
    assert ("ValueError: the moon is full" in said) is (how == "raises")


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with _listening() as port:
        environment = {**os.environ, "TIMBRE_DATA_DIR": str(tmp_path), "TIMBRE_DATASET_LISTEN": f"127.0.0.1:{port}"}
        command = [sys.executable, "-m", "services.dataset"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "the port may be taken" in ended.stderr + ended.stdout


@pytest.mark.parametrize("listen", ["unix-box.example.org:0", "unix.example.org:0", "unixen:0", "0.0.0.0:0", "[::]:0"])
def test_other_machines_are_not_let_in_by_mistake(listen: str, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="TIMBRE_INSECURE"):
        asyncio.run(serve(listen, {}, RuntimeSettings(data_dir=tmp_path)))


@pytest.mark.parametrize("scheme", ["unix:", "unix://", "unix-abstract:"])
def test_a_socket_of_this_machine_needs_no_lock(scheme: str, tmp_path: Path) -> None:
    ready: list[int] = []
    ends_at_once = asyncio.sleep(0)  # and the server with it
    listen = f"{scheme}{tmp_path}/socket"
    with pytest.raises(BackgroundEnded):
        asyncio.run(serve(listen, {}, RuntimeSettings(data_dir=tmp_path), background=[ends_at_once], on_ready=ready.append))
    assert len(ready) == 1


def _reflected(channel: grpc.Channel) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    return [service.name for service in next(iter(answers)).list_services_response.service]


def _loaded(pid: int, libraries: tuple[str, ...]) -> list[str]:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [library for library in libraries if library in maps]


@contextmanager
def _listening() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]
