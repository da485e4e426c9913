"""Speech shared by the tests, made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import Span, make_recording


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Span]]:
    """About a minute of Brazilian Portuguese with pauses: a WAV, not to be changed, and where each sentence lies."""
    path = tmp_path_factory.mktemp("speech") / "recording.wav"
    return path, make_recording(path, SENTENCES[:15], pause_seconds=(0.4, 0.7, 1.5, 0.5))


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stand-in models are kept: one folder for all test processes, over sessions where TIMBRE_TEST_CACHE says."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return Path(os.environ.get("TIMBRE_TEST_CACHE") or shared / "models")


@pytest.fixture(scope="session")
def tiny_base(model_cache: Path) -> Path:
    """The folder of the tiny stand-in for XTTS-v2."""
    from services.xtts.base import resolve_base

    return resolve_base("tiny", model_cache)


@pytest.fixture(scope="session")
def whisper_standin(model_cache: Path) -> Path:
    """The cache with the stand-in for Whisper in it: making it takes about a minute, once."""
    from services.dataset.whisper_models import resolve_whisper

    resolve_whisper("tiny-demo", model_cache)
    return model_cache
