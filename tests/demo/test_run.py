"""Edges of the demonstration: what it removes, what it says when its stack does not start, and its web server."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from timbre.demo.api import DemoFailed
from timbre.demo.run import run_demo
from timbre.demo.stack import running_stack, web_server


def test_a_stack_that_cannot_start_fails_with_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "old").write_text("of an earlier run")
    (tmp_path / "notes.txt").write_text("of the user")
    monkeypatch.setenv("TIMBRE_LOG_LEVEL", "LOUD")
    shown = io.StringIO()
    with pytest.raises(DemoFailed, match="TIMBRE_LOG_LEVEL"):
        run_demo("tiny", tmp_path, Console(file=shown))
    assert "prove the machinery, not the sound" in " ".join(shown.getvalue().split())
    assert not (tmp_path / "data" / "old").exists()
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(
    ("model", "words"), [("xtts_v2", "TIMBRE_ACCEPT_XTTS_LICENSE=true"), ("/nowhere", "lacks config.json"), ("gpt", "unknown")]
)
def test_a_model_that_cannot_be_had_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, words: str
) -> None:
    monkeypatch.setenv("TIMBRE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TIMBRE_ACCEPT_XTTS_LICENSE", raising=False)
    with pytest.raises(DemoFailed, match=words):
        run_demo(model, tmp_path / "output", Console(file=io.StringIO()))
    assert not (tmp_path / "output" / "stack.log").exists()


def test_the_stack_is_there_within_the_block_and_gone_after_it(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", tmp_path / "log", {}) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/readyz")
    assert "Timbre has stopped" in (tmp_path / "log").read_text()


def test_the_web_server_has_the_files_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "voice.wav").write_bytes(b"RIFF")
    with web_server(tmp_path) as url:
        assert httpx.get(f"{url}/voice.wav").content == b"RIFF"
        assert httpx.get(f"{url}/other.wav").status_code == 404
