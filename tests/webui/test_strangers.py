"""What strangers do to the pages Review, Train, Checkpoints and A/B: small windows, hasty hands, two of them at once."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from services.runtime.auth import mint
from services.runtime.settings import RuntimeSettings
from tests.e2e.stack import Stack
from tests.webui import browser as browsers
from tests.webui.conftest import Open
from tests.webui.large import COUNT

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
LAPTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1920, "height": 1080}}
REVIEW = "/datasets/ready/review"
LONG = 180_000  # for a comparison, on a machine that is busy
pytestmark = pytest.mark.usefixtures("voice")


def width(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box["width"]


def top(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box["y"]


def scrolls_sideways(page: Page) -> list[str]:
    """What inside the page is wider than its place."""
    return list(
        page.evaluate(
            "[...document.querySelectorAll('.table-wrap')].filter(one => one.scrollWidth > one.clientWidth + 1)"
            ".map(one => one.getAttribute('aria-label'))"
        )
    )


# ── room ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("size", "beside", "alone"), [(LAPTOP, 300, 450), (DESKTOP, 600, 900)], ids=["1280x800", "1920x1080"])
def test_the_texts_have_room_and_more_when_the_details_are_folded_away(
    open_window: Open, size: Any, beside: int, alone: int
) -> None:
    window = open_window(**size)
    page = window.page
    window.go(REVIEW)
    rows = page.locator(".segment-scroll [role=row]")
    rows.first.wait_for()
    name = f"review-{size['viewport']['width']}"
    window.shot(name)
    assert width(page, ".segment-scroll .c-text") > beside
    details = page.get_by_role("button", name="Details")
    expect(details).to_have_attribute("aria-pressed", "true")
    expect(details).to_have_attribute("title", re.compile(r"\(I\)$"))
    page.get_by_role("grid").focus()
    page.keyboard.press("i")
    inspector = page.get_by_role("region", name="Chosen segment")
    expect(inspector).to_be_hidden()
    assert width(page, ".segment-scroll .c-text") > alone
    window.shot(f"{name}-folded")
    page.keyboard.press("Space")
    expect(rows.first.get_by_role("button", name="Stop: segment_00001")).to_be_visible()
    page.reload()
    rows.first.wait_for()
    expect(inspector).to_be_hidden()
    details.click()
    expect(inspector).to_be_visible()
    expect(inspector.locator(".wave")).to_be_visible()
    assert window.barriers() == []
    assert window.overflow() == 0


def test_the_review_on_a_phone(open_window: Open) -> None:
    window = open_window(**PHONE)
    page = window.page
    window.go(REVIEW)
    page.locator(".segment-scroll [role=row]").first.wait_for()
    assert width(page, ".segment-scroll .c-text") > 150
    page.get_by_role("button", name="Details").click()
    expect(page.get_by_role("region", name="Chosen segment")).to_be_hidden()
    window.shot("review-390-folded")
    assert window.overflow() == 0


@pytest.mark.parametrize("size", [PHONE, LAPTOP], ids=["390", "1280"])
def test_checkpoints_say_in_words_what_can_be_done(open_window: Open, size: Any) -> None:
    window = open_window(**size)
    page = window.page
    window.go("/checkpoints")
    row = page.locator(".checkpoints tbody tr").first
    for word in ("Load", "Make current", "Export", "Delete"):
        button = row.get_by_text(word, exact=True)
        expect(button).to_be_visible()
        expect(button).to_be_in_viewport()
    assert "Checkpoints" not in scrolls_sideways(page)
    window.shot(f"checkpoints-{size['viewport']['width']}")
    here = open_window(locale="pt-BR", **size)
    here.go("/checkpoints")
    row = here.page.locator(".checkpoints tbody tr").first
    for word in ("Carregar", "Tornar atual", "Exportar", "Excluir"):
        expect(row.get_by_text(word, exact=True)).to_be_in_viewport(ratio=1)
    assert "Checkpoints" not in scrolls_sideways(here.page)


@pytest.mark.parametrize("size", [PHONE, LAPTOP], ids=["390", "1280"])
def test_what_trains_comes_first_on_a_phone(open_window: Open, stack: Stack, size: Any) -> None:
    window = open_window(**size)
    page = window.page
    body = stack.get("/training/runs", limit=100)
    body["runs"][0]["state"] = "running"  # as if it went on
    page.route("**/training/runs?*", lambda route: route.fulfill(json=body))
    window.go("/train")
    page.locator(".uplot").wait_for()
    expect(page.get_by_role("button", name="Stop and save")).to_be_visible()
    name = f"train-live-{size['viewport']['width']}"
    window.shot(name)
    if size is PHONE:
        assert top(page, ".uplot") < 844 < top(page, "form"), "the plot is in the first view, the form below it"
        assert scrolls_sideways(page) == []
        page.locator(".runs").scroll_into_view_if_needed()
        window.shot(f"{name}-runs")
        page.unroute("**/training/runs?*")
        page.reload()
        page.locator(".uplot").wait_for()
        assert top(page, "form") < top(page, ".uplot"), "where nothing trains, one begins"
    else:
        assert abs(top(page, "form") - top(page, ".uplot")) < 250, "side by side"


def test_the_result_is_where_one_votes(open_window: Open, stack: Stack) -> None:
    window = open_window(**PHONE)
    page = window.page
    window.go("/ab")
    page.get_by_label("Text").fill("Bom dia.")
    page.get_by_role("button", name="Compare").click()
    votes = page.get_by_role("group", name="Which one sounds more like the voice?")
    expect(votes).to_be_visible(timeout=LONG)
    standing = votes.locator(".standing")
    expect(standing).to_have_text(re.compile(r"yours is the first|shows once you have voted"))
    assert "ready" not in page.locator(".ab-listen").inner_text(), "a blind vote knows no names"
    result = page.locator(".ab-listen").get_by_role("heading", name="Listen")
    expect(result).to_be_focused()
    votes.scroll_into_view_if_needed()
    window.shot("ab-390-blind")
    votes.get_by_role("button", name="Sample 2").click()
    expect(result).to_be_focused()
    standing = page.locator(".ab-listen .standing")
    expect(standing).to_contain_text("95% confidence interval")
    expect(standing).to_be_in_viewport()
    window.shot("ab-390-voted")
    # "again" means this text and these two, whatever the form says by now
    page.get_by_label("Text").fill("")
    page.get_by_role("button", name="Again with this text").click()
    expect(votes).to_be_visible(timeout=LONG)
    expect(page.locator(".ab-text")).to_have_text("Bom dia.")
    expect(votes.locator(".standing")).to_contain_text("Votes so far: 1")


def test_a_recording_with_a_long_name_has_its_place(open_window: Open, stack: Stack) -> None:
    window = open_window()
    page = window.page
    body = stack.get("/training/dataset/recordings", folder="datasets/ready")
    body["recordings"][0]["title"] = "Entrevista com alguém de quem se fala há muito tempo, " * 5
    page.route("**/training/dataset/recordings?*", lambda route: route.fulfill(json=body))
    for size in (DESKTOP, LAPTOP, PHONE):
        page.set_viewport_size(size["viewport"])
        window.go("/datasets/ready/segment")
        page.locator(".timeline canvas").wait_for()
        assert window.overflow() == 0, size
    window.shot("segment-long-name")


DRAWN = """
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text) {
  document.documentElement.dataset.drawn = `${document.documentElement.dataset.drawn ?? ""} ${text}`;
  return fillText.apply(this, arguments);
};
"""


def test_the_lengths_of_cuts_are_written_as_the_language_does(open_window: Open) -> None:
    window = open_window(locale="pt-BR")
    page = window.page
    page.add_init_script(DRAWN)
    window.go("/datasets/ready/segment")
    expect(page.locator("html")).to_have_attribute("data-drawn", re.compile(r"^(?!.*\d\.\d).* \d+,\d"))


# ── hasty hands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_double_click_votes_once(open_window: Open, stack: Stack) -> None:
    window = open_window()
    page = window.page
    posted = []
    page.on("request", lambda one: posted.append(one.url) if one.method == "POST" else None)
    window.go("/ab")
    page.get_by_label("Text").fill("Boa noite.")
    page.get_by_role("button", name="Compare").dblclick()
    votes = page.get_by_role("group", name="Which one sounds more like the voice?")
    expect(votes).to_be_visible(timeout=LONG)
    votes.get_by_role("button", name="No difference").dblclick()
    expect(page.get_by_text("You heard no difference")).to_be_visible()
    assert [url.rpartition("/")[2] for url in posted] == ["ab-test", "votes"]


def test_what_is_being_written_outlives_a_look_around(open_window: Open, stack: Stack, large: str) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets/large/review")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", str(COUNT + 1))
    row = page.locator("#row-segment_00002")
    row.locator(".transcript").dblclick()
    field = page.get_by_label("Text as heard: segment_00002")
    field.fill("Escrito antes de olhar.")
    scroller = page.locator(".segment-scroll")
    scroller.evaluate("one => { one.scrollTop = 300000 }")
    expect(page.locator("#row-segment_04840")).to_be_visible()
    scroller.evaluate("one => { one.scrollTop = 0 }")
    expect(field).to_have_value("Escrito antes de olhar.")
    field.press("Enter")
    expect(row.locator(".transcript")).to_have_text("Escrito antes de olhar.")


@pytest.mark.parametrize(
    ("path", "label", "mine", "theirs"),
    [("/studio", "Text", "Minha.", "Outra."), ("/ab", "Text", "Minha.", "Outra."), ("/train", "Epochs", "30", "70")],
    ids=["studio", "ab", "train"],
)
def test_two_tabs_do_not_write_into_each_others_fields(
    open_window: Open, path: str, label: str, mine: str, theirs: str
) -> None:
    first = open_window()
    first.go(path)
    field = first.page.get_by_label(label, exact=True)
    field.fill(mine)
    second = browsers.tab(first.page.context, first.url)
    second.go(path)
    other = second.page.get_by_label(label, exact=True)
    expect(other).to_have_value(mine)  # a new tab begins with what was last written
    other.fill(theirs)
    # what one tab tells the others has come by the time that something told later has
    with first.page.expect_event("console", lambda message: message.text == "told"):
        first.page.evaluate("addEventListener('storage', (event) => event.key === 'last' && console.log('told'))")
        second.page.evaluate("localStorage.setItem('last', '1')")
    expect(field).to_have_value(mine)
    second.page.close()
    first.page.reload()
    expect(field).to_have_value(mine)
    assert second.unexpected() == []


@pytest.mark.parametrize("where", ["row", "details"])
def test_what_somebody_else_writes_meanwhile_is_not_lost(open_window: Open, stack: Stack, voice: str, where: str) -> None:
    window = open_window()
    page = window.page
    window.go(REVIEW)
    row = page.locator(".segment-scroll [role=row]").nth(4)
    row.click()
    if where == "row":
        row.locator(".transcript").dblclick()
        field = page.get_by_label("Text as heard: segment_00005")
    else:
        field = page.get_by_label("Text as heard", exact=True)
        field.click()
    field.fill(f"Minha, {where}.")
    theirs = f"Dela, {where}."
    params = {"folder": voice}
    other = stack.client.patch("/training/dataset/segments/segment_00005", params=params, json={"transcript": theirs})
    assert other.status_code == 200
    # the list is read anew while the words are being written
    with page.expect_response(lambda one: "/training/dataset/segments?" in one.url and theirs in one.text()):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(field).to_have_value(f"Minha, {where}.")
    field.press("Enter")
    conflict = page.get_by_role("alert").filter(has_text="Somebody changed this segment")
    row.click()
    expect(conflict).to_contain_text(theirs)
    expect(conflict).to_contain_text(f"Minha, {where}.")
    assert stack.get("/training/dataset/segments", **params)["segments"][4]["transcript"] == theirs
    page.get_by_role("button", name="Keep mine").click()
    expect(row.locator(".transcript")).to_have_text(f"Minha, {where}.")


def test_both_texts_of_a_segment_one_after_the_other_are_no_conflict(open_window: Open, stack: Stack, voice: str) -> None:
    window = open_window()
    page = window.page
    window.go(REVIEW)
    row = page.locator(".segment-scroll [role=row]").nth(5)
    row.locator(".transcript").dblclick()
    page.get_by_label("Text as heard: segment_00006").fill("São 7 horas.")
    field = page.get_by_label("Normalised text: segment_00006")
    with page.expect_response(lambda one: "/segments/segment_00006" in one.url):
        page.keyboard.press("Tab")
        expect(field).to_be_focused()
    field.fill("são sete horas em ponto")
    field.press("Enter")
    expect(row.locator(".normalised")).to_have_text("são sete horas em ponto")
    expect(row).not_to_contain_text("conflict")


def test_a_model_that_is_gone_hides_no_others(open_window: Open) -> None:
    window = open_window()
    window.go("/checkpoints?model=never-there")
    expect(window.page.locator(".checkpoints tbody tr").first).to_be_visible()


def test_a_dataset_that_is_gone_is_not_shown_as_another(open_window: Open) -> None:
    window = open_window()
    window.allowed = [r"404|400|409|422"]
    window.go("/train?dataset=datasets/never-there")
    chosen = window.page.get_by_label("Dataset", exact=True)
    expect(chosen).to_have_value("datasets/never-there")
    expect(window.page.get_by_role("heading", name="What it would take")).to_have_count(0)


def test_a_training_of_part_of_an_epoch_or_of_none_is_not_offered(open_window: Open) -> None:
    window = open_window(locale="pt-BR")
    page = window.page
    window.go("/train?dataset=datasets/ready")
    epochs = page.get_by_label("Épocas")
    start = page.get_by_role("button", name="Começar o treino")
    epochs.fill("20")
    expect(start).to_be_enabled()
    epochs.fill("20.5")
    expect(epochs).to_have_accessible_description("Deve ser um número inteiro de 10 a 1.000.")
    expect(start).to_be_disabled()
    epochs.fill("20")
    page.get_by_label("Tamanho do lote").fill("1.5")
    expect(start).to_be_disabled()
    page.get_by_label("Tamanho do lote").fill("2")

    page.get_by_label("Modelo", exact=True).fill("ready")
    onward = page.get_by_role("button", name="Continuar o treino")
    expect(onward).to_be_enabled()
    epochs.fill("10")
    expect(epochs).to_have_accessible_description("Já tem 10 épocas: peça mais.")
    expect(onward).to_be_disabled()
    expect(page.locator(".estimate")).to_have_count(0)
    page.get_by_role("radio", name=re.compile("^Começar de novo")).check()
    expect(start).to_be_enabled()


def many(one: dict[str, Any]) -> str:
    """Ten thousand checkpoints like one, with names as long as they may be."""
    rows = [
        {
            **one,
            "model_name": "m" * 100,
            "epoch": number,
            "current": False,
            "best": number == 1,
            "path": f"train/output/{'m' * 100}/checkpoints/checkpoint_epoch_{number}.pth",
        }
        for number in range(10_000)
    ]
    return json.dumps(rows)


@pytest.mark.parametrize("size", [PHONE, LAPTOP], ids=["390", "1280"])
def test_ten_thousand_checkpoints_with_long_names(open_window: Open, stack: Stack, size: Any) -> None:
    window = open_window(**size)
    page = window.page
    body = many(stack.get("/training/checkpoints")[0])
    page.route("**/training/checkpoints", lambda route: route.fulfill(body=body, content_type="application/json"))
    window.go("/checkpoints")
    rows = page.locator(".checkpoints tbody tr")
    expect(rows).to_have_count(100)
    assert window.overflow() == 0
    window.shot(f"checkpoints-long-{size['viewport']['width']}")
    page.get_by_role("button", name="Show more (9900)").click()
    expect(rows).to_have_count(200)
    window.go("/ab")
    expect(page.get_by_label("Checkpoint", exact=True).locator("option")).to_have_count(10_000)
    assert window.overflow() == 0


def test_the_same_sentence_twice_is_one_row(open_window: Open) -> None:
    window = open_window()
    page = window.page
    window.go("/checkpoints")
    page.get_by_text("Change the sentences").click()
    page.get_by_label("Sentences, one a line").fill("Bom dia.\nBom dia.\n\nBoa tarde.")
    expect(page.locator(".samples tbody tr")).to_have_count(2)


# ── exports behind a token ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_browser_saves_an_export_by_itself(
    open_window: Open, guarded: tuple[Stack, RuntimeSettings], recordings: Path, tmp_path: Path
) -> None:
    stack, settings = guarded
    url = f"http://127.0.0.1:{stack.port}"
    admin = mint(settings, "ana", ["admin"], 3600)
    folder = "datasets/taken"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {admin}"}, timeout=60) as client:
        with (recordings / "voice-1.wav").open("rb") as file:
            client.post(
                "/training/dataset/upload", data={"folder": folder}, files={"files": ("v.wav", file)}
            ).raise_for_status()
        job = client.post("/training/dataset/segment", json={"folder": folder}).json()["job_id"]
        with client.stream("GET", f"/training/jobs/{job}/events", timeout=120) as events:
            assert '"succeeded"' in "".join(events.iter_text())
    window = open_window(url)
    page = window.page
    window.allowed = [r"401"]
    window.go("/datasets/taken")
    page.get_by_label("Token").fill(admin)
    page.get_by_role("button", name="Sign in").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    assert download.value.url.startswith(f"{url}/training/dataset/export?folder=datasets%2Ftaken&link="), "not a blob"
    assert admin not in download.value.url
    download.value.save_as(tmp_path / "export.zip")
    assert download.value.suggested_filename == "taken.zip"
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        assert any(name.endswith("metadata.csv") for name in archive.namelist())
