"""`/files/…`: what was spoken, straight from the object store."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway import objects
from gateway.schemas.problem import problems

router = APIRouter(prefix="/files", tags=["Files"])

AUDIO: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The part that `Range` asked for.", "content": {"audio/wav": {}}},
    304: {"description": "The client has it already (`If-None-Match`, `If-Modified-Since`)."},
}
"""Responses of a route that serves audio."""

_RESPONSES = {**AUDIO, **problems(404, 416, always=(500, 503))}


@router.get("/{key:path}", response_class=Response, responses=_RESPONSES)
async def get_file(key: str, request: Request) -> Response:
    """Get audio that was synthesized, whole or by `Range`."""
    return await objects.serve(request.app.state.store, key, request)


@router.head("/{key:path}", response_class=Response, responses=_RESPONSES)
async def head_file(key: str, request: Request) -> Response:
    """Get the headers of audio that was synthesized."""
    return await objects.serve(request.app.state.store, key, request)
