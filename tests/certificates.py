"""Authorities and certificates, made for a test."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """Signs certificates.

    Attributes:
        path: Its own certificate, PEM.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        made = self._builder(self._name, self._key, days=2).add_extension(x509.BasicConstraints(True, None), True)
        made = made.add_extension(usage, True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, days: float = 1, host: str = "127.0.0.1") -> tuple[Path, Path]:
        """Makes a certificate; returns the files of it and its key.

        Args:
            name: Of the files; those of that name are replaced at once, as Kubernetes does.
            days: How long it is valid; negative: until then, in the past.
            host: The address it is for.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), key, days)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")])
        certificate = made.add_extension(names, False).sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return replace(self._folder / f"{name}.crt", certificate.public_bytes(pem)), replace(
            self._folder / f"{name}.key", secret
        )

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))


def replace(path: Path, content: bytes) -> Path:
    """Puts a whole new file in place of another."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)
    return path
