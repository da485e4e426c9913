"""Which URLs may be downloaded from, and which addresses may be connected to.

A URL is checked when a request names it, by its text alone. That does not say where its host leads: names resolve to
anything, differently each time, and servers redirect. So what fetches runs in a process of its own, in which `guard`
makes the interpreter refuse every connection to an address that is not public, at the moment it is made.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from services.runtime.errors import FailedPrecondition

MAX_URL_LENGTH = 2048

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa", "lan")
# RFC 6052: what stands for an IPv4 address on networks that have only IPv6; the last 32 bits are that address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Addresses that lead elsewhere than they look, or serve a machine its secrets, although they count as global.
_TRAPS: tuple[Network, ...] = (
    ipaddress.IPv6Network("2002::/16"),  # 6to4: tunnels to the IPv4 address inside, RFC 3056
    ipaddress.IPv6Network("2001::/32"),  # Teredo, RFC 4380
    ipaddress.IPv6Network("fec0::/10"),  # site-local, RFC 3879
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's host agent, from inside its machines
)


class InvalidUrl(FailedPrecondition):
    """A URL cannot be downloaded from: it is malformed, or its host is not allowed."""


class AddressRefused(FailedPrecondition):
    """A connection would have gone to an address that is not public."""


def check_url(url: str, *, hosts: Iterable[str], allow_private: bool) -> None:
    """Refuses a URL that may not be downloaded from, without asking the network.

    Args:
        url: What the caller gave.
        hosts: Host names that are allowed, each with its subdomains; `*` allows every host.
        allow_private: Whether hosts on the loopback, private and link-local networks are allowed.

    Raises:
        InvalidUrl: It is not http(s), has no host, carries a password, or its host is not allowed.
    """
    host = _host(url)
    address = _literal(host)
    if not _listed(host, tuple(hosts)):
        raise InvalidUrl(
            f"{_shown(url)}: the host {host} is not allowed for downloads; the operator can add it to TIMBRE_DOWNLOAD_HOSTS."
        )
    if not allow_private and (_is_local_name(host) if address is None else not is_public(address)):
        raise InvalidUrl(f"{_shown(url)}: the host {host} is on a private network, and downloads come from public hosts only.")


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet.

    Loopback, private, link-local, shared (carrier-grade NAT), multicast, reserved and documentation addresses are not,
    nor is an IPv6 address that stands for such an IPv4 one, nor tunnels.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if any(address.version == network.version and address in network for network in _TRAPS):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def guard(
    allow_private: bool,
    networks: Sequence[str] = (),
    programs: Sequence[str] = (),
    on_refusal: Callable[[], None] | None = None,
) -> None:
    """Makes this process unable to connect to what is not public, or to start programs, until it ends.

    It hooks into the interpreter's audit events, which every Python socket raises with the very address it is about to
    connect to: whatever a name resolved to, however many redirects came before, whichever library asks.

    Args:
        allow_private: Lets every address through.
        networks: Networks, such as `10.1.0.0/16`, that may be connected to all the same.
        programs: Paths of programs that may be started.
        on_refusal: Called before a connection is refused.
    """
    allowed = [ipaddress.ip_network(network) for network in networks]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            if not allow_private and not _may_connect(arguments[1], allowed):
                if on_refusal is not None:
                    on_refusal()
                raise AddressRefused("The host leads to an address on a private network, which is not allowed.")
        elif event == "subprocess.Popen":
            if str(arguments[0]) not in programs:
                raise PermissionError("no other program may be started")
        elif event in ("os.system", "os.exec", "os.posix_spawn", "os.startfile", "pty.spawn"):
            raise PermissionError("no other program may be started")

    sys.addaudithook(hook)


def _may_connect(target: object, allowed: Sequence[Network]) -> bool:
    """Whether a socket's target is a public address; a name, which the socket itself would resolve, is not let through."""
    if not isinstance(target, tuple) or not target or not isinstance(target[0], str):
        return False  # a socket of the file system, or none of the internet
    address = _literal(target[0])
    if address is None:
        return False
    return is_public(address) or any(address.version == network.version and address in network for network in allowed)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host(url: str) -> str:
    """Returns the host of a well-formed URL, in lower case, without brackets or final dot."""
    if len(url) > MAX_URL_LENGTH:
        raise InvalidUrl(f"{_shown(url)}: the URL is longer than {MAX_URL_LENGTH} characters.")
    if any(character <= " " or character in '\\"<>^`{|}' or character == "\x7f" for character in url):
        raise InvalidUrl(f"{_shown(url)}: the URL has a character that a URL cannot have.")
    parts, port_is_number = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or not port_is_number:
        raise InvalidUrl(f"{_shown(url)} is not an address that can be downloaded from: give one like https://host/page.")
    if "@" in parts.netloc:
        raise InvalidUrl("A URL to download from must not carry a user name or password.")
    host = parts.hostname.rstrip(".")
    if _literal(host) is not None:
        return host
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name):
        raise InvalidUrl(f"{_shown(url)}: {host[:80]!r} is not the name of a host.")
    return name


def _split(url: str) -> tuple[SplitResult | None, bool]:
    try:
        parts = urlsplit(url)
        return parts, parts.port is None or parts.port > 0
    except ValueError:
        return None, False


def _listed(host: str, hosts: Sequence[str]) -> bool:
    names = [name.lower().strip(".[]") for name in hosts]
    return "*" in names or any(host == name or host.endswith(f".{name}") for name in names if name)


def _is_local_name(host: str) -> bool:
    return "." not in host or any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES)


def _shown(url: str) -> str:
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in url)
    return text if len(text) <= 100 else f"{text[:97]}..."
