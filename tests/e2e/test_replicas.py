"""Two replicas of the dataset and the trainer service on PostgreSQL and S3: one ends, the other one finishes its jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.runtime.jobs import JobState
from tests.e2e.replicas import Client, Cluster, Replica, cluster, may_unshare

FOLDERS = ("datasets/a", "datasets/b")


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
def client(replicas: Cluster) -> Client:
    return Client(replicas.urls)


def owner(replicas: Cluster, job_id: str) -> Replica:
    """The replica whose worker does a job."""
    worker = next(process for process in replicas.workers() if job_id in process.cmdline())
    found = replicas.owner(worker)
    assert found is not None
    return found


def manifest(replicas: Cluster, folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in replicas.store.get(f"{folder}/segments.jsonl").splitlines()]


def test_a_pod_dies_a_replica_stops_and_every_job_ends_right(replicas: Cluster, client: Client, slow_media: str) -> None:
    urls = [f"{slow_media}/voice-1.wav", f"{slow_media}/voice-2.wav"]
    downloads = [client.post("/training/dataset/download", json={"urls": urls, "folder": folder}) for folder in FOLDERS]
    running = [client.until(started["job_id"], lambda job: job["progress"] > 10) for started in downloads]
    # One slot each: the second one took what the first one left.
    owners = {owner(replicas, job["id"]).name: job for job in running}
    assert sorted(owners) == ["dataset-1", "dataset-2"]
    replicas.replicas["dataset-2"].kill()  # the pod, and its worker with it
    ended = {name: client.done(job["id"]) for name, job in owners.items()}
    assert {name: job["attempts"] for name, job in ended.items()} == {"dataset-1": 1, "dataset-2": 2}
    replicas.replicas["dataset-2"].start()
    replicas.replicas["dataset-2"].wait_until_up()

    segmented = [client.post("/training/dataset/segment", json=short(folder)) for folder in FOLDERS]
    heard = [client.post("/training/dataset/transcribe", json={"folder": folder}) for folder in FOLDERS]
    for started in segmented:
        client.done(started["job_id"])
    running = [client.until(started["job_id"], lambda job: job["progress"] > 0) for started in heard]
    owners = {owner(replicas, job["id"]).name: job for job in running}
    assert sorted(owners) == ["dataset-1", "dataset-2"]
    replicas.replicas["dataset-1"].stop()
    ended = {name: client.done(job["id"]) for name, job in owners.items()}
    assert {name: job["attempts"] for name, job in ended.items()} == {"dataset-1": 2, "dataset-2": 1}
    assert manifest(replicas, FOLDERS[0]) == manifest(replicas, FOLDERS[1])
    assert all(row["transcript"] for row in manifest(replicas, FOLDERS[0]))
    assert not [info.key for folder in FOLDERS for info in replicas.store.list(f"{folder}/work/")]


def short(folder: str) -> dict[str, Any]:
    return {"folder": folder, "min_duration": 3, "max_duration": 6}


def test_a_training_goes_on_elsewhere_and_stops_by_any_replica(replicas: Cluster, client: Client) -> None:
    body = {"model_name": "voice", "dataset_folder": FOLDERS[0], "epochs": 400, "batch_size": 4}
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
    assert not [process for process in replicas.workers() if process.status() != psutil.STATUS_ZOMBIE]
