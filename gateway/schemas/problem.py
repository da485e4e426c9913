"""What an error looks like, and how routes document theirs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    """Name of the field, with dots and indexes where it is nested; empty for the body as a whole."""

    message: str
    """What is wrong with it."""


class Problem(BaseModel):
    """Body of every response that is not a success."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    """One sentence that says what was wrong and what to do."""

    reason: str
    """What was wrong, for programs: a stable name in capitals."""

    errors: list[FieldProblem] | None = None
    """For 422: every field that is wrong."""

    job_id: str | None = None
    """The job that is in the way, where one is."""


_WHEN = {
    400: "Not possible in the present state; `detail` says what to do.",
    404: "There is no such thing.",
    409: "It was changed meanwhile: `segment` is what it is now.",
    413: "The body is larger than allowed.",
    416: "The part that `Range` asks for lies outside the file.",
    422: "A value is malformed or out of range; `detail` names it and what is allowed.",
    500: "Something broke on our side.",
    501: "The service behind this does not offer it.",
    503: "The service behind this cannot be reached or is full; `Retry-After` says when to come back.",
    504: "It took longer than allowed and was cancelled.",
}

_EXAMPLES = {
    400: {"detail": "A training is running: stop it first, or wait until it ends.", "reason": "TRAINING_RUNNING"},
    404: {"detail": "There is no dataset datasets/my_voice: download or upload audio first.", "reason": "NOT_FOUND"},
    409: {
        "detail": "segment_00001 was changed meanwhile: look at it as it is now, then change it again.",
        "reason": "SEGMENT_CHANGED",
    },
    413: {"detail": "The body is larger than 1 MiB: send less at once.", "reason": "TOO_LARGE"},
    416: {"detail": "The file has 264600 bytes, and the part asked for lies outside.", "reason": "RANGE_NOT_SATISFIABLE"},
    422: {
        "detail": "epochs is 5: it must be a whole number from 10 to 1000.",
        "reason": "INVALID_ARGUMENT",
        "errors": [{"field": "epochs", "message": "it must be a whole number from 10 to 1000"}],
    },
    500: {"detail": "Something went wrong on our side; the log of the service says what.", "reason": "INTERNAL"},
    501: {"detail": "The trainer service does not offer this: bring it to the gateway's version.", "reason": "UNIMPLEMENTED"},
    503: {
        "detail": "The trainer service cannot be reached: start it, then try again.",
        "reason": "UNAVAILABLE",
    },
    504: {"detail": "This took longer than 60 s and was cancelled: ask for less at once.", "reason": "DEADLINE_EXCEEDED"},
}

# What any route that asks a service can answer.
_ALWAYS = (500, 503, 504)


def problems(*codes: int, always: tuple[int, ...] = _ALWAYS) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route that can fail with these status codes, besides those that any route can."""
    return {
        code: {
            "model": Problem,
            "description": _WHEN[code],
            "content": {"application/json": {"example": _EXAMPLES[code]}},
        }
        for code in sorted({*codes, *always})
    }
