"""Between protos and the JSON of jobs."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct, Value
from timbre.jobs.v1 import jobs_pb2

from gateway.schemas import jobs
from gateway.translate.values import moment

_JOB_STATES: dict[jobs_pb2.JobState.ValueType, jobs.JobState] = {
    jobs_pb2.JOB_STATE_QUEUED: "queued",
    jobs_pb2.JOB_STATE_RUNNING: "running",
    jobs_pb2.JOB_STATE_SUCCEEDED: "succeeded",
    jobs_pb2.JOB_STATE_FAILED: "failed",
    jobs_pb2.JOB_STATE_STOPPED: "stopped",
}

JOB_STATE_NUMBERS = {name: number for number, name in _JOB_STATES.items()}


def job(message: jobs_pb2.Job) -> jobs.Job:
    return jobs.Job(
        id=message.id,
        kind=message.kind,
        subject=message.subject,
        state=_JOB_STATES[message.state],
        # rounding must not make 100 of what has not ended
        progress=100.0 if message.progress >= 1 else min(round(100 * message.progress, 1), 99.9),
        message=message.message,
        remaining_seconds=message.remaining_seconds if message.HasField("remaining_seconds") else None,
        attempts=message.attempt_count,
        stop_requested=message.stop_requested,
        error=message.error or None,
        error_reason=message.error_reason or None,
        parameters=plain(message.parameters),
        result=plain(message.result) if message.HasField("result") else None,
        created_at=moment(message.create_time),
        started_at=moment(message.start_time) if message.HasField("start_time") else None,
        ended_at=moment(message.end_time) if message.HasField("end_time") else None,
    )


def listing(reply: jobs_pb2.ListJobsResponse) -> jobs.Jobs:
    return jobs.Jobs(jobs=[job(one) for one in reply.jobs], total=reply.total_count)


def log(job_id: str, after: int, reply: jobs_pb2.GetJobLogResponse) -> jobs.JobLog:
    last = reply.lines[-1].sequence if reply.lines else after
    return jobs.JobLog(job_id=job_id, logs="\n".join(line.text for line in reply.lines), last_sequence=last)


def plain(struct: Struct) -> dict[str, Any]:
    """Returns a struct as JSON has it; whole numbers, which it holds as doubles, become integers again."""
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_plain_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None
