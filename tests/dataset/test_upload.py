"""Uploads: names, formats, the same file twice."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from services.dataset.decode import AudioTooLong, AudioUnreadable
from services.dataset.sources import MAX_NAME_LENGTH, plain_text, safe_name, safe_stem
from services.dataset.upload import store_upload
from services.runtime.folder_store import FolderStore
from services.runtime.keys import check_key
from timbre.demo.speech import make_recording


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    make_recording(path, ["Bom dia, tudo bem?"])
    return path


@pytest.fixture
def upload(tmp_path: Path, speech: Path) -> Path:
    """An uploaded file, as the receiver leaves it: in a folder of its own, without an extension."""
    path = tmp_path / "scratch" / "upload"
    path.parent.mkdir()
    path.write_bytes(speech.read_bytes())
    return path


def convert(source: Path, target: Path, *options: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", source, *options, target], check=True)


def test_an_upload_becomes_a_recording_with_its_provenance(store: FolderStore, upload: Path) -> None:
    stored = store_upload(store, "datasets/voz", "Gravação do João.wav", upload)

    assert stored.source.startswith("Gravacao-do-Joao-")
    assert stored.key == f"datasets/voz/raw/{stored.source}.wav"
    assert not stored.existed
    with store.open(stored.key) as file:
        info = sf.info(file)
    assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
    assert stored.duration_seconds == pytest.approx(info.duration, abs=0.001)
    content = store.get(stored.key)
    assert stored.size_bytes == len(content)
    facts = json.loads(store.get(f"datasets/voz/raw/{stored.source}.json"))
    assert facts["title"] == "Gravação do João.wav"
    assert facts["url"] is None
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert facts["original_sha256"] == hashlib.sha256(upload.read_bytes()).hexdigest()
    assert facts["duration"] == pytest.approx(info.duration, abs=0.001)
    assert list(upload.parent.iterdir()) == [upload]


def test_the_same_file_twice_changes_nothing(store: FolderStore, upload: Path) -> None:
    first = store_upload(store, "datasets/voz", "one.wav", upload)
    before = list(store.list())
    second = store_upload(store, "datasets/voz", "another name.wav", upload)
    assert second.existed
    assert (second.source, second.key, second.size_bytes) == (first.source, first.key, first.size_bytes)
    assert second.duration_seconds == pytest.approx(first.duration_seconds, abs=0.001)
    assert list(store.list()) == before
    elsewhere = store_upload(store, "datasets/outra", "one.wav", upload)
    assert not elsewhere.existed


def test_an_upload_that_was_interrupted_is_stored_again(store: FolderStore, upload: Path) -> None:
    first = store_upload(store, "datasets/voz", "one.wav", upload)
    store.delete(f"datasets/voz/raw/{first.source}.json")
    assert not store_upload(store, "datasets/voz", "one.wav", upload).existed


def test_two_files_of_one_name_live_side_by_side(store: FolderStore, upload: Path, speech: Path) -> None:
    first = store_upload(store, "datasets/voz", "recording.mp3", upload)
    convert(speech, upload.with_name("other.mp3"))
    second = store_upload(store, "datasets/voz", "recording.mp3", upload.with_name("other.mp3"))
    assert first.source != second.source
    assert len([info for info in store.list("datasets/voz/raw/") if info.key.endswith(".wav")]) == 2


@pytest.mark.parametrize("extension", ["flac", "mp3", "m4a", "ogg", "webm", "mkv"])
def test_formats(store: FolderStore, upload: Path, speech: Path, extension: str) -> None:
    convert(speech, upload.with_suffix(f".{extension}"), "-ac", "2", "-ar", "48000")
    upload.with_suffix(f".{extension}").replace(upload)
    stored = store_upload(store, "datasets/voz", f"aula.{extension}", upload)
    assert stored.duration_seconds == pytest.approx(sf.info(speech).duration, abs=0.15)


def test_what_is_no_audio_is_refused_by_the_name_that_its_owner_gave(store: FolderStore, upload: Path) -> None:
    upload.write_bytes(b"<html>this is a page</html>" * 100)
    with pytest.raises(AudioUnreadable, match=r"^carta\.docx"):
        store_upload(store, "datasets/voz", "carta.docx", upload)
    assert list(store.list()) == []


def test_what_is_too_long_is_refused(store: FolderStore, upload: Path) -> None:
    with pytest.raises(AudioTooLong):
        store_upload(store, "datasets/voz", "long.wav", upload, max_seconds=0.5)
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("interview.wav", "interview.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\eu\\Áudio 1.MP3", "Audio-1.MP3"),
        ("..", "recording"),
        ("", "recording"),
        ("日本語", "recording"),
        (".hidden.wav", "hidden.wav"),
        ("a\0b\nc.wav", "a-b-c.wav"),
        ("a   -- b.wav", "a-b.wav"),
        ("x" * 300 + ".flac", "x" * 75 + ".flac"),
    ],
)
def test_names(given_name: str, name: str) -> None:
    assert safe_name(given_name) == name


@given(st.text(max_size=200))
def test_every_name_becomes_a_part_of_a_key(name: str) -> None:
    for made in (safe_name(name), safe_stem(name), safe_stem(name, 60)):
        check_key(made)
        assert "/" not in made
        assert len(made) <= MAX_NAME_LENGTH
        assert not made.startswith((".", "-"))


def test_texts_from_outside_lose_what_could_disturb() -> None:
    assert plain_text("  A\x1b[31m\n\ttitle\u2028 ") == "A [31m title"
    assert plain_text("\n") is None
    assert plain_text(42) is None
    assert len(plain_text("x" * 5000) or "") == 500
