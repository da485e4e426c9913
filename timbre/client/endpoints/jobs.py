"""Requests about jobs, and whether everything is well."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from gateway.schemas.jobs import Health, Job, JobLog, Jobs, JobState, Readiness
from gateway.schemas.links import Export, Link
from gateway.schemas.training import Me
from timbre.client.request import Request, endpoint


class JobEndpoints:
    """Jobs and health."""

    @endpoint
    def jobs(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        kind: str | None = None,
        subject: str | None = None,
        state: Sequence[JobState] | None = None,
    ) -> Request[Jobs]:
        """Lists jobs, newest first."""
        params = {"limit": limit, "offset": offset, "kind": kind, "subject": subject, "state": state}
        return Request("GET", "/training/jobs", Jobs, params)

    @endpoint
    def get_job(self, job_id: str) -> Request[Job]:
        """Returns a job as it stands."""
        return Request("GET", _job(job_id), Job)

    @endpoint
    def job_log(self, job_id: str, *, after: int | None = None, tail: int | None = None) -> Request[JobLog]:
        """Returns the log of a job: the lines after a sequence number, or so many of the last."""
        return Request("GET", _job(job_id) + "/log", JobLog, {"after": after, "tail": tail})

    @endpoint
    def cancel_job(self, job_id: str) -> Request[Job]:
        """Asks a job to stop; it saves what it has first."""
        return Request("POST", _job(job_id) + "/cancel", Job)

    @endpoint
    def healthy(self) -> Request[Health]:
        """Returns whether the gateway answers."""
        return Request("GET", "/healthz", Health)

    @endpoint
    def ready(self) -> Request[Readiness]:
        """Returns whether the gateway and every service behind it are ready."""
        return Request("GET", "/readyz", Readiness)

    @endpoint
    def me(self) -> Request[Me]:
        """Returns who asks, as the server sees it, and what the caller may do."""
        return Request("GET", "/training/me", Me)

    @endpoint
    def link(self, path: Export, query: dict[str, str]) -> Request[Link]:
        """Returns a link to an export that works without a token for a while; `export_dataset` and others need none."""
        return Request("POST", "/training/links", Link, json={"path": path, "query": query})


def _job(job_id: str) -> str:
    return f"/training/jobs/{quote(job_id, safe='')}"
