"""Workers as processes of this machine: which of them live, whose they are, and how they are ended.

Every replica of a service sees every running job. What a process number means only those know that share a machine and a
process namespace with it (two containers, or two pods on one node's network, may share the host name alone), so a job's
row names all three. A worker belongs to the service that started it for as long as that lives; the kernel then gives it
another parent, by which any replica can tell that it was left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from services.runtime.jobs.model import Job


@cache
def machine_name() -> str:
    """Names what this process shares process numbers with: host, boot and process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().partition("-")[0]
    namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    return f"{socket.gethostname()[:200]}/{boot}/{namespace}"


def make_lease() -> str:
    """Returns a new lease: no two are equal, and it ends in the process number of the service that took the job."""
    return f"{secrets.token_hex(12)}-{os.getpid()}"


def owner_of(job: Job) -> int:
    """Returns the process number, on its machine, of the service that took a job; 0 for a lease of an earlier version."""
    _, dash, number = job.lease.rpartition("-")
    return int(number) if dash else 0


def is_here(job: Job) -> bool:
    """Whether the worker of a running job is on this machine, or the service that is about to start it."""
    return job.host == machine_name()


def worker_of(job: Job) -> int | None:
    """Returns the live process of this machine that works on a running job; None when there is none, or none yet.

    One that has not written its number yet is known to the service that started it; once that is gone, by its lease.
    """
    if not is_here(job):
        return None
    if job.pid is not None:
        return job.pid if _is_worker(job.pid, job.lease) else None
    return None if is_alive(owner_of(job)) else _find_worker(job.lease)


def left_behind(job: Job) -> int | None:
    """Returns the worker of a running job that lives on this machine while the service that started it does not."""
    pid = worker_of(job)
    return pid if pid is not None and _parent_of(pid) != owner_of(job) else None


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    return _stat(pid)[0] not in ("", "Z")


def kill_worker(pid: int, lease: str) -> None:
    """Kills a worker and all that it started, if that process is the worker still."""
    if _is_worker(pid, lease):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


async def end_left_behind(running: Iterable[Job], grace_seconds: float) -> None:
    """Ends the workers on this machine whose service is gone; those of services that live are let be.

    Args:
        running: Running jobs.
        grace_seconds: How long the workers may take to save.
    """
    await end_workers([(pid, job.lease) for job in running if (pid := left_behind(job)) is not None], grace_seconds)


async def end_workers(workers: Iterable[tuple[int, str]], grace_seconds: float) -> None:
    """Ends workers of this machine: by SIGTERM, upon which they save, and those that are late by SIGKILL.

    Args:
        workers: Their process numbers and leases.
        grace_seconds: How long they may take to save.
    """
    left = [worker for worker in workers if _is_worker(*worker)]
    for pid, _ in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while left and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        left = [worker for worker in left if _is_worker(*worker)]
    for worker in left:
        kill_worker(*worker)


async def wait_for_exit(job: Job, *, timeout_seconds: float) -> None:
    """Waits until the worker process of a job is gone, if it runs on this machine; gives up after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while worker_of(job) is not None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def _is_worker(pid: int, lease: str) -> bool:
    """Whether this process is the one that holds the lease: numbers of processes are used again."""
    try:
        return is_alive(pid) and lease.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _find_worker(lease: str) -> int | None:
    """Looks through all processes for the one that was started with a lease and leads its session, as workers do."""
    numbers = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    with contextlib.suppress(ProcessLookupError):
        return next((pid for pid in numbers if _is_worker(pid, lease) and os.getsid(pid) == pid), None)
    return None


def _parent_of(pid: int) -> int:
    return int(_stat(pid)[1] or 0)


def _stat(pid: int) -> list[str]:
    """Returns state and parent of a process, as proc(5) has them; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return ["", ""]
