"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): how changes of jobs are written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse

from gateway import translate
from gateway.watch import Change

# How soon a browser comes back after the connection broke, in milliseconds.
_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}

_EXAMPLE = (
    'event: job\ndata: {"id": "job_0199c1a2b3c4d5e6f7a8", "state": "running", "progress": 42.5, …}\n\n'
    'event: log\nid: 17\ndata: {"sequence": 17, "time": "2026-11-23T14:30:00Z", "text": "Epoch 45/100 - Loss: 0.0234"}\n\n'
    'event: end\ndata: {"state": "succeeded"}\n\n'
)

EVENTS_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events as they happen: `job` (a job as it stands now), `log` (a line), `end` (the job has ended; "
        "close the connection). A comment comes every 15 s when nothing else does.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}
"""What a route that streams events documents."""


def stream(changes: AsyncIterator[Change | None]) -> StreamingResponse:
    """Returns a response that tells changes as events for as long as there are any and the client listens."""
    return StreamingResponse(_written(changes), media_type="text/event-stream", headers=_HEADERS)


def resume_after(last_event_id: str | None) -> int:
    """Returns the sequence of the last log line that a client has seen, by what its `Last-Event-ID` header says."""
    text = (last_event_id or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


async def _written(changes: Any) -> AsyncIterator[bytes]:
    yield _RETRY
    async with aclosing(changes):
        async for change in changes:
            yield _HEARTBEAT if change is None else _events(change)


def _events(change: Change) -> bytes:
    events = []
    if change.ended:
        state = translate.jobs.job(change.job).state if change.job else None
        return _event("end", json.dumps({"state": state}))
    if change.job:
        events.append(_event("job", translate.jobs.job(change.job).model_dump_json()))
    for line in change.lines:
        data = {"sequence": line.sequence, "time": line.create_time.ToJsonString(), "text": line.text}
        events.append(_event("log", json.dumps(data, ensure_ascii=False), line.sequence))
    return b"".join(events)


def _event(name: str, data: str, identifier: int | None = None) -> bytes:
    place = "" if identifier is None else f"id: {identifier}\n"
    return f"event: {name}\n{place}data: {data}\n\n".encode()
