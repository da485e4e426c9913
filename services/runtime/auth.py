"""Who calls: bearer tokens (JWT, RFC 7519) checked, and scopes held against what a method needs.

One secret (HS256) or the public keys of an issuer (RS256, ES256, by JWKS URL): the settings name exactly one, and it alone
decides which algorithms count, whatever a token says of itself (RFC 8725, section 3.1). PyJWT and cryptography load only
when there is something to check.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from services.runtime.errors import FailedPrecondition, PermissionDenied, Unauthenticated, Unavailable
from services.runtime.settings import RuntimeSettings

logger = logging.getLogger(__name__)

ADMIN = "admin"
"""The scope that includes every other."""

SCOPES = ("dataset:read", "dataset:write", "training", "inference", ADMIN)
"""All scopes there are."""

AUTHORIZATION = "authorization"
"""Header over HTTP, metadata key over gRPC."""

MAX_TOKEN_BYTES = 8 * 1024
_JWKS_BYTES = 256 * 1024
_REMEMBERED = 4096  # tokens that were found to count,
_REMEMBERED_SECONDS = 60.0  # and how long that is believed: an issuer may take back the key they were signed with
_JWKS_SECONDS = 300.0  # an issuer's keys are read again after this long,
_JWKS_RETRY_SECONDS = 10.0  # and not sooner than this when tokens name keys that are not among them

_HINT = "send the header 'Authorization: Bearer <token>'"


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        subject: What the token says in `sub`.
        scopes: What the caller may do.
        until: When the token has expired, in seconds since 1970, what clocks may differ by included.
    """

    subject: str
    scopes: frozenset[str]
    until: float = math.inf

    def may(self, needed: Collection[str]) -> bool:
        """Whether the caller has one of the scopes needed; having `admin` is enough for everything."""
        return not needed or ADMIN in self.scopes or not self.scopes.isdisjoint(needed)

    def check(self, needed: Collection[str]) -> None:
        """Raises PermissionDenied, which names what is missing, unless the caller has one of the scopes needed."""
        if not self.may(needed):
            names = " or ".join(needed)
            raise PermissionDenied(f"Your token lacks the scope {names}: ask for one that has it.", metadata={"scope": names})


ANYBODY = Caller("anonymous", frozenset({ADMIN}))
"""Who calls where nobody asks."""

authorization: ContextVar[str] = ContextVar("authorization", default="")
"""The credentials of the request under way, as they came; they go on to the services called for it."""

caller: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)
"""Who caused the request under way."""


@dataclass
class _Keys:
    """The public keys of an issuer, as its JWKS URL listed them last."""

    by_id: dict[str, Any] = field(default_factory=dict)
    read_at: float = float("-inf")
    tried_at: float = float("-inf")


class Verifier:
    """Checks tokens as the settings say.

    Args:
        settings: With `auth` set to `jwt`.
    """

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._keys = _Keys()
        self._reading = asyncio.Lock()
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def verify(self, header: str) -> Caller:
        """Returns who sent an Authorization header.

        Args:
            header: `Bearer <token>`.

        Raises:
            Unauthenticated: There is no token, or it does not count.
            Unavailable: The issuer's keys cannot be read.
        """
        # Checking a signature takes longer than everything else the gateway does for a request. No token is kept, only
        # what none can be made of again.
        digest = hashlib.sha256(header.encode("utf-8", "surrogatepass")).digest()
        found, until = self._known.get(digest, (ANYBODY, 0.0))
        if time.time() < until:
            self._known.move_to_end(digest)
            return found
        found = await self._check(header)
        self._known[digest] = found, min(found.until, time.time() + _REMEMBERED_SECONDS)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _check(self, header: str) -> Caller:
        import jwt

        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthenticated(f"This needs a token: {_HINT}.", reason="TOKEN_MISSING")
        if len(header) > MAX_TOKEN_BYTES:
            raise Unauthenticated(
                f"The token is larger than {MAX_TOKEN_BYTES} bytes: ask for another one.", reason="TOKEN_INVALID"
            )
        try:
            claims = await self._claims(token.strip())
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("The token has expired: ask for another one.", reason="TOKEN_EXPIRED") from error
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            logger.info("a token was refused: %s", type(error).__name__)
            raise Unauthenticated("The token is not valid here: ask for another one.", reason="TOKEN_INVALID") from error
        if not claims["sub"].strip():
            raise Unauthenticated("The token says nobody's name: ask for another one.", reason="TOKEN_INVALID")
        return Caller(claims["sub"], _scopes(claims), float(claims["exp"]) + self._settings.jwt_leeway_seconds)

    async def _claims(self, token: str) -> Mapping[str, Any]:
        import jwt

        settings = self._settings
        if settings.jwt_secret is not None:
            key, algorithms = settings.jwt_secret.get_secret_value(), ["HS256"]
        else:
            key, algorithms = await self._public_key(str(jwt.get_unverified_header(token).get("kid", ""))), ["RS256", "ES256"]
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            leeway=settings.jwt_leeway_seconds,
            options={"require": ["exp", "sub", "iss", "aud"]},
        )

    async def _public_key(self, key_id: str) -> Any:
        import jwt

        keys = self._keys
        if key_id not in keys.by_id or time.monotonic() - keys.read_at > _JWKS_SECONDS:
            async with self._reading:
                if time.monotonic() - keys.tried_at > _JWKS_RETRY_SECONDS:
                    keys.tried_at = time.monotonic()
                    await self._read_keys(known=key_id in keys.by_id)
        if key_id not in keys.by_id:
            raise jwt.InvalidKeyError("no such key")
        return keys.by_id[key_id]

    async def _read_keys(self, *, known: bool) -> None:
        """Reads the issuer's keys; a failure matters only when the key that is asked for is not known yet."""
        import httpx
        import jwt

        try:
            async with (
                httpx.AsyncClient(timeout=5, trust_env=False) as client,
                client.stream("GET", self._settings.jwt_jwks_url) as answer,
            ):
                answer.raise_for_status()
                body = b""
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > _JWKS_BYTES:
                        raise ValueError("more keys than anybody has")
            listed = jwt.PyJWKSet.from_json(body.decode())
            self._keys.by_id = {key.key_id: key for key in listed.keys if key.key_id}
            self._keys.read_at = time.monotonic()
        except (httpx.HTTPError, jwt.PyJWTError, ValueError) as error:
            logger.warning("the keys at TIMBRE_JWT_JWKS_URL cannot be read (%s)", type(error).__name__)
            if not known:
                raise Unavailable("The keys that tokens are checked with cannot be read just now: try again later.") from error


def only(headers: Sequence[str]) -> str:
    """Returns the one Authorization header of a request; empty when there is none.

    Raises:
        Unauthenticated: There are several, of which others on the way may have taken another one for the caller's.
    """
    if len(headers) > 1:
        raise Unauthenticated(f"There are {len(headers)} Authorization headers: send one.", reason="TOKEN_INVALID")
    return headers[0] if headers else ""


def open_verifier(settings: RuntimeSettings) -> Verifier | None:
    """Returns what checks tokens, or None where nobody asks for one."""
    return Verifier(settings) if settings.auth == "jwt" else None


def check_listen(host: str, settings: RuntimeSettings) -> None:
    """Refuses to open a door without a lock to other machines.

    Args:
        host: Address to listen on, without the port.
        settings: Shared settings.

    Raises:
        FailedPrecondition: It is not a loopback address, there is no authentication, and nobody said that this is meant.
    """
    if settings.auth == "jwt" or settings.insecure or _is_loopback(host.strip("[]")):
        return
    raise FailedPrecondition(
        f"Listening on {host} would let anybody in: set TIMBRE_AUTH=jwt, or TIMBRE_INSECURE=true if that is what you want, "
        "or listen on 127.0.0.1."
    )


def mint(settings: RuntimeSettings, subject: str, scopes: Collection[str], seconds: float) -> str:
    """Returns a token signed with the secret of the settings, for development.

    Args:
        settings: With `jwt_secret` set.
        subject: Who it is for.
        scopes: What it allows.
        seconds: How long it is valid.

    Raises:
        FailedPrecondition: There is no secret to sign with.
    """
    import jwt

    if settings.jwt_secret is None:
        raise FailedPrecondition("There is no secret to sign with: set TIMBRE_JWT_SECRET, at least 32 bytes.")
    now = int(time.time())
    claims = {
        "sub": subject,
        "scope": " ".join(scopes),
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": now,
        "exp": now + int(seconds),
    }
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), "HS256")


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Reads `scope`: names with spaces between them (RFC 8693, section 4.2), or a list."""
    said = claims.get("scope", "")
    names = said.split() if isinstance(said, str) else said if isinstance(said, list) else ()
    return frozenset(name for name in names if isinstance(name, str))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
