"""`timbre serve` with its real processes: ready soon, one at a time, restarting what dies, leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from timbre.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from tests.certificates import Authority
from timbre.serve import FIRST_PORT, Places, PortTaken, choose_places, claim_usual_ports, places_free

Launch = Callable[..., "Stack"]

STARTING_SECONDS = 60.0
MODULES = ("services.dataset", "services.trainer", "services.inference", "gateway")


@dataclass(frozen=True)
class Stack:
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path
    url: str

    def children(self) -> dict[str, psutil.Process]:
        """Module name to process, of those that are alive."""
        found = {}
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, too
                module = next((word for word in process.cmdline() if word in MODULES), None)
                if module:
                    found[module] = process
        return found


def command(data_dir: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "timbre.cli", "serve", "--data-dir", str(data_dir), *arguments]


def start(data_dir: Path, log: Path, **environment: str) -> Stack:
    port = choose_places("127.0.0.1", 0).port
    with log.open("ab") as output:
        process = subprocess.Popen(
            command(data_dir, "--port", str(port)), env={**os.environ, **environment}, stdout=output, stderr=output
        )
    return Stack(process, data_dir, log, f"http://127.0.0.1:{port}")


def wait_until(condition: Callable[[], object], what: str, seconds: float = STARTING_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def is_ready(stack: Stack) -> bool:
    assert stack.process.poll() is None, stack.log.read_text()
    try:
        return httpx.get(f"{stack.url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def alive_with(data_dir: Path) -> list[str]:
    """Command lines of all processes that work on this data folder, by their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TIMBRE_DATA_DIR") == str(data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts stacks that are ready; kills them after a test that did not stop them."""
    started = []

    def run(**environment: str) -> Stack:
        started.append(start(tmp_path / "data", tmp_path / "log", **environment))
        wait_until(lambda: is_ready(started[-1]), "ready")
        return started[-1]

    yield run
    for stack in started:
        if stack.process.poll() is None:
            stack.process.kill()
            stack.process.wait()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("serve")
    running = start(folder / "data", folder / "log")
    try:
        wait_until(lambda: is_ready(running), "ready")
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(60)
        except subprocess.TimeoutExpired:
            running.process.kill()
            raise


def test_a_model_that_is_still_to_be_loaded_keeps_nothing_else_from_starting(tmp_path: Path) -> None:
    # this one is never had: its license is not accepted
    running = start(tmp_path / "data", tmp_path / "log", TIMBRE_PRELOAD="true", TIMBRE_BASE_MODEL="xtts_v2")
    try:
        wait_until(lambda: "is ready" in running.log.read_text(), "the line that says so")
        answer = httpx.get(f"{running.url}/readyz")
        assert answer.status_code == 503
        assert answer.json()["services"] == {"dataset": "serving", "trainer": "serving", "inference": "not serving"}
    finally:
        running.process.terminate()
        assert running.process.wait(60) == 0


def test_says_once_that_it_is_ready_and_where(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    wait_until(lambda: "is ready" in stack.log.read_text(), "the line that says so")
    lines = [line for line in stack.log.read_text().splitlines() if "is ready" in line]
    assert len(lines) == 1
    match = re.search(r"is ready in ([\d.]+) s at (\S+) .* dataset (\S+), trainer (\S+), inference (\S+) ·", lines[0])
    assert match, lines[0]
    seconds, url, *addresses = match.groups()
    with capsys.disabled():
        print(f"\ntimbre serve was ready in {seconds} s")
    assert url == stack.url
    for address in addresses:
        host, _, port = address.partition(":")
        socket.create_connection((host, int(port)), timeout=5).close()


def test_a_second_one_on_the_same_folder_is_refused(stack: Stack) -> None:
    second = subprocess.run(command(stack.data_dir, "--port", "0"), capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"(process {stack.process.pid})" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert is_ready(stack)


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        done = subprocess.run(command(place, "--port", "0"), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{place} cannot be used (")
        assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_is_an_error_that_says_so(stack: Stack, tmp_path: Path) -> None:
    port = stack.url.rpartition(":")[2]
    second = subprocess.run(command(tmp_path, "--port", port), capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert second.stderr == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use): choose another port by --port (make run PORT=8123).\n"
    )


@pytest.mark.parametrize("module", ["services.dataset", "gateway"])
def test_what_is_killed_is_started_again(stack: Stack, module: str) -> None:
    victim = stack.children()[module]
    victim.kill()
    wait_until(lambda: stack.children().get(module, victim).pid != victim.pid, f"{module} is started again")
    wait_until(lambda: is_ready(stack), "ready again")
    assert set(stack.children()) == set(MODULES)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_nothing_running(launch: Launch, number: signal.Signals) -> None:
    stack = launch()
    assert len(alive_with(stack.data_dir)) >= len(MODULES)
    stack.process.send_signal(number)
    assert stack.process.wait(60) == 0, stack.log.read_text()
    assert alive_with(stack.data_dir) == []
    assert "Traceback" not in stack.log.read_text()


def test_stopping_ends_the_workers_of_a_service_that_has_just_died(launch: Launch) -> None:
    stack = launch(TIMBRE_DOWNLOAD_HOSTS="127.0.0.1", TIMBRE_DOWNLOAD_ALLOW_PRIVATE="true")
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and never says anything
        body = {"urls": [f"http://127.0.0.1:{mute.getsockname()[1]}/voice.wav"], "folder": "datasets/voice"}
        httpx.post(f"{stack.url}/training/dataset/download", json=body).raise_for_status()
        service = stack.children()["services.dataset"]
        wait_until(lambda: len(service.children(recursive=True)) >= 2, "a worker, and the process that fetches for it")
        workers = service.children(recursive=True)
        service.kill()
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(60) == 0, stack.log.read_text()
        wait_until(lambda: not any(worker.is_running() for worker in workers), "the workers are gone", 5)


def test_stopping_ends_a_worker_that_its_service_has_only_just_started(launch: Launch) -> None:
    stack = launch(TIMBRE_DOWNLOAD_HOSTS="127.0.0.1", TIMBRE_DOWNLOAD_ALLOW_PRIVATE="true")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        body = {"urls": [f"http://127.0.0.1:{mute.getsockname()[1]}/voice.wav"], "folder": "datasets/voice"}
        service = stack.children()["services.dataset"]
        httpx.post(f"{stack.url}/training/dataset/download", json=body).raise_for_status()
        wait_until(service.children, "a worker, which imports for a second before it says who it is")
        service.kill()
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(60) == 0, stack.log.read_text()
        wait_until(lambda: not alive_with(stack.data_dir), "the worker is gone", 5)


def test_killed_outright_it_takes_its_children_along(launch: Launch) -> None:
    stack = launch()
    stack.process.kill()
    stack.process.wait()
    wait_until(lambda: not alive_with(stack.data_dir), "the children are gone", 30)


def test_a_service_that_cannot_start_ends_it_all(tmp_path: Path) -> None:
    (tmp_path / "timbre.db").write_bytes(b"this is no database" * 100)
    ended = subprocess.run(command(tmp_path, "--port", "0"), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "while starting" in ended.stderr.splitlines()[-1]
    assert alive_with(tmp_path) == []


def test_with_certificates_everything_is_encrypted(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    web, own = authority.issue("web"), authority.issue("services")
    running = start(
        tmp_path / "data",
        tmp_path / "log",
        TIMBRE_HTTPS_CERT=str(web[0]),
        TIMBRE_HTTPS_KEY=str(web[1]),
        TIMBRE_TLS_CERT=str(own[0]),
        TIMBRE_TLS_KEY=str(own[1]),
        TIMBRE_TLS_CA=str(authority.path),
    )
    try:
        wait_until(lambda: "is ready" in running.log.read_text(), "ready")
        url, trainer = re.findall(r"is ready in .* at (\S+) .* trainer (\S+),", running.log.read_text())[0]
        trust = ssl.create_default_context(cafile=authority.path)
        assert httpx.get(f"{url}/training/status", verify=trust).json()["state"] == "idle"
        assert url.startswith("https://")
        with grpc.insecure_channel(trainer) as channel, pytest.raises(grpc.RpcError) as refused:
            trainer_pb2_grpc.TrainerServiceStub(channel).GetTrainingStatus(trainer_pb2.GetTrainingStatusRequest(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        running.process.terminate()
        running.process.wait(60)


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    environment = {**os.environ, "TIMBRE_LOG_LEVEL": "LOUD"}
    ended = subprocess.run(command(tmp_path), env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("TIMBRE_LOG_LEVEL: ")


def test_services_get_ports_that_nothing_else_has() -> None:
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # if something else has it, that does as well
            taken.bind(("127.0.0.1", FIRST_PORT))
            taken.listen()
        places = choose_places("127.0.0.1", 0)
    ports = {address.partition(":")[2] for address in places.services.values()} | {str(places.port)}
    assert len(ports) == 4
    assert str(FIRST_PORT) not in ports


def test_the_gateway_may_have_the_port_that_a_service_would_prefer(monkeypatch: pytest.MonkeyPatch) -> None:
    port = choose_places("127.0.0.1", 0).port
    monkeypatch.setattr("timbre.serve.FIRST_PORT", port - 1)
    places = choose_places("127.0.0.1", port)
    assert places.port == port
    assert f"127.0.0.1:{port}" not in places.services.values()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1:8000"):  # RFC 5737: nobody's address
        choose_places("192.0.2.1", 8000)


def test_places_are_free_until_somebody_listens() -> None:
    free = choose_places("127.0.0.1", 0)
    assert places_free(free)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not places_free(Places("127.0.0.1", server.getsockname()[1], free.services))


def test_help_comes_without_heavy_imports() -> None:
    script = (
        "import sys, timbre.cli; "
        "print([name for name in ('torch', 'numpy', 'grpc', 'sqlalchemy', 'pydantic', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_only_one_at_a_time_may_use_the_usual_ports() -> None:
    with claim_usual_ports() as first, claim_usual_ports() as second:
        assert not (first and second)
        ports = {address.rpartition(":")[2] for address in choose_places("127.0.0.1", 0, usual=second).services.values()}
        assert second or str(FIRST_PORT) not in ports
