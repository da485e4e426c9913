"""Idempotency keys: a request for work that is sent again, because its answer was lost, is the same work."""

from __future__ import annotations

import hashlib
from contextvars import ContextVar

from services.runtime.auth import caller

IDEMPOTENCY_KEY = "idempotency-key"
"""The metadata of a call, and in HTTP the header, that a client sends anew with each request and again with each repetition.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

idempotency_key: ContextVar[str] = ContextVar("idempotency_key", default="")
"""The key of the request under way; empty when it has none."""


def fingerprint() -> str:
    """Returns what stands for the key of the request under way, different for every caller; empty when it has none."""
    key = idempotency_key.get()
    return hashlib.sha256(f"{caller.get().subject}\n{key}".encode()).hexdigest()[:32] if key else ""
