"""`timbre serve`: the three services and the gateway as one command, with embedded defaults, over one data folder.

Each runs in a process of its own that this one starts, watches and starts again when it dies. They are told where the
others are through the same environment variables that a cluster would set. The children get a session of their own, so
that a terminal's Ctrl-C reaches only this process: it then ends the gateway first, whose requests may still need the
services, and the services after it. Should this process be killed outright, the kernel tells the children (Linux).

The schema of the database is brought up to date by whichever service opens it first, under a lock: doing it here, before
the others start, would cost the second that importing SQLAlchemy takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from services.runtime.auth import check_listen
from services.runtime.errors import FailedPrecondition, Internal
from services.runtime.processes import die_with_parent
from services.runtime.settings import RuntimeSettings

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings

logger = logging.getLogger("timbre.serve")

SERVICES = ("dataset", "trainer", "inference")
"""What runs behind the gateway: `python -m services.<name>` each."""

FIRST_PORT = 50051
"""Port of the dataset service when it is free, the trainer's and the inference service's follow; gRPC's usual number."""

START_SECONDS = 60.0
"""How long the first start may take before it counts as failed; it takes 2 to 5 s."""

_ATTEMPTS = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# A process that lived this long was well: the next pause before a restart is short again.
_HEALTHY_SECONDS = 10.0
# Beyond the grace that every process gives its own requests and workers; after that it is killed.
_KILL_MARGIN_SECONDS = 15.0
_POLL_SECONDS, _ANSWER_SECONDS = 0.05, 5.0


class DataFolderInUse(FailedPrecondition):
    """Another `timbre serve` works on the same data folder."""


class DataFolderUnusable(FailedPrecondition):
    """The data folder cannot be made, or not be written to."""


class PortTaken(FailedPrecondition):
    """Something else listens where the gateway should."""


class StartFailed(Internal):
    """A process ended, or none answered, before everything was ready."""


@dataclass(frozen=True)
class Places:
    """Who listens where.

    Attributes:
        host: Address the gateway listens on.
        port: Its port.
        services: Name of a service to its gRPC address.
        scheme: What the gateway speaks, `http` or `https`.
    """

    host: str
    port: int
    services: Mapping[str, str]
    scheme: str = "http"

    @property
    def local_host(self) -> str:
        """An address of this machine that reaches the gateway."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def url(self) -> str:
        """The gateway's URL for a browser on this machine."""
        host = f"[{self.local_host}]" if ":" in self.local_host else self.local_host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass
class _Stack:
    """What runs, and how far it is."""

    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)


def serve(settings: GatewaySettings, host: str, port: int) -> None:
    """Runs everything until Ctrl-C or SIGTERM; then leaves nothing running and nothing lost.

    Args:
        settings: Where things are kept; the data folder is this process's alone.
        host: Address the gateway listens on.
        port: Its port; 0 takes a free one.

    Raises:
        FailedPrecondition: The address lets other machines in, and there is no authentication.
        DataFolderInUse: Another `timbre serve` works on the same data folder.
        DataFolderUnusable: It cannot be made, or not be written to.
        PortTaken: Something else listens there.
        StartFailed: A process ended, or none answered, before everything was ready.
    """
    check_listen(host, settings)
    began = time.monotonic()
    with claim_folder(settings.data_dir), claim_usual_ports() as usual:
        for attempts_left in reversed(range(_ATTEMPTS)):
            places = replace(choose_places(host, port, usual=usual), scheme="https" if settings.https_cert else "http")
            try:
                return asyncio.run(_run(settings, places, began))
            except StartFailed:
                # Between choosing a port and listening on it, another process can be faster.
                if not attempts_left or places_free(places):
                    raise
                logger.warning("a port was taken by another process meanwhile; starting again with other ones")


@contextlib.contextmanager
def claim_folder(data_dir: Path) -> Iterator[None]:
    """Makes the data folder and holds it for this process alone; the kernel lets go of it however the process ends.

    Raises:
        DataFolderInUse: Another process holds it.
        DataFolderUnusable: There can be no such folder, or nothing in it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = open(data_dir / "serve.lock", "a+")  # noqa: SIM115
    except OSError as error:
        raise DataFolderUnusable(
            f"{data_dir} cannot be used ({error.strerror}): make it a folder that this user may write to, "
            "or name another by TIMBRE_DATA_DIR."
        ) from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DataFolderInUse(
                f"Another timbre serve (process {lock.read().strip() or 'unknown'}) works on {data_dir}: "
                "stop it first, or name another folder by TIMBRE_DATA_DIR."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextlib.contextmanager
def claim_usual_ports() -> Iterator[bool]:
    """Tells whether this process may use the ports from 50051 up; one `timbre serve` of a user at a time may.

    Two that started in one moment would both find these ports free, and one would talk to the other's services.
    """
    with open(Path(tempfile.gettempdir()) / f"timbre-{os.getuid()}.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def choose_places(host: str, port: int, *, usual: bool = True) -> Places:
    """Chooses free ports: the gateway's as asked, the services' from 50051 up, or others where those are taken.

    Args:
        host: Address the gateway listens on.
        port: Its port; 0 takes a free one.
        usual: Whether the services may have the ports from 50051 up.

    Raises:
        PortTaken: The gateway cannot have its port.
    """
    with contextlib.ExitStack() as probes:  # all are held until the last is chosen, so that none is chosen twice
        gateway = _bind_gateway(probes, host, port)
        addresses = {}
        for name, preferred in zip(SERVICES, range(FIRST_PORT, FIRST_PORT + len(SERVICES)), strict=True):
            probe = probes.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", preferred if usual and preferred != gateway else 0))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            addresses[name] = f"127.0.0.1:{probe.getsockname()[1]}"
    return Places(host, gateway, addresses)


def _bind_gateway(probes: contextlib.ExitStack, host: str, port: int) -> int:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        probe = probes.enter_context(socket.socket(family, socket.SOCK_STREAM))
        # As the gateway itself does, so that connections of an earlier one that linger do not keep the port from it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    except OSError as error:
        raise PortTaken(
            f"Cannot listen on {host}:{port} ({os.strerror(error.errno) if error.errno and error.errno > 0 else error}): "
            "choose another port by --port (make run PORT=8123)."
        ) from error
    return int(probe.getsockname()[1])


def places_free(places: Places) -> bool:
    """Whether nothing listens on any of these places."""
    addresses = [(places.local_host, places.port)]
    addresses += [(address.partition(":")[0], int(address.partition(":")[2])) for address in places.services.values()]
    for address in addresses:
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
            return False
    return True


def child_environment(settings: RuntimeSettings, places: Places) -> dict[str, str]:
    """Returns the environment of the children: this process's own, the data folder, and who listens where."""
    environment = {**os.environ, "TIMBRE_DATA_DIR": str(settings.data_dir)}
    for name, address in places.services.items():
        environment[f"TIMBRE_{name.upper()}_LISTEN"] = address
        environment[f"TIMBRE_{name.upper()}_ADDRESS"] = address
    # one address cannot be that of three services, and nothing here is asked by probes
    return environment | {"TIMBRE_HOST": places.host, "TIMBRE_PORT": str(places.port), "TIMBRE_HEALTH_LISTEN": ""}


def metrics_environment(settings: RuntimeSettings) -> dict[str, dict[str, str]]:
    """Returns what tells each process where to serve its metrics: the gateway where asked, the services on the ports after."""
    host, _, port = settings.metrics_listen.rpartition(":")
    names = ("gateway", *SERVICES)
    if not port.isdigit() or port == "0":
        return {name: {} for name in names}
    return {name: {"TIMBRE_METRICS_LISTEN": f"{host}:{int(port) + index}"} for index, name in enumerate(names)}


async def _run(settings: RuntimeSettings, places: Places, began: float) -> None:
    stack = _Stack()
    environment = child_environment(settings, places)
    metrics = metrics_environment(settings)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stack.stop.set)
    keepers = [
        asyncio.create_task(_keep_running(name, module, environment | metrics[name], stack))
        for name, module in (*((name, f"services.{name}") for name in SERVICES), ("gateway", "gateway"))
    ]
    stopping = asyncio.create_task(stack.stop.wait())
    readiness = asyncio.create_task(_wait_until_ready(places))
    try:
        await asyncio.wait([readiness, stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
        if readiness.done() and not stack.stop.is_set():
            readiness.result()
            stack.ready.set()
            _announce(settings, places, time.monotonic() - began)
            await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stack.stop.set()
        readiness.cancel()
        lost = [name for name in SERVICES if name not in stack.processes or stack.processes[name].returncode is not None]
        await _end_all(stack, settings.drain_grace_seconds)
        if stack.ready.is_set() and (lost or any(process.returncode for process in stack.processes.values())):
            await _end_orphans(settings)
        results = await asyncio.gather(*keepers, stopping, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    logger.info("Timbre has stopped")


def _announce(settings: RuntimeSettings, places: Places, seconds: float) -> None:
    logger.info(
        "Timbre is ready in %.1f s at %s (page: /webui, API: /docs) · gRPC %s · data in %s",
        seconds,
        places.url,
        ", ".join(f"{name} {address}" for name, address in places.services.items()),
        settings.data_dir,
    )


async def _keep_running(name: str, module: str, environment: Mapping[str, str], stack: _Stack) -> None:
    """Runs one process, and again whenever it ends, until everything stops.

    Raises:
        StartFailed: It ended before everything was ready for the first time.
    """
    pause = _FIRST_PAUSE
    while not stack.stop.is_set():
        began = time.monotonic()
        process = stack.processes[name] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            # Safe here: the only other threads of this process sleep until a child ends.
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )
        if stack.stop.is_set():  # while it was being started
            process.terminate()
        code = await process.wait()
        if stack.stop.is_set():
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not stack.ready.is_set():
            raise StartFailed(f"The {name} ended with {how} while starting: its last lines above say why.")
        if time.monotonic() - began > _HEALTHY_SECONDS:
            pause = _FIRST_PAUSE
        logger.warning("the %s ended with %s; starting it again in %.1f s", name, how, pause)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stack.stop.wait(), pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _wait_until_ready(places: Places) -> None:
    """Asks the gateway until it reaches every service; one that loads its model first (`TIMBRE_PRELOAD`) may take minutes more.

    Raises:
        StartFailed: That took too long.
    """
    ask = f"GET /readyz HTTP/1.1\r\nHost: {places.local_host}\r\nConnection: close\r\n\r\n".encode()
    deadline = time.monotonic() + START_SECONDS
    context = None
    if places.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is our own child that we ask how it is
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(places.local_host, places.port, ssl=context)
                with contextlib.closing(writer):
                    writer.write(ask)
                    answer = await reader.read()
            if b'"services"' in answer and b'"unreachable"' not in answer:
                return
        await asyncio.sleep(_POLL_SECONDS)
    raise StartFailed(f"Not everything was ready after {START_SECONDS:.0f} s: the lines above say what is missing.")


async def _end_all(stack: _Stack, grace_seconds: float) -> None:
    """Ends the gateway, then the services, each by SIGTERM; what has not ended after its grace is killed."""
    for names in (("gateway",), SERVICES):
        ending = [stack.processes[name] for name in names if name in stack.processes]
        for process in ending:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waits = [asyncio.create_task(process.wait()) for process in ending]
        if not waits:
            continue
        _, late = await asyncio.wait(waits, timeout=grace_seconds + _KILL_MARGIN_SECONDS)
        for process in ending:
            if process.returncode is None:
                logger.warning("process %d has not ended in time and is killed", process.pid)
                process.kill()
        await asyncio.gather(*late)


async def _end_orphans(settings: RuntimeSettings) -> None:
    """Ends the workers of a service that was not there to end them itself."""
    from sqlalchemy.exc import SQLAlchemyError

    from services.runtime.database import connect
    from services.runtime.jobs import JobQueue, JobState
    from services.runtime.jobs.machine import end_left_behind

    engine = connect(settings.database_url)
    try:
        running = await asyncio.to_thread(JobQueue(engine).find, states=[JobState.RUNNING], limit=1000)
    except SQLAlchemyError:
        logger.warning("the database cannot be read; workers of a service that died may still run", exc_info=True)
        return
    finally:
        engine.dispose()
    await end_left_behind(running, settings.drain_grace_seconds)
