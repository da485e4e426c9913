"""What a row is, and how it is sent: as it stands, with no client in between that would tidy it up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

SECRET = "a secret of the tests, well over 32 bytes long"
AUDIO = "inference/a.wav"
BIG = "inference/big.wav"
STATUS = "/training/status"
HUNG_UP = 0
UPLOAD_BYTES = 200_000


@dataclass
class Target:
    """The doors.

    Attributes:
        port: The gateway's.
        services: Name of a service to a channel that leads straight to it.
    """

    port: int
    services: dict[str, grpc.Channel]

    def raw(self, *pieces: bytes, pause: float = 0.0, then: bytes = b"", times: int = 0) -> int:
        """Sends bytes, then some more again and again; returns the status of what comes back, 0 when we are hung up on."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as link:
            try:
                for piece in pieces:
                    link.sendall(piece)
                for _ in range(times):
                    link.settimeout(pause or 0.001)
                    try:
                        return status_of(link.recv(65536))
                    except TimeoutError:
                        pass
                    link.settimeout(120)
                    link.sendall(then)
                link.settimeout(120)
                answer = b""
                while b"\r\n\r\n" not in answer and (more := link.recv(65536)):
                    answer += more
                return status_of(answer)
            except ConnectionError:
                return HUNG_UP

    def http(self, method: str, path: str, *headers: str, body: bytes = b"", token: str | None = None) -> int:
        """Sends a request as it stands: no client in between that would tidy it up."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"Content-Length: {len(body)}"] if method != "GET" else []
        return self.raw("\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body)

    def json(self, method: str, path: str, body: Any) -> int:
        return self.http(method, path, "Content-Type: application/json", body=json.dumps(body).encode(), token=ADMIN)

    def form(self, path: str, fields: dict[str, str], size: int = 10, filename: str = "a.wav") -> int:
        parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
        file = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{filename}"\r\n\r\n'
        body = ("".join(parts) + file).encode() + b"x" * size + b"\r\n--b--\r\n"
        return self.http("POST", path, "Content-Type: multipart/form-data; boundary=b", body=body, token=ADMIN)

    def rpc(self, service: str, call: Callable[[grpc.Channel], Any]) -> str:
        """Makes a call of a service; returns the name of its code."""
        try:
            call(self.services[service])
        except grpc.RpcError as error:
            return str(error.code().name)  # type: ignore[attr-defined]
        return "OK"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else HUNG_UP


@dataclass(frozen=True)
class Row:
    name: str
    status: int | str
    send: Callable[[Target], int | str]


# The rows and their tokens are made when the tests are collected, which may be long before they are sent.
DAY = 86_400


def claims(**changes: Any) -> dict[str, Any]:
    said = {"sub": "eve", "iss": "timbre", "aud": "timbre", "exp": int(time.time()) + DAY, "scope": "admin", **changes}
    return {name: value for name, value in said.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm)


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(**header: Any) -> str:
    return f"{encoded({'typ': 'JWT', **header})}.{encoded(claims())}."


def sealed_with_a_public_key() -> str:
    key = rsa.generate_private_key(65537, 2048).public_key()
    head = unsigned(alg="HS256")[:-1]
    return f"{head}.{encoded(hmac.digest(str(key.public_numbers().n).encode(), head.encode(), hashlib.sha256))}"


ADMIN = token()
NOW = int(time.time())


def bearer(text: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {text}"),)
