"""Who may come in over HTTP: every path and the scopes of which a caller needs one, tokens, signed links, and an audit line.

The services hold the same token against their own table again (services.scopes), since not everybody comes through here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import errors
from gateway.downloads import PATHS, Downloads
from gateway.translate.values import DATASET_AUDIO, file_url
from services.runtime import audit
from services.runtime.auth import ADMIN, AUTHORIZATION, SCOPES, Verifier, authorization, caller, only
from services.runtime.errors import PermissionDenied, TimbreError
from services.scopes import INFERENCE, READ, TRAINING, WRITE

_AUTHORIZATION = AUTHORIZATION.encode()
_SAFE = ("GET", "HEAD", "OPTIONS")

# Pages, their parts, and what probes ask: nothing in them is anybody's.
_OPEN_PATHS = ("/", "/healthz", "/readyz", "/openapi.json", "/webui", "/docs")
_OPEN_FOLDERS = ("/webui/", "/docs/")

# A question that is too long for a URL: it changes nothing.
_PREVIEW = "/training/dataset/preview"

# The first that fits: beginning of the path, scopes to read, scopes to change.
_SCOPES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (_PREVIEW, (READ, WRITE), (READ, WRITE)),
    ("/training/dataset", (READ, WRITE), (WRITE,)),
    ("/training/checkpoints/load", (INFERENCE,), (INFERENCE,)),
    ("/training/checkpoints", (TRAINING, INFERENCE), (TRAINING,)),
    ("/training/inference/", (INFERENCE,), (INFERENCE,)),
    ("/training/jobs", (READ, WRITE, TRAINING), (WRITE, TRAINING)),
    ("/training/voices", (TRAINING, INFERENCE), (TRAINING,)),
    ("/training/me", SCOPES, (ADMIN,)),
    ("/training/links", SCOPES, SCOPES),  # which asks for those of what the link leads to
    ("/training/events", (READ, WRITE, TRAINING), (ADMIN,)),
    ("/training/", (TRAINING,), (TRAINING,)),
    ("/files/", (INFERENCE,), (ADMIN,)),
    ("/v1/", (INFERENCE,), (INFERENCE,)),
)


def scopes_of(method: str, path: str) -> tuple[str, ...]:
    """Returns the scopes of which a request needs one; none means that anybody may. What is not listed needs `admin`.

    Args:
        method: The HTTP method.
        path: The decoded path, as the router sees it.
    """
    if method in _SAFE and (path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)):
        return ()
    for beginning, read, change in _SCOPES:
        if path.startswith(beginning):
            return read if method in _SAFE else change
    return (ADMIN,)


class Links:
    """Links to objects for players, which cannot send headers: bound to one object, and short-lived.

    Args:
        secret: What they are signed with.
        seconds: How long one is valid.
    """

    def __init__(self, secret: bytes, seconds: float) -> None:
        self._secret, self._seconds = secret, seconds

    def __call__(self, key: str) -> str:
        """Returns where an object is served, signed."""
        expires = str(int(time.time() + self._seconds))
        url = file_url(key)
        return f"{url}{'&' if '?' in url else '?'}expires={expires}&signature={self._sign(key, expires)}"

    def opens(self, key: str, query: str) -> bool:
        """Whether the query of a request makes it a link to this object.

        Raises:
            PermissionDenied: It was one, and has expired, or it was tampered with.
        """
        said = parse_qs(query)
        expires, signature = said.get("expires", [""]), said.get("signature", [""])
        if expires == [""] and signature == [""]:
            return False
        right = len(expires) == len(signature) == 1 and hmac.compare_digest(
            signature[0].encode("utf-8", "replace"), self._sign(key, expires[0]).encode()
        )
        if not right or not expires[0].isascii() or not expires[0].isdigit():
            raise PermissionDenied("This link is not valid: ask for the audio again.", reason="LINK_INVALID")
        if int(expires[0]) < time.time():
            raise PermissionDenied("This link has expired: ask for the audio again.", reason="LINK_EXPIRED")
        return True

    def _sign(self, key: str, expires: str) -> str:
        digest = hmac.digest(self._secret, f"{key}\n{expires}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Doors:
    """Lets a request in when its token, or its link, allows it; writes a line for every change.

    Args:
        app: What is wrapped.
        verifier: What checks tokens; None lets everybody in.
        links: What checks links to objects.
        downloads: What opens links to exports.
    """

    def __init__(self, app: ASGIApp, verifier: Verifier | None, links: Links, downloads: Downloads) -> None:
        self._app, self._verifier, self._links, self._downloads = app, verifier, links, downloads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] in _SAFE or scope["path"] == _PREVIEW:
            await self._let_in(scope, receive, send)
        else:
            await self._let_in_to_change(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._verifier is not None:
                await self._admit(self._verifier, scope)
        except TimbreError as error:
            await errors.of_timbre(error).response(scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _let_in_to_change(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Likewise, and notes who changed what, and how that ended."""
        audit.begin()
        path = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
        what, answered = f"{scope['method']} {path}", False

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                audit.write(what, str(message["status"]))
            await send(message)

        try:
            await self._let_in(scope, receive, send_and_note)
        except Exception:
            if not answered:  # by us; the server answers with 500
                audit.write(what, "500")
            raise

    async def _admit(self, verifier: Verifier, scope: Scope) -> None:
        method, path = scope["method"], scope["path"]
        needed = scopes_of(method, path)
        if not needed:
            return
        query = scope["query_string"].decode("latin-1")
        key = _object_of(path, query)
        if key and method in _SAFE and self._links.opens(key, query):
            return
        header = self._downloads.opened(path, query) if method == "GET" and path in PATHS else ""
        header = header or only([value.decode("latin-1") for name, value in scope["headers"] if name == _AUTHORIZATION])
        found = await verifier.verify(header)
        caller.set(found)
        found.check(needed)
        authorization.set(header)


def _object_of(path: str, query: str) -> str:
    """Returns the key of the object that a request asks for; empty when it asks for none, or for several."""
    if path == DATASET_AUDIO:
        keys = parse_qs(query).get("path", [])
        return keys[0] if len(keys) == 1 else ""
    return path.removeprefix("/files/") if path.startswith("/files/") else ""
