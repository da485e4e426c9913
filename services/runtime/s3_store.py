"""The object store in a bucket of MinIO, Amazon S3 or another server of that protocol.

Requests are signed by the `minio` client. Big objects go up in parts; S3 shows an object only when all of it is there.
Every body that goes up carries a digest, which the server checks; what comes down whole is held against its ETag.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import urllib3
from minio.commonconfig import CopySource
from minio.error import S3Error, ServerError

from services.runtime.errors import InvalidArgument
from services.runtime.files import write_atomically
from services.runtime.keys import check_key
from services.runtime.s3_body import PART_BYTES, Body, Followed, Spoiled
from services.runtime.s3_connection import S3Address, open_client, open_pool, pauses, retry_policy, translated
from services.runtime.store import (
    DEFAULT_CONTENT_TYPE,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    S3Credentials,
    StoreUnavailable,
)

Done = TypeVar("Done")

log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20
_TRANSFERS = 3


class BucketMissing(StoreUnavailable):
    """There is no bucket, and we may not make it."""

    def __init__(self, bucket: str) -> None:
        super().__init__(
            f"There is no bucket {bucket!r} in the object store, and these credentials may not make it: "
            "make it there, or name another in TIMBRE_STORAGE_URL."
        )


class S3Store:
    """An `ObjectStore` in a bucket, which is made by the first write.

    Args:
        address: Where it is.
        credentials: None asks Amazon's usual sources.
        patient: Whether to wait out a restart of the server, for more than a minute, before saying that it is away.
    """

    def __init__(self, address: S3Address, credentials: S3Credentials | None, *, patient: bool = False) -> None:
        self._bucket = address.bucket
        self._checksums = address.checksums
        self._http = open_pool(address, patient=patient)
        self._patient = patient
        self._create_policy = retry_policy(patient=patient, lost_answers=False)
        self._client = open_client(address, credentials, self._http)
        self._bucket_lock = threading.Lock()
        self._bucket_known = False

    def put(self, key: str, source: bytes | Path | BinaryIO, content_type: str = DEFAULT_CONTENT_TYPE) -> ObjectInfo:
        """See `ObjectStore.put`."""
        check_key(key)
        self._make_bucket()
        if isinstance(source, bytes):
            return _again(lambda: self._upload(key, io.BytesIO(source), len(source), content_type))
        if isinstance(source, Path):
            return _again(lambda: self._upload_file(key, source, content_type))
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
        with self._writing(key):
            url = self._client.get_presigned_url("PUT", self._bucket, key, expires=timedelta(minutes=5))
            headers = {"If-None-Match": "*", "Content-Type": content_type}
            # After a lost answer a retry could meet the object that its own first try made, and call it somebody else's.
            response = self._http.request("PUT", url, body=source, headers=headers, retries=self._create_policy)
            if response.status in (409, 412):
                raise ObjectExists(key)
            if response.status != 200:
                raise S3Error.fromxml(response) if response.data else ServerError("no answer", response.status)
        return ObjectInfo(key, len(source), response.headers["ETag"].strip('"'), _date(response.headers))

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""

        def read() -> bytes:
            with self.open(key) as stream:
                return stream.read()

        return _again(read)

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
        whole = self._checksums and start == 0 and length is None
        return self._stream(key, response, start, check=whole)

    def fetch(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.fetch`."""

        def read() -> ObjectInfo:
            response = self._request(key, 0, None)
            size, etag = int(response.headers["Content-Length"]), response.headers["ETag"].strip('"')
            with self._stream(key, response, 0, check=self._checksums) as stream:
                write_atomically(path, stream)
            return ObjectInfo(key, size, etag, _modified(response.headers))

        return _again(read)

    def stat(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        check_key(key)
        try:
            with translated(key):
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
        with self._writing(source_key):
            done = self._client.copy_object(self._bucket, key, CopySource(self._bucket, source_key))
        return ObjectInfo(key, source.size, done.etag.strip('"'), _date(done.http_headers))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        check_key(key)
        try:
            with translated(key):
                self._client.remove_object(self._bucket, key)
        except ObjectNotFound:
            return

    def _upload_file(self, key: str, path: Path, content_type: str) -> ObjectInfo:
        with path.open("rb") as file:
            return self._upload(key, file, os.fstat(file.fileno()).st_size, content_type)

    def _upload(self, key: str, file: BinaryIO, size: int, content_type: str) -> ObjectInfo:
        followed = Followed(file)
        digest = followed.digest
        with self._writing(key):
            try:
                done = self._client.put_object(
                    self._bucket,
                    key,
                    cast(BinaryIO, followed),
                    size,
                    content_type=content_type,
                    part_size=PART_BYTES,
                    num_parallel_uploads=1,
                )
            except S3Error as error:
                found = self._completed(key, followed) if error.code == "NoSuchUpload" else None
                if found is None:
                    raise
                return found
        etag = done.etag.strip('"')
        if self._checksums and not digest.fits(etag, done.http_headers or {}):
            raise Spoiled(key)
        return ObjectInfo(key, digest.size, etag, _date(done.http_headers))

    def _completed(self, key: str, sent: Followed) -> ObjectInfo | None:
        """Returns the object when it is the one just sent: an upload whose completion was done, but not answered, is gone."""
        found = self._client.stat_object(self._bucket, key)
        etag = found.etag.strip('"')
        if found.size != sent.digest.size or "-" not in etag or not sent.digest.fits(etag, found.metadata or {}):
            return None
        return ObjectInfo(key, found.size, etag, found.last_modified.astimezone(UTC))

    def _stream(self, key: str, response: urllib3.BaseHTTPResponse, start: int, *, check: bool) -> BinaryIO:
        def ask(start: int, length: int | None) -> urllib3.BaseHTTPResponse:
            return self._ask(key, start, length)

        body = Body(key, response, ask, start=start, check=check, pauses=pauses(patient=self._patient))
        return cast(BinaryIO, io.BufferedReader(body, _BLOCK_BYTES))

    def _ask(self, key: str, start: int, length: int | None) -> urllib3.BaseHTTPResponse:
        """Asks for an object, of which nothing is read yet.

        Requests are sent again by the pool; not when it is the body of a refusal that breaks off, as that is read outside it.
        """
        for pause in pauses(patient=self._patient):
            with suppress(urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError):
                return self._get(key, start, length)
            time.sleep(pause)
        return self._get(key, start, length)

    def _get(self, key: str, start: int, length: int | None) -> urllib3.BaseHTTPResponse:
        found = self._client.get_object(self._bucket, key, offset=start, length=length or 0)
        return cast(urllib3.BaseHTTPResponse, found)

    def _request(self, key: str, start: int, length: int | None) -> urllib3.BaseHTTPResponse:
        check_key(key)
        with translated(key):
            try:
                return self._ask(key, start, length)
            except S3Error as error:
                if (start or length) and error.code in ("InvalidRange", "InvalidArgument"):
                    raise _RangeRefused(f"The object store refused to give a part of {key!r}.") from error
                raise

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        try:
            with translated(prefix):
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
            with translated(self._bucket):
                try:
                    exists = self._client.bucket_exists(self._bucket)
                except (S3Error, ServerError) as error:
                    if isinstance(error, ServerError) and error.status_code >= 500:
                        raise
                    # Perhaps we may write into the bucket, but not ask about it; what a HEAD cannot say, the write will.
                    exists = True
                if not exists:
                    self._create_bucket()
            self._bucket_known = True

    def _create_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code == "AccessDenied":
                raise BucketMissing(self._bucket) from error
            # Another process was faster.
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        log.info("made the bucket %s", self._bucket)

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """As `translated`, around a write: a bucket that is not there is no missing object then."""
        with translated(key):
            try:
                yield
            except S3Error as error:
                if error.code == "NoSuchBucket":
                    self._bucket_known = False  # it was removed under us: the next write makes it anew
                    raise BucketMissing(self._bucket) from error
                raise


class _RangeRefused(StoreUnavailable):
    """The server does not like a range."""


def _again(transfer: Callable[[], Done]) -> Done:
    """Transfers an object, and anew when what came was spoiled."""
    for _ in range(_TRANSFERS - 1):
        try:
            return transfer()
        except Spoiled as error:
            log.warning("%s", error.message)
    return transfer()


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
