"""Several replicas behind one address: calls go round them, and those that may be repeated outlive the one that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
from timbre.dataset.v1 import dataset_pb2
from timbre.inference.v1 import inference_pb2
from timbre.jobs.v1 import jobs_pb2
from timbre.trainer.v1 import trainer_pb2

from gateway.balancing import check_address, count_replicas, is_repeatable
from services.runtime.errors import FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from tests.gateway.conftest import Script
from tests.gateway.test_jobs import Ledger, collect, follow

CHUNK = 256 * 1024


@dataclass
class Replicas:
    """Servers of one service that listen side by side.

    Attributes:
        scripts: What each answers and was asked.
        servers: Themselves.
        address: Of all of them.
    """

    scripts: list[Script]
    servers: list[grpc.aio.Server]
    address: str

    def answer(self, **answers: Any) -> None:
        for script in self.scripts:
            script.answers.update(answers)

    def asked(self, method: str) -> list[int]:
        return [len(script.requests[method]) for script in self.scripts]

    def all_metadata(self, method: str, key: str) -> list[Any]:
        return [script.metadata[method][key] for script in self.scripts if method in script.metadata]


@pytest.fixture
def replicas(start_service: Callable[..., Any]) -> Callable[..., Any]:
    """An async context manager that starts replicas of a service."""

    @asynccontextmanager
    async def start(name: str, count: int = 2) -> AsyncIterator[Replicas]:
        scripts = [Script() for _ in range(count)]
        started = [await start_service(name, script) for script in scripts]
        addresses = ",".join(f"127.0.0.1:{port}" for _, _, port in started)
        yield Replicas(scripts, [server for server, _, _ in started], addresses)
        await asyncio.gather(*(server.stop(None) for server, _, _ in started))

    return start


def dying(replicas: Replicas, number: int) -> Callable[..., Any]:
    """What a replica does that is killed when it is asked: it takes the call, and breaks the connection."""

    async def die(request: Any, context: Any) -> Any:
        asyncio.get_running_loop().create_task(replicas.servers[number].stop(None))
        await asyncio.sleep(60)

    return die


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("dataset:50051", "dataset:50051"),
        ("dns:///dataset:50051", "dns:///dataset:50051"),
        ("10.0.0.1:50051,10.0.0.2:50051", "ipv4:10.0.0.1:50051,10.0.0.2:50051"),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv4:10.0.0.1:50051,10.0.0.2:50051"),
        ("[fd00::1]:50051,[fd00::2]:50051", "ipv6:[fd00::1]:50051,[fd00::2]:50051"),
    ],
)
def test_addresses(given: str, meant: str) -> None:
    assert check_address(given) == meant


@pytest.mark.parametrize("given", ["one:50051,two:50051", "10.0.0.1:50051,two:50051", "10.0.0.1:50051,"])
def test_a_list_of_names_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="dns:///name:port"):
        check_address(given)


def test_what_changes_something_each_time_is_never_repeated() -> None:
    services = [
        service
        for file in (dataset_pb2, trainer_pb2, inference_pb2, jobs_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
    kept = {method.name for service in services for method in service.methods if not is_repeatable(method)}
    assert kept >= {"StopTraining", "CancelJob", "UploadRecording", "UploadArchive"}
    reads = [m for service in services for m in service.methods if m.name.startswith(("Get", "List", "Watch"))]
    assert all(is_repeatable(method) for method in reads)


@pytest.mark.parametrize("scheme", ["", "ipv4:"])
async def test_calls_go_round_the_replicas(start_stack: Any, replicas: Any, scheme: str) -> None:
    async with replicas("dataset", 3) as three, start_stack(dataset_address=scheme + three.address) as stack:
        three.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
        while not all(three.asked("GetDatasetStats")):  # until it is connected to each
            assert (await stack.client.get("/training/dataset/stats")).status_code == 200
        before = three.asked("GetDatasetStats")
        for _ in range(30):
            await stack.client.get("/training/dataset/stats")
        assert [after - first for first, after in zip(before, three.asked("GetDatasetStats"), strict=True)] == [10, 10, 10]


async def test_a_name_is_looked_up(start_stack: Any, replicas: Any) -> None:
    async with replicas("dataset", 1) as one:
        port = one.address.rpartition(":")[2]
        async with start_stack(dataset_address=f"dns:///localhost:{port}") as stack:
            one.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
            assert (await stack.client.get("/training/dataset/stats")).status_code == 200


async def test_readers_do_not_see_a_replica_die(start_stack: Any, replicas: Any) -> None:
    async with replicas("trainer") as two, start_stack(trainer_address=two.address) as stack:
        two.answer(GetTrainingStatus=trainer_pb2.GetTrainingStatusResponse(state=trainer_pb2.TRAINING_STATE_IDLE))
        two.scripts[0].answers["GetTrainingStatus"] = dying(two, 0)
        for _ in range(20):
            answer = await stack.client.get("/training/status")
            assert (answer.status_code, answer.json()["state"]) == (200, "idle")
        assert two.asked("GetTrainingStatus") == [1, 20]


async def test_readiness_outlives_a_replica(start_stack: Any, replicas: Any) -> None:
    async with replicas("trainer") as two, start_stack(trainer_address=two.address) as stack:
        for _ in range(4):
            assert (await stack.client.get("/readyz")).status_code == 200
        await two.servers[0].stop(None)
        for _ in range(10):
            assert (await stack.client.get("/readyz")).status_code == 200
        await two.servers[1].stop(None)
        assert (await stack.client.get("/readyz")).json()["services"]["trainer"] == "unreachable"


async def test_a_job_is_submitted_once_though_a_replica_dies(start_stack: Any, replicas: Any) -> None:
    async with replicas("dataset") as two, start_stack(dataset_address=two.address) as stack:
        two.answer(StartTranscription=dataset_pb2.StartTranscriptionResponse(job_id="job_1"))
        two.scripts[0].answers["StartTranscription"] = dying(two, 0)
        for number in range(4):
            answer = await stack.client.post("/training/dataset/transcribe", json={"folder": f"datasets/v{number}"})
            assert answer.status_code == 200
        assert two.asked("StartTranscription") == [1, 4]
        died = two.scripts[0]
        sent = [request.folder for request in two.scripts[1].requests["StartTranscription"]]
        assert died.requests["StartTranscription"][0].folder in sent


async def test_a_repeated_submission_carries_the_key_of_the_first(start_stack: Any, replicas: Any) -> None:
    async with replicas("dataset") as two, start_stack(dataset_address=two.address) as stack:
        two.answer(StartTranscription=Unavailable("The store is away: try again."))
        answer = await stack.client.post("/training/dataset/transcribe", json={"folder": "datasets/v"})
        assert (answer.status_code, answer.json()["detail"]) == (503, "The store is away: try again.")
        assert sum(two.asked("StartTranscription")) == 4
        own = two.all_metadata("StartTranscription", "idempotency-key")
        assert len(set(own)) == 1
        await stack.client.post("/training/dataset/transcribe", json={"folder": "datasets/v"})
        assert not set(two.all_metadata("StartTranscription", "idempotency-key")) & set(own)
        headers = {"Idempotency-Key": "mine-1"}
        await stack.client.post("/training/dataset/transcribe", json={"folder": "datasets/v"}, headers=headers)
        assert set(two.all_metadata("StartTranscription", "idempotency-key")) == {"mine-1"}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("key", ["", "a b", "é", "k" * 201])
async def test_a_key_that_is_none_is_refused(stack: Any, key: str) -> None:
    headers = {"Idempotency-Key": key.encode()}
    answer = await stack.client.post("/training/dataset/segment", json={"folder": "datasets/v"}, headers=headers)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_what_may_not_be_repeated_is_asked_once(start_stack: Any, replicas: Any) -> None:
    async with replicas("trainer") as two, start_stack(trainer_address=two.address) as stack:
        two.answer(StopTraining=Unavailable("The database is away: try again."))
        answer = await stack.client.post("/training/stop")
        assert answer.status_code == 503
        assert sum(two.asked("StopTraining")) == 1


async def test_a_full_replica_hands_on_to_another(start_stack: Any, replicas: Any) -> None:
    async with replicas("inference") as two, start_stack(inference_address=two.address) as stack:
        two.scripts[0].answers["Synthesize"] = ResourceExhausted("8 requests wait already: try again.")
        two.scripts[1].answers["Synthesize"] = inference_pb2.SynthesizeResponse(audio_key="inference/a.wav")
        for _ in range(6):
            answer = await stack.client.post("/training/inference/synthesize", json={"text": "Olá.", "checkpoint": "base"})
            assert answer.status_code == 200, answer.text


async def test_a_checkpoint_is_loaded_at_every_replica(start_stack: Any, replicas: Any) -> None:
    async with replicas("inference", 3) as three, start_stack(inference_address=three.address) as stack:
        three.answer(
            LoadCheckpoint=inference_pb2.LoadCheckpointResponse(checkpoint="base"),
            Synthesize=inference_pb2.SynthesizeResponse(audio_key="inference/a.wav"),
        )
        speech = {"text": "Olá.", "checkpoint": "base"}
        while not all(three.asked("Synthesize")):  # until it is connected to each
            await stack.client.post("/training/inference/synthesize", json=speech)
        load = partial(stack.client.post, "/training/checkpoints/load", params={"checkpoint_path": "base"})
        assert (await load()).status_code == 200
        assert three.asked("LoadCheckpoint") == [1, 1, 1]
        three.scripts[1].answers["LoadCheckpoint"] = FailedPrecondition("This one has no room: try again.")
        assert (await load()).status_code == 200
        three.answer(LoadCheckpoint=NotFound("There is no such checkpoint: list them."))
        assert (await load()).status_code == 404


@pytest.mark.parametrize(
    ("address", "count"),
    [("127.0.0.1:1", 1), ("ipv4:10.0.0.1:1,10.0.0.2:1", 2), ("dns:///127.0.0.1:1", 1), ("dns:///no.such.host.invalid:1", 1)],
)
async def test_replicas_are_counted(address: str, count: int) -> None:
    assert await count_replicas(address) == count


async def test_an_upload_says_that_it_can_be_sent_again(start_stack: Any, replicas: Any) -> None:
    async with replicas("dataset") as two, start_stack(dataset_address=two.address) as stack:
        for number in range(2):
            two.scripts[number].answers["UploadRecording"] = dying(two, number)
        files = {"files": ("voice.wav", b"x" * 3 * CHUNK)}
        answer = await stack.client.post("/training/dataset/upload", data={"folder": "datasets/v"}, files=files)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["detail"].endswith("then try again.")
        assert sum(two.asked("UploadRecording")) <= 1


async def test_watchers_do_not_see_a_replica_die(start_stack: Any, replicas: Any) -> None:
    play = Ledger()
    async with replicas("dataset") as two, start_stack(dataset_address=two.address) as stack:
        two.answer(**play.answers())
        await play.change(lines=2)
        async with follow(stack.client) as events:
            first = await collect(events, until="log")
            await collect(events, until="log")
            for number in range(2):  # whichever it is that streams
                if two.asked("WatchJob")[number]:
                    await two.servers[number].stop(None)
            await play.change(lines=2)
            await play.change(state=jobs_pb2.JOB_STATE_SUCCEEDED)
            rest = await collect(events)
        told = [data["sequence"] for kind, data in [*first, *rest] if kind == "log"]
        assert told == [1, 3, 4]  # the second was taken above
        assert [kind for kind, _ in rest if kind != "log"] == ["job", "end"]
        assert play.opened == 2
