"""A Ray cluster of several nodes on this machine, in namespaces of its own: nothing outside can reach it, nothing of it stays.

Its job API is carried out over a Unix socket to a port of the loopback interface.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

HERE = Path(__file__).parent
# Runs each line it reads as a command; when it is killed, the kernel kills all that it started.
INIT = 'ip link set lo up && while read -r line; do eval "$line" & done'


class Cluster:
    """Attributes: address: Of the job API."""

    def __init__(self, init: subprocess.Popen[str], folder: Path) -> None:
        self._init = init
        self._folder = folder
        self.port = _free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    def start_head(self) -> None:
        """Starts the head, which has no cores to work with."""
        self._run(
            "ray start --head --block --node-name=head --num-cpus=0 --port=6390 --dashboard-port=8265 --disable-usage-stats"
        )
        self._run(shlex.join([sys.executable, str(HERE / "relay.py"), str(self._folder / "api"), "8265"]))

    def start_node(
        self, name: str, port: int, cpus: int = 1, resources: dict[str, int] | None = None, data: Path | None = None
    ) -> None:
        """Starts a node, with a data folder of its own where one is given."""
        own = f"TIMBRE_DATA_DIR={shlex.quote(str(data))} " if data else ""
        agent = f"--dashboard-agent-listen-port={port} --resources={shlex.quote(json.dumps(resources or {}))}"
        self._run(f"{own}ray start --block --address=127.0.0.1:6390 --node-name={name} --num-cpus={cpus} {agent}")

    def kill_node(self, name: str) -> None:
        """Kills everything that runs on a node, at once."""
        node = self._find(lambda command: command[2:3] == ["start"] and f"--node-name={name}" in command)
        doomed = [node, *node.children(recursive=True)]
        for one in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()
        for one in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def process_of(self, lease: str) -> psutil.Process:
        """The worker process that holds a lease."""
        return self._find(lambda command: command[-1:] == [lease])

    def _find(self, wanted: Callable[[list[str]], bool]) -> psutil.Process:
        for process in psutil.Process(self._init.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # or ended, and not yet collected
                if wanted(process.cmdline()):
                    return process
        raise AssertionError("there is no such process")

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """The job API can be reached within this block, and only there."""
        command = [sys.executable, str(HERE / "relay.py"), str(self.port), str(self._folder / "api")]
        with subprocess.Popen(command) as relay:
            try:
                yield
            finally:
                relay.kill()

    def wait_for(self, name: str) -> None:
        """Waits until a node is alive; nodes that start on one machine at the same time get into each other's way."""
        deadline = time.monotonic() + 180
        while True:
            try:
                nodes = httpx.get(f"{self.address}/api/v0/nodes", trust_env=False, timeout=20).json()["data"]["result"][
                    "result"
                ]
                if any(node["node_name"] == name and node["state"] == "ALIVE" for node in nodes):
                    return
            except (httpx.TransportError, KeyError, TypeError, ValueError):
                pass
            assert time.monotonic() < deadline, f"node {name} does not start: {(self._folder / 'log').read_text()[-2000:]}"
            time.sleep(0.2)

    def _run(self, command: str) -> None:
        assert self._init.stdin is not None
        self._init.stdin.write(f"{command} >>{self._folder}/log 2>&1\n")
        self._init.stdin.flush()


def may_unshare() -> bool:
    """Whether this user may make namespaces."""
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "ip", "link", "set", "lo", "up"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def ray_cluster(python_path: str) -> Iterator[Cluster]:
    """A cluster without nodes, for as long as the block lasts."""
    binaries = Path(sys.executable).parent
    with ExitStack() as stack:
        # A short name: that of a socket must not be long.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tr", ignore_cleanup_errors=True)))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIMBRE_", "RAY_"))} | {
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": python_path,
            "PATH": f"{binaries}:{os.environ['PATH']}",
        }
        command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", INIT]
        init = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=environment))
        try:
            yield Cluster(init, folder)
        finally:
            init.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
