"""Links to what a browser saves by itself: its caller's own token, sealed for one address and a while.

A browser that navigates sends no header, and the services behind ask for the caller's token again: so it travels in the link,
encrypted and bound to that address (AES-GCM, NIST SP 800-38D), and is checked as if it had come in its header.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from typing import get_args
from urllib.parse import urlencode

from gateway.schemas.links import Export
from services.runtime.errors import PermissionDenied

PATHS = get_args(Export)
"""What a link can lead to: GET of these and nothing else."""

_PARAMETER = "&link="
_NONCE_BYTES = 12
_EXPIRY_BYTES = 8


def address(path: str, query: Mapping[str, str]) -> str:
    """Returns a path with its query."""
    return f"{path}?{urlencode(query)}"


class Downloads:
    """Makes the links, and opens them.

    Args:
        secret: What they are sealed with; its own key is derived from it (HMAC, RFC 2104).
        seconds: How long one is valid.
    """

    def __init__(self, secret: bytes, seconds: float) -> None:
        self._key, self._seconds = hmac.digest(secret, b"timbre downloads", hashlib.sha256), seconds

    def link(self, path: str, query: Mapping[str, str], header: str) -> str:
        """Returns where a caller without headers gets what a caller with this Authorization header would."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        url = address(path, query)
        nonce = os.urandom(_NONCE_BYTES)
        expires = int(time.time() + self._seconds).to_bytes(_EXPIRY_BYTES, "big")
        sealed = nonce + AESGCM(self._key).encrypt(nonce, expires + header.encode(), url.encode())
        return f"{url}{_PARAMETER}{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def opened(self, path: str, query: str) -> str:
        """Returns the Authorization header that a request brings along in its query; empty when it is no link.

        Args:
            path: The decoded path.
            query: The query as it came.

        Raises:
            PermissionDenied: It was a link, and has expired, or it was tampered with.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        asked, is_link, said = query.rpartition(_PARAMETER)
        if not is_link:
            return ""
        try:
            sealed = base64.b64decode(said + "=" * (-len(said) % 4), altchars=b"-_", validate=True)
            nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            opened = AESGCM(self._key).decrypt(nonce, content, f"{path}?{asked}".encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise PermissionDenied("This link is not valid: start the download again.", reason="LINK_INVALID") from error
        if int.from_bytes(opened[:_EXPIRY_BYTES], "big") < time.time():
            raise PermissionDenied("This link has expired: start the download again.", reason="LINK_EXPIRED")
        return opened[_EXPIRY_BYTES:].decode()
