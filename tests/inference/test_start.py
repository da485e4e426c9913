from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from timbre.inference.v1 import inference_pb2 as pb
from timbre.inference.v1 import inference_pb2_grpc

Health = health_pb2.HealthCheckResponse
SERVICE = "timbre.inference.v1.InferenceService"
ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "torchaudio", "TTS", "trainer", "librosa", "scipy", "transformers", "whisper", "numba"}


def environment(**settings: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **settings}


def test_starting_imports_nothing_heavy() -> None:
    code = "import sys, services.inference.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@contextmanager
def running(data: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Starts the service as a process, and returns it with its address once it says that it serves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services.inference"],
        env=environment(TIMBRE_DATA_DIR=str(data), TIMBRE_INFERENCE_LISTEN="127.0.0.1:0", **settings),
        stdout=subprocess.PIPE, text=True, cwd=data,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "serving" in line)
        yield process, f"127.0.0.1:{line.rsplit(maxsplit=1)[-1]}"
    finally:
        process.kill()
        process.communicate()


def test_is_ready_within_three_seconds_and_ends_on_sigterm(tmp_path: Path) -> None:
    with running(tmp_path) as (process, address):
        with grpc.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for service in ("", "timbre.inference.v1.InferenceService"):
                reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
                assert reply.status == health_pb2.HealthCheckResponse.SERVING
            status = inference_pb2_grpc.InferenceServiceStub(channel).GetInferenceStatus(pb.GetInferenceStatusRequest())
            assert list(status.loaded_checkpoints) == []
        # Its own time, so that a busy machine does not decide the test.
        used = psutil.Process(process.pid).cpu_times()
        assert used.user + used.system < 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("base", "code", "sentence"),
    [
        ("xtts_v2", grpc.StatusCode.FAILED_PRECONDITION, "TIMBRE_ACCEPT_XTTS_LICENSE"),
        ("xtts_v9", grpc.StatusCode.INVALID_ARGUMENT, "unknown"),
    ],
)
def test_a_base_that_cannot_be_had_is_explained(tmp_path: Path, base: str, code: Any, sentence: str) -> None:
    with running(tmp_path, TIMBRE_BASE_MODEL=base) as (_, address), grpc.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.LoadCheckpoint(pb.LoadCheckpointRequest(checkpoint="base"), timeout=60)
    assert caught.value.code() == code
    assert sentence in caught.value.details()


def test_with_preload_is_ready_once_the_base_is_loaded(tmp_path: Path, tiny_base: Path) -> None:
    settings = {"TIMBRE_BASE_MODEL": str(tiny_base), "TIMBRE_PRELOAD": "true"}
    with running(tmp_path, **settings) as (_, address), grpc.insecure_channel(address) as channel:
        health, inference = health_pb2_grpc.HealthStub(channel), inference_pb2_grpc.InferenceServiceStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == Health.SERVING
        watched = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=300)
        assert next(watched).status == Health.NOT_SERVING
        assert next(watched).status == Health.SERVING
        assert list(inference.GetInferenceStatus(pb.GetInferenceStatusRequest()).loaded_checkpoints) == ["base"]
        watched.cancel()


def test_with_preload_a_base_that_cannot_be_had_never_makes_it_ready(tmp_path: Path) -> None:
    with running(tmp_path, TIMBRE_PRELOAD="true") as (process, address), grpc.insecure_channel(address) as channel:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "could not be loaded" in line)
        assert "TIMBRE_ACCEPT_XTTS_LICENSE" in said
        health = health_pb2_grpc.HealthStub(channel)
        stands = {name: health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status for name in ("", SERVICE)}
        assert stands == {"": Health.SERVING, SERVICE: Health.NOT_SERVING}
