"""The whole workflow by clicks and keys on a stack with the tiny models, with a reload in the middle of every step."""

from __future__ import annotations

import contextlib
import re
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Locator, Page, expect

from tests.e2e.stack import Stack
from tests.webui import browser as browsers

LONG = 300_000  # milliseconds: a job on a busy machine
NAME = "by_clicks"
FOLDER = f"datasets/{NAME}"
MODEL = f"{NAME}_model"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[Stack]:
    """A stack on which nobody has done anything yet."""
    running = Stack(tmp_path_factory.mktemp("workflow") / "data", settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def here(browser: Any, stack: Stack) -> Iterator[browsers.Window]:
    """One window for the whole workflow: each test goes on where the one before it ended."""
    with browsers.window(browser, f"http://127.0.0.1:{stack.port}") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _quiet(here: browsers.Window) -> Iterator[None]:
    before = len(here.complaints)
    here.allowed = []
    yield
    assert here.unexpected(before) == []


def job_is(page: Page, kind: str, state: str) -> None:
    expect(page.locator(f".job-line[data-state={state}]", has_text=kind)).to_be_visible(timeout=LONG)


def heading(page: Page, name: str) -> Locator:
    return page.get_by_role("heading", name=name, level=1)


def runs_of(page: Page) -> Locator:
    return page.get_by_role("region", name="Runs").locator("tbody tr", has_text=MODEL)


def test_a_dataset_begins_with_its_name(here: browsers.Window) -> None:
    page = here.page
    here.go()
    guide = page.get_by_role("list", name="How far it is")
    expect(guide.get_by_role("listitem")).to_have_count(4)
    expect(guide.get_by_role("listitem").first).to_contain_text("Add recordings of the voice")
    here.shot("voices-empty")
    page.get_by_role("button", name="New dataset").first.click()
    page.get_by_label("Name").fill("my voice")
    expect(page.get_by_text("Use only letters without accents")).to_be_visible()
    page.get_by_label("Name").fill(NAME)
    page.get_by_role("button", name="Continue").click()
    expect(heading(page, NAME)).to_be_visible()
    assert page.url.endswith(f"/webui/datasets/{NAME}")
    page.reload()
    expect(heading(page, NAME)).to_be_visible()
    expect(page.get_by_text("No recordings yet")).to_be_visible()


def test_files_are_uploaded_each_with_its_own_fate(here: browsers.Window, recordings: Path, tmp_path: Path) -> None:
    page = here.page
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF....WAVE this is no audio")
    here.allowed = [r"/training/dataset/upload"]
    # held on the way, so that there is a middle of it to look at
    held: list[Any] = []
    page.route("**/training/dataset/upload", lambda route: held.append(route))
    page.locator(".drop input[type=file]").set_input_files([recordings / "voice-1.wav", broken])
    expect(page.locator(".incoming li")).to_have_count(2)
    page.get_by_role("button", name="Pause: voice-1.wav").click()
    expect(page.locator(".incoming li", has_text="voice-1.wav")).to_contain_text("Paused")
    page.unroute("**/training/dataset/upload")
    for route in held:
        with contextlib.suppress(Error):  # that of what was paused is gone
            route.continue_()
    expect(page.locator(".incoming li", has_text="broken.wav").get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Continue: voice-1.wav").click()
    expect(page.locator(".incoming li", has_text="voice-1.wav")).to_contain_text("Stored")
    expect(page.locator("table")).to_contain_text("voice-1")
    page.get_by_role("button", name="Remove: broken.wav").click()
    expect(page.locator(".incoming li", has_text="broken.wav")).to_have_count(0)
    page.reload()
    expect(page.locator("table")).to_contain_text("voice-1")


def test_what_a_reload_interrupts_is_said(here: browsers.Window, recordings: Path) -> None:
    page = here.page
    page.route("**/training/dataset/upload", lambda route: None)  # never gets there
    page.locator(".drop input[type=file]").set_input_files(recordings / "voice-2.wav")
    expect(page.locator(".incoming li", has_text="voice-2.wav")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())  # the browser asks whether to leave
    page.reload()
    page.unroute("**/training/dataset/upload")
    row = page.locator(".incoming li", has_text="voice-2.wav")
    expect(row).to_contain_text("Not sent")
    expect(page.get_by_role("status").filter(has_text="before 1 file was sent")).to_be_visible()
    page.get_by_role("button", name="Remove: voice-2.wav").click()


def test_links_are_fetched_each_as_a_job_and_bad_ones_say_why(here: browsers.Window, media: str) -> None:
    page = here.page
    here.allowed = [r"/training/dataset/download"]
    page.get_by_label("Addresses of videos").fill(f"{media}/voice-2.wav\nhttps://example.org/video\n{media}/gone.wav")
    page.get_by_role("button", name="Download 3 videos").click()
    expect(page.get_by_role("alert").filter(has_text="https://example.org/video")).to_be_visible()
    expect(page.get_by_label("Addresses of videos")).to_have_value("https://example.org/video")
    page.reload()
    expect(page.locator("table")).to_contain_text("voice-2", timeout=LONG)
    failed = page.locator(".incoming li", has_text="gone.wav")
    expect(failed.get_by_role("alert")).to_be_visible(timeout=LONG)
    expect(failed.get_by_role("button", name="Try again")).to_be_enabled()
    page.get_by_role("button", name=re.compile("Play: voice-1")).click()
    expect(page.get_by_role("button", name=re.compile("Stop: voice-1"))).to_be_visible()
    page.get_by_role("button", name=re.compile("Stop: voice-1")).click()
    here.shot("recordings")


def test_a_failed_job_says_what_to_do(here: browsers.Window) -> None:
    page = here.page
    here.go("/jobs?state=failed")
    failed = page.locator("tbody tr", has_text=NAME)
    expect(failed).to_have_count(1)
    failed.get_by_role("link", name="Download").click()
    expect(page.get_by_role("heading", name="What to do")).to_be_visible()
    expect(page.locator(".log[role=log]")).not_to_be_empty()
    here.shot("job-failed")
    page.reload()
    expect(page.get_by_role("heading", name="What to do")).to_be_visible()
    before = page.url
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(lambda url: url != before and "/jobs/" in url)
    job_is(page, "Download", "failed")


def test_the_preview_follows_the_knobs(here: browsers.Window) -> None:
    page = here.page
    here.go(f"/datasets/{NAME}/segment")
    picture = page.locator(".timeline canvas")
    picture.wait_for()
    first = picture.get_attribute("data-cuts")
    assert first
    page.get_by_label("Shortest segment").fill("3")
    page.get_by_label("Longest segment").fill("6")
    expect(picture).not_to_have_attribute("data-cuts", first)
    second = picture.get_attribute("data-cuts") or ""
    assert len(second.split()) > len(first.split())
    page.get_by_label("Longest segment").fill("30")
    expect(page.get_by_text("It must be a number from 5 to 20.")).to_be_visible()
    expect(page.get_by_role("button", name="Segment 2 recordings")).to_be_disabled()
    page.get_by_label("Longest segment").fill("6")
    expect(picture).to_have_attribute("data-cuts", second)
    here.shot("segment")
    page.reload()
    expect(page.get_by_label("Longest segment")).to_have_value("6")
    expect(page.locator(".timeline canvas")).to_have_attribute("data-cuts", second)


def test_segmenting_and_transcribing_go_on_over_a_reload(here: browsers.Window, stack: Stack) -> None:
    page = here.page
    planned = len((page.locator(".timeline canvas").get_attribute("data-cuts") or "").split())
    page.get_by_role("button", name="Segment 2 recordings").click()
    page.locator(".job-line").first.wait_for()
    page.reload()
    job_is(page, "Segmentation", "succeeded")
    segments = stack.get("/training/dataset/segments", folder=FOLDER)["segments"]
    assert len([one for one in segments if one["source"] == segments[0]["source"]]) == planned
    page.get_by_role("button", name="Transcribe").click()
    page.locator(".job-line").nth(1).wait_for()
    page.reload()
    job_is(page, "Transcription", "succeeded")
    assert stack.get("/training/dataset/stats", folder=FOLDER)["transcribed_percent"] == 100.0


def test_the_review_by_keyboard_alone(here: browsers.Window, stack: Stack) -> None:
    page = here.page

    def stored(number: int) -> dict[str, Any]:
        found: dict[str, Any] = stack.get("/training/dataset/segments", folder=FOLDER)["segments"][number]
        return found

    here.go(f"/datasets/{NAME}/review")
    grid = page.get_by_role("grid")
    grid.focus()
    rows = grid.locator(".segment-scroll [role=row]")
    expect(rows.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press(" ")
    expect(rows.first.get_by_role("button", name="Stop: segment_00001")).to_be_visible()
    page.keyboard.press("Enter")
    expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
    expect(rows.nth(1).get_by_role("button", name="Stop: segment_00002")).to_be_visible()
    page.keyboard.press("x")
    expect(rows.nth(1)).to_have_class(re.compile("excluded"))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("e")
    field = page.get_by_label("Text as heard: segment_00001")
    expect(field).to_be_focused()
    field.fill("São 2 horas.")
    page.keyboard.press("Enter")
    expect(rows.first).to_contain_text("São duas horas")
    assert stored(0)["normalised"].startswith("São duas horas")
    assert stored(1)["excluded"]
    here.shot("review")
    page.reload()
    expect(rows.first).to_contain_text("São 2 horas.")
    expect(rows.nth(1)).to_have_class(re.compile("excluded"))


def test_an_edit_can_be_undone(here: browsers.Window, stack: Stack) -> None:
    page = here.page
    rows = page.get_by_role("grid").locator(".segment-scroll [role=row]")
    before = rows.nth(2).locator(".transcript").inner_text()
    rows.nth(2).locator(".transcript").dblclick()
    page.get_by_label("Text as heard: segment_00003").fill("Outra coisa.")
    page.keyboard.press("Escape")
    expect(rows.nth(2)).to_contain_text(before)
    rows.nth(2).locator(".transcript").dblclick()
    page.get_by_label("Text as heard: segment_00003").fill("Outra coisa.")
    page.keyboard.press("Enter")
    expect(rows.nth(2)).to_contain_text("Outra coisa.")
    expect(rows.nth(2)).to_contain_text("edited")
    page.get_by_role("grid").focus()
    page.keyboard.press("Control+z")
    expect(rows.nth(2)).to_contain_text(before)
    expect(page.get_by_role("button", name="Undo").first).to_be_disabled()
    stored = stack.get("/training/dataset/segments", folder=FOLDER)["segments"][2]
    assert stored["transcript"] == before


def test_two_people_edit_the_same_segment(here: browsers.Window, stack: Stack) -> None:
    page = here.page
    here.allowed = [r"/training/dataset/segments/segment_00004"]
    rows = page.get_by_role("grid").locator(".segment-scroll [role=row]")
    rows.nth(3).click()
    other = stack.client.patch(
        "/training/dataset/segments/segment_00004", params={"folder": FOLDER}, json={"transcript": "Dela."}
    )
    assert other.status_code == 200
    rows.nth(3).locator(".transcript").dblclick()
    page.get_by_label("Text as heard: segment_00004").fill("Minha.")
    page.keyboard.press("Enter")
    expect(rows.nth(3)).to_contain_text("conflict")
    rows.nth(3).click()
    conflict = page.get_by_role("alert").filter(has_text="Somebody changed this segment")
    expect(conflict).to_contain_text("Dela.")
    expect(conflict).to_contain_text("Minha.")
    here.shot("review-conflict")
    page.get_by_role("button", name="Keep mine").click()
    expect(rows.nth(3)).not_to_contain_text("conflict")
    expect(rows.nth(3)).to_contain_text("Minha.")
    expect(page.get_by_label("Text as heard").last).to_have_value("Minha.")


def test_filters_and_sorting_stay_in_the_address(here: browsers.Window, stack: Stack) -> None:
    page = here.page
    rows = page.get_by_role("grid").locator(".segment-scroll [role=row]")
    page.get_by_label("Which segments").select_option("excluded")
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_role("columnheader", name="s", exact=True).get_by_role("button").click()
    seconds = [float(text) for text in rows.locator(".c-duration").all_inner_texts()]
    assert seconds == sorted(seconds)
    expect(page.get_by_role("columnheader", name=re.compile("^s"))).to_have_attribute("aria-sort", "ascending")
    page.get_by_label("Duration, s, from").fill(str(seconds[-1]))
    expect(rows).not_to_have_count(len(seconds))
    assert "duration=" in page.url
    assert "sort=duration" in page.url


def test_the_export_is_an_ljspeech_archive(here: browsers.Window, tmp_path: Path) -> None:
    page = here.page
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = tmp_path / "export.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith("metadata.csv"))
        assert "São 2 horas." in archive.read(metadata).decode()
        with archive.open(next(name for name in names if name.endswith(".wav"))) as file, wave.open(file) as audio:
            assert audio.getframerate() == 22050
    assert not any("segment_00002" in name for name in names)


def test_training_shows_its_estimate_and_its_loss(here: browsers.Window, stack: Stack) -> None:
    page = here.page
    here.go(f"/train?dataset={FOLDER}")
    expect(page.get_by_label("Model", exact=True)).to_have_value(MODEL)
    page.get_by_label("Epochs").fill("3")
    expect(page.get_by_text("It must be a whole number from 10 to 1,000.")).to_be_visible()
    page.get_by_label("Epochs").fill("400")
    page.get_by_label("Learning rate").fill("0.001")
    expect(page.get_by_role("heading", name="What it would take")).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("button", name="Stop and save")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Loss by step: .*Loss from"))).to_be_visible(timeout=LONG)
    expect(page.get_by_text(re.compile(r"steps/s"))).to_be_visible(timeout=LONG)
    page.reload()
    expect(page.get_by_role("img", name=re.compile("Loss by step: .*Loss from"))).to_be_visible(timeout=LONG)
    expect(page.get_by_role("button", name=re.compile("(Start|Continue) training"))).to_be_disabled()
    log = page.get_by_role("log")
    expect(log).to_contain_text("Epoch 2/400", timeout=LONG)
    page.get_by_label("Search the log").fill("Epoch 2/400")
    expect(log.locator("mark").first).to_have_text("Epoch 2/400")
    here.shot("train-running")
    page.get_by_role("button", name="Stop and save").click()
    expect(page.get_by_role("button", name="Stop and save")).to_have_count(0, timeout=LONG)
    expect(runs_of(page).first).to_contain_text("Stopped")


def test_training_continues_and_runs_are_compared(here: browsers.Window, stack: Stack) -> None:
    page = here.page
    page.get_by_label("Epochs").fill("10")
    expect(page.get_by_text(f"{MODEL} has checkpoints already")).to_be_visible()
    page.get_by_role("radio", name=re.compile("Begin anew")).check()
    page.get_by_role("button", name="Start training").click()
    runs = runs_of(page)
    expect(runs).to_have_count(2)
    expect(page.get_by_role("heading", name=f"Loss of {MODEL}")).to_be_focused()
    expect(runs.first).to_contain_text("Done", timeout=LONG)
    runs.nth(1).get_by_role("checkbox").check()
    expect(page.get_by_role("heading", name="Loss of 2 runs")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(f"{MODEL} 1 .*{MODEL} 2"))).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Loss of 2 runs")).to_be_visible()
    here.shot("train")
    page.get_by_role("radio", name=re.compile("Continue")).check()
    expect(page.get_by_text("It has 10 epochs already: ask for more.")).to_be_visible()
    page.get_by_label("Epochs").fill("20")
    expect(page.get_by_role("button", name="Continue training")).to_be_enabled()


def test_checkpoints_speak_side_by_side_and_one_is_promoted(here: browsers.Window, stack: Stack, tmp_path: Path) -> None:
    page = here.page
    here.go(f"/checkpoints?model={MODEL}")
    table = page.locator("table").first
    expect(table.locator("tbody tr").first).to_contain_text("current")
    count = table.locator("tbody tr").count()
    page.get_by_role("button", name=re.compile("^Load:")).last.click()
    expect(page.get_by_text("is ready to speak")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name=re.compile("^Make current")).last.click()
    expect(table.locator("tbody tr").last).to_contain_text("current")
    page.locator("table.samples").get_by_role("button", name=re.compile("^Say:")).first.click()
    sample = page.locator("table.samples").get_by_role("button", name=re.compile("^Play:")).first
    expect(sample).to_be_visible(timeout=LONG)
    page.reload()
    expect(sample).to_be_visible()
    here.shot("checkpoints")
    with page.expect_download(timeout=LONG) as download:
        page.get_by_role("button", name=re.compile("^Export for coqui-tts")).first.click()
    download.value.save_as(tmp_path / "voice.zip")
    with zipfile.ZipFile(tmp_path / "voice.zip") as archive:
        assert any(name.endswith("config.json") for name in archive.namelist())
    if count > 1:
        page.get_by_role("button", name=re.compile("^Delete:")).first.click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(table.locator("tbody tr")).to_have_count(count - 1)


def test_the_studio_sounds_before_all_is_made(here: browsers.Window, tmp_path: Path) -> None:
    page = here.page
    here.go("/studio")
    expect(page.get_by_label("Voice")).to_have_value(re.compile(f"train/output/{MODEL}/"))
    text = "Bom dia. Esta é a minha voz. Ela fala devagar, e continua a falar por mais algum tempo."
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_text(re.compile("First sound after"))).to_be_visible(timeout=LONG)
    item = page.locator(".history li").first
    expect(item).to_contain_text("Bom dia. Esta é a minha voz.", timeout=LONG)
    page.reload()
    expect(page.get_by_label("Text")).to_have_value(text)
    item.get_by_role("button", name=re.compile("Bom dia")).nth(1).click()
    expect(item.get_by_role("button", name="Use again")).to_be_visible()
    here.shot("studio")
    with page.expect_download() as download:
        item.get_by_role("button", name=re.compile("^Download")).click()
    download.value.save_as(tmp_path / "said.wav")
    with wave.open(str(tmp_path / "said.wav")) as audio:
        assert audio.getframerate() == 22050
        assert audio.getnframes() > 2000
    count = page.locator(".history li").count()
    item.get_by_role("button", name="Delete").click()
    expect(page.locator(".history li")).to_have_count(count - 1)


def test_a_blind_comparison_is_voted_on(here: browsers.Window, stack: Stack) -> None:
    page = here.page
    here.go("/ab")
    page.get_by_label("Text").fill("Bom dia, esta é a minha voz.")
    page.get_by_role("button", name="Compare").click()
    question = page.get_by_role("group", name="Which one sounds more like the voice?")
    expect(question).to_be_visible(timeout=LONG)
    sides = page.locator(".ab-side")
    expect(sides).to_have_count(2)
    assert MODEL not in sides.first.inner_text()
    expect(page.locator(".scores")).to_have_count(0)
    page.reload()
    expect(question).to_be_visible()
    expect(sides.first.locator(".player")).to_be_visible()
    question.get_by_role("button", name="Sample 1").click()
    expect(page.locator(".scores")).to_have_count(2)
    expect(page.get_by_text(re.compile("You preferred"))).to_be_visible()
    expect(page.get_by_text(re.compile("95% confidence interval")).first).to_be_visible()
    # one vote is no percentage
    expect(page.locator(".ab-share")).to_have_text(re.compile(r"^[01] of 1$"))
    here.shot("ab")
    trial = page.evaluate("JSON.parse(localStorage.getItem('timbre.ab.trial'))")
    tally = stack.get("/training/inference/votes", checkpoint=trial["checkpoint"], against="base")
    assert tally[trial["order"][0]] == 1
    assert tally["blind"] == 1
    page.reload()
    expect(page.get_by_text(re.compile("You preferred"))).to_be_visible()


def test_home_shows_where_the_voice_stands(here: browsers.Window) -> None:
    page = here.page
    here.go()
    card = page.locator(".voice-card", has=page.get_by_role("heading", name=MODEL, exact=True))
    expect(card).to_contain_text("Best checkpoint")
    expect(card.locator(".steps .done")).to_have_count(4)
    expect(card).to_contain_text(NAME)
    card.get_by_role("button", name=re.compile("^Play")).click()
    expect(card.get_by_role("button", name=re.compile("^Stop"))).to_be_visible()
    # the run that was put aside when the training began anew is folded away
    earlier = page.locator(".voice-card", has_text="Earlier run")
    expect(earlier).to_be_hidden()
    page.get_by_text("Earlier runs: 1").click()
    expect(earlier).to_contain_text(f"{MODEL}.before-")
    here.shot("voices")


def test_jobs_are_listed_and_lead_to_their_logs(here: browsers.Window) -> None:
    page = here.page
    here.go("/jobs")
    expect(page.locator("tbody tr", has_text="Training").filter(has_text=MODEL)).to_have_count(2)
    here.shot("jobs")
    page.locator("tbody tr", has_text=NAME).get_by_role("link", name="Transcription").click()
    expect(page.locator(".log[role=log]")).not_to_be_empty()
    page.get_by_text("Parameters and result").click()
    expect(page.locator("details .log")).to_contain_text(FOLDER)
