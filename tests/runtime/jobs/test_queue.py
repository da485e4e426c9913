from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from services.runtime.auth import Caller, caller
from services.runtime.database import SchemaTooNew, connect, migrate, open_database
from services.runtime.idempotency import idempotency_key
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.queue import JobActive, JobEnded, JobNotFound, KeyReused, LeaseLost


def submit(queue: JobQueue, subject: str = "datasets/a", kind: str = "dataset.segment", **more: object) -> Job:
    return queue.submit(kind, subject, {"folder": subject}, after_subjects=(subject,), **more)  # type: ignore[arg-type]


def claim(queue: JobQueue) -> Job:
    job = queue.claim(["dataset.segment", "dataset.download"])
    assert job is not None
    return job


def test_a_job_goes_from_queued_to_succeeded(queue: JobQueue) -> None:
    job = submit(queue)
    assert (job.state, job.attempt, job.progress) == (JobState.QUEUED, 0, 0.0)
    claimed = claim(queue)
    assert (claimed.id, claimed.state, claimed.attempt) == (job.id, JobState.RUNNING, 1)
    queue.report(job.id, claimed.lease, {"progress": 0.5}, lines=[(1.0, "half")], points=[("loss", 1, 0.25, 2.0)])
    queue.finish(job.id, claimed.lease, JobState.SUCCEEDED, result={"made": 3})
    ended = queue.get(job.id)
    assert (ended.state, ended.progress, ended.result) == (JobState.SUCCEEDED, 1.0, {"made": 3})
    assert [line.text for line in queue.log_lines(job.id)] == ["half"]
    assert [(p.name, p.step, p.value) for p in queue.series(job.id)] == [("loss", 1, 0.25)]


def test_jobs_on_one_subject_run_in_order_and_others_beside_them(queue: JobQueue) -> None:
    first, second = submit(queue, "datasets/a"), submit(queue, "datasets/a")
    other = submit(queue, "datasets/b")
    assert second.after == [first.id]
    assert claim(queue).id == first.id
    assert claim(queue).id == other.id
    assert queue.claim(["dataset.segment"]) is None
    running = queue.get(first.id)
    queue.finish(first.id, running.lease, JobState.FAILED, error="It broke.")
    assert claim(queue).id == second.id


def test_a_failure_has_a_reason_and_no_result(queue: JobQueue) -> None:
    job = submit(queue, "datasets/a")
    claimed = claim(queue)
    queue.finish(job.id, claimed.lease, JobState.FAILED, error="It broke.", reason="VERY_BROKEN")
    found = queue.get(job.id)
    assert (found.error, found.reason, found.result) == ("It broke.", "VERY_BROKEN", None)
    assert found.to_row()["result"] == {"_reason": "VERY_BROKEN"}


def test_unless_active_refuses_a_second_one(queue: JobQueue) -> None:
    first = submit(queue, "a", kind="trainer.train")
    with pytest.raises(JobActive) as caught:
        submit(queue, "b", kind="trainer.train", unless_active="trainer.train")
    assert caught.value.job.id == first.id
    queue.cancel(first.id)
    submit(queue, "b", kind="trainer.train", unless_active="trainer.train")


def test_many_claimers_never_share_a_job(queue: JobQueue) -> None:
    ids = {submit(queue, f"datasets/{i}").id for i in range(12)}
    taken: list[str] = []

    def take() -> None:
        while (job := queue.claim(["dataset.segment"])) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)


def test_many_submitters_get_one_training(queue: JobQueue) -> None:
    accepted: list[Job] = []
    refused: list[JobActive] = []

    def start() -> None:
        try:
            accepted.append(submit(queue, "m", kind="trainer.train", unless_active="trainer.train"))
        except JobActive as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(accepted), len(refused)) == (1, 7)


def test_a_worker_that_lost_its_lease_writes_nothing(queue: JobQueue) -> None:
    job = submit(queue)
    old = claim(queue)
    queue.give_up(old, max_crashes=5, reason="The worker fell silent")
    new = claim(queue)
    assert (new.id, new.attempt, new.crashes) == (job.id, 2, 1)
    with pytest.raises(LeaseLost):
        queue.report(job.id, old.lease, {"progress": 0.9}, lines=[(1.0, "ghost")])
    with pytest.raises(LeaseLost):
        queue.finish(job.id, old.lease, JobState.SUCCEEDED)
    assert queue.get(job.id).progress == 0.0
    assert all(line.text != "ghost" for line in queue.log_lines(job.id))


def test_giving_up_twice_counts_once(queue: JobQueue) -> None:
    submit(queue)
    held = claim(queue)
    queue.give_up(held, max_crashes=5, reason="The worker died")
    assert queue.give_up(held, max_crashes=5, reason="The worker died").crashes == 1


def test_a_job_that_keeps_killing_its_worker_fails(queue: JobQueue) -> None:
    job = submit(queue)
    for _ in range(3):
        queue.give_up(claim(queue), max_crashes=3, reason="The worker died")
    ended = queue.get(job.id)
    assert ended.state is JobState.FAILED
    assert "3 times" in ended.error


def test_cancel_ends_a_queued_job_and_asks_a_running_one(queue: JobQueue) -> None:
    queued, running = submit(queue, "datasets/q"), submit(queue, "datasets/r")
    assert queue.cancel(queued.id).state is JobState.STOPPED
    held = claim(queue)
    assert held.id == running.id
    asked = queue.cancel(running.id)
    assert asked.state is JobState.RUNNING
    assert asked.stop_requested_at is not None
    assert queue.report(running.id, held.lease, {}) is True
    # Its worker dies before it could save: what was asked for is stopped, not run again.
    assert queue.give_up(queue.get(running.id), max_crashes=5, reason="The worker died").state is JobState.STOPPED
    with pytest.raises(JobEnded):
        queue.cancel(running.id)


def test_release_lets_it_continue_without_counting_a_crash(queue: JobQueue) -> None:
    job = submit(queue)
    queue.release(job.id, claim(queue).lease)
    again = claim(queue)
    assert (again.id, again.attempt, again.crashes) == (job.id, 2, 0)


def test_log_series_and_lists(queue: JobQueue) -> None:
    jobs = [submit(queue, f"datasets/{i}") for i in range(3)]
    held = claim(queue)
    queue.report(held.id, held.lease, {}, lines=[(float(i), f"line {i}") for i in range(5)])
    assert [line.text for line in queue.log_lines(held.id, tail=2)] == ["line 3", "line 4"]
    third = queue.log_lines(held.id)[2]
    assert [line.text for line in queue.log_lines(held.id, after=third.sequence)] == ["line 3", "line 4"]
    queue.report(held.id, held.lease, {}, points=[("loss", 1, 3.0, 0.0), ("loss", 2, 2.0, 0.0)])
    queue.report(held.id, held.lease, {}, points=[("loss", 2, 1.5, 0.0), ("loss", 2, 1.0, 0.0)])
    assert [(p.step, p.value) for p in queue.series(held.id)] == [(1, 3.0), (2, 1.0)]
    assert [job.id for job in queue.find()] == [job.id for job in reversed(jobs)]
    assert [job.id for job in queue.find(states=[JobState.QUEUED], limit=1, offset=1)] == [jobs[1].id]
    assert queue.count(states=[JobState.QUEUED]) == 2
    with pytest.raises(JobNotFound):
        queue.get("job_nowhere")


def test_migrations_run_once_and_refuse_a_newer_schema(database_url: str) -> None:
    engines = [connect(database_url) for _ in range(3)]
    threads = [threading.Thread(target=migrate, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engines[0].begin() as connection:
        assert sa.inspect(connection).has_table("jobs")
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew, match="9999"):
        open_database(database_url)
    for engine in engines:
        engine.dispose()


@contextlib.contextmanager
def asking(key: str, subject: str = "ana") -> Iterator[None]:
    """As if a request with this idempotency key were under way."""
    tokens = idempotency_key.set(key), caller.set(Caller(subject, frozenset()))
    yield
    idempotency_key.reset(tokens[0])
    caller.reset(tokens[1])


def test_a_request_that_is_repeated_is_the_same_job(queue: JobQueue) -> None:
    with asking("k1"):
        job = submit(queue, unless_active="dataset.segment")
        claimed = claim(queue)
        queue.finish(job.id, claimed.lease, JobState.SUCCEEDED)
        again = submit(queue, unless_active="dataset.segment")
        assert (again.id, again.state, again.parameters) == (job.id, JobState.SUCCEEDED, job.parameters)
        found = queue.accepted("dataset.segment", "datasets/a", job.parameters)
        assert found is not None
        assert found.id == job.id
        with pytest.raises(KeyReused):
            submit(queue, "datasets/b")
    with asking("k2"):
        assert queue.accepted("dataset.segment", "datasets/a", job.parameters) is None
        assert submit(queue).id != job.id
    with asking("k1", subject="bob"):  # another caller's key is another key
        assert submit(queue).id != job.id
    assert submit(queue).id != submit(queue).id


def test_a_request_that_comes_twice_at_once_is_one_job(queue: JobQueue) -> None:
    def ask() -> None:
        with asking("k1"):
            barrier.wait()
            ids.append(submit(queue).id)

    barrier, ids = threading.Barrier(8), list[str]()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
