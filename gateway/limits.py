"""How often a caller may ask, and how much they may upload (package `limits`): counted here, or in Redis for several gateways.

A Redis that is away takes nothing along: each gateway then counts for itself, says so in its log, and looks for it again every
few seconds. Refusing everybody would make of a counter the part that everything hangs on.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import RATE_LIMITED, Failure
from gateway.settings import GatewaySettings
from gateway.translate.values import DATASET_AUDIO
from services.runtime.auth import ANYBODY, caller
from services.runtime.errors import ResourceExhausted

logger = logging.getLogger("timbre.gateway")

# Method (or any), beginning of the path, and the setting that says how often (or none); the first that fits.
_KINDS = (
    ("POST", "/training/start", "training"),
    ("POST", "/training/inference/votes", ""),
    ("POST", "/training/inference/", "inference"),
    ("", DATASET_AUDIO, ""),  # as with /files/: a player asks for one segment many times
    ("POST", "/v1/audio/", "inference"),
    ("", "/training/dataset", "dataset"),
)

_REDIS_SECONDS = 0.5  # how long it may take to answer,
_AWAY_SECONDS = 5.0  # and how long we do without it when it has not
_FORGET_AT = 10_000  # so many callers are remembered before the idle ones are looked for

Answer = TypeVar("Answer")


class QuickMemory(MemoryStorage):
    """The package's store in memory, whose moving windows cost 100 µs a request, with a thread, and more the more they count.

    Here they cost 5 µs, however much they count.
    """

    STORAGE_SCHEME: list[str] = []  # noqa: RUF012 - not to be had by a URL

    def __init__(self) -> None:
        super().__init__()
        self._windows: defaultdict[str, deque[float]] = defaultdict(deque)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Counts a request if there is room for it in the window."""
        if len(self._windows) > _FORGET_AT and key not in self._windows:
            self._forget(time.time() - expiry)
        now, window = time.time(), self._windows[key]
        while window and window[0] < now - expiry:
            window.popleft()
        if len(window) + amount > limit:
            return False
        window.extend([now] * amount)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002
        """Returns when the window's first request was, and how many it holds."""
        window = self._windows.get(key)
        return (window[0], len(window)) if window else (time.time(), 0)

    def _forget(self, before: float) -> None:
        for key in [key for key, window in self._windows.items() if not window or window[-1] < before]:
            del self._windows[key]


class Counts:
    """Where requests are counted.

    Args:
        url: `memory://`, or of a Redis.
    """

    def __init__(self, url: str) -> None:
        self._here = QuickMemory()
        options: dict[str, Any] = {"socket_timeout": _REDIS_SECONDS, "socket_connect_timeout": _REDIS_SECONDS}
        self._shared: Any = None
        if not url.startswith("memory:"):
            self._shared = storage_from_string(f"async+{url}", implementation="redispy", wrap_exceptions=True, **options)
        self._back_at = 0.0

    async def ask(self, question: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """Asks the storage that all gateways share, or, while it is away, this gateway's own."""
        if self._shared is not None and time.monotonic() >= self._back_at:
            try:
                return await question(self._shared)
            except StorageError as error:
                self._back_at = time.monotonic() + _AWAY_SECONDS
                logger.warning("TIMBRE_RATE_LIMIT_STORAGE_URL cannot be reached (%s): counting for this gateway alone", error)
        return await question(self._here)


class RateLimits:
    """Refuses a caller who asks too often, with 429, and tells every caller how much is left.

    Headers as draft-polli-ratelimit-headers-03 names them: RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset (seconds).

    Args:
        app: What is wrapped; it must have been found out before who calls.
        settings: How often, and where that is counted.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._limits = {
            "training": parse(settings.rate_limit_training),
            "inference": parse(settings.rate_limit_inference),
            "dataset": parse(settings.rate_limit_dataset),
        }
        self._counts = Counts(settings.rate_limit_storage_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        kind = kind_of(scope["method"], scope["path"]) if scope["type"] == "http" else ""
        if not kind:
            await self._app(scope, receive, send)
            return
        limit, who = self._limits[kind], _who(scope)

        key, span = limit.key_for(kind, who), limit.get_expiry()

        async def count(storage: Any) -> tuple[bool, tuple[float, int]]:
            # as limits.aio.strategies.MovingWindowRateLimiter does it, which makes the key anew each time
            return await storage.acquire_entry(key, limit.amount, span), await storage.get_moving_window(
                key, limit.amount, span
            )

        allowed, (began, used) = await self._counts.ask(count)
        wait = max(1, math.ceil(began + span - time.time()))
        headers = {
            "RateLimit-Limit": str(limit.amount),
            "RateLimit-Remaining": str(max(0, limit.amount - used)),
            "RateLimit-Reset": str(wait),
        }
        if not allowed:
            detail = f"You have asked for this {limit.amount} times, which is all that {limit} allows: try again in {wait} s."
            headers["Retry-After"] = str(wait)
            await Failure(429, detail, RATE_LIMITED, headers=headers).response(scope["path"])(scope, receive, send)
            return
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *raw]
            await send(message)

        await self._app(scope, receive, send_with_limits)


class UploadQuota:
    """How much a caller may upload in a day, from their first upload on.

    Args:
        settings: How much, and where that is counted.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._bytes = settings.upload_bytes_per_day
        self._limit = parse(f"{self._bytes}/day")
        self._counts = Counts(settings.rate_limit_storage_url)

    async def take(self, scope: Scope, size: int) -> None:
        """Counts bytes that came.

        Raises:
            ResourceExhausted: There are more of them than the caller may send.
        """
        who = _who(scope)

        async def count(storage: Any) -> tuple[bool, float]:
            limiter = FixedWindowRateLimiter(storage)
            allowed = await limiter.hit(self._limit, "upload", who, cost=size)
            return allowed, 0.0 if allowed else (await limiter.get_window_stats(self._limit, "upload", who)).reset_time

        allowed, ends = await self._counts.ask(count)
        if not allowed:
            wait = max(1.0, ends - time.time())
            message = f"You may upload {self._bytes / 1024**2:g} MiB a day, and have: send the rest in {wait / 3600:.1f} hours."
            raise ResourceExhausted(message, retry_after_seconds=wait, reason=RATE_LIMITED)


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
