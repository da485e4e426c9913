"""What a store makes of a network and a server that fail: it gets through, or says in a sentence why not."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.runtime.store import ObjectNotFound, ObjectStore, S3Credentials, StoreUnavailable, open_store
from tests.fault_proxy import Fault, FaultProxy
from tests.servers import s3_address

MIB = 1 << 20
KEY = "datasets/a/raw/x.wav"
# Where something stalls, soon enough that it does not make the tests long; elsewhere a busy machine may be slow.
HASTY = "&timeout=1"


class Faulty:
    """A store behind a proxy that hurts, and the same store without."""

    def __init__(self, kind: str, port: int) -> None:
        self.kind = kind
        self.proxy = FaultProxy(port)
        self.proxy.__enter__()
        direct = s3_address(kind, port)
        self.direct = direct.open()
        self.direct.put("warm", b"")  # the bucket is there
        url = direct.url.replace(f":{port}", f":{self.proxy.port}")
        self.store = open_store(url, direct.credentials)
        self.hasty = open_store(url + HASTY, direct.credentials)
        self.patient = open_store(url, direct.credentials, patient=True)

    def suffer(self, faults: Sequence[Fault]) -> ObjectStore:
        """Has the next connections suffer, and returns the store that is to go through them."""
        store = self.hasty if any(fault.kind == "stall" for fault in faults) else self.store
        store.put("other", b"")  # the bucket is known: what follows is one request
        self.proxy.inject(*faults)
        return store


@pytest.fixture(params=["moto", "nanio"])
def faulty(request: pytest.FixtureRequest) -> Iterator[Faulty]:
    """Each kind of server in turn, behind a proxy of its own."""
    made = Faulty(request.param, request.getfixturevalue(f"{request.param}_port"))
    yield made
    made.proxy.__exit__()


def content(size: int, seed: int) -> bytes:
    block = hashlib.sha256(str(seed).encode()).digest() * (MIB // 32)
    return (block * (size // MIB + 1))[:size]


@contextmanager
def watched(store: ObjectStore, allowed: list[bytes | None]) -> Iterator[None]:
    """Reads the object all the time, as another process would: it must be absent or whole, in one of these versions."""
    done = threading.Event()

    def look() -> int:
        looks = 0
        while not done.is_set():
            try:
                seen: bytes | None = store.get(KEY)
            except ObjectNotFound:
                seen = None
            assert seen in allowed, f"{len(seen or b'')} bytes were seen, of versions {[len(v or b'') for v in allowed]}"
            looks += 1
            time.sleep(0.01)
        return looks

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield
        finally:
            done.set()
        assert looking.result() > 0


# What a write may meet. After 4 kB the head of the request is through, and the body has begun.
WRITE_FAULTS = {
    "reset in the body": [Fault("reset", after=MIB, upward=True)],
    "reset twice": [Fault("reset", after=4096, upward=True), Fault("reset", after=2 * MIB, upward=True)],
    "answer lost": [Fault("reset", once=b"PUT /")],
    "stalled body": [Fault("stall", after=MIB, upward=True)],
    "stalled answer": [Fault("stall", once=b"PUT /")],
    "slow": [Fault("slow", upward=True, rate=4e6)],
    "503 burst": [Fault("busy")] * 3,
}


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_write_gets_through_and_is_never_seen_half(faulty: Faulty, fault: str) -> None:
    old, new = content(3 * MIB, 1), content(3 * MIB, 2)  # one length: nanio sends one version's length with another's content
    faulty.direct.put(KEY, old)
    store = faulty.suffer(WRITE_FAULTS[fault])
    with watched(faulty.direct, [old, new]):
        info = store.put(KEY, new)
    assert faulty.proxy.left == 0
    assert faulty.direct.get(KEY) == new
    assert info.size == len(new)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("reset", after=10 * MIB, upward=True)],
        [Fault("stall", after=10 * MIB, upward=True), Fault("busy")],
        [Fault("reset", once=b"uploads=")],
        [Fault("reset", once=b"<CompleteMultipartUpload")],
    ],
    ids=["in a part", "stalled, then busy", "begin not answered", "end not answered"],
)
def test_an_upload_in_parts_gets_through(faulty: Faulty, faults: list[Fault]) -> None:
    new = content(20 * MIB, 3)
    store = faulty.suffer(faults)
    with watched(faulty.direct, [None, new]):
        info = store.put(KEY, new)
    assert faulty.proxy.left == 0
    found = faulty.direct.stat(KEY)
    assert found is not None
    assert (info.size, info.etag) == (found.size, found.etag)
    assert faulty.direct.get(KEY) == new


READ_FAULTS = {
    "reset in the body": [Fault("reset", after=MIB), Fault("reset", after=MIB)],
    "reset before the answer": [Fault("reset"), Fault("reset", after=100)],
    "stalled": [Fault("stall", after=MIB)],
    "slow": [Fault("slow", rate=8e6)],
    "503 burst": [Fault("busy")] * 3,
    "broken more often than is allowed in a row": [Fault("reset", after=400_000)] * 6,
    "broken, and busy when asked again": [Fault("reset", after=2 * MIB), Fault("busy"), Fault("stall")],
    "a byte is changed": [Fault("flip", after=2 * MIB)],
}


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_a_read_is_continued(faulty: Faulty, tmp_path: Path, fault: str) -> None:
    expected = content(3 * MIB, 4)
    faulty.direct.put(KEY, expected)
    assert faulty.suffer(READ_FAULTS[fault]).get(KEY) == expected
    assert faulty.proxy.left == 0
    faulty.suffer(READ_FAULTS[fault]).fetch(KEY, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == expected
    assert faulty.proxy.left == 0


def test_a_part_of_an_object_is_continued(faulty: Faulty) -> None:
    expected = content(3 * MIB, 4)
    faulty.direct.put(KEY, expected)
    faulty.proxy.inject(Fault("reset", after=MIB))
    with faulty.store.open(KEY, start=1000, length=2 * MIB) as stream:
        assert stream.read() == expected[1000 : 1000 + 2 * MIB]
    assert faulty.proxy.left == 0


@pytest.mark.parametrize("faulty", ["nanio"], indirect=True)
def test_an_object_that_was_replaced_is_not_continued(faulty: Faulty) -> None:
    faulty.direct.put(KEY, content(16 * MIB, 5))
    faulty.proxy.inject(Fault("reset", after=12 * MIB))
    with faulty.store.open(KEY) as stream:
        assert stream.read(MIB) == content(MIB, 5)
        faulty.direct.put(KEY, content(16 * MIB, 6))
        with pytest.raises(StoreUnavailable, match="was replaced while it was being read"):
            stream.read()


@pytest.mark.parametrize("faulty", ["nanio"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("reset", after=100), "cannot be reached"),
        (Fault("stall"), "cannot be reached"),
        (Fault("busy"), "overloaded or restarting"),
    ],
    ids=["reset", "stalled", "busy"],
)
def test_a_read_that_cannot_be_had_is_given_up_in_a_sentence(faulty: Faulty, tmp_path: Path, fault: Fault, said: str) -> None:
    faulty.direct.put(KEY, content(3 * MIB, 7))
    store = faulty.suffer([fault] * 40)
    target = tmp_path / "folder" / "fetched"
    with pytest.raises(StoreUnavailable, match=said):
        store.fetch(KEY, target)
    assert 0 < faulty.proxy.left < 40
    assert list(tmp_path.rglob("*")) in ([], [target.parent])


@pytest.mark.parametrize("faulty", ["moto"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("reset", after=MIB, upward=True), "cannot be reached"),
        (Fault("stall", after=MIB, upward=True), "cannot be reached"),
        (Fault("busy"), "overloaded or restarting"),
    ],
    ids=["reset", "stalled", "busy"],
)
def test_a_write_that_does_not_get_through_leaves_the_old_object(faulty: Faulty, fault: Fault, said: str) -> None:
    old = content(3 * MIB, 8)
    faulty.direct.put(KEY, old)
    store = faulty.suffer([fault] * 40)
    with watched(faulty.direct, [old]), pytest.raises(StoreUnavailable, match=said):
        store.put(KEY, content(3 * MIB, 9))
    assert 0 < faulty.proxy.left < 40
    assert faulty.direct.get(KEY) == old


def test_a_byte_that_is_changed_on_the_way_up_is_noticed_and_mended(faulty: Faulty) -> None:
    faulty.store.put("other", b"")
    faulty.proxy.inject(Fault("flip", after=MIB, upward=True))
    new = content(3 * MIB, 10)
    faulty.store.put(KEY, new)
    assert faulty.proxy.left == 0
    assert faulty.direct.get(KEY) == new
    faulty.proxy.inject(Fault("flip", after=MIB, upward=True))
    with pytest.raises(StoreUnavailable, match="not what was stored"):
        faulty.store.put(KEY, io.BytesIO(new))  # what was read cannot be read again


def test_what_the_server_itself_spoils_is_never_taken(moto_port: int, tmp_path: Path) -> None:
    faulty = Faulty("moto", moto_port)  # it closes every connection, so that every answer has a fault of its own
    faulty.direct.put(KEY, content(3 * MIB, 7))
    faulty.proxy.inject(*[Fault("flip", after=MIB)] * 3)
    with pytest.raises(StoreUnavailable, match="is not what was stored"):
        faulty.store.fetch(KEY, tmp_path / "fetched")
    assert list(tmp_path.iterdir()) == []
    faulty.proxy.__exit__()


def test_a_create_is_not_sent_twice_and_a_busy_server_is_asked_again(faulty: Faulty) -> None:
    faulty.store.put("other", b"")
    faulty.proxy.inject(Fault("busy"), Fault("busy"))
    assert faulty.store.create("lock", b"mine").size == 4
    faulty.proxy.inject(Fault("reset", once=b"PUT /"))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        faulty.store.create("other-lock", b"mine")


@pytest.mark.parametrize("faulty", ["nanio"], indirect=True)
def test_a_server_that_comes_back_is_waited_for_by_the_patient(faulty: Faulty) -> None:
    faulty.patient.put("other", b"")
    with ThreadPoolExecutor(1) as pool:
        with faulty.proxy.down():
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                faulty.store.get("other")
            writing = pool.submit(faulty.patient.put, KEY, b"new")
            time.sleep(4)  # longer than the others wait
            assert not writing.done()
        writing.result()
    assert faulty.direct.get(KEY) == b"new"
    assert faulty.store.get(KEY) == b"new"


@pytest.mark.parametrize("faulty", ["nanio"], indirect=True)
def test_one_that_takes_connections_and_breaks_them_off_is_waited_for_likewise(faulty: Faulty) -> None:
    faulty.patient.put("other", b"")  # as a balancer does while nobody is behind it
    faulty.proxy.inject(*[Fault("reset", once=b"PUT /")] * 6)
    faulty.patient.put(KEY, b"new")
    assert faulty.proxy.left == 0
    assert faulty.direct.get(KEY) == b"new"


# Errors that the server names


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[ObjectStore]:
    """A store whose server answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response_only(status)
            for name, value in {"Content-Type": "application/xml", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = answer

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        credentials = S3Credentials("access", SecretStr("secret-key"))
        yield open_store(f"s3://timbre?endpoint=http://127.0.0.1:{server.server_port}", credentials)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def named(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, named("RequestTimeTooSkewed"), "clocks"),
        (507, named("XMinioStorageFull"), "disk is full"),
        (507, b"", "disk is full"),
        (400, named("XMinioAdminBucketQuotaExceeded"), "quota"),
        (403, named("InvalidAccessKeyId"), "refused the credentials"),
        (403, named("SignatureDoesNotMatch"), "refused the credentials"),
        (400, named("AuthorizationHeaderMalformed"), "another region"),
        (503, named("SlowDown"), "overloaded"),
        (503, b"", "overloaded"),
        (418, named("Teapot"), "answered Teapot"),
        (200, b"", None),
        (404, named("NoSuchBucket"), None),
    ],
)
def test_an_error_of_the_server_is_told_in_a_sentence(status: int, body: bytes, said: str | None) -> None:
    with answering(status, body, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "ETag": '"e"'}) as store:
        if said is None:
            if status == 404:
                with pytest.raises(ObjectNotFound):
                    store.get("a/b")
            else:
                assert store.get("a/b") == b""
            return
        with pytest.raises(StoreUnavailable, match=said):
            store.get("a/b")
        if status != 503:  # of which asking again has been waited for enough
            with pytest.raises(StoreUnavailable, match=said):
                store.put("a/b", b"x")


def test_a_refusal_without_a_body_is_told_apart_by_the_clock() -> None:
    with (
        answering(403, b"", {"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}) as store,
        pytest.raises(StoreUnavailable, match="clocks"),
    ):
        store.stat("a/b")
    with answering(403, b"") as store, pytest.raises(StoreUnavailable, match="refused the credentials"):
        store.stat("a/b")
