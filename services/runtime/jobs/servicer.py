"""JobsService over gRPC: looking at jobs, following them, stopping them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from timbre.jobs.v1 import jobs_pb2 as pb
from timbre.jobs.v1 import jobs_pb2_grpc

from services.runtime.auth import ADMIN, caller
from services.runtime.errors import InvalidArgument
from services.runtime.jobs.model import Job, JobState, LogLine
from services.runtime.jobs.queue import JobQueue

Context = grpc.aio.ServicerContext[Any, Any]

# How soon a watcher sees a change, in seconds.
_WATCH_SECONDS = 0.25

_STATES = {
    JobState.QUEUED: pb.JOB_STATE_QUEUED,
    JobState.RUNNING: pb.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
    JobState.STOPPED: pb.JOB_STATE_STOPPED,
}
_STATES_BACK = {number: state for state, number in _STATES.items()}


class JobsServicer(jobs_pb2_grpc.JobsServiceServicer):
    """Serves the jobs of one database.

    Args:
        queue: Where they are.
        scopes: The part of a kind before its dot to the scopes of which a caller needs one to stop such jobs; stopping
            those of a kind that is not listed needs `admin`.
    """

    def __init__(self, queue: JobQueue, scopes: Mapping[str, Collection[str]] = MappingProxyType({})) -> None:
        self._queue, self._scopes = queue, scopes

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=to_message(await asyncio.to_thread(self._queue.get, request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        if not 0 <= request.limit <= 1000:
            raise InvalidArgument(f"limit is {request.limit}: it must be 1 to 1000.", fields={"limit": "must be 1 to 1000"})
        states = [_STATES_BACK[state] for state in request.states if state in _STATES_BACK]
        jobs = await asyncio.to_thread(
            self._queue.find,
            kind=request.kind,
            subject=request.subject,
            states=states,
            limit=request.limit or 100,
            offset=max(request.offset, 0),
        )
        total = await asyncio.to_thread(self._queue.count, kind=request.kind, subject=request.subject, states=states)
        return pb.ListJobsResponse(jobs=[to_message(job) for job in jobs], total_count=total)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        job = await asyncio.to_thread(self._queue.get, request.job_id)
        caller.get().check(self._scopes.get(job.kind.partition(".")[0], (ADMIN,)))
        return pb.CancelJobResponse(job=to_message(await asyncio.to_thread(self._queue.cancel, job.id)))

    async def GetJobLog(self, request: pb.GetJobLogRequest, context: Context) -> pb.GetJobLogResponse:
        job = await asyncio.to_thread(self._queue.get, request.job_id)
        lines = await asyncio.to_thread(
            self._queue.log_lines, job.id, after=request.after_sequence, tail=max(request.tail_count, 0)
        )
        return pb.GetJobLogResponse(lines=[to_line(line) for line in lines])

    async def WatchJob(self, request: pb.WatchJobRequest, context: Context) -> AsyncIterator[pb.WatchJobResponse]:
        sequence, revision = request.after_sequence, -1
        while True:
            # The job first: lines written before it ended are then certain to be seen.
            job = await asyncio.to_thread(self._queue.get, request.job_id)
            lines = await asyncio.to_thread(self._queue.log_lines, job.id, after=sequence)
            if lines or job.revision != revision:
                changed = job.revision != revision
                yield pb.WatchJobResponse(job=to_message(job) if changed else None, lines=[to_line(line) for line in lines])
                sequence = lines[-1].sequence if lines else sequence
                revision = job.revision
            if job.ended:
                return
            await asyncio.sleep(_WATCH_SECONDS)

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: Context) -> AsyncIterator[pb.WatchJobsResponse]:
        newest = await asyncio.to_thread(self._queue.find, limit=1)
        since = datetime.now(UTC).timestamp() if not newest else max(newest[0].updated_at, 1.0)
        sent: dict[str, int] = {}
        while True:
            # A second of overlap, since transactions may become visible out of order; `sent` keeps doubles away.
            jobs = await asyncio.to_thread(self._queue.find, updated_after=since - 1.0, limit=1000)
            for job in sorted(jobs, key=lambda job: job.updated_at):
                if sent.get(job.id) != job.revision:
                    yield pb.WatchJobsResponse(job=to_message(job))
                since = max(since, job.updated_at)
            sent = {job.id: job.revision for job in jobs}
            await asyncio.sleep(_WATCH_SECONDS)


def to_message(job: Job) -> pb.Job:
    """Translates a job."""
    return pb.Job(
        id=job.id,
        kind=job.kind,
        subject=job.subject,
        state=_STATES[job.state],
        progress=job.progress,
        message=job.message,
        remaining_seconds=job.remaining_seconds,
        attempt_count=job.attempt,
        stop_requested=job.stop_requested_at is not None,
        error=job.error,
        error_reason=job.reason,
        parameters=_struct(job.parameters),
        result=None if job.result is None else _struct(job.result),
        create_time=to_timestamp(job.created_at),
        start_time=to_timestamp(job.started_at),
        end_time=to_timestamp(job.ended_at),
    )


def to_line(line: LogLine) -> pb.LogLine:
    """Translates a log line."""
    return pb.LogLine(sequence=line.sequence, create_time=to_timestamp(line.created_at), text=line.text)


def _struct(values: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def to_timestamp(seconds: float | None) -> Timestamp | None:
    """Translates seconds since 1970."""
    if seconds is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return stamp
