"""How often a caller may ask: a moving window for each kind of request, in memory or in Redis (package `limits`)."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import Failure
from gateway.settings import GatewaySettings
from gateway.translate import DATASET_AUDIO
from services.runtime.auth import ANYBODY, caller

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter

# Method (or any), beginning of the path, and the setting that says how often (or none); the first that fits.
_KINDS = (
    ("POST", "/training/start", "training"),
    ("POST", "/training/inference/votes", ""),
    ("POST", "/training/inference/", "inference"),
    ("", DATASET_AUDIO, ""),  # as with /files/: a player asks for one segment many times
    ("POST", "/v1/audio/", "inference"),
    ("", "/training/dataset", "dataset"),
)


class RateLimits:
    """Refuses a caller who asks too often, with 429, and tells every caller how much is left.

    Headers as draft-polli-ratelimit-headers-03 names them: RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset (seconds).

    Args:
        app: What is wrapped; it must have been found out before who calls.
        settings: How often, and where that is counted.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        from limits import parse
        from limits.aio.strategies import MovingWindowRateLimiter
        from limits.storage import storage_from_string

        self._app = app
        self._limits: dict[str, RateLimitItem] = {
            "training": parse(settings.rate_limit_training),
            "inference": parse(settings.rate_limit_inference),
            "dataset": parse(settings.rate_limit_dataset),
        }
        self._limiter: RateLimiter = MovingWindowRateLimiter(storage_from_string(f"async+{settings.rate_limit_storage_url}"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        kind = kind_of(scope["method"], scope["path"]) if scope["type"] == "http" else ""
        if not kind:
            await self._app(scope, receive, send)
            return
        limit, who = self._limits[kind], _who(scope)
        allowed = await self._limiter.hit(limit, kind, who)
        window = await self._limiter.get_window_stats(limit, kind, who)
        wait = max(1, math.ceil(window.reset_time - time.time()))
        headers = {
            "RateLimit-Limit": str(limit.amount),
            "RateLimit-Remaining": str(max(0, window.remaining)),
            "RateLimit-Reset": str(wait),
        }
        if not allowed:
            detail = f"You have asked for this {limit.amount} times, which is all that {limit} allows: try again in {wait} s."
            headers["Retry-After"] = str(wait)
            await Failure(429, detail, "RATE_LIMITED", headers=headers).response(scope["path"])(scope, receive, send)
            return
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *raw]
            await send(message)

        await self._app(scope, receive, send_with_limits)


def kind_of(method: str, path: str) -> str:
    """Returns which limit a request falls under; empty when under none."""
    for limited, beginning, kind in _KINDS:
        if limited in ("", method) and path.startswith(beginning):
            return kind
    return ""


def _who(scope: Scope) -> str:
    """Returns whose requests are counted together: those of a token's subject, else of an address."""
    known = caller.get()
    return known.subject if known is not ANYBODY else (scope.get("client") or ("unknown",))[0]
