"""Metrics of real processes and databases, scraped over HTTP as Prometheus does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc

from services.runtime import telemetry
from services.runtime.database import open_database
from services.runtime.errors import InvalidArgument, Unavailable
from services.runtime.jobs import JobQueue, JobState, figures
from services.runtime.jobs.figures import JobFigures
from services.runtime.settings import RuntimeSettings
from services.runtime.store import open_store
from tests.ports import free_port
from timbre.serve import metrics_environment


def scrape(port: int | None) -> dict[tuple[str, ...], float]:
    """Every sample: its name and the values of its labels in the order of their names, to its value."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


@pytest.fixture
def listening() -> Iterator[None]:
    telemetry.start("127.0.0.1:0")
    yield
    telemetry.stop()


@pytest.fixture
def engine(listening: None, tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield opened
    opened.dispose()


@pytest.mark.parametrize("module", ["services.dataset", "services.trainer", "services.inference", "gateway"])
def test_nothing_is_loaded_while_metrics_are_off(module: str) -> None:
    code = (
        f"import sys, {module}.__main__ as main; from services.runtime import telemetry; telemetry.start('');"
        "telemetry.observe('timbre_rpc_seconds', 1.0, 'm', 'OK');"
        "assert not telemetry.measuring();"
        "heavy = ('prometheus_client', 'opentelemetry.sdk', 'opentelemetry.exporter');"
        "sys.exit([name for name in sys.modules if name.startswith(heavy)] or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_service_tells_its_calls_jobs_database_and_store(tmp_path: Path) -> None:
    listen, metrics = free_port(), free_port()
    environment = {
        **os.environ,
        "TIMBRE_DATA_DIR": str(tmp_path),
        "TIMBRE_DATASET_LISTEN": f"127.0.0.1:{listen}",
        "TIMBRE_METRICS_LISTEN": f"127.0.0.1:{metrics}",
    }
    process = subprocess.Popen([sys.executable, "-m", "services.dataset"], env=environment)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{listen}") as channel:
            stub = dataset_pb2_grpc.DatasetServiceStub(channel)
            request = dataset_pb2.GetDatasetStatsRequest(folder="datasets/none")
            stub.GetDatasetStats(request, wait_for_ready=True, timeout=30)
            with pytest.raises(grpc.RpcError):
                stub.GetDatasetStats(dataset_pb2.GetDatasetStatsRequest(folder="../.."), timeout=10)
        found = scrape(metrics)
    finally:
        process.terminate()
        assert process.wait(30) == 0
    method = "/timbre.dataset.v1.DatasetService/GetDatasetStats"
    assert found["timbre_rpc_seconds_count", "OK", method] == 1
    assert found["timbre_rpc_seconds_count", "INVALID_ARGUMENT", method] == 1
    assert found["timbre_jobs", "dataset.segment", "queued"] == 0
    assert found["timbre_database_seconds_count", "select"] > 0
    assert found[("process_resident_memory_bytes",)] > 1e6


def test_jobs_by_state_and_how_long_they_took(engine: Engine) -> None:
    queue = JobQueue(engine)
    done = queue.submit("dataset.segment", "datasets/a", {})
    claimed = queue.claim(["dataset.segment"])
    assert claimed is not None
    queue.finish(done.id, claimed.lease, JobState.SUCCEEDED)
    queue.submit("dataset.segment", "datasets/b", {})
    queue.submit("trainer.train", "voice", {})
    telemetry.collect(JobFigures(engine, ("dataset.segment",)))
    found = scrape(telemetry.port())
    assert found["timbre_jobs", "dataset.segment", "succeeded"] == 1
    assert found["timbre_jobs", "dataset.segment", "queued"] == 1
    assert found["timbre_jobs", "dataset.segment", "failed"] == 0
    assert ("timbre_jobs", "trainer.train", "queued") not in found, "another service's"
    assert found["timbre_job_seconds_count", "dataset.segment", "failed"] == 0, (
        "there before the first, which is an increase then"
    )
    assert ("timbre_job_seconds_count", "dataset.segment", "running") not in found
    assert found["timbre_job_seconds_bucket", "dataset.segment", "1.0", "succeeded"] == 1
    assert found["timbre_job_seconds_bucket", "dataset.segment", "+Inf", "succeeded"] == 1
    job = queue.get(done.id)
    assert job.ended_at is not None
    assert job.started_at is not None
    assert found["timbre_job_seconds_sum", "dataset.segment", "succeeded"] == pytest.approx(job.ended_at - job.started_at)


def test_a_training_is_told_by_what_its_worker_wrote(engine: Engine) -> None:
    queue = JobQueue(engine)
    telemetry.collect(JobFigures(engine, ("trainer.train",), "trainer.train"))
    queue.submit("trainer.train", "voice", {})
    job = queue.claim(["trainer.train"])
    assert job is not None
    now = time.time()
    queue.report(job.id, job.lease, {}, points=[("loss", 9, 2.5, now), ("loss", 10, 2.25, now), ("epoch", 11, 1.0, now)])
    queue.submit("trainer.train", "another", {})  # waits; the one that runs is told of
    found = scrape(telemetry.port())
    assert found[("timbre_training_loss",)] == 2.25
    assert found[("timbre_training_steps_total",)] == 10
    assert 0 <= found[("timbre_training_seconds_total",)] < 60
    assert not [name for name, *_ in found if "gpu_memory" in name], "it computes on the CPU"


def test_a_training_on_a_gpu_tells_its_memory_for_as_long_as_it_holds_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "_KEPT_SECONDS", 0.0)
    queue = JobQueue(engine)
    telemetry.collect(JobFigures(engine, ("trainer.train",), "trainer.train"))
    queue.submit("trainer.train", "voice", {})
    job = queue.claim(["trainer.train"])
    assert job is not None
    now = time.time()
    series = {"loss": (2.5, 2.25), "gpu_memory_bytes": (7e9, 6e9), "gpu_memory_peak_bytes": (8e9, 9e9)}
    points = [(name, step, value, now) for name, values in series.items() for step, value in enumerate(values, 1)]
    queue.report(job.id, job.lease, {}, points=points)
    found = scrape(telemetry.port())
    assert found[("timbre_training_gpu_memory_bytes",)] == 6e9
    assert found[("timbre_training_gpu_memory_peak_bytes",)] == 9e9
    queue.finish(job.id, job.lease, JobState.SUCCEEDED)
    ended = scrape(telemetry.port())
    assert ended[("timbre_training_loss",)] == 2.25
    assert not [name for name, *_ in ended if "gpu_memory" in name]


def test_scrapes_in_a_row_ask_the_database_once(engine: Engine) -> None:
    telemetry.collect(JobFigures(engine, ("dataset.segment",)))
    for _ in range(5):
        found = scrape(telemetry.port())
    selects = found["timbre_database_seconds_count", "select"]
    for _ in range(5):
        found = scrape(telemetry.port())
    assert found["timbre_database_seconds_count", "select"] - selects <= 1


def test_the_store_is_timed(listening: None, tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    store.put("datasets/a/one.txt", b"1")
    assert store.get("datasets/a/one.txt") == b"1"
    found = scrape(telemetry.port())
    assert found["timbre_store_seconds_count", "put"] == 1
    assert found["timbre_store_seconds_count", "get"] == 1


def test_an_address_that_cannot_be_had_is_said_in_a_sentence(listening: None) -> None:
    with pytest.raises(Unavailable, match="choose another"):
        telemetry.start(f"127.0.0.1:{telemetry.port()}")
    with pytest.raises(InvalidArgument, match=r"127\.0\.0\.1:9464"):
        telemetry.start("9464")


def test_every_process_of_timbre_serve_has_a_port_of_its_own(tmp_path: Path) -> None:
    told = metrics_environment(RuntimeSettings(data_dir=tmp_path, metrics_listen="127.0.0.1:9464"))
    ports = [told[name]["TIMBRE_METRICS_LISTEN"] for name in ("gateway", "dataset", "trainer", "inference")]
    assert ports == [f"127.0.0.1:{port}" for port in range(9464, 9468)]
    assert not any(metrics_environment(RuntimeSettings(data_dir=tmp_path)).values())
