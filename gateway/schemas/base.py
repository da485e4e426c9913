"""What all schemas share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """Body of a request. Keys it does not know are ignored, so that clients of later versions still work."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True, protected_namespaces=())


class Answer(BaseModel):
    """Body of a response. Numbers that JSON cannot say (NaN, infinities) become null."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=(), extra="forbid")


JobId = Annotated[str, Field(examples=["job_0199c1a2b3c4d5e6f7a8"])]

Moment = Annotated[datetime, Field(examples=["2026-11-23T14:30:00Z"])]
"""A point in time, UTC, ISO 8601."""
