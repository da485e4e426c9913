"""The worker process: one job, from its lease to its end. Started as `python -m services.<name>.work JOB_ID LEASE`."""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.runtime import logs, traces
from services.runtime.database import connect, is_away, patiently
from services.runtime.errors import recognise
from services.runtime.jobs.context import JobContext, JobReleased, JobStopped
from services.runtime.jobs.model import JobState
from services.runtime.jobs.queue import JobQueue, LeaseLost
from services.runtime.jobs.scratch import folder_of
from services.runtime.logs import set_up_logging
from services.runtime.processes import PoolBroken
from services.runtime.settings import JobSettings

JobFunction = Callable[[JobContext], dict[str, Any]]

logger = logging.getLogger(__name__)


def work(functions: Mapping[str, JobFunction], settings: JobSettings, arguments: list[str] | None = None) -> None:
    """Runs the job that the command line names.

    Args:
        functions: What does each kind of job.
        settings: Where the database is, and how often to report.
        arguments: Command line; by default the process's own.
    """
    parser = argparse.ArgumentParser(description="Runs one job that a service has claimed.")
    parser.add_argument("job_id")
    parser.add_argument("lease")
    chosen = parser.parse_args(arguments)
    set_up_logging(settings)
    traces.start(settings.traces_endpoint, "worker")
    queue = JobQueue(connect(settings.database_url))
    try:
        run_job(queue, chosen.job_id, chosen.lease, functions, settings)
    except LeaseLost:
        logger.warning("job %s was given to another worker; this one ends", chosen.job_id)
        raise SystemExit(75) from None


def run_job(queue: JobQueue, job_id: str, lease: str, functions: Mapping[str, JobFunction], settings: JobSettings) -> None:
    """Runs one job to its end and writes how it ended.

    Raises:
        LeaseLost: The job was given to another worker.
    """
    job = patiently(lambda: queue.start(job_id, lease))
    logs.request_of_process = job.request_id
    span = traces.begin(job.kind, job.traceparent)
    scratch = folder_of(settings.data_dir, job.id)
    scratch.mkdir(parents=True, exist_ok=True)
    context = JobContext(
        queue,
        job,
        scratch,
        heartbeat_seconds=settings.heartbeat_seconds,
        doubt_seconds=settings.heartbeat_timeout_seconds / 2,
    )
    context.stop_requested = job.stop_requested_at is not None

    def release(_signal: int, _frame: object) -> None:
        context.released = True

    signal.signal(signal.SIGTERM, release)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the service, which decides
    end_reporting = context.keep_reporting()
    try:
        end = _call(functions[job.kind], context)
    finally:
        end_reporting()
        if span:
            span.end()
    patiently(context.flush)
    if end.state is JobState.QUEUED:
        patiently(lambda: queue.release(job.id, lease))
        return
    try:
        patiently(lambda: queue.finish(job.id, lease, **vars(end)))
    except LeaseLost:
        # An end that was written, but not confirmed before the database went away, is an end.
        found = patiently(lambda: queue.get(job.id))
        if (found.state, found.lease) != (end.state, lease):
            raise
    shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class _End:
    """How a job ended; QUEUED when it continues later."""

    state: JobState
    result: dict[str, Any] | None = None
    error: str = ""
    reason: str = ""


def _call(function: JobFunction, context: JobContext) -> _End:
    try:
        context.check_stop()
        return _End(JobState.SUCCEEDED, function(context))
    except JobStopped:
        context.log("Stopped.")
        return _End(JobState.STOPPED)
    except JobReleased:
        context.log("Interrupted by a shutdown; continues later.")
        return _End(JobState.QUEUED)
    except (LeaseLost, PoolBroken):
        raise  # the latter counts like the death of this process: the job is picked up again
    except Exception as error:
        if is_away(error):
            raise  # likewise: whether a lock was held to the end is not known, and what was done is in the store
        if known := recognise(error):
            context.log(known.message)
            return _End(JobState.FAILED, error=known.message, reason=known.reason)
        # The traceback is for the operator; users get a sentence without paths.
        logger.exception("job %s failed", context.id)
        sentence = f"The job failed unexpectedly ({type(error).__name__}): the log of the service says where."
        context.log(sentence)
        return _End(JobState.FAILED, error=sentence, reason="INTERNAL")
