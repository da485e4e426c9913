"""What the page asks before something would be lost: a voice trained into another, a text half written, a colleague's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


# ── segmenting ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_segmentation_begins_as_the_last_and_says_what_it_costs(open_window: Open, stack: Stack, voice: str) -> None:
    params = {"folder": voice}
    change = {"params": params, "json": {"excluded": True}}
    assert stack.client.patch("/training/dataset/segments/segment_00003", **change).status_code == 200
    before = stack.get("/training/dataset/segments", **params)["segments"]
    loose = [one for one in before if not one["edited"]]
    window = open_window()
    page = window.page
    posted: list[str] = []
    page.on("request", lambda one: posted.append(one.url) if one.url.endswith("/dataset/segment") else None)
    window.go("/datasets/ready/segment")
    expect(page.get_by_label("Shortest segment")).to_have_value("3")
    expect(page.get_by_label("Longest segment")).to_have_value("6")
    begin, asked = (
        page.get_by_role("button", name="Segment 2 recordings"),
        page.get_by_role("dialog", name="Segment ready anew?"),
    )
    begin.click()
    expect(asked).to_contain_text(f"up to {len(loose)} transcripts and 1 exclusion.")
    expect(asked).to_contain_text(f"({len(before) - len(loose)} segment")
    window.shot("segment-anew")
    assert window.barriers() == []
    asked.get_by_role("button", name="Cancel").click()
    expect(asked).to_be_hidden()
    assert posted == []
    page.get_by_label("Longest segment").fill("7")
    page.reload()
    expect(page.get_by_label("Longest segment")).to_have_value("7")
    # somebody segments elsewhere: that is how it is cut by now, and the same cuts lose nothing
    wish = {"folder": voice, "min_duration": 3, "max_duration": 6}
    stack.done(stack.post("/training/dataset/segment", wish)["job_id"])
    expect(page.get_by_label("Longest segment")).to_have_value("6")
    begin.click()
    with page.expect_response(lambda one: one.url.endswith("/dataset/segment")) as answer:
        asked.get_by_role("button", name="Segment anew").click()
    stack.done(answer.value.json()["job_id"])
    expect(asked).to_be_hidden()
    after = stack.get("/training/dataset/segments", **params)["segments"]
    assert [(one["transcript"], one["excluded"]) for one in after] == [(one["transcript"], one["excluded"]) for one in before]
    stack.client.patch("/training/dataset/segments/segment_00003", params=params, json={"excluded": False})


# ── what cannot be shown ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["again", "elsewhere", "reload"])
def test_a_part_of_the_page_that_does_not_arrive_leaves_no_blank(open_window: Open, way: str) -> None:
    window = open_window()
    window.allowed = [r"ERR_FAILED", r"did not arrive|dynamically imported module"]
    page = window.page
    window.go()
    page.route("**/assets/train-*.js", lambda route: route.abort())
    page.get_by_role("navigation").get_by_role("link", name="Train", exact=True).click()
    broken = page.get_by_role("alert").filter(has_text="A part of it did not arrive")
    expect(broken).to_be_visible()
    if way == "again":
        broken.get_by_role("button", name="Try again").click()
        expect(broken).to_be_visible()
        page.get_by_role("button", name="Português").click()
        expect(page.get_by_role("alert")).to_contain_text("Uma parte dela não chegou")
        page.get_by_role("button", name="English").click()
        window.shot("part-missing")
        assert window.barriers() == []
    page.unroute("**/assets/train-*.js")
    if way == "again":
        broken.get_by_role("button", name="Try again").click()
    elif way == "elsewhere":
        page.get_by_role("link", name="Jobs").click()
        expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
        page.get_by_role("navigation").get_by_role("link", name="Train", exact=True).click()
    else:
        broken.get_by_role("button", name="Reload the page").click()
    expect(page.get_by_role("heading", name="New training")).to_be_visible()


def test_a_fault_of_the_page_is_said_in_it(open_window: Open, stack: Stack) -> None:
    window = open_window()
    window.allowed = [r"TypeError"]
    page = window.page
    page.route("**/training/checkpoints", lambda route: route.fulfill(json={"not": "a list"}))
    window.go("/checkpoints")
    broken = page.get_by_role("alert").filter(has_text="Something in it went wrong")
    expect(broken).to_contain_text("TypeError")
    page.get_by_role("link", name="Datasets").click()
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()


@pytest.mark.parametrize("address", ["/datasets/100%25-mine", "/datasets/%E0%A4%A/review", "/nothing"])
def test_an_address_that_is_none(open_window: Open, address: str) -> None:
    window = open_window()
    window.allowed = [r"400|404|422"]
    window.go(address)
    expect(window.page.get_by_role("heading", name="There is no such page").first).to_be_visible()


# ── the review ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def segments(stack: Stack, voice: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """Reads a segment of the shared dataset, or writes it as a colleague would; all are put back at the end."""
    params = {"folder": voice}

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = stack.get("/training/dataset/segments", **params)["segments"]
        return found

    def write(number: int, **change: Any) -> dict[str, Any]:
        if change:
            path = f"/training/dataset/segments/segment_{number:05}"
            assert stack.client.patch(path, params=params, json=change).status_code == 200
        return listed()[number - 1]

    before = listed()
    yield write
    for number, (old, new) in enumerate(zip(before, listed(), strict=True), start=1):
        change = {name: old[name] for name in ("transcript", "normalised", "excluded") if old[name] != new[name]}
        write(number, **change)


def test_undo_does_not_take_back_what_a_colleague_wrote(open_window: Open, segments: Callable[..., dict[str, Any]]) -> None:
    before = segments(7)["transcript"]
    window = open_window()
    page = window.page
    window.go("/datasets/ready/review")
    row = page.locator(".segment-scroll [role=row]").nth(6)
    row.locator(".transcript").dblclick()
    with page.expect_response(lambda one: "/segments/segment_00007" in one.url):
        page.get_by_label("Text as heard: segment_00007").fill("Minha.")
        page.keyboard.press("Enter")
    segments(7, transcript="Dela.")
    with page.expect_response(lambda one: "/training/dataset/segments?" in one.url and "Dela." in one.text()):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(row.locator(".transcript")).to_have_text("Dela.")
    page.keyboard.press("Control+z")
    conflict = page.get_by_role("alert").filter(has_text="Somebody changed this segment")
    expect(conflict).to_contain_text("Dela.")
    expect(conflict).to_contain_text(before)
    expect(row).to_have_attribute("aria-selected", "true")
    assert segments(7)["transcript"] == "Dela."
    page.get_by_role("button", name="Keep mine").click()
    expect(row.locator(".transcript")).to_have_text(before)


def test_both_texts_written_one_after_the_other_can_be_taken_back(
    open_window: Open, segments: Callable[..., dict[str, Any]]
) -> None:
    before = segments(7)
    window = open_window()
    page = window.page
    window.go("/datasets/ready/review")
    row = page.locator(".segment-scroll [role=row]").nth(6)
    row.locator(".transcript").dblclick()
    page.get_by_label("Text as heard: segment_00007").fill("São  8 horas.")
    page.keyboard.press("Tab")
    page.get_by_label("Normalised text: segment_00007").fill("são oito")
    page.keyboard.press("Enter")
    expect(row.locator(".normalised")).to_have_text("são oito")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(row.locator(".transcript")).to_have_text(before["transcript"])
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    expect(row).not_to_contain_text("conflict")


def test_one_that_leaves_the_list_hands_over_its_place(open_window: Open, segments: Callable[..., dict[str, Any]]) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets/ready/review?status=kept")
    rows = page.locator(".segment-scroll [role=row]")
    rows.nth(2).click()
    for chosen in (4, 5):
        page.keyboard.press("x")
        expect(rows.nth(2)).to_have_id(f"row-segment_{chosen:05}")
        expect(rows.nth(2)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Control+z")
    expect(rows.nth(2)).to_have_id("row-segment_00004")
    expect(rows.nth(2)).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize("where", ["row", "details"])
def test_what_is_half_written_is_not_lost(open_window: Open, segments: Callable[..., dict[str, Any]], where: str) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets")
    page.evaluate("history.pushState(null, '', '/webui/datasets/ready/review')")
    row = page.locator(".segment-scroll [role=row]").nth(7)
    row.click()
    asks = "!window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    if where == "row":
        row.locator(".transcript").dblclick()
        field = page.get_by_label("Text as heard: segment_00008")
    else:
        field = page.get_by_label("Text as heard", exact=True)
        field.click()
    assert not page.evaluate(asks)
    field.fill(f"Quase, {where}.")
    expect(field).to_have_value(f"Quase, {where}.")
    assert page.evaluate(asks)
    with page.expect_response(lambda one: "/segments/segment_00008" in one.url):
        page.go_back()
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()
    assert segments(8)["transcript"] == f"Quase, {where}."
    assert not page.evaluate(asks)
