"""How handlers answer and what they share."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from fastapi.responses import Response, StreamingResponse
from google.protobuf.message import Message
from pydantic import TypeAdapter

from gateway.backends import Backends, CallFailed, ClientGone
from gateway.schemas.base import Answer
from gateway.schemas.training import Checkpoint

logger = logging.getLogger("timbre.gateway")

ReplyT = TypeVar("ReplyT", bound=Message)

_CHECKPOINTS = TypeAdapter(list[Checkpoint])


def reply(answer: Answer, status_code: int = 200) -> Response:
    """Returns a schema as a response.

    Handing FastAPI the schema itself would validate what was validated when it was built, and encode it twice.
    """
    return Response(answer.__pydantic_serializer__.to_json(answer), status_code, media_type="application/json")


def reply_checkpoints(checkpoints: Sequence[Checkpoint]) -> Response:
    """Returns the one answer that is documented as a list."""
    return Response(_CHECKPOINTS.dump_json(list(checkpoints)), media_type="application/json")


async def reply_stream(
    replies: AsyncGenerator[ReplyT, None],
    write: Callable[[ReplyT], bytes],
    media_type: str,
    *,
    headers: Mapping[str, str] | None = None,
    write_error: Callable[[CallFailed], bytes] | None = None,
) -> Response:
    """Returns a response that passes on what a service streams, as it comes.

    An error before the first reply still has a status of its own. A later one breaks the connection off, so that nobody
    takes a part for the whole.

    Args:
        replies: What the service streams, as `Backends.stream_while_connected` gives it.
        write: Makes bytes of a reply; none are passed over.
        media_type: Of the body.
        headers: Further headers.
        write_error: Makes the last bytes of a body that can say itself that it is broken.

    Raises:
        CallFailed: The service answered with an error.
        ClientGone: The client hung up.
    """
    first = await anext(replies)

    async def written() -> AsyncIterator[bytes]:
        async with aclosing(replies):
            try:
                yield write(first)
                async for reply in replies:
                    if content := write(reply):
                        yield content
            except ClientGone:
                return
            except CallFailed as failed:
                logger.warning("a stream broke off: %s", failed)
                if write_error is None:
                    raise
                yield write_error(failed)

    # Proxies must not hold back what is to be heard at once.
    return StreamingResponse(written(), media_type=media_type, headers={"X-Accel-Buffering": "no", **(headers or {})})


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

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="A text of your choice, new with each request. Sent again with the same request, within a day, it gets the "
        "job that was started the first time: so a request whose answer was lost can be repeated.",
    ),
]
"""Makes it safe to repeat a request for work whose answer was lost."""
