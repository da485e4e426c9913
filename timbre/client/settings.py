"""Where the server is and what is shown to it: from arguments, else from the environment."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from timbre.client.errors import InvalidConnection

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Connection:
    """How a server is reached.

    Attributes:
        url: Where it is.
        token: What to authenticate with; empty for nothing.
        ca_file: Certificates that an https server is checked against; empty for the system's.
    """

    url: str
    token: SecretStr
    ca_file: str

    def own(self, url: str) -> str:
        """Returns a URL of this server; the token must not go to any other.

        Raises:
            ValueError: It is another server's.
        """
        if not url.startswith("/") and not url.startswith(f"{self.url}/"):
            raise ValueError(f"{url} is not on {self.url}: give the URL as the server answered it.")
        return url

    def arguments(self) -> dict[str, Any]:
        """Returns what httpx clients are made with."""
        token = self.token.get_secret_value()
        arguments: dict[str, Any] = {"base_url": self.url, "headers": {"Authorization": f"Bearer {token}"} if token else {}}
        if self.ca_file:
            arguments["verify"] = ssl.create_default_context(cafile=self.ca_file)
        return arguments


def connection_of(url: str | None, token: str | None, ca_file: str | os.PathLike[str] | None) -> Connection:
    """Returns the connection that arguments and the environment (`TIMBRE_URL`, `TIMBRE_TOKEN`, `TIMBRE_CA_FILE`) ask for.

    Raises:
        InvalidConnection: One of them is none.
    """
    return Connection(
        url=_checked_url((url or os.environ.get("TIMBRE_URL") or DEFAULT_URL).strip().rstrip("/")),
        token=_checked_token((token if token is not None else os.environ.get("TIMBRE_TOKEN", "")).strip()),
        ca_file=_checked_certificates(os.fspath(ca_file or os.environ.get("TIMBRE_CA_FILE", ""))),
    )


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidConnection(f"{url!r} is no URL ({error}): name the server as in {DEFAULT_URL}.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidConnection(f"{url!r} is no URL of a server: name it with http:// or https://, as in {DEFAULT_URL}.")
    return url


def _checked_token(token: str) -> SecretStr:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidConnection("The token has a character that no token has: is all of it one, and nothing else with it?")
    return SecretStr(token)


def _checked_certificates(path: str) -> str:
    if path:
        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:  # ssl.SSLError is one
            raise InvalidConnection(f"{path} has no certificates that can be read ({error.strerror or error}).") from error
    return path
