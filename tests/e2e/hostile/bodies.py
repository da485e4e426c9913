"""Bodies that are too large, clients that are too slow, and requests that two readers read in two ways."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from tests.e2e.hostile.target import ADMIN, BIG, HUNG_UP, STATUS, UPLOAD_BYTES, Row, Target, status_of, unsigned


def head(method: str, path: str, *lines: str, auth: bool = True) -> bytes:
    door = [f"Authorization: Bearer {ADMIN}"] if auth else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *door, *lines, "", ""]).encode("latin-1")


JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=b"
START = "/training/start"
UPLOAD = "/training/dataset/upload"
FIRST_PART = (
    b'--b\r\nContent-Disposition: form-data; name="folder"\r\n\r\ndatasets/a\r\n'
    b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
)


def size_rows() -> Iterator[Row]:
    large = b"[" + b" " * 2_000_000 + b"]"
    yield Row("JSON of 2 MB", 413, lambda t: t.http("POST", START, JSON, body=large, token=ADMIN))
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    endless = head("POST", START, JSON, "Transfer-Encoding: chunked")
    yield Row("JSON without end", 413, lambda t: t.raw(endless, then=chunk, times=1000))
    yield Row("JSON of 2 MB without a token", 401, lambda t: t.http("POST", START, JSON, body=large))
    yield Row("deep JSON", 422, lambda t: t.http("POST", START, JSON, body=b"[" * 100_000, token=ADMIN))
    yield Row("a number of 100,000 digits", 422, lambda t: t.http("POST", START, JSON, body=b"9" * 100_000, token=ADMIN))
    yield Row("JSON that is no UTF-8", 422, lambda t: t.http("POST", START, JSON, body=b'{"a": "\xff"}', token=ADMIN))
    yield Row("a file over the limit", 413, lambda t: t.form(UPLOAD, {"folder": "datasets/a"}, UPLOAD_BYTES + 1))
    yield Row("a long field", 422, lambda t: t.form(UPLOAD, {"folder": "datasets/" + "a" * 70_000}))
    yield Row("many fields", 422, lambda t: t.form(UPLOAD, {f"f{n}": "x" for n in range(10_000)}))
    yield Row(
        "a form without end of its head",
        422,
        lambda t: t.http("POST", UPLOAD, FORM, body=b"--b\r\nA: " + b"x" * 90_000, token=ADMIN),
    )
    yield Row("a form cut short", 422, lambda t: t.http("POST", UPLOAD, FORM, body=FIRST_PART + b"x", token=ADMIN))
    yield Row(
        "a form without a boundary",
        422,
        lambda t: t.http("POST", UPLOAD, "Content-Type: multipart/form-data", body=FIRST_PART, token=ADMIN),
    )
    yield Row(
        "a head of 100 KB",
        400,
        lambda t: t.raw(b"GET / HTTP/1.1\r\n", then=b"X: " + b"x" * 1000 + b"\r\n", times=100, pause=0.001),
    )


def slow_rows() -> Iterator[Row]:
    yield Row("nothing at all", HUNG_UP, lambda t: t.raw())
    yield Row("half a head", HUNG_UP, lambda t: t.raw(b"GET / HTTP/1.1\r\nHost: x\r\n"))
    yield Row("a head that never ends", HUNG_UP, lambda t: t.raw(b"GET / HTTP/1.1\r\n", pause=0.1, then=b"X: y\r\n", times=300))
    yield Row("a second head that never ends", HUNG_UP, lambda t: keeps_alive(t))
    json_head = head("POST", START, JSON, "Content-Length: 1000")
    yield Row("a body that never comes", 408, lambda t: t.raw(json_head))
    yield Row("a body that trickles", 408, lambda t: t.raw(json_head, pause=0.1, then=b" ", times=300))
    upload_head = head("POST", UPLOAD, FORM, "Content-Length: 100000") + FIRST_PART
    yield Row("an upload that never comes", 408, lambda t: t.raw(upload_head))
    yield Row("an upload that trickles", 408, lambda t: t.raw(upload_head, pause=0.1, then=b"x", times=300))
    yield Row("a body that goes on after its refusal", HUNG_UP, lambda t: goes_on(t))
    yield Row("a reader that never reads", HUNG_UP, lambda t: never_reads(t))


def keeps_alive(target: Target) -> int:
    """Asks once, as one should, and then never to the end."""
    with socket.create_connection(("127.0.0.1", target.port), timeout=30) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert link.recv(65536).startswith(b"HTTP/1.1 200")
        try:
            for _ in range(300):
                link.sendall(b"GET / HTTP/1.1\r\n" if _ == 0 else b"X: y\r\n")
                link.settimeout(0.1)
                try:
                    return status_of(link.recv(65536))
                except TimeoutError:
                    pass
        except ConnectionError:
            return HUNG_UP
    raise AssertionError("it waits for ever")


def goes_on(target: Target) -> int:
    """Sends a body, byte by byte, that was refused long ago."""
    with socket.create_connection(("127.0.0.1", target.port), timeout=30) as link:
        link.sendall(head("POST", START, JSON, "Content-Length: 1000", auth=False))
        assert link.recv(65536).startswith(b"HTTP/1.1 401")
        try:
            for _ in range(300):
                link.sendall(b" ")
                link.settimeout(0.1)
                try:
                    if not link.recv(65536):
                        return HUNG_UP
                except TimeoutError:
                    pass
        except ConnectionError:
            return HUNG_UP
    raise AssertionError("it listens for ever")


def never_reads(target: Target) -> int:
    """Asks for a large file and lets it lie."""
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.connect(("127.0.0.1", target.port))
        link.sendall(head("GET", f"/files/{BIG}"))
        time.sleep(3)  # longer than TIMBRE_SEND_TIMEOUT_SECONDS, which is 1 here
        link.settimeout(30)
        read = 0
        try:
            while piece := link.recv(65536):
                read += len(piece)
        except ConnectionError:
            return HUNG_UP
    return HUNG_UP if read < 20_000_000 else 200


def smuggling_rows() -> Iterator[Row]:
    good, bad = f"Authorization: Bearer {ADMIN}", f"Authorization: Bearer {unsigned(alg='none')}"
    yield Row("two tokens, the first good", 401, lambda t: t.http("GET", STATUS, good, bad))
    yield Row("two tokens, the last good", 401, lambda t: t.http("GET", STATUS, bad, good))
    yield Row("one token twice", 401, lambda t: t.http("GET", STATUS, good, good))
    both = ("Content-Length: 4", "Transfer-Encoding: chunked")
    rows = {
        "a length and chunks": (head("POST", START, JSON, *both) + b"0\r\n\r\n", 400),
        "chunks and a length": (head("POST", START, JSON, *reversed(both)) + b"0\r\n\r\n", 400),
        "two lengths": (head("POST", START, JSON, "Content-Length: 2", "Content-Length: 3") + b"{} ", 400),
        "a list of lengths": (head("POST", START, JSON, "Content-Length: 2, 2") + b"{}", 400),
        "a length with a sign": (head("POST", START, JSON, "Content-Length: +2") + b"{}", 400),
        "a negative length": (head("POST", START, JSON, "Content-Length: -2") + b"{}", 400),
        "a length beyond all": (head("POST", START, JSON, f"Content-Length: {10**30}") + b"{}", 400),
        "an encoding that is none": (head("POST", START, JSON, "Transfer-Encoding: chunkedx") + b"0\r\n\r\n", 400),
        "chunks that are not the last encoding": (
            head("POST", START, JSON, "Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n",
            400,
        ),
        "a chunk of no number": (head("POST", START, JSON, "Transfer-Encoding: chunked") + b"zz\r\n", 400),
        "a space before the colon": (head("POST", START, JSON, "Content-Length : 2") + b"{}", 400),
        "a folded header": (head("POST", START, JSON, "X: y\r\n Content-Length: 2") + b"{}", 400),
        "a header with a NUL": (head("GET", STATUS, "X: a\0b"), 400),
        "a header without a name": (head("GET", STATUS, ": x"), 400),
        "a method that is none": (head("BREW", STATUS), 400),
        "a version that is none": (b"GET / HTTP/9.9\r\n\r\n", 400),
        "no version": (b"GET /\r\n\r\n", 307),  # as HTTP/0.9 had it: the way to the page, which is open to all
        "letters beyond ASCII in a path": ("GET /files/inference/．．/a.wav HTTP/1.1\r\n\r\n".encode(), 400),
        "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        "TLS": (bytes.fromhex("16030100050100000100"), 400),
    }
    for name, (sent, status) in rows.items():
        yield Row(name, status, lambda t, s=sent: t.raw(s))


def rows() -> Iterator[Row]:
    """Every row of this module."""
    yield from size_rows()
    yield from slow_rows()
    yield from smuggling_rows()
