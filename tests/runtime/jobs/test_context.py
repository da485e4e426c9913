"""A worker that could not report for long asks whether its job is its own still before it goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.dataset.units import Units
from services.runtime.jobs import Job, JobContext, JobQueue, JobReleased
from services.runtime.jobs import context as module
from services.runtime.jobs.queue import JobNotFound
from services.runtime.store import open_store


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
    sure.confirm()
    with pytest.raises(SystemExit) as ended:
        unsure.check_stop()
    assert ended.value.code == 75
    with pytest.raises(SystemExit), unsure.exclusive():
        pytest.fail("it holds what is another's to change")
    (tmp_path / "store").mkdir()
    store = open_store((tmp_path / "store").as_uri())
    with pytest.raises(SystemExit):
        Units(store, "work/a/", unsure.confirm).finish("one", {})
    assert list(store.list("")) == [], "a unit that another worker has done by now"


def test_a_worker_that_has_to_go_does_not_wait_until_it_knows(
    queue: JobQueue, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: object, **_named: object) -> bool:
        raise sa.exc.OperationalError("UPDATE", {}, OSError("gone"))

    context = JobContext(queue, job, tmp_path, doubt_seconds=60)
    context.released = True
    context._heard_at -= 100
    context.confirm()
    context._heard_at -= 100
    monkeypatch.setattr(queue, "report", away)
    with pytest.raises(JobReleased):
        context.confirm()


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


def test_what_no_database_takes_stops_no_heartbeat(queue: JobQueue, job: Job, tmp_path: Path) -> None:
    context = JobContext(queue, job, tmp_path)
    context.record(3, loss=0.5, eval_loss=float("nan"), rate=float("inf"))
    context.log("voz\0\udce9.wav: left out")
    context.flush()
    assert [(point.name, point.value) for point in queue.series(job.id)] == [("loss", 0.5)]
    assert [line.text for line in queue.log_lines(job.id)] == ["voz??.wav: left out"]


def test_a_report_that_is_refused_is_not_sent_for_ever(
    queue: JobQueue, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_named: object) -> bool:
        raise sa.exc.IntegrityError("INSERT", {}, ValueError("NOT NULL"))

    context = JobContext(queue, job, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "report", refuse)
        context.log("refused")
        context._report()  # what the heartbeat does: it outlasts this
    context.log("taken")
    context.flush()
    assert [line.text for line in queue.log_lines(job.id)] == ["taken"]


def test_names_that_no_job_can_have_are_of_none(queue: JobQueue) -> None:
    with pytest.raises(JobNotFound):
        queue.get("job_\0")
    assert queue.find(subject="a\0") == []
    assert queue.count(kind="\0") == 0
