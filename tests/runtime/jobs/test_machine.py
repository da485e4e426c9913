from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

from services.runtime.jobs import JobQueue
from services.runtime.jobs import machine as workers


def test_a_row_says_where_its_worker_is_and_whose(queue: JobQueue) -> None:
    queue.submit("t.count", "a", {})
    job = queue.claim(["t.count"])
    assert job is not None
    host, boot, namespace = job.host.split("/")
    assert (host, len(boot), namespace.isdigit()) == (socket.gethostname(), 8, True)
    assert workers.is_here(job)
    assert workers.owner_of(job) == os.getpid()
    assert workers.worker_of(job) is None  # it has no process yet
    assert not workers.is_here(replace(job, host=f"{host}/{boot}/1"))  # a pod on the same node's network
    assert not workers.is_here(replace(job, host=host))  # as an earlier version wrote it
    assert workers.owner_of(replace(job, lease="0123456789abcdef" * 2)) == 0
    assert workers.worker_of(replace(job, pid=os.getpid())) is None  # a process, but not the one with this lease


def test_a_worker_that_has_not_said_its_number_is_found_once_its_service_is_gone(queue: JobQueue) -> None:
    queue.submit("t.count", "a", {})
    job = queue.claim(["t.count"])
    assert job is not None
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    orphan = replace(job, lease=f"{job.lease.partition('-')[0]}-{gone.pid}")  # as a service took it that is dead now
    assert workers.left_behind(orphan) is None
    command = [sys.executable, "-c", "import time; time.sleep(60)", orphan.id, orphan.lease]
    with subprocess.Popen(command, start_new_session=True) as worker:
        try:
            assert workers.worker_of(orphan) == workers.left_behind(orphan) == worker.pid
            assert workers.worker_of(replace(orphan, lease=f"{'0' * 24}-{gone.pid}")) is None
            asyncio.run(workers.end_left_behind([orphan], grace_seconds=30))
            assert worker.wait(30) == -signal.SIGTERM
        finally:
            worker.kill()


def test_no_two_leases_are_equal_and_each_fits_its_column() -> None:
    leases = {workers.make_lease() for _ in range(1000)}
    assert len(leases) == 1000
    assert max(map(len, leases)) <= 40
