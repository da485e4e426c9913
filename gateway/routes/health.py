"""`/healthz` and `/readyz`: is the gateway up, and does everything behind it answer."""

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

# A service that is up answers in a millisecond; probes commonly give up after a second or more.
_CHECK_SECONDS = 1.0


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """Say that the gateway is up."""
    return reply(Health())


@router.get("/readyz", response_model=Readiness, responses=problems(503, always=()))
async def readyz(services: Services) -> Response:
    """Say whether every service behind the gateway answers; 503 names those that do not."""
    stands = await asyncio.gather(*(_ask(stub) for stub in services.health.values()))
    found = dict(zip(services.health, stands, strict=True))
    missing = [name for name, state in found.items() if state != "serving"]
    if not missing:
        return reply(Readiness(services=found))
    which = " and ".join(missing)
    detail = f"Not ready: the {which} service does not answer yet; if that lasts, see its log."
    headers = {"Retry-After": "1"}
    return Failure(503, detail, "UNAVAILABLE", extra={"services": found}, headers=headers).response()


async def _ask(stub: Any) -> str:
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_CHECK_SECONDS)
    except grpc.aio.AioRpcError:
        return "unreachable"
    return "serving" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not serving"
