"""Two replicas of the dataset and the trainer service on PostgreSQL and S3: one ends, the other one finishes its jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from services.runtime.jobs import JobState
from tests.e2e.replicas import Client, Cluster, Replica, cluster, may_unshare


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, whisper_standin: Path) -> Iterator[Cluster]:
    if not may_unshare():
        pytest.skip("this user may not make process namespaces, and so no pods")
    settings = {
        "TIMBRE_BASE_MODEL": "tiny",
        "TIMBRE_WHISPER_MODEL": "tiny-demo",
        "TIMBRE_CACHE_DIR": str(whisper_standin),
        "TIMBRE_DOWNLOAD_HOSTS": "127.0.0.1",
        "TIMBRE_DOWNLOAD_ALLOW_PRIVATE": "true",
        "TIMBRE_DATASET_JOBS": "1",
        "TIMBRE_WORKERS": "1",
        "TIMBRE_HEARTBEAT_SECONDS": "0.1",
        "TIMBRE_HEARTBEAT_TIMEOUT_SECONDS": "5",
    }
    with cluster(tmp_path_factory.mktemp("replicas"), 2, settings, ("dataset", "trainer")) as running:
        yield running


@pytest.fixture
def client(replicas: Cluster) -> Iterator[Client]:
    with closing(Client(replicas.urls)) as opened:
        yield opened


def owner(replicas: Cluster, job_id: str) -> Replica:
    """The replica whose worker does a job; it may have claimed the job and not started the worker yet."""
    deadline = time.monotonic() + 60
    while True:
        owners = [replicas.owner(process) for process in replicas.workers() if job_id in process.cmdline()]
        found = next((one for one in owners if one is not None), None)
        if found is not None:
            return found
        assert time.monotonic() < deadline, "nobody works on it"
        time.sleep(0.1)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def start_downloads(replicas: Cluster, client: Client, media: str, folders: tuple[str, str]) -> dict[str, str]:
    """Begins two downloads; returns which replica has which job: one each, as they have one slot."""
    urls = [f"{media}/voice-1.wav", f"{media}/voice-2.wav"]
    jobs = [client.post("/training/dataset/download", json={"urls": urls, "folder": folder})["job_id"] for folder in folders]
    for job in jobs:
        client.until(job, lambda job: job["progress"] > 10)
    owners = {owner(replicas, job).name: job for job in jobs}
    assert sorted(owners) == ["dataset-1", "dataset-2"]
    return owners


def recordings(replicas: Cluster, folder: str) -> dict[str, bytes]:
    prefix = f"{folder}/raw/"
    return {info.key.removeprefix(prefix): replicas.store.get(info.key) for info in replicas.store.list(prefix)}


def test_a_pod_dies_and_a_replica_stops(replicas: Cluster, client: Client, slow_media: str) -> None:
    first = start_downloads(replicas, client, slow_media, ("datasets/a", "datasets/b"))
    replicas.replicas["dataset-2"].kill()  # the pod, and its worker with it
    attempts = {name: client.done(job)["attempts"] for name, job in first.items()}
    assert attempts == {"dataset-1": 1, "dataset-2": 2}
    replicas.replicas["dataset-2"].start()
    replicas.replicas["dataset-2"].wait_until_up()
    second = start_downloads(replicas, client, slow_media, ("datasets/c", "datasets/d"))
    replicas.replicas["dataset-1"].stop()
    attempts = {name: client.done(job)["attempts"] for name, job in second.items()}
    assert attempts == {"dataset-1": 2, "dataset-2": 1}
    replicas.replicas["dataset-1"].start()
    made = [recordings(replicas, f"datasets/{name}") for name in "abcd"]
    wavs = [{name: wav for name, wav in one.items() if name.endswith(".wav")} for one in made]
    assert len(wavs[0]) == 2
    assert wavs == [wavs[0]] * 4


def test_a_training_goes_on_elsewhere_and_stops_by_any_replica(replicas: Cluster, client: Client) -> None:
    folder = "datasets/a"
    client.post("/training/dataset/segment", json={"folder": folder, "min_duration": 3, "max_duration": 6})
    client.done(client.post("/training/dataset/transcribe", json={"folder": folder})["job_id"])
    body = {"model_name": "voice", "dataset_folder": folder, "epochs": 400, "batch_size": 4}
    started = client.post("/training/start", json=body)
    client.until(started["job_id"], lambda job: job["progress"] > 0)
    first = owner(replicas, started["job_id"])
    first.kill() if first.name == "trainer-2" else first.stop()
    moved = client.until(started["job_id"], lambda job: job["attempts"] == 2 and job["progress"] > 0)
    other = owner(replicas, started["job_id"])
    assert {first.name, other.name} == {"trainer-1", "trainer-2"}
    first.start()
    first.wait_until_up()
    # The replica that is back is asked as likely as the one that trains; both wait for the end.
    assert client.post("/training/stop")["status"] == "stopped"
    job = replicas.queue.get(moved["id"])
    assert (job.state, job.attempt) == (JobState.STOPPED, 2)
    deadline = time.monotonic() + 30  # a job has ended a moment before its process does
    while any(alive(process) for process in replicas.workers()):
        assert time.monotonic() < deadline, replicas.workers()
        time.sleep(0.1)
