"""For everybody: both languages, both themes, a phone's width, a keyboard, a screen reader; a picture of each page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.stack import Stack
from tests.webui import browser as browsers
from tests.webui.conftest import Open

PLACES = {
    "voices": "",
    "datasets": "/datasets",
    "recordings": "/datasets/ready",
    "segment": "/datasets/ready/segment",
    "review": "/datasets/ready/review",
    "train": "/train",
    "checkpoints": "/checkpoints",
    "studio": "/studio",
    "ab": "/ab",
    "jobs": "/jobs",
}
WINDOWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark-portuguese": {"color_scheme": "dark", "locale": "pt-BR"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}
pytestmark = pytest.mark.usefixtures("voice")


@pytest.mark.parametrize("kind", WINDOWS)
def test_no_barriers_and_nothing_wider_than_the_window(open_window: Open, kind: str) -> None:
    window = open_window(**WINDOWS[kind])
    found: dict[str, Any] = {}
    for name, path in PLACES.items():
        window.go(path)
        expect(window.page.locator(".skeleton")).to_have_count(0)
        if name == "review":
            expect(window.page.locator(".segment-scroll [role=row]").first).to_be_visible()
        if name == "train":
            expect(window.page.locator(".uplot")).to_be_visible()
        window.shot(f"{kind}-{name}")
        if barriers := window.barriers():
            found[name] = barriers
        if window.overflow() > 0:
            found[f"{name} is too wide"] = window.overflow()
    assert found == {}


def test_axe_sees_a_barrier(open_window: Open) -> None:
    window = open_window()
    window.go()
    window.page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [one for one in window.barriers() if "button-name" in one]


def test_the_language_follows_the_browser_and_can_be_switched(open_window: Open) -> None:
    window = open_window(locale="pt-BR")
    window.go()
    page = window.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Vozes")
    assert page.evaluate("document.documentElement.lang") == "pt-BR"
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Voices")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Voices")
    assert page.evaluate("document.documentElement.lang") == "en-GB"


def test_the_theme_follows_the_system_and_can_be_switched(open_window: Open) -> None:
    window = open_window(color_scheme="dark")
    window.go()
    page = window.page

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = ground()
    page.get_by_role("button", name=re.compile("^Colours")).click()
    expect(page.get_by_role("button", name="Colours: Light")).to_be_visible()
    light = ground()
    assert light != dark
    page.reload()
    page.locator("h1").wait_for()
    assert ground() == light
    page.get_by_role("button", name="Colours: Light").click()
    assert ground() == dark


def test_every_page_is_reached_by_keyboard(open_window: Open) -> None:
    window = open_window()
    window.go()
    page = window.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        text = page.evaluate("document.activeElement.closest('nav') && document.activeElement.textContent")
        if text and text not in reached:
            reached.append(text)
        if text == "Studio":
            page.keyboard.press("Enter")
            break
    assert reached[:4] == ["Voices", "Datasets", "Train", "Checkpoints"]
    expect(page.get_by_role("heading", level=1)).to_have_text("Studio")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_menu_of_a_phone(open_window: Open) -> None:
    window = open_window(**WINDOWS["phone"])
    window.go()
    page = window.page
    menu = page.get_by_role("navigation")
    expect(menu.get_by_role("link", name="Train", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Menu").click()
    menu.get_by_role("link", name="Train", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train")
    expect(menu.get_by_role("link", name="Studio", exact=True)).to_have_count(0)


def test_an_address_that_is_none(open_window: Open) -> None:
    window = open_window()
    window.go("/nowhere")
    expect(window.page.get_by_role("heading", name="There is no such page", level=1)).to_be_visible()


def test_a_second_tab_sees_what_the_first_does(open_window: Open, stack: Stack) -> None:
    first = open_window()
    first.go("/datasets/ready/review")
    second = browsers.tab(first.page.context, first.url)
    second.go("/datasets/ready/review")
    second.page.locator(".segment-scroll [role=row]").nth(4).wait_for()
    first.page.get_by_role("button", name=re.compile("^Colours")).click()
    row = first.page.locator(".segment-scroll [role=row]").nth(4)
    row.get_by_role("button", name=re.compile("^Exclude")).click()
    expect(row).to_have_class(re.compile("excluded"))
    second.page.reload()
    expect(second.page.locator(".segment-scroll [role=row]").nth(4)).to_have_class(re.compile("excluded"))
    assert second.unexpected() == []
