"""The object store in a bucket of MinIO, Amazon S3 or another server of that protocol.

Requests are signed by the `minio` client. Big objects go up in parts; S3 shows an object only when all of it is there.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.credentials import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider, StaticProvider
from minio.error import MinioException, S3Error

from services.runtime.errors import InvalidArgument
from services.runtime.files import write_atomically
from services.runtime.keys import check_key
from services.runtime.store import (
    DEFAULT_CONTENT_TYPE,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    S3Credentials,
    StoreUnavailable,
)

# S3 takes 10,000 parts of 5 MiB or more; 8 MiB allows objects of 80 GB. One part at a time is in memory.
_PART_BYTES = 8 << 20
_BLOCK_BYTES = 1 << 20
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0
_CONNECTIONS = 16
_MISSING = ("NoSuchKey", "NoSuchBucket", "NoSuchObject", "ResourceNotFound")
_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")

# What an operator can mend, by the code that the server answers.
_SENTENCES = {
    "RequestTimeTooSkewed": "The clocks of this machine and the object store differ too much; set both by NTP.",
    "XMinioStorageFull": "The object store's disk is full; free space or add some.",
}


class S3Store:
    """An `ObjectStore` in a bucket, which is made by the first write.

    Args:
        bucket: Its name.
        endpoint: `http://host:port` or `https://host`.
        region: As the server is configured; MinIO's default is `us-east-1`.
        credentials: None asks Amazon's usual sources.
    """

    def __init__(self, bucket: str, endpoint: str, region: str, credentials: S3Credentials | None) -> None:
        address = urlsplit(endpoint)
        self._bucket = bucket
        self._endpoint = endpoint
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            maxsize=_CONNECTIONS,
            retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        self._client = Minio(
            address.netloc,
            secure=address.scheme == "https",
            region=region,
            http_client=self._http,
            credentials=_provider(credentials),
        )
        self._bucket_lock = threading.Lock()
        self._bucket_known = False

    def put(self, key: str, source: bytes | Path | BinaryIO, content_type: str = DEFAULT_CONTENT_TYPE) -> ObjectInfo:
        """See `ObjectStore.put`."""
        check_key(key)
        self._make_bucket()
        if isinstance(source, bytes):
            return self._upload(key, io.BytesIO(source), len(source), content_type)
        if isinstance(source, Path):
            with source.open("rb") as file:
                return self._upload(key, file, os.fstat(file.fileno()).st_size, content_type)
        return self._upload(key, source, -1, content_type)

    def create(self, key: str, source: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> ObjectInfo:
        """See `ObjectStore.create`.

        It is a PUT with `If-None-Match: *`, which Amazon S3 (since 2024) and MinIO decide atomically. A server that
        ignores the header is still asked first whether the object is there, but two callers in the same moment can then
        both succeed. The client has no argument for the header; on a presigned URL it may be added unsigned.
        """
        if self.stat(key) is not None:
            raise ObjectExists(key)
        self._make_bucket()
        with self._translated(key):
            url = self._client.get_presigned_url("PUT", self._bucket, key, expires=timedelta(minutes=5))
            headers = {"If-None-Match": "*", "Content-Type": content_type}
            # A retry could meet the object that its own first try made, and call it somebody else's.
            response = self._http.request("PUT", url, body=source, headers=headers, retries=False)
            if response.status in (409, 412):
                raise ObjectExists(key)
            if response.status != 200:
                raise S3Error.fromxml(response) if response.data else MinioException(f"HTTP status {response.status}")
        return ObjectInfo(key, len(source), response.headers["ETag"].strip('"'), _date(response.headers))

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        with self.open(key) as stream:
            return stream.read()

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """See `ObjectStore.open`."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"start {start} and length {length} must not be negative")
        if length == 0:
            if self.stat(key) is None:
                raise ObjectNotFound(key)
            return io.BytesIO()
        try:
            response = self._request(key, start, length)
        except _RangeRefused:
            # S3 refuses a start behind the end; some servers an end behind the end, too.
            info = self.stat(key)
            if info is None:
                raise ObjectNotFound(key) from None
            if start >= info.size:
                return io.BytesIO()
            response = self._request(key, start, info.size - start)
        return cast(BinaryIO, io.BufferedReader(_Body(response, self, key), _BLOCK_BYTES))

    def fetch(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.fetch`."""
        response = self._request(key, 0, None)
        info = ObjectInfo(
            key,
            int(response.headers["Content-Length"]),
            response.headers["ETag"].strip('"'),
            _modified(response.headers),
        )
        with io.BufferedReader(_Body(response, self, key), _BLOCK_BYTES) as stream:
            write_atomically(path, cast(BinaryIO, stream))
        return info

    def stat(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        check_key(key)
        try:
            with self._translated(key):
                found = self._client.stat_object(self._bucket, key)
        except ObjectNotFound:
            return None
        return ObjectInfo(key, found.size, found.etag, found.last_modified.astimezone(UTC))

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        if prefix:
            check_key(prefix.removesuffix("/"), field="prefix")
        return self._list(prefix, start_after)

    def copy(self, source_key: str, key: str) -> ObjectInfo:
        """See `ObjectStore.copy`; the server copies."""
        source = self.stat(source_key)
        check_key(key)
        if source is None:
            raise ObjectNotFound(source_key)
        with self._translated(source_key):
            done = self._client.copy_object(self._bucket, key, CopySource(self._bucket, source_key))
        return ObjectInfo(key, source.size, done.etag.strip('"'), _date(done.http_headers))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        check_key(key)
        try:
            with self._translated(key):
                self._client.remove_object(self._bucket, key)
        except ObjectNotFound:
            return

    def _upload(self, key: str, file: BinaryIO, size: int, content_type: str) -> ObjectInfo:
        counted = _Counted(file)
        with self._translated(key):
            done = self._client.put_object(
                self._bucket,
                key,
                cast(BinaryIO, counted),
                size,
                content_type=content_type,
                part_size=_PART_BYTES,
                num_parallel_uploads=1,
            )
        return ObjectInfo(key, counted.size, done.etag.strip('"'), _date(done.http_headers))

    def _request(self, key: str, start: int, length: int | None) -> urllib3.BaseHTTPResponse:
        check_key(key)
        with self._translated(key):
            try:
                return cast(
                    urllib3.BaseHTTPResponse,
                    self._client.get_object(self._bucket, key, offset=start, length=length or 0),
                )
            except S3Error as error:
                if (start or length) and error.code in ("InvalidRange", "InvalidArgument"):
                    raise _RangeRefused(f"The object store refused to give a part of {key!r}.") from error
                raise

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        try:
            with self._translated(prefix):
                for found in self._client.list_objects(
                    self._bucket, prefix=prefix, recursive=True, start_after=start_after or None
                ):
                    if _is_key(found.object_name):
                        modified = found.last_modified.astimezone(UTC)
                        yield ObjectInfo(found.object_name, found.size, found.etag.strip('"'), modified)
        except ObjectNotFound:  # the bucket
            return

    def _make_bucket(self) -> None:
        with self._bucket_lock:
            if self._bucket_known:
                return
            with self._translated(self._bucket):
                try:
                    if not self._client.bucket_exists(self._bucket):
                        self._client.make_bucket(self._bucket)
                except S3Error as error:
                    # Another process was faster, or we may write into the bucket but not ask about it.
                    if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists", "AccessDenied"):
                        raise
            self._bucket_known = True

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            if error.code in _MISSING:
                raise ObjectNotFound(key) from error
            if error.code in _REFUSED:
                message = (
                    f"The object store refused the credentials ({error.code}); "
                    "check TIMBRE_S3_ACCESS_KEY, TIMBRE_S3_SECRET_KEY and what they may do."
                )
                raise StoreUnavailable(message, reason="STORE_REFUSED") from error
            sentence = _SENTENCES.get(error.code, f"The object store answered {error.code}; try again later.")
            raise StoreUnavailable(sentence) from error
        except MinioException as error:
            raise StoreUnavailable(
                "The object store gave an answer that is not S3's; check the endpoint in TIMBRE_STORAGE_URL."
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable("The object store cannot be reached; try again later.") from error


class _RangeRefused(StoreUnavailable):
    """The server does not like a range."""


class _Counted:
    """A file that counts what is read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.size += len(block)
        return block


class _Body(io.RawIOBase):
    """The body of a response as a stream that gives its connection back when closed."""

    def __init__(self, response: urllib3.BaseHTTPResponse, store: S3Store, key: str) -> None:
        self._response = response
        self._store = store
        self._key = key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with self._store._translated(self._key):
            block = self._response.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            # An unread rest makes the connection useless for the next request.
            self._response.close()
            self._response.release_conn()
        super().close()


def _provider(credentials: S3Credentials | None) -> Any:
    if credentials is None:
        return ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()])
    return StaticProvider(credentials.access_key, credentials.secret_key.get_secret_value())


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except InvalidArgument:
        return False
    return True


def _date(headers: Any) -> datetime:
    """When the server answered, which is when it took the object."""
    value = headers.get("Date")
    return parsedate_to_datetime(value).astimezone(UTC) if value else datetime.now(UTC)


def _modified(headers: Any) -> datetime:
    return parsedate_to_datetime(headers["Last-Modified"]).astimezone(UTC)
