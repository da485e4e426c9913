"""What the demonstration works with: a Timbre of its own on free ports, and a web server that has the recordings."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from services.runtime.processes import die_with_parent
from timbre.serve import START_SECONDS, choose_places

STOP_SECONDS = 60.0
"""How long the stack may take to stop before it is killed; it ends its own children after about 35 s."""


class StackFailed(RuntimeError):
    """The stack did not start."""


@contextlib.contextmanager
def running_stack(data_dir: Path, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Runs `timbre serve` as a process of its own while the block lasts.

    Args:
        data_dir: Its data folder.
        log: Where everything goes that it says.
        environment: Settings for it, on top of this process's environment.

    Yields:
        The gateway's URL, once everything is ready.

    Raises:
        StackFailed: It did not start.
    """
    port = choose_places("127.0.0.1", 0).port
    command = [sys.executable, "-m", "timbre.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches the demonstration, which ends the stack in order
            preexec_fn=functools.partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise StackFailed(f"timbre serve ended at once: {last}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz").is_success:
                return
        time.sleep(0.1)
    raise StackFailed(f"timbre serve was not ready after {START_SECONDS:.0f} s; its log is {log}.")


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        # Downloaders look at the first bytes and hang up; anything else is worth a traceback.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serves the files of a folder on this machine while the block lasts; yields the URL of the folder."""
    with _Server(("127.0.0.1", 0), functools.partial(_Silent, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
