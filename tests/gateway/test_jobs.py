"""Jobs over HTTP: lists, logs, and events that many can follow at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from timbre.jobs.v1 import jobs_pb2 as pb

from services.runtime.errors import FailedPrecondition, NotFound

pytestmark = pytest.mark.asyncio(loop_scope="session")


def make_job(identifier: str = "job_1", state: int = pb.JOB_STATE_RUNNING, **fields: Any) -> pb.Job:
    return pb.Job(id=identifier, kind="trainer.train", subject="m", state=state, **fields)  # type: ignore[arg-type]


def line(number: int) -> pb.LogLine:
    return pb.LogLine(sequence=number, create_time=Timestamp(seconds=number), text=f"line {number}")


class Ledger:
    """One job that a test moves along; it answers as the jobs service does."""

    def __init__(self) -> None:
        self.job = make_job()
        self.lines: list[pb.LogLine] = []
        self.changed = asyncio.Condition()
        self.streams = 0
        self.opened = 0
        self.break_off = False

    async def change(self, state: int | None = None, lines: int = 0) -> None:
        async with self.changed:
            self.lines += [line(len(self.lines) + 1 + number) for number in range(lines)]
            if state is not None:
                self.job = make_job(state=state)
            self.changed.notify_all()

    def answers(self) -> dict[str, Any]:
        async def get_job(request: Any, context: Any) -> pb.GetJobResponse:
            return pb.GetJobResponse(job=self.job)

        async def get_log(request: pb.GetJobLogRequest, context: Any) -> pb.GetJobLogResponse:
            found = [one for one in self.lines if one.sequence > request.after_sequence]
            return pb.GetJobLogResponse(lines=found[-request.tail_count :] if request.tail_count else found)

        async def watch(request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
            self.streams += 1
            self.opened += 1
            place, told = request.after_sequence, None
            try:
                while True:
                    job, lines = self.job, [one for one in self.lines if one.sequence > place]
                    if lines or job is not told:
                        yield pb.WatchJobResponse(job=None if job is told else job, lines=lines)
                    told, place = job, lines[-1].sequence if lines else place
                    if job.state not in (pb.JOB_STATE_RUNNING, pb.JOB_STATE_QUEUED):
                        return
                    if self.break_off:
                        self.break_off = False
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
                    async with self.changed:
                        if place == len(self.lines) and told is self.job:
                            await self.changed.wait()
            finally:
                self.streams -= 1

        return {"GetJob": get_job, "GetJobLog": get_log, "WatchJob": watch}


@asynccontextmanager
async def follow(client: Any, path: str = "/training/jobs/job_1/events", **headers: str) -> AsyncIterator[Any]:
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield read_events(answer)


async def read_events(answer: Any) -> AsyncIterator[tuple[str, Any]]:
    event = data = ""
    async for text in answer.aiter_lines():
        name, _, value = text.partition(": ")
        if text.startswith(":"):
            yield "comment", value
        elif name == "event":
            event = value
        elif name == "data":
            data = value
        elif not text and event:
            yield event, json.loads(data)
            event = ""


async def collect(events: Any, until: str = "end") -> list[tuple[str, Any]]:
    found = []
    async with asyncio.timeout(8):
        async for kind, data in events:
            if kind != "comment" or until == "comment":
                found.append((kind, data))
            if kind == until:
                return found
    return found


def texts(found: list[tuple[str, Any]]) -> list[int]:
    return [data["sequence"] for kind, data in found if kind == "log"]


async def test_a_job(stack: Any) -> None:
    parameters = Struct()
    parameters.update({"epochs": 100, "learning_rate": 0.0001, "urls": ["a", None, True], "more": {"x": 1.5}})
    job = make_job(
        progress=0.9999, message="epoch 2", remaining_seconds=9.5, attempt_count=1, parameters=parameters,
        create_time=Timestamp(seconds=1_764_080_000), start_time=Timestamp(seconds=1_764_080_001),
    )  # fmt: skip
    stack.answer(GetJob=pb.GetJobResponse(job=job))
    assert (await stack.client.get("/training/jobs/job_1")).json() == {
        "id": "job_1",
        "kind": "trainer.train",
        "subject": "m",
        "state": "running",
        "progress": 99.9,
        "message": "epoch 2",
        "remaining_seconds": 9.5,
        "attempts": 1,
        "stop_requested": False,
        "error": None,
        "error_reason": None,
        "parameters": {"epochs": 100, "learning_rate": 0.0001, "urls": ["a", None, True], "more": {"x": 1.5}},
        "result": None,
        "created_at": "2025-11-25T14:13:20Z",
        "started_at": "2025-11-25T14:13:21Z",
        "ended_at": None,
    }


async def test_a_job_that_is_none(stack: Any) -> None:
    error = NotFound("There is no job job_x.")
    stack.answer(GetJob=error, GetJobLog=error, CancelJob=error)
    for method, path in (("GET", ""), ("GET", "/log"), ("POST", "/cancel"), ("GET", "/events")):
        answer = await stack.client.request(method, f"/training/jobs/job_x{path}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no job job_x.")


async def test_a_list_of_jobs(stack: Any) -> None:
    stack.answer(ListJobs=pb.ListJobsResponse(jobs=[make_job("job_2"), make_job("job_1")], total_count=7))
    path = "/training/jobs?limit=2&offset=1&kind=trainer.train&subject=m&state=running&state=queued"
    answer = (await stack.client.get(path)).json()
    assert ([job["id"] for job in answer["jobs"]], answer["total"]) == (["job_2", "job_1"], 7)
    states = [pb.JOB_STATE_RUNNING, pb.JOB_STATE_QUEUED]
    wanted = pb.ListJobsRequest(limit=2, offset=1, kind="trainer.train", subject="m", states=states)
    assert stack.asked("ListJobs") == wanted


async def test_a_log(stack: Any) -> None:
    stack.answer(GetJobLog=pb.GetJobLogResponse(lines=[line(4), line(5)]))
    answer = await stack.client.get("/training/jobs/job_1/log?after=3&tail=2")
    assert answer.json() == {"job_id": "job_1", "logs": "line 4\nline 5", "last_sequence": 5}
    assert stack.asked("GetJobLog") == pb.GetJobLogRequest(job_id="job_1", after_sequence=3, tail_count=2)


async def test_cancel(stack: Any) -> None:
    stack.answer(CancelJob=pb.CancelJobResponse(job=make_job(stop_requested=True)))
    answer = await stack.client.post("/training/jobs/job_1/cancel")
    assert (answer.status_code, answer.json()["stop_requested"]) == (200, True)
    stack.answer(CancelJob=FailedPrecondition("The job has ended already."))
    assert (await stack.client.post("/training/jobs/job_1/cancel")).status_code == 400


async def test_jobs_are_asked_of_the_trainer_when_the_dataset_service_is_away(start_stack: Any) -> None:
    async with start_stack() as stack:
        stack.answer(GetJob=pb.GetJobResponse(job=make_job()))
        await stack.servers["dataset"].stop(None)
        assert (await stack.client.get("/training/jobs/job_1")).status_code == 200


async def test_events_tell_the_job_its_log_and_its_end(stack: Any) -> None:
    ledger = Ledger()
    stack.answer(**ledger.answers())
    await ledger.change(lines=3)
    async with follow(stack.client) as events:
        first = await collect(events, until="log")
        assert first[0][0] == "job"
        assert first[0][1]["state"] == "running"
        await ledger.change(lines=2)
        await ledger.change(state=pb.JOB_STATE_SUCCEEDED)
        rest = await collect(events)
    assert texts(first + rest) == [1, 2, 3, 4, 5]
    assert first[1][1] == {"sequence": 1, "time": "1970-01-01T00:00:01Z", "text": "line 1"}
    assert rest[-1] == ("end", {"state": "succeeded"})
    assert [data["state"] for kind, data in rest if kind == "job"][-1] == "succeeded"


async def test_many_watchers_share_one_stream(stack: Any) -> None:
    ledger = Ledger()
    stack.answer(**ledger.answers())
    await ledger.change(lines=2)

    watching = 0

    async def watch() -> list[int]:
        nonlocal watching
        async with follow(stack.client) as events:
            watching += 1
            return texts(await collect(events))

    watchers = [asyncio.create_task(watch()) for _ in range(5)]
    while not ledger.streams or watching < 5:
        await asyncio.sleep(0.01)
    await ledger.change(lines=2500)  # more than a feed keeps
    late = asyncio.create_task(watch())
    while watching < 6:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # until it has joined the others
    await ledger.change(state=pb.JOB_STATE_STOPPED, lines=1)
    assert await asyncio.gather(*watchers, late) == [list(range(1, 2504))] * 6
    assert ledger.opened == 1


async def test_events_are_resumed_after_the_last_one_seen(stack: Any) -> None:
    ledger = Ledger()
    stack.answer(**ledger.answers())
    await ledger.change(lines=10, state=pb.JOB_STATE_FAILED)
    async with follow(stack.client, **{"Last-Event-ID": "7"}) as events:
        assert texts(await collect(events)) == [8, 9, 10]
    for nonsense in ("-1", "x", "9" * 40):
        async with follow(stack.client, **{"Last-Event-ID": nonsense}) as events:
            assert texts(await collect(events)) == list(range(1, 11))


async def test_a_stream_that_breaks_is_taken_up_again(stack: Any) -> None:
    ledger = Ledger()
    stack.answer(**ledger.answers())
    async with follow(stack.client) as events:
        await collect(events, until="job")
        ledger.break_off = True
        await ledger.change(lines=2)
        async with asyncio.timeout(5):
            while ledger.opened == 1:
                await asyncio.sleep(0.02)
        await ledger.change(state=pb.JOB_STATE_SUCCEEDED, lines=2)
        assert texts(await collect(events)) == [1, 2, 3, 4]


async def test_a_quiet_stream_says_that_it_lives(stack: Any) -> None:
    ledger = Ledger()
    stack.answer(**ledger.answers())
    async with follow(stack.client) as events:
        assert (await collect(events, until="comment"))[-1] == ("comment", "still here")
    await ledger.change(state=pb.JOB_STATE_STOPPED)


async def test_the_stream_ends_with_its_last_watcher(stack: Any) -> None:
    ledger = Ledger()
    stack.answer(**ledger.answers())
    async with follow(stack.client) as events:
        await collect(events, until="job")
        assert ledger.streams == 1
    async with asyncio.timeout(5):
        while ledger.streams:
            await asyncio.sleep(0.02)


async def test_events_of_all_jobs(stack: Any) -> None:
    going = asyncio.Event()

    async def watch(request: Any, context: Any) -> AsyncIterator[pb.WatchJobsResponse]:
        await going.wait()
        yield pb.WatchJobsResponse(job=make_job("job_3"))
        await asyncio.sleep(30)

    stack.answer(ListJobs=pb.ListJobsResponse(jobs=[make_job("job_2"), make_job("job_1")]), WatchJobs=watch)
    seen = []
    async with follow(stack.client, "/training/events") as events, asyncio.timeout(8):
        async for kind, data in events:
            if kind == "job":
                seen.append(data["id"])
                going.set()
            if len(seen) == 3:
                break
    assert seen == ["job_1", "job_2", "job_3"]


async def test_shutting_down_ends_the_streams(start_stack: Any) -> None:
    ledger = Ledger()
    began = None
    async with start_stack(drain_grace_seconds=20) as stack:
        stack.answer(**ledger.answers())
        async with follow(stack.client) as events:
            await collect(events, until="job")
            began = asyncio.get_running_loop().time()
            stack.server.should_exit = True
            assert [kind for kind, _ in await collect(events)] in ([], ["job"])
    assert asyncio.get_running_loop().time() - began < 5
