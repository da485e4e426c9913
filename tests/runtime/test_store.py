"""One suite for every kind of object store, and what is particular to each."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.folder_store import FolderStore
from services.runtime.store import (
    ObjectExists,
    ObjectNotFound,
    ObjectStore,
    S3Credentials,
    StoreUnavailable,
    open_store,
)

MIB = 1 << 20


class Pattern(io.RawIOBase):
    """A stream of `size` bytes that are made as they are read."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self.left)
        block = self.left.to_bytes(8, "little") * (count // 8 + 1)
        buffer[:count] = block[:count]
        self.left -= count
        self.digest.update(buffer[:count])
        return count


def keys(store: ObjectStore, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, start_after)]


# Writing and reading


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 100], ids=["empty", "one byte", "binary"])
@pytest.mark.parametrize("form", ["bytes", "path", "stream"])
def test_what_was_put_comes_back(store: ObjectStore, tmp_path: Path, content: bytes, form: str) -> None:
    path = tmp_path / "content"
    path.write_bytes(content)
    source = {"bytes": content, "path": path, "stream": io.BytesIO(content)}[form]
    before = datetime.now(UTC) - timedelta(seconds=2)

    info = store.put("datasets/a/raw/x.wav", source, content_type="audio/wav")

    assert store.get("datasets/a/raw/x.wav") == content
    assert (info.key, info.size) == ("datasets/a/raw/x.wav", len(content))
    assert before < info.modified < datetime.now(UTC) + timedelta(seconds=2)
    found = store.stat("datasets/a/raw/x.wav")
    assert found is not None
    assert (found.key, found.size, found.etag) == (info.key, info.size, info.etag)
    assert found.etag
    assert '"' not in found.etag
    assert found.modified.tzinfo is UTC


def test_a_put_replaces_and_changes_the_etag(store: ObjectStore) -> None:
    etags = [store.put("a", content).etag for content in (b"one", b"two", b"six")]
    assert store.get("a") == b"six"
    assert len(set(etags)) == 3
    assert keys(store) == ["a"]


def test_a_stream_is_put_from_its_present_position(store: ObjectStore) -> None:
    source = io.BytesIO(b"header and content")
    source.seek(11)
    assert store.put("a", source).size == 7
    assert store.get("a") == b"content"


def test_what_is_missing_is_said_to_be(store: ObjectStore, tmp_path: Path) -> None:
    def check() -> None:
        assert store.stat("datasets/none") is None
        for call in (
            lambda: store.get("datasets/none"),
            lambda: store.open("datasets/none"),
            lambda: store.open("datasets/none", 5, 0),
            lambda: store.fetch("datasets/none", tmp_path / "fetched"),
            lambda: store.copy("datasets/none", "datasets/copy"),
        ):
            with pytest.raises(ObjectNotFound, match="datasets/none"):
                call()
        store.delete("datasets/none")
        assert not (tmp_path / "fetched").exists()

    check()  # a bucket that nobody has written to does not exist either
    assert keys(store) == []
    store.put("datasets/other/x", b"x")
    check()
    assert store.stat("datasets/other") is None
    with pytest.raises(ObjectNotFound):
        store.get("datasets/other")
    assert store.stat("datasets/other/x/y") is None


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 1, b"0"),
        (3, 4, b"3456"),
        (9, 1, b"9"),
        (8, 100, b"89"),
        (4, 0, b""),
        (10, None, b""),
        (50, 5, b""),
    ],
)
def test_ranges(store: ObjectStore, start: int, length: int | None, expected: bytes) -> None:
    store.put("a", b"0123456789")
    with store.open("a", start, length) as stream:
        assert stream.read(2) + stream.read() == expected
        assert stream.read() == b""
    assert stream.closed


def test_ranges_do_not_go_backwards(store: ObjectStore) -> None:
    store.put("a", b"0123456789")
    for start, length in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            store.open("a", start, length)


def test_streams_that_are_left_early_do_not_spoil_the_next_request(store: ObjectStore) -> None:
    store.put("a", b"x" * 3 * MIB)
    for _ in range(25):
        with store.open("a") as stream:
            assert stream.read(10) == b"x" * 10
    assert len(store.get("a")) == 3 * MIB


def test_fetch_writes_a_file(store: ObjectStore, tmp_path: Path) -> None:
    info = store.put("a", b"content")
    target = tmp_path / "new folder" / "fetched.wav"
    fetched = store.fetch("a", target)
    assert target.read_bytes() == b"content"
    assert (fetched.key, fetched.size, fetched.etag) == (info.key, info.size, info.etag)
    assert [path.name for path in target.parent.iterdir()] == ["fetched.wav"]


def test_copy_and_delete(store: ObjectStore) -> None:
    store.put("datasets/a/x", b"content")
    info = store.copy("datasets/a/x", "datasets/b/y")
    assert info.size == 7
    store.delete("datasets/a/x")
    store.delete("datasets/a/x")
    assert keys(store) == ["datasets/b/y"]
    assert store.get("datasets/b/y") == b"content"


def test_64_mib_pass_through_without_being_held(store: ObjectStore, tmp_path: Path) -> None:
    source = Pattern(64 * MIB)
    tracemalloc.start()
    try:
        info = store.put("big", io.BufferedReader(source))
        store.copy("big", "copy")
        store.fetch("copy", tmp_path / "fetched")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert info.size == 64 * MIB
    assert peak < 40 * MIB
    with (tmp_path / "fetched").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == source.digest.digest()
    with store.open("big", 40 * MIB + 3, 5) as stream, (tmp_path / "fetched").open("rb") as file:
        file.seek(40 * MIB + 3)
        assert stream.read() == file.read(5)


# Listing

LISTED = ["a-b", "a.wav", "a/a", "a/b/c", "a/b0", "a0", "a_", "b/x.wav", "b/x/y"]


def test_listing_is_in_the_order_of_the_whole_keys(store: ObjectStore) -> None:
    for key in reversed(LISTED):
        store.put(key, key.encode())
    assert sorted(LISTED) == LISTED
    assert keys(store) == LISTED
    assert [info.size for info in store.list()] == [len(key) for key in LISTED]


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/", "b/x", "b/x/y", "c", "c/", "a/b/c/"])
def test_listing_by_prefix(store: ObjectStore, prefix: str) -> None:
    for key in LISTED:
        store.put(key, b"")
    assert keys(store, prefix) == [key for key in LISTED if key.startswith(prefix)]


@pytest.mark.parametrize("start_after", ["a", "a-b", "a/", "a/b", "a/b/c", "a/b/d", "a0", "b/x.wav", "b/x/y", "z"])
@pytest.mark.parametrize("prefix", ["", "a/", "b"])
def test_listing_from_a_key_on(store: ObjectStore, prefix: str, start_after: str) -> None:
    for key in LISTED:
        store.put(key, b"")
    expected = [key for key in LISTED if key.startswith(prefix) and key > start_after]
    assert keys(store, prefix, start_after) == expected


def test_listing_tells_what_stat_tells(store: ObjectStore) -> None:
    store.put("a/b", b"content")
    (listed,) = store.list("a/")
    found = store.stat("a/b")
    assert found is not None
    assert (listed.key, listed.size, listed.etag) == (found.key, found.size, found.etag)
    assert abs(listed.modified - found.modified) < timedelta(seconds=1)


# Names


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a b",
        "maçã.wav",
        "a\nb",
        ".tmp~/x",
        "x" * 1001,
    ],
    ids=lambda key: repr(key[:20]),
)
def test_names_that_are_no_plain_names_are_refused(store: ObjectStore, tmp_path: Path, key: str) -> None:
    store.put("a", b"")
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b""),
        lambda: store.create(key, b""),
        lambda: store.get(key),
        lambda: store.open(key),
        lambda: store.fetch(key, tmp_path / "fetched"),
        lambda: store.stat(key),
        lambda: store.copy("a", key),
        lambda: store.copy(key, "b"),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument):
            call()
    assert keys(store) == ["a"]


@pytest.mark.parametrize("prefix", ["/", "../", "a//", "a/../", "ã"])
def test_prefixes_are_checked_at_once(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidArgument, match="prefix"):
        store.list(prefix)


# Several at once


def test_create_is_exclusive(store: ObjectStore) -> None:
    info = store.create("lock", b"mine")
    assert info.size == 4
    with pytest.raises(ObjectExists, match="lock"):
        store.create("lock", b"yours")
    assert store.get("lock") == b"mine"
    found = store.stat("lock")
    assert found is not None
    assert found.etag == info.etag


def test_of_creators_in_the_same_moment_one_wins(store_address: Any, store: ObjectStore) -> None:
    if not store_address.exclusive:
        pytest.skip("this server ignores conditions on writes")
    for turn in range(5):
        start = threading.Barrier(8)

        def create(content: bytes, key: str = f"lock-{turn}", start: threading.Barrier = start) -> bytes | None:
            start.wait()
            try:
                store.create(key, content)
            except ObjectExists:
                return None
            return content

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(create, [b"%d" % number for number in range(8)]))
        winners = [content for content in results if content is not None]
        assert len(winners) == 1
        assert store.get(f"lock-{turn}") == winners[0]


def test_a_reader_sees_the_old_or_the_new_object_and_never_a_mixture(store_address: Any, store: ObjectStore) -> None:
    # nanio sends the length of one version with the content of the next; then the lengths have to be the same.
    lengths = (MIB, MIB) if store_address.kind == "nanio" else (MIB, MIB + 1)
    contents = [letter * length for letter, length in zip((b"a", b"b"), lengths, strict=True)]
    store.put("a", contents[0])
    done = threading.Event()

    def write() -> None:
        try:
            for turn in range(20):
                store.put("a", contents[turn % 2])
        finally:
            done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        reads = 0
        while not done.is_set() or not reads:
            assert store.get("a") in contents
            reads += 1
        writing.result()


def test_writers_and_deleters_in_one_folder_do_not_hinder_each_other(store: ObjectStore) -> None:
    def work(number: int) -> None:
        for _ in range(15):
            store.put(f"datasets/deep/folder/{number}", b"x")
            store.delete(f"datasets/deep/folder/{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert keys(store) == []


SLOW_PUT = """
import sys, time
from pydantic import SecretStr
from services.runtime.store import S3Credentials, open_store

class Slow:
    sent = 0
    def read(self, size=-1):
        self.sent += 1
        if self.sent > 12:
            print("halfway", flush=True)
            time.sleep(60)
        return b"x" * (1 << 20)

credentials = S3Credentials(sys.argv[2], SecretStr(sys.argv[3])) if sys.argv[2] else None
open_store(sys.argv[1], credentials).put("datasets/a/raw/x.wav", Slow())
"""


@pytest.mark.parametrize("existing", [False, True], ids=["new", "replaced"])
def test_a_writer_that_is_killed_leaves_nothing_to_be_seen(store_address: Any, store: ObjectStore, existing: bool) -> None:
    if existing:
        store.put("datasets/a/raw/x.wav", b"old")
    credentials: S3Credentials | None = store_address.credentials
    keys_of_it = (credentials.access_key, credentials.secret_key.get_secret_value()) if credentials else ("", "")
    url: str = store_address.url
    with subprocess.Popen([sys.executable, "-c", SLOW_PUT, url, *keys_of_it], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"halfway\n"
        writer.send_signal(signal.SIGKILL)
    if existing:
        assert store.get("datasets/a/raw/x.wav") == b"old"
        assert keys(store) == ["datasets/a/raw/x.wav"]
    else:
        assert store.stat("datasets/a/raw/x.wav") is None
        assert keys(store) == []


def test_a_source_that_fails_leaves_the_old_object(store: ObjectStore) -> None:
    class Broken(io.RawIOBase):
        sent = 0

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            self.sent += 1
            if self.sent > 20:
                raise ConnectionResetError("the client went away")
            return b"x" * MIB

    store.put("a", b"old")
    with pytest.raises(ConnectionResetError):
        store.put("a", Broken())  # type: ignore[arg-type]
    assert store.get("a") == b"old"
    assert keys(store) == ["a"]


# The folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


def test_nothing_temporary_stays_in_the_folder(folder: Path) -> None:
    store = FolderStore(folder)
    store.put("a/b", b"x")
    store.create("a/c", b"x")
    with pytest.raises(ObjectExists):
        store.create("a/c", b"x")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {".tmp~", "a", "a/b", "a/c"}


def test_what_dead_writers_left_behind_is_removed_when_it_is_old(folder: Path) -> None:
    FolderStore(folder)
    old, new = folder / ".tmp~" / "old", folder / ".tmp~" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    FolderStore(folder)
    assert not old.exists()
    assert new.exists()


def test_links_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    store = FolderStore(folder)
    store.put("a/real", b"x")
    (folder / "a" / "link").symlink_to(outside / "secret")
    (folder / "b").symlink_to(outside)
    for key in ("a/link", "b/secret"):
        for call in (store.get, store.stat, store.open, store.delete, lambda key: store.put(key, b"")):
            with pytest.raises(InvalidArgument, match="symbolic link"):
                call(key)
    assert keys(store) == ["a/real"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_part_that_no_file_system_takes_is_refused(folder: Path) -> None:
    store = FolderStore(folder)
    for call in (lambda key: store.put(key, b""), store.stat, store.get):
        with pytest.raises(InvalidArgument, match="255"):
            call("a/" + "x" * 256)
    store.put("a/" + "x" * 255, b"")


def test_an_object_and_a_folder_of_one_name_are_refused(folder: Path) -> None:
    store = FolderStore(folder)
    store.put("a/b", b"x")
    for call in (lambda: store.put("a", b""), lambda: store.put("a/b/c", b""), lambda: store.create("a/b/c", b"")):
        with pytest.raises(FailedPrecondition, match="same name"):
            call()
    assert keys(store) == ["a/b"]


def test_a_change_by_hand_changes_the_etag(folder: Path) -> None:
    store = FolderStore(folder)
    before = store.put("a", b"one")
    (folder / "a").write_bytes(b"two")
    after = store.stat("a")
    assert after is not None
    assert after.etag != before.etag


def test_files_with_other_names_are_not_objects(folder: Path) -> None:
    store = FolderStore(folder)
    store.put("a", b"")
    (folder / "my file.wav").write_bytes(b"")
    (folder / "maçã").mkdir()
    (folder / "maçã" / "x").write_bytes(b"")
    assert keys(store) == ["a"]


def test_a_folder_that_may_not_be_written_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(folder)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreUnavailable, match="disk is full"):
        store.put("a", b"x")
    assert list((folder / ".tmp~").iterdir()) == []


# S3


def test_wrong_credentials_are_reported_without_showing_them(nanio_endpoint: str) -> None:
    for access_key, secret_key in (("timbre-tests", "wrong-secret"), ("nobody", "a-secret-of-the-tests")):
        credentials = S3Credentials(access_key, SecretStr(secret_key))
        store = open_store(f"s3://timbre-refused?endpoint={nanio_endpoint}", credentials)
        for call in (lambda store=store: store.put("a", b""), lambda store=store: store.get("a")):
            with pytest.raises(StoreUnavailable, match="TIMBRE_S3_SECRET_KEY") as caught:
                call()
            assert secret_key not in str(caught.value)
        assert secret_key not in repr(credentials)


def test_a_server_that_is_not_there_is_reported() -> None:
    credentials = S3Credentials("key", SecretStr("secret-key"))
    store = open_store("s3://bucket?endpoint=http://127.0.0.1:1", credentials)
    for call in (lambda: store.put("a", b""), lambda: store.create("a", b"")):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            call()


def test_the_content_type_is_kept(nanio_endpoint: str) -> None:
    from minio import Minio

    credentials = S3Credentials("timbre-tests", SecretStr("a-secret-of-the-tests"))
    store = open_store(f"s3://timbre-types?endpoint={nanio_endpoint}", credentials)
    store.put("put.wav", b"x", content_type="audio/wav")
    store.create("created.json", b"{}", content_type="application/json")
    client = Minio(
        nanio_endpoint.removeprefix("http://"),
        "timbre-tests",
        "a-secret-of-the-tests",
        secure=False,
        region="us-east-1",
    )
    assert client.stat_object("timbre-types", "put.wav").content_type == "audio/wav"
    assert client.stat_object("timbre-types", "created.json").content_type == "application/json"


# URLs


def test_a_file_url_may_have_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "my objects"
    open_store(folder.as_uri()).put("a", b"x")
    assert (folder / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/lib/timbre",
        "file://host/folder",
        "file:relative",
        "file:///",
        "ftp://host/folder",
        "s3://",
        "s3://bucket/prefix?endpoint=http://host:9000",
        "s3://bucket?endpoint=host:9000",
        "s3://bucket?endpoint=http://host:9000&secret=x",
        "s3://bucket?endpoint=http://key:hunter2@host:9000",
        "s3://key:hunter2@bucket",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="storage URL") as caught:
        open_store(url, S3Credentials("key", SecretStr("secret-key")))
    assert "hunter2" not in str(caught.value)


def test_a_server_of_ones_own_needs_credentials() -> None:
    with pytest.raises(InvalidArgument, match="TIMBRE_S3_ACCESS_KEY"):
        open_store("s3://bucket?endpoint=http://127.0.0.1:9000")
