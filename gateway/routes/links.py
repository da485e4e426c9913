"""`/training/links`: addresses that a browser may open by itself."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway import downloads
from gateway.doors import scopes_of
from gateway.reply import reply
from gateway.schemas.links import Link, LinkRequest
from gateway.schemas.problem import problems
from services.runtime.auth import authorization, caller

router = APIRouter(prefix="/training", tags=["Files"])


@router.post("/links", response_model=Link, responses=problems(413, 422, always=(500,)))
async def link(request: Request, body: LinkRequest) -> Response:
    """Make a link to an export, which a browser can then save by itself, whatever its size.

    It works without a token for this one address and a while, and allows what the caller's token does.
    """
    caller.get().check(scopes_of("GET", body.path))
    sealing: downloads.Downloads | None = request.app.state.downloads
    if sealing is None:
        return reply(Link(url=downloads.address(body.path, body.query)))
    return reply(Link(url=sealing.link(body.path, body.query, authorization.get())))
