"""How an S3 server is reached: TLS, region, style, credentials of every origin, connections that are kept."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from services.runtime.errors import InvalidArgument
from services.runtime.s3_connection import S3Address, parse_address
from services.runtime.store import S3Credentials, StoreUnavailable, open_store
from tests.fault_proxy import FaultProxy
from tests.servers import ACCESS_KEY, SECRET_KEY, s3_address

CREDENTIALS = S3Credentials(ACCESS_KEY, SecretStr(SECRET_KEY))
AWS_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have credentials of their own."""
    for name in AWS_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


# The address


def test_an_address_says_everything(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    options = f"region=eu-1&style=virtual&ca={ca}&connections=7&timeout=2.5&checksums=off"
    assert parse_address(f"s3://bucket?endpoint=https://minio:9000&{options}") == S3Address(
        "bucket", "https://minio:9000", "eu-1", "virtual", str(ca), 7, 2.5, False
    )
    assert parse_address("s3://bucket") == S3Address("bucket", "https://s3.amazonaws.com", "us-east-1")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("style=subdomain", "style must be path or virtual"),
        ("connections=0", "connections must be a whole number"),
        ("connections=many", "connections must be a whole number"),
        ("timeout=-1", "timeout must be a number of seconds"),
        ("timeout=nan", "timeout must be a number of seconds"),
        ("checksums=maybe", "checksums must be on or off"),
        ("ca=/nowhere/ca.pem", "ca must be a file"),
        ("tls=no", "options are endpoint, region"),
    ],
)
def test_an_option_that_is_wrong_is_named(option: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        open_store(f"s3://bucket?endpoint=http://h:1&{option}", CREDENTIALS)


@pytest.mark.parametrize("bucket", ["My-Bucket", "b", "under_score", "two..dots", "-first"])
def test_a_bucket_that_no_server_takes_is_refused_at_once(bucket: str) -> None:
    with pytest.raises(InvalidArgument, match="lower-case letters"):
        open_store(f"s3://{bucket}?endpoint=http://h:1", CREDENTIALS)


def test_a_folder_needs_nothing_of_this(tmp_path: Path) -> None:
    program = (
        f"import sys; from services.runtime.store import open_store; open_store({tmp_path.as_uri()!r}).put('a', b'');"
        "print([name for name in ('minio', 'urllib3', 'services.runtime.s3_store') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


# TLS


def certificates(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority, and what a server on this machine shows that was certified by it."""
    now = datetime.datetime.now(datetime.UTC)

    def certify(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        )
        return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(certify("ca", authority, "ca", authority, True))
    (folder / "server.pem").write_bytes(
        certify("server", server, "ca", authority, False) + server.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return folder / "ca.pem", context


def test_tls_with_an_authority_of_ones_own(nanio_port: int, tmp_path: Path) -> None:
    ca, context = certificates(tmp_path)
    with FaultProxy(nanio_port, tls=context) as proxy:
        url = f"s3://timbre-tls?endpoint=https://127.0.0.1:{proxy.port}"
        store = open_store(f"{url}&ca={ca}", CREDENTIALS)
        store.put("a/b", b"x" * 100_000)
        assert store.get("a/b") == b"x" * 100_000
        with pytest.raises(StoreUnavailable, match="certificate is not trusted"):
            open_store(url, CREDENTIALS).get("a/b")
    # and a server that speaks no TLS
    with pytest.raises(StoreUnavailable, match="certificate is not trusted, or it speaks no TLS"):
        open_store(f"s3://timbre-tls?endpoint=https://127.0.0.1:{nanio_port}", CREDENTIALS).get("a/b")


# A server that tells what it was asked


@contextmanager
def asked(answers: dict[str, tuple[int, str]]) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A server that answers by the start of the path; yields its port, and what it was asked."""
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append({"method": self.command, "path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
            status, text = next((a for start, a in answers.items() if self.path.startswith(start)), (200, ""))
            self.send_response(status)
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text.encode())

        do_GET = do_HEAD = do_PUT = do_POST = answer

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("style", "host", "path"), [("path", "s3.test", "/bucket/a/b"), ("virtual", "bucket.s3.test", "/a/b")])
def test_the_bucket_is_in_the_path_or_in_the_host(style: str, host: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    real = socket.getaddrinfo
    local = lambda name, *rest: real("127.0.0.1" if name.endswith("s3.test") else name, *rest)  # noqa: E731
    monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", local)
    with asked({}) as (port, requests):
        store = open_store(f"s3://bucket?endpoint=http://s3.test:{port}&region=eu-7&style={style}", CREDENTIALS)
        assert store.get("a/b") == b""
    assert (requests[0]["host"], requests[0]["path"]) == (f"{host}:{port}", path)
    assert "/eu-7/s3/aws4_request" in requests[0]["authorization"]


# Credentials

STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


def stamp(seconds: float) -> str:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return until.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def test_a_web_identity_is_exchanged_for_credentials(nanio_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("the-token-of-the-pod")
    # As if almost at its end, so that the next request asks anew, by the token that the file then has.
    answers = {"/": (200, STS.format(access=ACCESS_KEY, secret=SECRET_KEY, until=stamp(5)))}
    with asked(answers) as (port, requests):
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/timbre")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
        store = open_store(s3_address("nanio", nanio_port).url)
        store.put("a", b"x")
        token.write_text("a-new-token-of-the-pod")
        assert store.get("a") == b"x"
    first, last = (parse_qs(urlsplit(requests[n]["path"]).query) for n in (0, -1))
    assert first["Action"] == ["AssumeRoleWithWebIdentity"]
    assert first["RoleArn"] == ["arn:aws:iam::1:role/timbre"]
    assert first["WebIdentityToken"] == ["the-token-of-the-pod"]
    assert last["WebIdentityToken"] == ["a-new-token-of-the-pod"]


def test_a_web_identity_that_is_refused_is_told_without_the_token(
    nanio_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("the-token-of-the-pod")
    with asked({"/": (403, "<no/>")}) as (port, _):
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
        store = open_store(s3_address("nanio", nanio_port).url)
        with pytest.raises(StoreUnavailable, match="No credentials for the object store") as caught:
            store.put("a", b"x")
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__suppress_context__
    assert "the-token" not in str(error)


def test_credentials_of_amazons_environment(nanio_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    store = open_store(s3_address("nanio", nanio_port).url)
    store.put("a", b"x")
    assert store.get("a") == b"x"


# The bucket


def named(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>"


def test_a_bucket_that_may_not_be_made_is_named() -> None:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            missing = self.command == "HEAD" or self.path != "/bucket"
            body = b"" if self.command == "HEAD" else named("NoSuchBucket" if missing else "AccessDenied").encode()
            self.send_response(404 if missing else 403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_PUT = answer

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    store = open_store(f"s3://bucket?endpoint=http://127.0.0.1:{server.server_port}", CREDENTIALS)
    with pytest.raises(StoreUnavailable, match=r"There is no bucket 'bucket' .* may not make it"):
        store.put("a", b"")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_bucket_that_was_removed_is_made_again(moto_port: int) -> None:
    from minio import Minio

    address = s3_address("moto", moto_port)
    store = address.open()
    store.put("a", b"")
    store.delete("a")
    bucket = urlsplit(address.url).netloc
    Minio(f"127.0.0.1:{moto_port}", ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1").remove_bucket(bucket)
    with pytest.raises(StoreUnavailable, match="There is no bucket"):
        store.put("a", b"")
    store.put("a", b"back")
    assert store.get("a") == b"back"


# Connections


def test_connections_are_kept_and_not_thrown_away(nanio_port: int, caplog: pytest.LogCaptureFixture) -> None:
    with FaultProxy(nanio_port) as proxy, caplog.at_level(logging.WARNING, "urllib3"):
        direct = s3_address("nanio", nanio_port)
        store = open_store(direct.url.replace(f":{nanio_port}", f":{proxy.port}"), CREDENTIALS)
        start = threading.Barrier(32)

        def work(number: int) -> None:
            start.wait()
            for turn in range(4):
                store.put(f"a/{number}", b"%d" % turn)
                assert store.get(f"a/{number}") == b"%d" % turn

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(work, range(32)))
        assert proxy.accepted <= 40, "32 threads at once need as many connections, and no new one for each request"
    assert "discarding connection" not in caplog.text


def test_a_pool_that_is_too_small_would_be_noticed(nanio_port: int, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(s3_address("nanio", nanio_port, "&connections=1").url, CREDENTIALS)
    store.put("a", b"x" * 1000)
    with caplog.at_level(logging.WARNING, "urllib3"), ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [store.get("a") for _ in range(10)], range(8)))
    assert "discarding connection" in caplog.text
