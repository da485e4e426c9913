"""The studio: what is heard is the whole of what was made, stopping and beginning anew, long texts, history."""

from __future__ import annotations

import io
import itertools
import re
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from tests.e2e.stack import Stack
from tests.webui.conftest import Open

LONG = 240_000
TEXT = "Disse \"bom dia\" 😀 e saiu.\n\nVoltou mais tarde, cansada; 'boa noite', disse.\n\nE dormiu."

# what the page hands to the loudspeaker, and when each piece begins
LISTEN = """
window.heard = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at) {
  const samples = Array.from(this.buffer.getChannelData(0), (one) => Math.round(one * 32768));
  window.heard.push({ at, rate: this.buffer.sampleRate, samples, context: this.context });
  return start.apply(this, arguments);
};
"""
pytestmark = pytest.mark.usefixtures("voice")


def heard(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("window.heard.map(({ at, rate, samples }) => ({ at, rate, samples }))")
    return found


def newest(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = stack.get("/training/inference/history", limit=1)["utterances"][0]
    return found


def test_what_is_heard_is_what_the_file_holds(open_window: Open, stack: Stack) -> None:
    window = open_window()
    page = window.page
    page.add_init_script(LISTEN)
    window.go("/studio")
    page.get_by_label("Text").fill(TEXT)
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_text(re.compile("First sound after"))).to_be_visible(timeout=LONG)
    expect(page.get_by_role("button", name="Speak")).to_be_enabled(timeout=LONG)
    said = newest(stack)
    assert said["text"] == TEXT
    expect(page.locator(".history li").first).to_contain_text("bom dia")
    pieces = heard(page)
    samples, rate = soundfile.read(io.BytesIO(stack.client.get(said["audio_url"]).content), dtype="int16")
    assert {piece["rate"] for piece in pieces} == {rate}
    played = np.concatenate([piece["samples"] for piece in pieces])
    assert len(played) > 5000
    np.testing.assert_array_equal(played, samples)
    for before, after in itertools.pairwise(pieces):
        assert after["at"] >= before["at"] + len(before["samples"]) / rate - 1e-6, "two pieces at once"
    window.shot("studio-said")


def test_stopping_and_beginning_anew(open_window: Open, stack: Stack) -> None:
    window = open_window()
    page = window.page
    page.add_init_script(LISTEN)
    window.go("/studio")
    before = stack.get("/training/inference/history", limit=1)["utterances"]
    page.get_by_label("Text").fill("Uma frase que continua por muito tempo. " * 200)
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_text("still being made")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    assert page.evaluate("window.heard.every((one) => one.context.state === 'closed')")
    expect(page.get_by_role("alert")).to_have_count(0)

    # anew while it is being made: by the keys, since the button is off
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_text("still being made")).to_be_visible(timeout=LONG)
    page.get_by_label("Text").fill("Agora outra.")
    page.get_by_label("Text").press("Control+Enter")
    expect(page.locator(".history li").first).to_contain_text("Agora outra.", timeout=LONG)
    expect(page.get_by_role("button", name="Speak")).to_be_enabled(timeout=LONG)
    expect(page.get_by_role("alert")).to_have_count(0)
    said = newest(stack)
    assert said["id"] not in [one["id"] for one in before]
    expect(page.get_by_text(re.compile(r"First sound after"))).not_to_contain_text("still being made")
    page.reload()
    expect(page.locator(".history li").first).to_contain_text("Agora outra.")
    expect(page.get_by_label("Text")).to_have_value("Agora outra.")


def test_too_long_a_text_is_kept_whole_and_refused_in_place(open_window: Open) -> None:
    window = open_window()
    page = window.page
    window.go("/studio")
    field = page.get_by_label("Text")
    speak = page.get_by_role("button", name="Speak")
    field.fill("😀" * 10_000)
    expect(page.get_by_text("10,000 of 10,000 characters")).to_be_visible()
    expect(speak).to_be_enabled()
    field.fill("a" * 10_001)
    expect(page.get_by_text("10,001 characters are too many")).to_be_visible()
    expect(speak).to_be_disabled()
    assert len(field.input_value()) == 10_001, "nothing of what was pasted is lost"


def test_a_number_out_of_range_says_why_nothing_can_be_spoken(open_window: Open) -> None:
    window = open_window()
    page = window.page
    window.go("/studio")
    page.get_by_label("Text").fill("Bom dia.")
    speak = page.get_by_role("button", name="Speak")
    for label, wrong, right, said in (
        ("Temperature", "9", "0.7", "It must be a number from 0.1 to 1.5."),
        ("Speed", "", "1", "It must be a number from 0.5 to 2.0."),
    ):
        field = page.get_by_label(label)
        expect(speak).to_be_enabled()
        field.fill(wrong)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(said)
        expect(speak).to_be_disabled()
        field.fill(right)
        expect(field).to_have_attribute("aria-invalid", "false")
    expect(speak).to_be_enabled()


def test_ten_thousand_characters_are_spoken_from_the_first_on(open_window: Open) -> None:
    window = open_window()
    page = window.page
    window.go("/studio")
    page.get_by_label("Text").fill(('Parágrafo: disse "olá" e saiu. 😀\n\n' * 300)[:10_000])
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_text("still being made")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_text_without_a_word_is_refused(open_window: Open) -> None:
    window = open_window(locale="pt-BR")
    page = window.page
    window.allowed = [r"422"]
    window.go("/studio")
    page.get_by_label("Texto").fill("😀 …!")
    page.get_by_role("button", name="Falar").click()
    expect(page.get_by_role("alert")).to_contain_text("escreva ao menos uma letra")
    expect(page.get_by_role("alert").locator("[lang=en]")).not_to_be_empty()


def test_what_was_said_can_be_said_again(open_window: Open) -> None:
    window = open_window()
    page = window.page
    window.go("/studio")
    page.get_by_label("Text").fill("Outra coisa.")
    item = page.locator(".history li", has_text="Bom dia, esta é a minha voz.").first
    item.get_by_role("button", name=re.compile("Bom dia")).nth(1).click()
    item.get_by_role("button", name="Use again").click()
    expect(page.get_by_label("Text")).to_have_value("Bom dia, esta é a minha voz.")
