"""Which URLs are refused when they are named, and which addresses when they are connected to."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from services.dataset.addresses import InvalidUrl, check_url, is_public

HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com")


@pytest.mark.parametrize(
    "url",
    [
        "https://youtube.com/watch?v=abc",
        "http://www.youtube.com/watch?v=abc",
        "https://m.youtube.com/watch?v=abc&list=x#t=10",
        "https://youtu.be/abc",
        "HTTPS://YouTube.COM/watch?v=abc",
        "https://youtube.com./watch?v=abc",
        "https://youtube.com:443/watch?v=abc",
    ],
)
def test_urls_of_allowed_hosts_pass(url: str) -> None:
    check_url(url, hosts=HOSTS, allow_private=False)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "is not an address"),
        ("not a url", "a character that a URL cannot have"),
        ("não é um endereço", "^não é um endereço: the URL has a character"),
        ("https://youtube.com/\x1b\u202e", r"^https://youtube\.com/\\x1b\\u202e"),
        ("youtube.com/watch?v=abc", "is not an address"),
        ("ftp://youtube.com/x", "is not an address"),
        ("file:///etc/passwd", "is not an address"),
        ("javascript:alert(1)", "is not an address"),
        ("https://", "is not an address"),
        ("https:///watch", "is not an address"),
        ("https://youtube.com:99999/", "is not an address"),
        ("https://youtube.com:port/", "is not an address"),
        ("https://[::1/", "is not an address"),
        ("https://user:hunter2@youtube.com/", "user name or password"),
        ("https://youtube.com@evil.example/", "user name or password"),
        ("https://evil.example\\@youtube.com/", "character"),
        ("https://youtube.com/\nx", "character"),
        ("https://youtube.com/" + "x" * 2048, "longer than 2048"),
        ("https://example.org/", "the host example.org is not allowed"),
        ("https://notyoutube.com/", "not allowed"),
        ("https://youtube.com.evil.example/", "not allowed"),
        ("https://127.0.0.1/", "not allowed"),
        ("https://youtu.be.", None),
        ("https://-x.youtube.com/", "not the name of a host"),
        ("https://a..youtube.com/", "not the name of a host"),
        ("https://yоutube.com/", "not allowed"),  # the second letter is Cyrillic
    ],
)
def test_other_urls_are_refused(url: str, sentence: str | None) -> None:
    if sentence is None:
        check_url(url, hosts=HOSTS, allow_private=False)
        return
    with pytest.raises(InvalidUrl, match=sentence) as caught:
        check_url(url, hosts=HOSTS, allow_private=False)
    assert "hunter2" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "host",
    ["localhost", "printer", "x.localhost", "nas.local", "api.internal", "127.0.0.1", "10.1.2.3", "[::1]", "169.254.169.254"],
)
def test_private_hosts_need_leave_even_when_every_host_is_listed(host: str) -> None:
    url = f"http://{host}:8000/audio.wav"
    with pytest.raises(InvalidUrl, match="private network"):
        check_url(url, hosts=("*",), allow_private=False)
    check_url(url, hosts=("*",), allow_private=True)
    check_url(url, hosts=(host,), allow_private=True)
    with pytest.raises(InvalidUrl, match="not allowed"):
        check_url(url, hosts=HOSTS, allow_private=True)


@pytest.mark.parametrize(
    "address",
    ["142.250.79.14", "8.8.8.8", "2800:3f0:4001:80f::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::808:808",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.fixture
def listener() -> Iterator[int]:
    """A server on the loopback address that takes connections; returns its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def accept() -> None:
            try:
                while True:
                    server.accept()[0].close()
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


GUARDED = """
import asyncio, os, socket, ssl, subprocess, sys, urllib.request
from services.dataset.addresses import AddressRefused, guard

# What DNS rebinding does: the name of a public host that leads to this machine.
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: real("127.0.0.1" if host == "rebound.example" else host, *rest, **more)
refusals = []
guard(False, networks=sys.argv[2:], programs=[sys.executable], on_refusal=lambda: refusals.append(1))
port = int(sys.argv[1])

def unix():
    socket.socket(socket.AF_UNIX).connect("/run/nothing")

def unconnected():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))

def asynchronous():
    asyncio.run(asyncio.open_connection("127.0.0.1", port))

ATTEMPTS = {
    "address": lambda: socket.create_connection(("127.0.0.1", port)),
    "name": lambda: socket.create_connection(("localhost", port)),
    "rebound": lambda: socket.create_connection(("rebound.example", port)),
    "number": lambda: socket.create_connection(("2130706433", port)),
    "unresolved": lambda: socket.socket().connect(("localhost", port)),
    "connect_ex": lambda: socket.socket().connect_ex(("127.0.0.1", port)),
    "mapped": lambda: socket.socket(socket.AF_INET6).connect(("::ffff:127.0.0.1", port)),
    "http": lambda: urllib.request.urlopen(f"http://rebound.example:{port}/"),
    "tls": lambda: ssl.create_default_context().wrap_socket(socket.socket(), server_hostname="x").connect(("127.0.0.1", port)),
    "datagram": unconnected,
    "unix": unix,
    "asyncio": asynchronous,
}
for name, attempt in ATTEMPTS.items():
    count = len(refusals)
    try:
        attempt()
        print(name, "connected")
    except AddressRefused:
        print(name, "refused" if len(refusals) > count else "unreported")
    except OSError as error:
        print(name, type(error).__name__)
STARTS = {
    "run": lambda: subprocess.run(["true"]),
    "shell": lambda: os.system("true"),
    "listed": lambda: subprocess.run([sys.executable, "-c", ""]),
}
for name, start in STARTS.items():
    try:
        start()
        print(name, "started")
    except PermissionError:
        print(name, "refused")
"""


def attempts(port: int, *networks: str) -> dict[str, str]:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GUARDED, str(port), *networks],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return dict(line.split() for line in ran.stdout.splitlines())


def test_a_guarded_process_connects_to_nothing_private_by_any_way(listener: int) -> None:
    outcomes = attempts(listener)
    assert outcomes.pop("listed") == "started"
    assert len(outcomes) == 14
    assert set(outcomes.values()) == {"refused"}


def test_a_guarded_process_connects_to_a_network_that_is_exempt(listener: int) -> None:
    outcomes = attempts(listener, "127.0.0.1/32")
    for way in ("address", "name", "rebound", "number"):
        assert outcomes[way] == "connected"
    assert {outcomes[way] for way in ("unresolved", "mapped", "unix", "run", "shell")} == {"refused"}
