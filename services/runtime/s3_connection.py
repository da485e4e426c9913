"""How an S3 server is reached: its address, TLS, credentials and retries, and its errors as sentences.

What a request may run into and what becomes of it:

    refused, reset, 500 to 504     sent again, each pause longer than the last, then `StoreUnavailable`
    stalled                        given up after `timeout` seconds without a byte, then as above
    broken in the middle of a body the rest is asked for (see `s3_body.py`)
    an error that S3 has a name of a sentence that says what an operator can mend
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import AWSConfigProvider, ChainedProvider, Credentials, EnvAWSProvider, IamAwsProvider, StaticProvider
from minio.credentials.providers import Provider
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import check_bucket_name

from services.runtime.errors import InvalidArgument
from services.runtime.store import EXAMPLES, ObjectNotFound, S3Credentials, StoreUnavailable, shown

AWS_ENDPOINT = "https://s3.amazonaws.com"
DEFAULT_REGION = "us-east-1"
DEFAULT_TIMEOUT_SECONDS = 60.0
# asyncio.to_thread has at most 32 threads, and as many streams again may be held open for slow readers. A connection is
# made when it is needed: a pool that is large costs nothing, one that is too small makes and throws away.
DEFAULT_CONNECTIONS = 64

_CONNECT_SECONDS = 5.0
# Whoever waits for an answer is told after some 3 s that the store is away; work that waits for nobody sits out a restart
# of it, for some 80 s.
_ATTEMPTS, _PATIENT_ATTEMPTS = 4, 12
_BACKOFF_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 10.0
_BUSY = (500, 502, 503, 504)
# S3 refuses what is signed more than 15 minutes off; a HEAD has no body that says so.
_SKEW_SECONDS = 600.0
_OPTIONS = ("endpoint", "region", "style", "ca", "connections", "timeout", "checksums")
# Where Amazon's own tools find credentials; without any of them a server of one's own cannot be signed in to.
_AWS_SOURCES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SHARED_CREDENTIALS_FILE",
)

MISSING = ("NoSuchKey", "NoSuchBucket", "NoSuchObject", "ResourceNotFound")
_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AllAccessDisabled")
_SKEWED = "The clocks of this machine and the object store differ too much; set both by NTP."
_BUSY_SENTENCE = "The object store is overloaded or restarting; try again later."
_FULL = "The object store's disk is full; free space or add some."
_REGION = "The bucket is in another region; name it by region= in TIMBRE_STORAGE_URL."

# What an operator can mend, by the code that the server answers.
_SENTENCES = {
    "RequestTimeTooSkewed": _SKEWED,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": "The bucket's quota is used up; raise it or free space.",
    "QuotaExceeded": "The bucket's quota is used up; raise it or free space.",
    "SlowDown": _BUSY_SENTENCE,
    "ServiceUnavailable": _BUSY_SENTENCE,
    "InternalError": _BUSY_SENTENCE,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "BadDigest": "Bytes were changed on their way to the object store; try again.",
    "InvalidBucketName": "The object store does not take the name of the bucket in TIMBRE_STORAGE_URL; choose another.",
}


@dataclass(frozen=True)
class S3Address:
    """Where a bucket is, and how its server wants to be spoken to.

    Attributes:
        bucket: Its name.
        endpoint: `http://host:port` or `https://host`.
        region: As the server is configured; MinIO's default is `us-east-1`.
        style: Whether the bucket is named in the `path` or, `virtual`, in the host; empty takes what suits the endpoint.
        ca: File with the certificates that vouch for the server's; empty takes the usual authorities.
        connections: Most that are kept open.
        timeout_seconds: How long the server may be silent.
        checksums: Whether content is held against the ETag, where that is a digest of it.
    """

    bucket: str
    endpoint: str = AWS_ENDPOINT
    region: str = DEFAULT_REGION
    style: str = ""
    ca: str = ""
    connections: int = DEFAULT_CONNECTIONS
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    checksums: bool = True


def parse_address(url: str) -> S3Address:
    """Reads `s3://bucket?endpoint=…&region=…&style=…&ca=…&connections=…&timeout=…&checksums=…`.

    Raises:
        InvalidArgument: It says something else, or more; the message is a sentence.
    """
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown or not parts.netloc or "@" in parts.netloc or parts.path.strip("/"):
        what = f"; options are {', '.join(_OPTIONS)}" if unknown else ""
        raise InvalidArgument(
            f"The storage URL {shown(url)!r} must be like {EXAMPLES}{what}; credentials have their own settings."
        )
    try:
        check_bucket_name(parts.netloc, strict=True)
    except ValueError:
        raise InvalidArgument(
            f"The bucket in the storage URL {shown(url)!r} must have 3 to 63 lower-case letters, digits, dots and hyphens."
        ) from None
    endpoint = options.get("endpoint", AWS_ENDPOINT)
    host = urlsplit(endpoint)
    if host.scheme not in ("http", "https") or not host.netloc or "@" in host.netloc or host.path.strip("/"):
        raise InvalidArgument(f"The endpoint in the storage URL {shown(url)!r} must be like http://host:9000.")
    checks = {
        "style": options.get("style", "path") in ("path", "virtual"),
        "checksums": options.get("checksums", "on") in ("on", "off"),
        "connections": options.get("connections", "1").isdecimal() and int(options.get("connections", "1")) > 0,
        "timeout": _is_positive(options.get("timeout", "1")),
        "ca": Path(options.get("ca", os.devnull)).exists(),
    }
    allowed = {
        "style": "path or virtual",
        "checksums": "on or off",
        "connections": "a whole number from 1",
        "timeout": "a number of seconds above 0",
        "ca": "a file with certificates that is there",
    }
    for name, fine in checks.items():
        if not fine:
            raise InvalidArgument(f"In the storage URL {shown(url)!r}, {name} must be {allowed[name]}.")
    return S3Address(
        bucket=parts.netloc,
        endpoint=endpoint,
        region=options.get("region", DEFAULT_REGION),
        style=options.get("style", ""),
        ca=options.get("ca", ""),
        connections=int(options.get("connections", DEFAULT_CONNECTIONS)),
        timeout_seconds=float(options.get("timeout", DEFAULT_TIMEOUT_SECONDS)),
        checksums=options.get("checksums", "on") == "on",
    )


def open_pool(address: S3Address, *, patient: bool) -> urllib3.PoolManager:
    """Makes what keeps connections and sends again what failed."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=address.timeout_seconds),
        maxsize=address.connections,
        retries=retry_policy(patient=patient),
        cert_reqs="CERT_REQUIRED",
        ca_certs=address.ca or os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )


def pauses(*, patient: bool) -> list[float]:
    """Returns how long to wait before each time that what failed is tried again; after the last the store counts as away."""
    attempts = _PATIENT_ATTEMPTS if patient else _ATTEMPTS
    return [min(_BACKOFF_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS) for attempt in range(attempts)]


def retry_policy(*, patient: bool, lost_answers: bool = True) -> urllib3.Retry:
    """Returns how often a request is sent again.

    Args:
        patient: Whether nobody waits for the answer.
        lost_answers: Whether also a request is sent again that the server may have carried out.
    """
    attempts = len(pauses(patient=patient))
    return urllib3.Retry(
        total=attempts,
        read=attempts if lost_answers else 0,
        backoff_factor=_BACKOFF_SECONDS,
        backoff_jitter=_BACKOFF_SECONDS,
        backoff_max=_LONGEST_PAUSE_SECONDS,
        retry_after_max=int(_LONGEST_PAUSE_SECONDS),
        status_forcelist=_BUSY,
        allowed_methods=None,  # also POST, which begins and completes uploads in parts: see S3Store._upload
        raise_on_status=False,  # the last answer says in a code what the matter is
    )


def open_client(address: S3Address, credentials: S3Credentials | None, pool: urllib3.PoolManager) -> Minio:
    """Makes the client that signs requests.

    Raises:
        InvalidArgument: It is a server of one's own, and there are no credentials for it.
    """
    if credentials is None and address.endpoint != AWS_ENDPOINT and not any(os.environ.get(name) for name in _AWS_SOURCES):
        raise InvalidArgument(
            f"The storage URL of {address.endpoint} needs credentials: set TIMBRE_S3_ACCESS_KEY and TIMBRE_S3_SECRET_KEY."
        )
    host = urlsplit(address.endpoint)
    client = Minio(
        host.netloc,
        secure=host.scheme == "https",
        region=address.region,
        http_client=pool,
        credentials=_SharedProvider(_provider(credentials, pool)),
    )
    if address.style == "virtual":
        client.enable_virtual_style_endpoint()
    elif address.style == "path":
        client.disable_virtual_style_endpoint()
    return client


def _provider(credentials: S3Credentials | None, pool: urllib3.PoolManager) -> Provider:
    if credentials is not None:
        return StaticProvider(credentials.access_key, credentials.secret_key.get_secret_value())
    # MinIO answers to web identities itself: its address is named as Amazon's tools have it named.
    identity = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_STS") if identity else None
    iam = IamAwsProvider(custom_endpoint=endpoint, http_client=pool)
    return ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), iam])


class _SharedProvider(Provider):  # type: ignore[misc]
    """Asks for credentials from one thread at a time, and says in a sentence when there are none."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner
        self._lock = threading.Lock()

    def retrieve(self) -> Credentials:
        with self._lock:
            try:
                return self._inner.retrieve()
            except (ValueError, OSError, urllib3.exceptions.HTTPError):
                # Without its cause: that holds the request, and the request the token.
                raise StoreUnavailable(
                    "No credentials for the object store could be had: set TIMBRE_S3_ACCESS_KEY and TIMBRE_S3_SECRET_KEY, "
                    "or see that the role or web identity of this machine may be assumed.",
                    reason="STORE_REFUSED",
                ) from None


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Turns the errors of the client, around one request for `key`, into ours.

    Raises:
        ObjectNotFound: There is no such object, or no bucket.
        StoreUnavailable: Anything else, in a sentence.
    """
    try:
        yield
    except S3Error as error:
        if error.code in MISSING:
            raise ObjectNotFound(key) from error
        raise _refusal(error) from error
    except (ServerError, InvalidResponseError) as error:
        status = getattr(error, "status_code", None) or getattr(error, "_code", 0)
        if status == 507:
            raise StoreUnavailable(_FULL) from error
        if status in (*_BUSY, 429):
            raise StoreUnavailable(_BUSY_SENTENCE) from error
        raise _not_s3() from error
    except MinioException as error:
        raise _not_s3() from error
    except urllib3.exceptions.HTTPError as error:
        if isinstance(error, urllib3.exceptions.SSLError) or isinstance(
            getattr(error, "reason", None), urllib3.exceptions.SSLError
        ):
            raise StoreUnavailable(
                "The object store's certificate is not trusted, or it speaks no TLS: "
                "check the endpoint, and name its authority by ca= in TIMBRE_STORAGE_URL."
            ) from error
        raise StoreUnavailable("The object store cannot be reached; try again later.") from error


def _refusal(error: S3Error) -> StoreUnavailable:
    if error.code in _REFUSED:
        if _clocks_differ(error.response):
            return StoreUnavailable(_SKEWED)
        return StoreUnavailable(
            f"The object store refused the credentials ({error.code}); "
            "check TIMBRE_S3_ACCESS_KEY, TIMBRE_S3_SECRET_KEY and what they may do.",
            reason="STORE_REFUSED",
        )
    return StoreUnavailable(_SENTENCES.get(error.code, f"The object store answered {error.code}; try again later."))


def _clocks_differ(response: Any) -> bool:
    try:
        there = parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return abs((datetime.now(UTC) - there).total_seconds()) > _SKEW_SECONDS


def _not_s3() -> StoreUnavailable:
    return StoreUnavailable("The object store gave an answer that is not S3's; check the endpoint in TIMBRE_STORAGE_URL.")


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < 86_400
    except ValueError:
        return False
