"""`/healthz` and `/readyz`: is the gateway up, and is everything behind it ready."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from fastapi import APIRouter
from fastapi.responses import Response
from grpc_health.v1 import health_pb2

from gateway.errors import Failure
from gateway.reply import Services, reply
from gateway.schemas.jobs import Health, Readiness
from gateway.schemas.problem import problems

router = APIRouter(tags=["Health"])

_SERVICES = {
    "dataset": "timbre.dataset.v1.DatasetService",
    "trainer": "timbre.trainer.v1.TrainerService",
    "inference": "timbre.inference.v1.InferenceService",
}

# A service that is up answers in a millisecond; probes commonly give up after a second or more.
_CHECK_SECONDS = 1.0


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """Say that the gateway is up."""
    return reply(Health())


@router.get("/readyz", response_model=Readiness, responses=problems(503, always=()))
async def readyz(services: Services) -> Response:
    """Say whether every service behind the gateway is ready; 503 names those that are not."""
    stands = await asyncio.gather(*(_ask(stub, _SERVICES[name]) for name, stub in services.health.items()))
    found = dict(zip(services.health, stands, strict=True))
    missing = [name for name, state in found.items() if state != "serving"]
    if not missing:
        return reply(Readiness(services=found))
    which = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
    does = "services do" if missing[1:] else "service does"
    detail = f"Not ready: the {which} {does} not answer yet, or a model is being loaded; if that lasts, see the log."
    headers = {"Retry-After": "1"}
    return Failure(503, detail, "UNAVAILABLE", extra={"services": found}, headers=headers).response()


async def _ask(stub: Any, service: str) -> str:
    """Asks for the service itself, which knows whether its model is loaded, and not only for its process."""
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_CHECK_SECONDS)
    except grpc.aio.AioRpcError:
        return "unreachable"
    return "serving" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not serving"
