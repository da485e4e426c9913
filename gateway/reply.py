"""How handlers answer and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from gateway.backends import Backends
from gateway.schemas.base import Answer
from gateway.schemas.training import Checkpoint

_CHECKPOINTS = TypeAdapter(list[Checkpoint])


def reply(answer: Answer, status_code: int = 200) -> Response:
    """Returns a schema as a response.

    Handing FastAPI the schema itself would validate what was validated when it was built, and encode it twice.
    """
    return Response(answer.__pydantic_serializer__.to_json(answer), status_code, media_type="application/json")


def reply_checkpoints(checkpoints: Sequence[Checkpoint]) -> Response:
    """Returns the one answer that is documented as a list."""
    return Response(_CHECKPOINTS.dump_json(list(checkpoints)), media_type="application/json")


def services_of(request: Request) -> Backends:
    """Returns the services behind the gateway.

    For handlers that are called all the time, as those that are polled: a parameter of `Services` costs FastAPI a fifth of
    such a request.
    """
    backends: Backends = request.app.state.backends
    return backends


async def _services(request: Request) -> Backends:
    return services_of(request)


Services = Annotated[Backends, Depends(_services)]
"""The services behind the gateway, as a parameter of a handler."""
