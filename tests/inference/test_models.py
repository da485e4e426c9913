from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.inference.models import ModelNotFound, VoiceNotFound, get_model, list_models, resolve
from services.runtime.folder_store import FolderStore
from services.voices.checkpoints import checkpoint_key
from services.voices.selection import promote

ANA_10, ANA_20, BIA_10 = checkpoint_key("ana", 10), checkpoint_key("ana", 20), checkpoint_key("bia", 10)
WAV = "datasets/caio/segments/segment_00001.wav"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Two voices, of which bia is the newer one."""
    store = FolderStore(tmp_path)
    for age, key in enumerate((BIA_10, ANA_20, ANA_10)):
        store.put(key, b"x")
        os.utime(tmp_path / key, (1_765_000_000 - age, 1_765_000_000 - age))
    return store


def test_the_list_has_voices_the_base_and_checkpoints(store: FolderStore) -> None:
    listed = [(model.name, model.kind, model.checkpoint) for model in list_models(store)]
    assert listed == [
        ("bia", "voice", BIA_10),
        ("ana", "voice", ANA_20),
        ("base", "base", "base"),
        (BIA_10, "checkpoint", BIA_10),
        (ANA_20, "checkpoint", ANA_20),
        (ANA_10, "checkpoint", ANA_10),
    ]
    assert list_models(store)[0].created == datetime.fromtimestamp(1_765_000_000, UTC)
    promote(store, ANA_10)
    assert get_model(store, "ana").checkpoint == ANA_10


@pytest.mark.parametrize(
    ("name", "checkpoint"),
    [
        ("base", "base"),
        ("ana", ANA_20),
        (ANA_10, ANA_10),
        ("train/output/ana/checkpoints/epoch_10.pth", ANA_10),
        ("tts-1", BIA_10),
        ("tts-1-hd", BIA_10),
        ("gpt-4o-mini-tts", BIA_10),
    ],
)
def test_names_of_models(store: FolderStore, name: str, checkpoint: str) -> None:
    assert get_model(store, name).checkpoint == checkpoint


@pytest.mark.parametrize("name", ["", "nobody", "gpt-4o", "..", "../ana", "/etc/passwd", "a b", "an", "x" * 5000, "datasets/v"])
def test_names_of_no_model(store: FolderStore, name: str) -> None:
    with pytest.raises(ModelNotFound):
        get_model(store, name)


def test_without_voices_openais_names_mean_the_base(tmp_path: Path) -> None:
    assert resolve(FolderStore(tmp_path), "tts-1", "alloy") == ("base", "")


@pytest.mark.parametrize(
    ("model", "voice", "resolved"),
    [
        ("ana", "", (ANA_20, "")),
        ("ana", "alloy", (ANA_20, "")),
        ("ana", "ana", (ANA_20, "")),
        (ANA_10, "ana", (ANA_10, "")),
        ("ana", "bia", (ANA_20, BIA_10)),
        ("base", "ana", ("base", ANA_20)),
        ("base", WAV, ("base", WAV)),
        ("tts-1", "nova", (BIA_10, "")),
        ("tts-1", "ana", (ANA_20, "")),
        ("tts-1", WAV, (BIA_10, WAV)),
    ],
)
def test_who_speaks_in_whose_voice(store: FolderStore, model: str, voice: str, resolved: tuple[str, str]) -> None:
    assert resolve(store, model, voice) == resolved


def test_a_voice_that_is_named_like_openais_is_ours(store: FolderStore) -> None:
    store.put(checkpoint_key("alloy", 10), b"x")
    store.put(checkpoint_key("tts-1", 10), b"x")
    assert resolve(store, "base", "alloy") == ("base", checkpoint_key("alloy", 10))
    assert resolve(store, "tts-1", "default") == (checkpoint_key("tts-1", 10), "")


@pytest.mark.parametrize("voice", ["nobody", "..", "a b", "x" * 5000])
def test_names_of_no_voice(store: FolderStore, voice: str) -> None:
    with pytest.raises(VoiceNotFound):
        resolve(store, "ana", voice)
