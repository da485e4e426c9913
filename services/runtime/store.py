"""The object store: one small interface over a folder or an S3 bucket.

Audio, manifests, checkpoints and generated files live here under the keys that `services.runtime.keys` allows. Every
write is atomic: a reader sees the object as it was or as it is now, whole, and a writer that is killed leaves nothing
visible. Everything streams; only `get` and `create`, meant for small objects, hold one in memory.

The calls block: async code runs them with `asyncio.to_thread`. One store may be used from many threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from services.runtime import telemetry
from services.runtime.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable

DEFAULT_CONTENT_TYPE = "application/octet-stream"
_TIMED = ("put", "create", "get", "open", "fetch", "stat", "copy", "delete")

EXAMPLES = "file:///var/lib/timbre/objects or s3://bucket?endpoint=http://minio:9000"
"""What storage URLs look like, for those who wrote another."""


class ObjectNotFound(NotFound):
    """There is no object of that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no object {key!r} in the store; check the name.")


class ObjectExists(AlreadyExists):
    """`create` found an object of that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The object {key!r} exists already.")


class StoreUnavailable(Unavailable):
    """The store cannot be reached, is full, or refuses us."""


@dataclass(frozen=True)
class ObjectInfo:
    """What is known of an object without reading it.

    Attributes:
        key: Its name in the store.
        size: Bytes.
        etag: An opaque text, without quotes, that changes when the content changes. The folder makes it from size and
            time of the write, S3 servers mostly from a hash, so it is no digest to check content against.
        modified: When it was written, UTC.
    """

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class S3Credentials:
    """What signs requests to an S3 server.

    Attributes:
        access_key: The public half.
        secret_key: The secret half; it never shows in logs or errors.
    """

    access_key: str
    secret_key: SecretStr


class ObjectStore(Protocol):
    """What both kinds of store do.

    Every method raises `InvalidArgument` for a key that is not a plain relative name, and `StoreUnavailable` when the
    store cannot be reached or refuses to work.
    """

    def put(self, key: str, source: bytes | Path | BinaryIO, content_type: str = DEFAULT_CONTENT_TYPE) -> ObjectInfo:
        """Writes an object, in place of the one that may be there.

        Args:
            key: Where to.
            source: The content; a path or an open binary file is streamed from its present position to its end.
            content_type: Kept by S3 and shown to whoever fetches from there; a folder has no place for it.
        """
        ...

    def create(self, key: str, source: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> ObjectInfo:
        """Writes an object that must not be there yet; of several callers at once, one succeeds.

        Raises:
            ObjectExists: It is there.
        """
        ...

    def get(self, key: str) -> bytes:
        """Returns the whole content of a small object.

        Raises:
            ObjectNotFound: It is not there.
        """
        ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """Opens an object for reading from start to end; close it, or use it as a context manager.

        The stream goes on giving the version that was opened, also while another takes its place.

        Args:
            key: Which object.
            start: First byte; at or behind the end the stream is empty.
            length: At most so many bytes; None reads to the end.

        Raises:
            ObjectNotFound: It is not there.
        """
        ...

    def fetch(self, key: str, path: Path) -> ObjectInfo:
        """Streams an object into a local file, which appears only when it is whole.

        Raises:
            ObjectNotFound: It is not there.
        """
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """Returns what is known of an object, or None when it is not there."""
        ...

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """Goes through the objects whose keys start with `prefix`, at any depth, in the order of their keys.

        Args:
            prefix: Start of the keys; end it with a slash to mean a folder, or leave it empty for everything.
            start_after: Leaves out keys up to and including this one.
        """
        ...

    def copy(self, source_key: str, key: str) -> ObjectInfo:
        """Writes a copy of one object under another key, inside the store.

        Raises:
            ObjectNotFound: The source is not there.
        """
        ...

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is fine."""
        ...


def open_store(url: str, credentials: S3Credentials | None = None, *, patient: bool = False) -> ObjectStore:
    """Opens the store that a URL names.

    Args:
        url: `file:///absolute/folder`, or `s3://bucket?endpoint=http://host:port&region=name` with the further options of
            `s3_connection.S3Address`; without an endpoint it is Amazon's, without a region `us-east-1`. The folder and the
            bucket are made on first use.
        credentials: For S3; without them Amazon's usual sources are asked (environment, files, web identity, role of the
            machine).
        patient: For work that nobody waits for: a store that is away is asked for more than a minute before it is given up,
            and not for seconds.

    Raises:
        InvalidArgument: The URL is neither.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _measured(_open_folder(url))
    if parts.scheme == "s3":
        return _measured(_open_s3(url, credentials, patient))
    raise InvalidArgument(f"The storage URL {shown(url)!r} must be like {EXAMPLES}.")


def _measured(store: ObjectStore) -> ObjectStore:
    """Times the calls of a store, if this process measures anything; of those that stream, until the first byte."""
    for operation in _TIMED if telemetry.measuring() else ():
        setattr(store, operation, telemetry.timed("timbre_store_seconds", operation)(getattr(store, operation)))
    return store


def _open_folder(url: str) -> ObjectStore:
    from services.runtime.folder_store import FolderStore

    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query or path == Path("/"):
        raise InvalidArgument(f"The storage URL {shown(url)!r} must name an absolute folder, like {EXAMPLES}.")
    return FolderStore(path)


def _open_s3(url: str, credentials: S3Credentials | None, patient: bool) -> ObjectStore:
    from services.runtime.s3_connection import parse_address
    from services.runtime.s3_store import S3Store

    return S3Store(parse_address(url), credentials, patient=patient)


def shown(url: str) -> str:
    """Returns the URL without what may stand before an `@` in it: people write passwords there."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if "@" in rest else url
