"""Workers as jobs of a Ray cluster, through the HTTP job API of its head: the service itself does not load Ray.

https://docs.ray.io/en/latest/cluster/running-applications/job-submission/api.html
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import httpx

from services.runtime.jobs.model import Job
from services.runtime.jobs.runners import ALIVE, Sighting, WorkerState
from services.runtime.settings import JobSettings, RayResources

logger = logging.getLogger(__name__)

# Workers serve nobody, so they need no locks, and whoever may use the job API sees what they get.
_KEPT_HERE = ("TIMBRE_RAY_TOKEN", "TIMBRE_AUTH", "TIMBRE_JWT_SECRET", "TIMBRE_LINK_SECRET")

# How long the head may take to answer; a submission makes it look for a node, which takes it a second or two.
_TIMEOUT_SECONDS = 20.0

# A cluster that cannot be reached is tried again after so long, and after twice as long each further time, up to the limit.
_RETRY_SECONDS = 1.0
_RETRY_LIMIT_SECONDS = 15.0


class RayRunner:
    """Workers as Ray jobs, each with the resources that its kind of job asks for.

    The name of the Ray job is made of the id and the attempt of ours, so that submitting twice starts one worker, and any
    replica of the service, also one that was started later, can ask for it.

    Args:
        module: Entry point of the worker.
        settings: Address of the cluster, resources by kind, and what of the environment workers get.
    """

    def __init__(self, module: str, settings: JobSettings) -> None:
        self._module = module
        self._settings = settings
        token = settings.ray_token.get_secret_value() if settings.ray_token else ""
        self._head = httpx.AsyncClient(
            base_url=settings.ray_address,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,  # the cluster is near: never through a proxy
        )
        self._own: set[str] = set()  # leases of jobs that this service claimed
        self._unsent: dict[str, str] = {}  # those of them that the cluster has not taken yet, and why
        self._retry_at = 0.0
        self._retry_seconds = _RETRY_SECONDS

    def load(self, running: Sequence[Job]) -> int:
        """Returns how many of the running jobs this service claimed."""
        self._own &= {job.lease for job in running}
        self._unsent = {lease: why for lease, why in self._unsent.items() if lease in self._own}
        return len(self._own)

    async def start(self, job: Job) -> None:
        """Submits the worker to the cluster; if that cannot be reached, the next looks try again."""
        self._own.add(job.lease)
        await self._submit(job)

    async def look(self, job: Job, quiet_seconds: float) -> Sighting:
        """Asks the cluster about workers that are not heard of; of the others the heartbeat says enough."""
        if job.lease in self._unsent:
            if time.monotonic() >= self._retry_at:
                await self._submit(job)
            why = self._unsent.get(job.lease)
            return Sighting(WorkerState.WAITING, why) if why else Sighting(WorkerState.STARTING)
        own_start = job.pid is None and job.lease in self._own
        patience = self._settings.heartbeat_seconds if own_start else self._settings.heartbeat_timeout_seconds / 3
        if quiet_seconds < patience:
            return Sighting(WorkerState.STARTING) if job.pid is None else ALIVE
        try:
            answer = await self._head.get(f"/api/jobs/{_name(job)}")
        except httpx.TransportError:
            # A worker that lives goes on without the head, and is heard of; one that never began has to wait for it.
            return ALIVE if job.pid is not None else Sighting(WorkerState.WAITING, self._unreachable())
        if answer.status_code == httpx.codes.NOT_FOUND:
            return Sighting(WorkerState.GONE, "The Ray cluster knows nothing of the worker any more")
        if answer.is_error or not answer.headers.get("content-type", "").startswith("application/json"):  # another server
            return ALIVE if job.pid is not None else Sighting(WorkerState.WAITING, self._refused(answer))
        return self._sighting(job, answer.json())

    def _sighting(self, job: Job, facts: dict[str, Any]) -> Sighting:
        match facts["status"]:
            case "PENDING":
                return Sighting(WorkerState.WAITING, "The Ray cluster has no room yet")
            case "RUNNING":
                return Sighting(WorkerState.STARTING) if job.pid is None else ALIVE
            case status:
                # What Ray says may show paths and addresses, which is for the operator.
                logger.warning("job %s: Ray job %s is %s: %s", job.id, _name(job), status, facts.get("message"))
                return Sighting(WorkerState.GONE, f"The worker on the Ray cluster ended unexpectedly ({status.lower()})")

    async def kill(self, job: Job) -> None:
        """Has the cluster stop the worker: by SIGTERM, and by SIGKILL some seconds later."""
        if self._unsent.pop(job.lease, None):
            return
        try:
            await self._head.post(f"/api/jobs/{_name(job)}/stop")
        except httpx.TransportError:
            logger.warning("job %s: %s", job.id, self._unreachable())

    async def shut_down(self, running: Sequence[Job]) -> list[Job]:
        """Leaves the workers alone: they go on, and the next service looks after them. What was never sent is given back."""
        await self._head.aclose()
        return [job for job in running if job.lease in self._unsent]

    async def _submit(self, job: Job) -> None:
        resources = resources_of(job.kind, self._settings.ray_resources)
        command = [self._settings.ray_python, "-m", self._module, job.id, job.lease]
        request = {
            "submission_id": _name(job),
            "entrypoint": shlex.join(command),
            "entrypoint_num_cpus": resources.cpus,
            "entrypoint_num_gpus": resources.gpus,
            "entrypoint_memory": resources.memory_bytes or None,
            "entrypoint_resources": resources.custom or None,
            "runtime_env": {"env_vars": environment_of(self._settings, os.environ)},
            "metadata": {"job": job.id, "kind": job.kind, "attempt": str(job.attempt)},
        }
        try:
            answer = await self._head.post("/api/jobs/", json=request)
            # It may have been taken although we never heard so, and says no to the second time.
            taken = answer.is_success or (await self._head.get(f"/api/jobs/{_name(job)}")).is_success
        except httpx.TransportError:
            self._postpone(job, self._unreachable())
            return
        if taken:
            self._unsent.pop(job.lease, None)
            self._retry_at, self._retry_seconds = 0.0, _RETRY_SECONDS
        else:
            logger.warning("job %s: Ray answered %d: %s", job.id, answer.status_code, answer.text[-500:])
            self._postpone(job, self._refused(answer))

    def _postpone(self, job: Job, why: str) -> None:
        self._unsent[job.lease] = why
        if time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _RETRY_LIMIT_SECONDS)

    def _unreachable(self) -> str:
        return "The Ray cluster cannot be reached: see that it runs and that TIMBRE_RAY_ADDRESS names its head"

    def _refused(self, answer: httpx.Response) -> str:
        return f"The Ray cluster refuses the job (HTTP {answer.status_code}): the log of the service says why"


def resources_of(kind: str, wanted: dict[str, RayResources]) -> RayResources:
    """Returns what a kind of job reserves: the entry of its own name, of the part before the dot, or one core."""
    return wanted.get(kind) or wanted.get(kind.partition(".")[0]) or RayResources()


def environment_of(settings: JobSettings, environment: Any) -> dict[str, str]:
    """Returns the part of our environment that a worker needs.

    Args:
        settings: `ray_environment` says which variables; where things are kept is passed on as it was resolved here.
        environment: The variables to choose from.
    """
    chosen = {
        name: value
        for name, value in environment.items()
        if any(fnmatchcase(name, pattern) for pattern in settings.ray_environment) and name not in _KEPT_HERE
    }
    return chosen | {"TIMBRE_DATABASE_URL": settings.database_url, "TIMBRE_STORAGE_URL": settings.storage_url}


def _name(job: Job) -> str:
    return f"{job.id}-{job.attempt}"
