from __future__ import annotations

import os
import socket
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
    assert not workers.works_here(job)  # it has no process yet
    assert not workers.is_here(replace(job, host=f"{host}/{boot}/1"))  # a pod on the same node's network
    assert not workers.is_here(replace(job, host=host))  # as an earlier version wrote it
    assert workers.owner_of(replace(job, lease="0123456789abcdef" * 2)) == 0
    assert not workers.works_here(replace(job, pid=os.getpid()))  # a process, but not the one with this lease


def test_no_two_leases_are_equal_and_each_fits_its_column() -> None:
    leases = {workers.make_lease() for _ in range(1000)}
    assert len(leases) == 1000
    assert max(map(len, leases)) <= 40
