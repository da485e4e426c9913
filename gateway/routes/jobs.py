"""`/training/jobs…` and `/training/events`: look at background work, follow it, stop it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from timbre.jobs.v1 import jobs_pb2

from gateway import events, translate
from gateway.reply import Services, reply
from gateway.schemas import jobs
from gateway.schemas.problem import problems

router = APIRouter(prefix="/training", tags=["Jobs"])

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="Log lines after this one are sent.")]


@router.get("/jobs", response_model=jobs.Jobs, responses=problems(422))
async def list_jobs(
    services: Services,
    limit: Annotated[jobs.PageSize, Query(description="Maximum jobs to return.")] = 50,
    offset: Annotated[jobs.Offset, Query(description="How many of the newest to pass over.")] = 0,
    kind: Annotated[jobs.Kind, Query(description="Only jobs of this kind.")] = "",
    subject: Annotated[jobs.Subject, Query(description="Only jobs on this dataset folder or model.")] = "",
    state: Annotated[list[jobs.JobState], Query(description="Only jobs in this state; may be repeated.")] = [],  # noqa: B006
) -> Response:
    """List jobs, newest first."""
    states = [translate.jobs.JOB_STATE_NUMBERS[one] for one in state]
    request = jobs_pb2.ListJobsRequest(limit=limit, offset=offset, kind=kind, subject=subject, states=states)
    return reply(translate.jobs.listing(await services.call_jobs("ListJobs", request)))


@router.get("/jobs/{job_id}", response_model=jobs.Job, responses=problems(404))
async def get_job(job_id: str, services: Services) -> Response:
    """Get one job."""
    found = await services.call_jobs("GetJob", jobs_pb2.GetJobRequest(job_id=job_id))
    return reply(translate.jobs.job(found.job))


@router.get("/jobs/{job_id}/log", response_model=jobs.JobLog, responses=problems(404, 422))
async def get_job_log(
    job_id: str,
    services: Services,
    after: Annotated[jobs.Offset, Query(description="Only lines after this sequence.")] = 0,
    tail: Annotated[jobs.LineCount | None, Query(description="Only so many of the last lines.")] = None,
) -> Response:
    """Get the log of a job."""
    request = jobs_pb2.GetJobLogRequest(job_id=job_id, after_sequence=after, tail_count=tail or 0)
    return reply(translate.jobs.log(job_id, after, await services.call_jobs("GetJobLog", request)))


@router.post("/jobs/{job_id}/cancel", response_model=jobs.Job, responses=problems(400, 404))
async def cancel_job(job_id: str, services: Services) -> Response:
    """Ask a job to stop. It saves what it has first; asking twice is fine, and 400 says that it has ended already."""
    asked = await services.call_jobs("CancelJob", jobs_pb2.CancelJobRequest(job_id=job_id))
    return reply(translate.jobs.job(asked.job))


@router.get("/jobs/{job_id}/events", response_class=Response, responses={**events.EVENTS_RESPONSE, **problems(404)})
async def follow_job(job_id: str, request: Request, services: Services, last_event_id: LastEventId = None) -> Response:
    """Follow a job and its log live, by server-sent events, until it has ended."""
    await services.call_jobs("GetJob", jobs_pb2.GetJobRequest(job_id=job_id))  # its errors still have a status of their own
    request.app.state.hub.check_room()
    after, heartbeat = events.resume_after(last_event_id), services.settings.event_comment_seconds
    return events.stream(request.app.state.hub.follow_job(job_id, after, heartbeat))


@router.get("/events", response_class=Response, responses={**events.EVENTS_RESPONSE, **problems()})
async def follow_all(request: Request, services: Services) -> Response:
    """Follow all jobs live, by server-sent events: the newest ones as they stand, then every one that changes."""
    await services.call_jobs("ListJobs", jobs_pb2.ListJobsRequest(limit=1))  # its errors still have a status of their own
    request.app.state.hub.check_room()
    return events.stream(request.app.state.hub.follow_all(services.settings.event_comment_seconds))
