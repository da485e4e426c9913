"""A worker that could not report for long asks whether its job is its own still before it goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.runtime.jobs import Job, JobContext, JobQueue
from services.runtime.jobs import context as module


@pytest.fixture
def job(queue: JobQueue) -> Job:
    queue.submit("t.count", "a", {})
    claimed = queue.claim(["t.count"])
    assert claimed is not None
    return claimed


def test_a_worker_in_doubt_asks(queue: JobQueue, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(module.os, "_exit", end)
    sure, unsure = (JobContext(queue, job, tmp_path, doubt_seconds=seconds) for seconds in (60.0, 0.0))
    queue.give_up(job, max_crashes=5, reason="It was silent")
    sure.check_stop()
    with pytest.raises(SystemExit) as ended:
        unsure.check_stop()
    assert ended.value.code == 75


def test_a_worker_in_doubt_waits_for_the_database(
    queue: JobQueue, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, away = queue.report, threading.Event()
    away.set()

    def sometimes(*arguments: object, **named: object) -> bool:
        if away.is_set():
            raise sa.exc.OperationalError("UPDATE", {}, OSError("gone"))
        return report(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(queue, "report", sometimes)
    context = JobContext(queue, job, tmp_path, heartbeat_seconds=0.02, doubt_seconds=0.1)
    context._heard_at -= 1
    threading.Timer(0.3, away.clear).start()
    context.check_stop()
    assert not away.is_set()
