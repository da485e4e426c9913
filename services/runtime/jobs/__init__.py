"""Durable jobs: rows in a database, each worked on by a process of its own."""

from services.runtime.jobs.context import JobContext, JobReleased, JobStopped
from services.runtime.jobs.model import Job, JobState
from services.runtime.jobs.queue import JobQueue

__all__ = ["Job", "JobContext", "JobQueue", "JobReleased", "JobState", "JobStopped"]
