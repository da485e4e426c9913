"""LJSpeech archives: every container, bad rows, bombs, tricks with names."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from services.dataset.archive import LJSpeechArchive, read_archive
from services.dataset.unpack import ArchiveLimits, ArchiveRefused

Files = dict[str, bytes]
MIB = 1 << 20

GOOD: Files = {
    "metadata.csv": "a1|Dr. Silva chegou.|Doutor Silva chegou.\na2|São 2 horas.|São duas horas.\n".encode(),
    "wavs/a1.wav": b"one" * 1000,
    "wavs/a2.wav": b"two" * 1000,
}


def zipped(path: Path, files: Files, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(top + name, content)
    return path


def tarred(path: Path, files: Files, top: str = "", compression: str = "") -> Path:
    with tarfile.open(path, f"w:{compression}") as archive:
        if top:
            folder = tarfile.TarInfo(top)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(top + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


CONTAINERS: dict[str, Callable[[Path, Files, str], Path]] = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda path, files, top: tarred(path, files, top, "gz"),
    "tar.bz2": lambda path, files, top: tarred(path, files, top, "bz2"),
    "tar.xz": lambda path, files, top: tarred(path, files, top, "xz"),
}


def read(path: Path, tmp_path: Path, **limits: float) -> LJSpeechArchive:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return read_archive(path, scratch, ArchiveLimits(**limits))  # type: ignore[arg-type]


def refused(path: Path, tmp_path: Path, **limits: float) -> str:
    with pytest.raises(ArchiveRefused) as caught:
        read(path, tmp_path, **limits)
    assert str(tmp_path) not in caught.value.message
    assert not (tmp_path / "scratch" / "archive").exists()
    return caught.value.message


@pytest.mark.parametrize("top", ["", "LJSpeech-1.1/", "./"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_clips_with_their_transcripts(tmp_path: Path, container: str, top: str) -> None:
    # The name says nothing about the kind.
    path = CONTAINERS[container](tmp_path / "upload", GOOD, top)
    archive = read(path, tmp_path)
    assert archive.problems == ()
    assert [(row.id, row.text, row.normalised) for row in archive.rows] == [
        ("a1", "Dr. Silva chegou.", "Doutor Silva chegou."),
        ("a2", "São 2 horas.", "São duas horas."),
    ]
    assert [row.clip.read_bytes() for row in archive.rows] == [GOOD["wavs/a1.wav"], GOOD["wavs/a2.wav"]]


def test_what_is_not_part_of_a_dataset_is_passed_over(tmp_path: Path) -> None:
    more = {
        "README": b"hello",
        "__MACOSX/wavs/a1.wav": b"x",
        "wavs/._a1.wav": b"x",
        ".DS_Store": b"x",
        "wavs/notes.txt": b"x",
        "deep/er/wavs/a9.wav": b"x",
    }
    archive = read(zipped(tmp_path / "upload", {**more, **GOOD}), tmp_path)
    assert archive.problems == ()
    assert len(archive.rows) == 2


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    path = tarred(tmp_path / "upload", GOOD, compression="gz")
    first = read(path, tmp_path)
    path.unlink()
    assert read(path, tmp_path) == first


def test_unpacking_that_was_stopped_begins_again(tmp_path: Path) -> None:
    path = zipped(tmp_path / "upload", GOOD)
    (tmp_path / "scratch").mkdir()
    seen: list[float] = []

    def stop(fraction: float) -> None:
        seen.append(fraction)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_archive(path, tmp_path / "scratch", on_progress=stop)
    assert len(read(path, tmp_path).rows) == 2


# The table


def test_bad_rows_are_named_and_left_out(tmp_path: Path) -> None:
    table = [
        "good|Um texto.|",
        "with suffix.wav|Outro texto.",
        "",
        "missing|Um texto.",
        "good|De novo.|De novo.",
        "silent||",
        "lonely",
        "many|a|b|c",
        "long|" + "x" * 2001,
        "quoted|Ele disse \"sim\" e 'não'.|Ele disse sim e não.",
        "spaced|  dois \t espaços\x07  ",
        "decomposed-é|Um texto.",
        "only normalised||Um texto.",
    ]
    names = ["good", "with suffix", "silent", "many", "long", "quoted", "spaced", "decomposed-e\u0301", "only normalised", "x"]
    files = {f"wavs/{name}.wav": b"x" for name in names} | {"metadata.csv": b"\xef\xbb\xbf" + "\r\n".join(table).encode()}
    archive = read(zipped(tmp_path / "upload", files), tmp_path)
    assert [(row.id, row.text, row.normalised) for row in archive.rows] == [
        ("good", "Um texto.", ""),
        ("with suffix", "Outro texto.", ""),
        ("quoted", "Ele disse \"sim\" e 'não'.", "Ele disse sim e não."),
        ("spaced", "dois espaços", ""),
        ("decomposed-é", "Um texto.", ""),
        ("only normalised", "Um texto.", "Um texto."),
    ]
    assert archive.problems[:6] == (
        "metadata.csv line 4: missing has no clip in wavs/.",
        "metadata.csv line 5: good is there twice.",
        "metadata.csv line 6: silent has no text.",
        "metadata.csv line 7: lonely has 1 columns where name|text|normalised text should be.",
        "metadata.csv line 8: many has 4 columns where name|text|normalised text should be.",
        "metadata.csv line 9: long has a text of more than 2000 characters.",
    )
    assert set(archive.problems[6:]) == {
        f"wavs/{name}.wav: no row was used for it." for name in ("silent", "many", "long", "x")
    }


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"wavs/a.wav": b"x"}, "no metadata.csv"),
        ({}, "no metadata.csv"),
        ({"metadata.csv": b""}, "no clip with a transcript"),
        ({"metadata.csv": b"a|text"}, "a has no clip"),
        ({"metadata.csv": "a|não".encode("latin-1"), "wavs/a.wav": b"x"}, "not UTF-8"),
        ({"one/metadata.csv": b"a|b", "two/wavs/a.wav": b"x"}, "several datasets"),
    ],
)
def test_what_is_no_dataset_is_refused(tmp_path: Path, files: Files, sentence: str) -> None:
    with pytest.raises(ArchiveRefused, match=sentence):
        read(zipped(tmp_path / "upload", files), tmp_path)


# Tricks


@pytest.mark.parametrize(
    "name",
    ["../wavs/x.wav", "wavs/../../x.wav", "/wavs/x.wav", "top/../../wavs/x.wav", "..\\wavs\\x.wav", "C:/wavs/x.wav"],
)
@pytest.mark.parametrize("container", ["zip", "tar.gz"])
def test_names_that_lead_out_are_refused(tmp_path: Path, container: str, name: str) -> None:
    path = CONTAINERS[container](tmp_path / "upload", {**GOOD, name: b"evil"}, "")
    assert "leads out of it" in refused(path, tmp_path)
    assert not list(tmp_path.rglob("x.wav"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tarred(tmp_path / "upload", GOOD)
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("wavs/a3.wav")
        entry.type = kind
        entry.linkname = "/etc/passwd"
        archive.addfile(entry)
    assert "link or a device" in refused(path, tmp_path)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "upload", GOOD)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("wavs/a3.wav")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    assert "link or a device" in refused(path, tmp_path)


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    path = tarred(tmp_path / "upload", GOOD)
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("wavs/a1.wav")
        archive.addfile(entry)
    assert "wavs/a1.wav twice" in refused(path, tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "upload", GOOD).read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:  # says so in the directory
        content[at + 8] |= 1
        at = content.find(b"PK\x01\x02", at + 1)
    (tmp_path / "upload").write_bytes(content)
    assert "without a password" in refused(tmp_path / "upload", tmp_path)


# Damage


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04" + b"x" * 100, b"\x1f\x8bnot gzip", b"BZh9 no", b"x" * 2000])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "upload").write_bytes(content)
    refused(tmp_path / "upload", tmp_path)


@pytest.mark.parametrize("container", CONTAINERS)
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, container: str) -> None:
    files = {**GOOD, "wavs/a3.wav": os.urandom(300_000)}
    path = CONTAINERS[container](tmp_path / "upload", files, "")
    path.write_bytes(path.read_bytes()[:-200_000])
    assert "damaged" in refused(path, tmp_path)


@pytest.mark.parametrize("container", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_with_a_flipped_bit_is_refused(tmp_path: Path, container: str) -> None:
    files = {**GOOD, "wavs/a3.wav": os.urandom(300_000)}
    path = CONTAINERS[container](tmp_path / "upload", files, "")
    content = bytearray(path.read_bytes())
    content[150_000] ^= 0x10
    path.write_bytes(content)
    assert "damaged" in refused(path, tmp_path)


# Bombs


@pytest.mark.parametrize(
    ("container", "name"),
    # What is not part of a dataset is not even read in a zip.
    [("zip", "wavs/bomb.wav"), ("tar.gz", "wavs/bomb.wav"), ("tar.gz", "README"), ("tar.xz", "README")],
)
def test_bombs_are_given_up_while_they_unpack(tmp_path: Path, container: str, name: str) -> None:
    path = CONTAINERS[container](tmp_path / "upload", {**GOOD, name: bytes(100 * MIB)}, "")
    assert path.stat().st_size < MIB
    assert "far more than its size" in refused(path, tmp_path)
    assert sum(found.stat().st_size for found in tmp_path.rglob("*")) < 80 * MIB


def test_the_size_that_a_zip_claims_is_not_believed(tmp_path: Path) -> None:
    path = zipped(tmp_path / "upload", {**GOOD, "wavs/a3.wav": bytes(10 * MIB)})
    content = bytearray(path.read_bytes())
    for at in (content.rfind(b"PK\x01\x02") + 24, content.rfind(b"PK\x03\x04") + 22):
        content[at : at + 4] = struct.pack("<L", 100)
    path.write_bytes(content)
    refused(path, tmp_path)


def test_limits(tmp_path: Path) -> None:
    path = tarred(tmp_path / "upload", GOOD, compression="gz")
    assert "more files" in refused(path, tmp_path, max_files=2)
    assert "far more" in refused(path, tmp_path, max_bytes=4000)
    assert len(read(path, tmp_path, max_files=3).rows) == 2


def test_a_table_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "upload", {"metadata.csv": b"a|b\n" * (17 * MIB)})
    assert "larger than 64 MiB" in refused(path, tmp_path, max_ratio=10_000)


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    path = tarred(tmp_path / "upload", GOOD)
    header = bytearray(tarfile.TarInfo("wavs/hole.wav").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"77777777777\0"  # the size it pretends to have: 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + path.read_bytes())
    assert "link or a device" in refused(path, tmp_path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "upload"
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        entry = tarfile.TarInfo("x")
        entry.type = kind
        entry.size = 60 * MIB
        archive.fileobj.write(entry.tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
        archive.fileobj.write(bytes(entry.size))  # type: ignore[union-attr]
    tracemalloc.start()
    try:
        assert "header that is far too long" in refused(path, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


def test_a_zip_directory_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    count = 30_000
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}", b"")
    assert "more files" in refused(path, tmp_path, max_files=1000)
