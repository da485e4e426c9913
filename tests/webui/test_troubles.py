"""When something is in the way: no network, no gateway, ten thousand segments, a token that may not."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import expect

from services.runtime.auth import mint
from services.runtime.settings import RuntimeSettings
from tests.e2e.stack import Stack
from tests.webui.conftest import Open
from tests.webui.large import COUNT

BROKEN_OFF = [r"ERR_", r"503", r"Failed to load resource"]


def gateway_of(stack: Stack) -> psutil.Process:
    assert stack.process is not None
    return next(one for one in psutil.Process(stack.process.pid).children() if "gateway" in one.cmdline())


def test_the_network_goes_and_comes_back(open_window: Open, stack: Stack, voice: str) -> None:
    window = open_window()
    page = window.page
    window.allowed = BROKEN_OFF
    window.go("/jobs")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.context.set_offline(True)
    expect(page.get_by_text("Reconnecting")).to_be_visible()
    before = page.locator("tbody tr").count()
    assert before > 0, "what was there stays to be seen"
    stack.done(stack.post("/training/dataset/segment", {"folder": voice, "min_duration": 3, "max_duration": 6})["job_id"])
    page.context.set_offline(False)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(before + 1)


def test_without_events_the_page_asks_by_itself(open_window: Open, stack: Stack, voice: str) -> None:
    window = open_window()
    page = window.page
    window.allowed = BROKEN_OFF
    page.route("**/training/events", lambda route: route.abort())
    window.go("/jobs")
    expect(page.get_by_text("Reconnecting")).to_be_visible()
    before = page.locator("tbody tr").count()
    stack.done(stack.post("/training/dataset/segment", {"folder": voice, "min_duration": 3, "max_duration": 6})["job_id"])
    expect(page.locator("tbody tr")).to_have_count(before + 1)


def test_an_edit_outlives_the_gateway(open_window: Open, stack: Stack, voice: str) -> None:
    window = open_window()
    page = window.page
    window.allowed = BROKEN_OFF
    window.go("/datasets/ready/review")
    row = page.locator(".segment-scroll [role=row]").nth(2)
    row.wait_for()
    gateway_of(stack).suspend()  # what starts it again would be too soon back
    row.locator(".transcript").dblclick()
    page.get_by_label("Text as heard: segment_00003").fill("Chegou mais tarde.")
    page.keyboard.press("Enter")
    expect(row.locator(".transcript")).to_have_text("Chegou mais tarde.")
    gateway_of(stack).kill()
    stack.wait_until_ready()
    expect(row).to_contain_text("edited")
    deadline = time.monotonic() + 60
    while stack.get("/training/dataset/segments", folder=voice)["segments"][2]["transcript"] != "Chegou mais tarde.":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(row.locator(".transcript")).to_have_text("Chegou mais tarde.")
    expect(row).not_to_contain_text("conflict")


def test_ten_thousand_segments(open_window: Open, large: str) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets/large/review")
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", str(COUNT + 1))
    rows = grid.locator(".segment-scroll [role=row]")
    rows.first.wait_for()
    assert rows.count() < 60, "only what is in view is in the document"
    grid.focus()
    page.keyboard.press("End")
    expect(page.locator("#row-segment_10000")).to_be_visible()
    expect(page.locator("#row-segment_10000")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("e")
    page.get_by_label("Text as heard: segment_10000").fill("A última.")
    page.keyboard.press("Enter")
    expect(page.locator("#row-segment_10000")).to_contain_text("A última.")
    page.get_by_label("Search the texts").fill("número 7777,")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("7777")
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_label("Flag", exact=True).select_option("low_confidence")
    expect(page.get_by_text(f"{COUNT // 11} of 10,000")).to_be_visible()
    page.get_by_role("button", name=f"Exclude these {COUNT // 11}").click()
    expect(page.get_by_role("button", name=f"Include these {COUNT // 11}")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name=f"Exclude these {COUNT // 11}")).to_be_visible()
    window.shot("review-10000")


# ── who one is ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def shared(guarded: tuple[Stack, RuntimeSettings], recordings: Path) -> None:
    """The dataset `shared` on that stack, of one recording."""
    stack, settings = guarded
    with (recordings / "voice-1.wav").open("rb") as file:
        sent = httpx.post(
            f"http://127.0.0.1:{stack.port}/training/dataset/upload",
            headers={"Authorization": f"Bearer {mint(settings, 'ana', ['admin'], 3600)}"},
            data={"folder": "datasets/shared"},
            files={"files": ("voice-1.wav", file)},
            timeout=60,
        )
    assert sent.status_code == 200, sent.text


@pytest.mark.usefixtures("shared")
def test_signing_in_and_what_a_token_may_not(open_window: Open, guarded: tuple[Stack, RuntimeSettings]) -> None:
    stack, settings = guarded
    admin = mint(settings, "ana", ["admin"], 3600)
    reader = mint(settings, "rui", ["dataset:read"], 3600)
    window = open_window(f"http://127.0.0.1:{stack.port}")
    page = window.page
    window.allowed = [r"401"]
    window.go("/datasets/shared")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert window.barriers() == []
    window.shot("sign-in")
    page.get_by_label("Token").fill("eyJ.not.mine")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("token")

    page.get_by_label("Token").fill(reader)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="shared", level=1)).to_be_visible()
    expect(page.get_by_text("rui")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    choose = page.get_by_role("button", name="Choose files").first
    expect(choose).to_be_disabled()
    expect(choose).to_have_attribute("title", re.compile("dataset:write"))
    expect(page.locator("nav .shut", has_text="Studio")).to_have_attribute("title", re.compile("inference"))
    page.get_by_role("button", name="Play: voice-1").click()  # by a signed link
    expect(page.get_by_role("button", name="Stop: voice-1")).to_be_visible()
    window.shot("read-only")
    page.reload()
    expect(page.get_by_text("rui")).to_be_visible()
    window.go("/studio")
    expect(page.get_by_role("status").filter(has_text="lacks the scope inference")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Token").fill(admin)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("ana")).to_be_visible()
    window.go("/datasets/shared")
    expect(page.get_by_role("button", name="Choose files").first).to_be_enabled()


def test_a_token_without_any_scope_is_refused_with_a_reason(open_window: Open, guarded: tuple[Stack, RuntimeSettings]) -> None:
    stack, settings = guarded
    window = open_window(f"http://127.0.0.1:{stack.port}", locale="pt-BR")
    page = window.page
    window.allowed = [r"401", r"403"]
    window.go()
    page.get_by_label("Token").fill(mint(settings, "lia", [], 3600))
    page.get_by_role("button", name="Entrar").click()
    expect(page.get_by_role("alert")).to_contain_text("O seu token não permite isto")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.usefixtures("shared")
def test_a_single_voice_has_the_width_and_says_what_to_do_now(
    open_window: Open, guarded: tuple[Stack, RuntimeSettings]
) -> None:
    stack, settings = guarded
    window = open_window(f"http://127.0.0.1:{stack.port}", locale="pt-BR", viewport={"width": 1280, "height": 800})
    page = window.page
    window.allowed = [r"401"]
    window.go()
    page.get_by_label("Token").fill(mint(settings, "ana", ["admin"], 3600))
    page.get_by_role("button", name="Entrar").click()
    card = page.locator(".voice-card")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("Corte as gravações em segmentos")
    box, head = card.bounding_box(), page.locator(".page-head").bounding_box()
    assert box
    assert head
    assert box["width"] == pytest.approx(head["width"], abs=1)
    assert window.barriers() == []
    window.shot("voices-one")
    card.get_by_role("link", name="Segmentar").click()
    page.wait_for_url("**/datasets/shared/segment")


def test_a_token_that_expires_leads_back_to_signing_in(open_window: Open, guarded: tuple[Stack, RuntimeSettings]) -> None:
    stack, settings = guarded
    window = open_window(f"http://127.0.0.1:{stack.port}")
    page = window.page
    window.allowed = [r"401"]
    window.go()
    seconds = 10.0
    minted = time.monotonic()
    page.get_by_label("Token").fill(mint(settings, "eva", ["admin"], seconds))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("eva")).to_be_visible()
    page.wait_for_timeout(max(0.0, 1000 * (minted + seconds + 1 - time.monotonic())))
    page.get_by_role("link", name="Checkpoints", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("expired")
    assert page.url.endswith("/checkpoints"), "after signing in one is where one wanted to be"


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("scopes", [["dataset:read"], ["dataset:write"], ["training"], ["inference"]])
def test_a_token_of_few_scopes_sees_no_page_that_asks_for_more(
    open_window: Open, guarded: tuple[Stack, RuntimeSettings], scopes: list[str]
) -> None:
    stack, settings = guarded
    window = open_window(f"http://127.0.0.1:{stack.port}")
    page = window.page
    window.allowed = [r"401"]
    window.go()
    page.get_by_label("Token").fill(mint(settings, "lia", scopes, 3600))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("lia")).to_be_visible()
    since = len(window.complaints)
    found: dict[str, object] = {}
    for path in ("", "/datasets", "/datasets/shared", "/datasets/shared/segment", "/train", "/checkpoints", "/studio", "/jobs"):
        window.go(path)
        expect(page.locator(".skeleton")).to_have_count(0)
        page.wait_for_load_state("load")
        if alerts := page.get_by_role("alert").all_inner_texts():
            found[path] = alerts
        if said := window.unexpected(since):
            found[f"{path} console"] = said
            since = len(window.complaints)
    assert found == {}
    window.shot(f"scopes-{'-'.join(scopes).replace(':', '-') or 'none'}")
