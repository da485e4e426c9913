"""`/training/me`: who asks, and what the caller may do."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from gateway.reply import Services, reply
from gateway.schemas.problem import problems
from gateway.schemas.training import Me
from services.runtime.auth import caller

router = APIRouter(prefix="/training", tags=["Health"])


@router.get("/me", response_model=Me, responses=problems(always=()))
async def me(services: Services) -> Response:
    """Say who asks, as the gateway sees it, and what the caller may do."""
    known = caller.get()
    return reply(Me(auth=services.settings.auth, subject=known.subject, scopes=sorted(known.scopes)))
