"""What the page asks before something would be lost: a voice trained into another, a text half written, a colleague's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.stack import Stack
from tests.webui.conftest import Open


@pytest.fixture
def another(stack: Stack, recordings: Path) -> Iterator[str]:
    """The folder of a second dataset, of which only a recording is there."""
    folder = "datasets/another"
    with (recordings / "voice-1.wav").open("rb") as file:
        sent = stack.client.post("/training/dataset/upload", data={"folder": folder}, files={"files": ("v.wav", file)})
    assert sent.status_code == 200, sent.text
    yield folder
    assert stack.client.delete("/training/datasets", params={"folder": folder}).status_code < 300


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_voice_is_not_trained_into_another_by_accident(open_window: Open, voice: str, another: str) -> None:
    window = open_window()
    window.allowed = [r"404|400|409|422"]  # the estimate of a dataset without segments
    page = window.page
    window.go(f"/train?dataset={voice}")
    dataset, model = page.get_by_label("Dataset", exact=True), page.get_by_label("Model", exact=True)
    onward, anew = page.get_by_role("radio", name=re.compile("^Continue")), page.get_by_role("radio", name=re.compile("^Begin"))
    model.fill("ready")
    expect(onward).to_be_checked()
    dataset.select_option(another)
    expect(model).to_have_value("another_model")
    expect(onward).to_have_count(0)
    model.fill("ready")
    expect(page.get_by_text("ready was trained on ready.")).to_be_visible()
    expect(onward).not_to_be_checked()
    expect(anew).not_to_be_checked()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    onward.check()
    expect(page.get_by_role("button", name="Continue training")).to_be_enabled()
    page.reload()
    expect(onward).to_be_checked()
    dataset.select_option(voice)
    expect(model).to_have_value("ready")
    expect(onward).to_be_checked()
    expect(page.get_by_text("ready was trained on ready.")).to_have_count(0)
