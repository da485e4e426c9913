"""TLS: certificates read from files, and read again when these change, as cert-manager and Kubernetes change them.

A connection that is open stays as it is; every new one meets the newest certificate that is whole. Files that do not fit
together, as in the moment between the replacement of a certificate and that of its key, change nothing.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc

from services.runtime.errors import FailedPrecondition
from services.runtime.settings import RuntimeSettings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How often files are looked at where nobody else gives the occasion."""


@dataclass(frozen=True)
class Pem:
    """What the files held at one time.

    Attributes:
        certificate: Chain of certificates, the own one first; empty for a client that shows none.
        key: The private key of the first.
        ca: Certificates of who signs those of the other side; None where nobody asks, or the usual ones count.
    """

    certificate: bytes
    key: bytes
    ca: bytes | None


class Certificates:
    """The newest certificate that is whole, its key, and the authority that signs the other side's.

    Attributes:
        pem: What the files hold, for gRPC.
        context: The same, for a server by Python's `ssl`.

    Args:
        certificate: File of the chain, PEM; None for a client that shows none.
        key: File of the key, PEM, without a passphrase.
        ca: File of the authority, PEM.

    Raises:
        FailedPrecondition: They cannot be read, or do not fit together.
    """

    def __init__(self, certificate: Path | None, key: Path | None, ca: Path | None = None) -> None:
        self._certificate, self._key, self._ca = certificate, key, ca
        self._lock = threading.Lock()
        self._stamp = self._look()
        self.pem, self.context = self._read()

    def renew(self) -> bool:
        """Reads the files again if they are not what they were; whether they hold something new. Waits for the disk."""
        with self._lock:
            try:
                stamp = self._look()
                if stamp == self._stamp:
                    return False
                pem, context = self._read()
                if self._look() != stamp:
                    return False  # they are being replaced just now
            except FailedPrecondition as error:
                logger.warning("%s The last ones that did stay in use.", error.message)
                return False
            self._stamp = stamp
            new = pem != self.pem
            if new:
                self.pem, self.context = pem, context
                logger.info("the certificates in %s are new ones", self._names())
            return new

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [path.stat() for path in (self._certificate, self._key, self._ca) if path]
        except OSError as error:
            raise FailedPrecondition(f"The certificates in {self._names()} cannot be read: {error.strerror}.") from error
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def _read(self) -> tuple[Pem, ssl.SSLContext]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        try:
            parts = [path.read_bytes() if path else b"" for path in (self._certificate, self._key, self._ca)]
            if self._ca:
                context.load_verify_locations(self._ca)
            if self._certificate:
                context.load_cert_chain(self._certificate, self._key, password=lambda: b"")  # it would ask the terminal
        except ssl.SSLError as error:
            raise FailedPrecondition(f"The certificates in {self._names()} are no PEM files that fit together.") from error
        except OSError as error:
            raise FailedPrecondition(f"The certificates in {self._names()} cannot be read: {error.strerror}.") from error
        return Pem(parts[0], parts[1], parts[2] or None), context

    def _names(self) -> str:
        return ", ".join(str(path) for path in (self._certificate, self._key, self._ca) if path)


async def keep_new(certificates: Certificates) -> None:
    """Looks after the files again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await asyncio.to_thread(certificates.renew)


def of_services(settings: RuntimeSettings) -> Certificates | None:
    """Returns what the services and who calls them show each other; None where they speak in plain text."""
    if settings.tls_cert is None and settings.tls_ca is None:
        return None
    return Certificates(settings.tls_cert, settings.tls_key, settings.tls_ca)


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Returns what a gRPC server shows, and, when there is an authority, asks of its clients.

    Raises:
        FailedPrecondition: There is no certificate to show.
    """
    if not certificates.pem.certificate:
        raise FailedPrecondition("A service needs a certificate: set TIMBRE_TLS_CERT and TIMBRE_TLS_KEY beside TIMBRE_TLS_CA.")

    def configuration() -> grpc.ServerCertificateConfiguration:
        pem = certificates.pem
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # before every handshake, on a thread of gRPC's
        return configuration() if certificates.renew() else None

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        fetch,  # type: ignore[arg-type]  # the stubs forget None, which is "as before"
        require_client_authentication=certificates.pem.ca is not None,
    )


def channel_credentials(pem: Pem) -> grpc.ChannelCredentials:
    """Returns what a gRPC client asks of its server, and shows when it has a certificate."""
    return grpc.ssl_channel_credentials(pem.ca, pem.key or None, pem.certificate or None)


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """Returns a context for a server that shows, in each handshake, the newest certificate."""
    first = certificates.context

    def show_newest(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = certificates.context

    first.sni_callback = show_newest  # called whether the client names a host or not
    return first
