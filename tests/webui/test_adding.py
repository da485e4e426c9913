"""Audio into a dataset as strangers bring it: folders, many files, odd names, what is no audio, and reloads on the way."""

from __future__ import annotations

import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from tests.e2e.stack import Stack
from tests.webui.conftest import Open

LONG = 120_000
MANY = 200


def tone(path: Path, hertz: float, seconds: float = 0.5) -> Path:
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(22050 * seconds)) / 22050)
    soundfile.write(path, samples, 22050)
    return path


def drop(page: Page, *paths: Path) -> None:
    """Drops files and folders on the page, as the system would."""
    box = page.locator(".drop").bounding_box()
    assert box
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    session.detach()


def sources(stack: Stack, folder: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.get("/training/dataset/recordings", folder=folder)["recordings"]
    return found


def test_a_folder_with_two_hundred_files(open_window: Open, stack: Stack, tmp_path: Path) -> None:
    window = open_window()
    page = window.page
    takes = tmp_path / "takes"
    (takes / "second day").mkdir(parents=True)
    for number in range(MANY):
        tone(takes / (f"take-{number}.wav" if number % 2 else f"second day/take-{number}.wav"), 200 + number, 0.2)
    (takes / ".DS_Store").write_bytes(b"hidden by the system")
    window.go("/datasets/many")
    drop(page, takes)
    expect(page.get_by_text(re.compile(f"of {MANY} stored"))).to_be_visible()
    expect(page.get_by_text(f"{MANY} of {MANY} stored")).to_be_visible(timeout=LONG)
    expect(page.locator("tbody tr")).to_have_count(MANY, timeout=LONG)
    assert len(sources(stack, "datasets/many")) == MANY
    assert page.locator(".incoming").evaluate("list => list.clientHeight") < 400
    assert window.overflow() == 0
    window.shot("many-files")
    page.get_by_role("button", name="Clear finished").click()
    expect(page.locator(".incoming")).to_have_count(0)


def test_an_empty_folder_says_so(open_window: Open, tmp_path: Path) -> None:
    window = open_window()
    (tmp_path / "nothing").mkdir()
    window.go("/datasets/odd")
    drop(window.page, tmp_path / "nothing")
    expect(window.page.get_by_role("alert")).to_have_text("There are no files in what you dropped.")


def test_odd_files_are_stored_or_say_why(open_window: Open, stack: Stack, tmp_path: Path) -> None:
    window = open_window(viewport={"width": 390, "height": 844})
    page = window.page
    window.allowed = [r"422"]
    sound = {"mimeType": "audio/wav"}
    good = ["../../etc/passwd.wav", "voz 🎙️ da Ana.wav", f"{'muito longo ' * 25}.wav", "<img src=x onerror=alert(1)>.wav"]
    window.go("/datasets/odd")
    for number, name in enumerate(good):
        audio = tone(tmp_path / "a.wav", 300 + 50 * number).read_bytes()
        page.locator(".drop input").set_input_files({"name": name, "buffer": audio, **sound})
        expect(page.locator(".incoming li").nth(number)).to_contain_text("Stored")
    for name, content in {"empty.wav": b"", "contract.wav": b"%PDF-1.7\n" + b"x" * 4000, "text.mp3": b"hello " * 900}.items():
        page.locator(".drop input").set_input_files({"name": name, "buffer": content, **sound})
        alert = page.locator(".incoming li", has_text=name).get_by_role("alert")
        expect(alert).to_have_text(re.compile(r"^\s*\S.{15,}\.\s*$"))
    assert window.overflow() == 0
    window.shot("odd-files-phone")
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(len(good))
    # what was refused was not cut off
    expect(page.locator(".incoming")).to_have_count(0)
    for one in sources(stack, "datasets/odd"):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,120}", one["source"])
    assert not list(stack.data_dir.rglob("passwd.wav"))


def test_after_deleting_a_recording_one_is_at_the_next(open_window: Open, stack: Stack, tmp_path: Path) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets/fewer")
    page.locator(".drop input").set_input_files([tone(tmp_path / "one.wav", 440), tone(tmp_path / "two.wav", 660)])
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2, timeout=LONG)
    nearest = rows.nth(1).get_by_role("button", name=re.compile("^Play"))
    for left, focused in ((1, nearest), (0, page.get_by_role("heading", name="Recordings", exact=True))):
        label = focused.get_attribute("aria-label") if left else None
        rows.first.get_by_role("button", name=re.compile("^Delete")).focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        expect(rows).to_have_count(left)
        expect(page.get_by_role("button", name=label, exact=True) if label else focused).to_be_focused()


@pytest.mark.usefixtures("voice")
def test_a_name_that_is_taken_opens_what_is_there(open_window: Open) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets")
    page.get_by_role("button", name="New dataset").click()
    field = page.get_by_label("Name")
    field.fill("never-there")
    expect(page.get_by_role("button", name="Continue", exact=True)).to_be_enabled()
    field.fill("ready")
    expect(field).to_have_accessible_description("ready exists already: the button opens it.")
    page.get_by_role("button", name="Open it").click()
    page.wait_for_url("**/datasets/ready")


def test_the_same_file_twice_is_stored_once(open_window: Open, stack: Stack, tmp_path: Path) -> None:
    window = open_window()
    path = tone(tmp_path / "twice.wav", 440)
    window.go("/datasets/twice")
    window.page.locator(".drop input").set_input_files(path)
    window.page.locator(".drop input").set_input_files(path)
    expect(window.page.locator(".incoming li", has_text="Stored")).to_have_count(2)
    assert len(sources(stack, "datasets/twice")) == 1


def test_a_reload_while_sending_leaves_nothing_half_and_the_files_can_be_chosen_again(
    open_window: Open, stack: Stack, tmp_path: Path
) -> None:
    window = open_window()
    page = window.page
    window.allowed = [r"ERR_", r"net::"]
    long = tmp_path / "long.wav"
    soundfile.write(long, np.random.default_rng(1).normal(0, 0.1, 22050 * 200), 22050)
    short = tone(tmp_path / "short.wav", 500)
    window.go("/datasets/cut_off")
    session = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": 400_000})
    page.locator(".drop input").set_input_files([long, short])
    progress = page.get_by_role("progressbar", name="Progress of long.wav")
    expect(progress).not_to_have_attribute("aria-valuenow", "0")
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    session.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    note = page.get_by_role("status").filter(has_text="before 2 files were sent")
    expect(note).to_be_visible()
    assert window.barriers() == []
    window.shot("cut-off")
    assert sources(stack, "datasets/cut_off") == []
    assert not list((stack.data_dir / "objects" / "datasets").glob("cut_off/**/*.wav"))

    # another file of the same name is another file
    other = tmp_path / "other"
    other.mkdir()
    tone(other / "short.wav", 900, 0.7)
    for chosen, left in (([other / "short.wav"], 2), ([long, short], 0)):
        with page.expect_file_chooser() as chooser:
            note.get_by_role("button", name="Choose again").click()
        chooser.value.set_files(chosen)
        expect(page.locator(".incoming li", has_text="Not sent")).to_have_count(left)
    expect(note).to_have_count(0)
    expect(page.locator(".incoming li", has_text="Stored")).to_have_count(3, timeout=LONG)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator(".incoming")).to_have_count(0)
    with wave.open(str(next((stack.data_dir / "objects" / "datasets" / "cut_off" / "raw").glob("long*.wav")))) as stored:
        assert stored.getnframes() == 22050 * 200


def test_what_was_cut_off_can_be_forgotten(open_window: Open, tmp_path: Path) -> None:
    window = open_window()
    page = window.page
    window.allowed = [r"ERR_", r"net::"]
    page.route("**/training/dataset/upload", lambda _: None)
    window.go("/datasets/forgotten")
    page.locator(".drop input").set_input_files(tone(tmp_path / "one.wav", 440))
    expect(page.locator(".incoming li")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.get_by_role("button", name="Forget them").click()
    expect(page.locator(".incoming")).to_have_count(0)
    page.reload()
    expect(page.get_by_text("No recordings yet")).to_be_visible()
    expect(page.locator(".incoming")).to_have_count(0)


@pytest.mark.usefixtures("stack")
def test_a_download_that_failed_can_be_removed(open_window: Open, media: str) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets/unfetched")
    row = page.locator(".incoming li", has_text="nowhere.wav")
    for _ in range(2):  # one that fails anew stands for the one before
        page.get_by_label("Addresses of videos").fill(f"{media}/nowhere.wav")
        with page.expect_response(lambda one: one.url.endswith("/training/dataset/download") and one.ok):
            page.get_by_role("button", name="Download", exact=True).click()
        expect(page.get_by_label("Addresses of videos")).to_have_value("")
        expect(row.get_by_role("alert")).to_be_visible(timeout=LONG)
        expect(row).to_have_count(1)
    row.get_by_role("button", name="Remove").click()
    expect(page.locator(".incoming")).to_have_count(0)
    page.get_by_role("link", name="Review", exact=True).click()
    page.get_by_role("link", name="Recordings", exact=True).click()
    expect(page.get_by_text("No recordings yet")).to_be_visible()
    with page.expect_response(lambda one: "/training/jobs" in one.url):
        page.reload()
    expect(page.get_by_text("No recordings yet")).to_be_visible()
    expect(page.locator(".incoming")).to_have_count(0)


def test_lengths_are_rounded_before_they_are_split(open_window: Open, stack: Stack, tmp_path: Path) -> None:
    window = open_window()
    page = window.page
    window.go("/datasets/minutes")
    lengths = {"under-one.wav": 59.7, "under-two.wav": 119.8}
    page.locator(".drop input").set_input_files([tone(tmp_path / name, 440, seconds) for name, seconds in lengths.items()])
    for name, shown in (("under-one", "1:00"), ("under-two", "2:00")):
        expect(page.locator("tbody tr", has_text=name).locator("td").nth(1)).to_have_text(shown, timeout=LONG)


def test_a_link_that_is_refused_says_so_once_and_in_its_place(open_window: Open) -> None:
    window = open_window()
    page = window.page
    window.allowed = [r"400"]
    window.go("/datasets/odd")
    page.get_by_label("Addresses of videos").fill("https://www.youtube.com/playlist?list=PL0123456789")
    page.get_by_role("button", name="Download", exact=True).dblclick()
    expect(page.locator(".refused")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_text(re.compile(r"\.$"))
    link, form = page.locator(".refused .truncate").bounding_box(), page.locator(".refused").bounding_box()
    assert link
    assert form
    assert link["x"] + link["width"] <= form["x"] + form["width"]
    window.shot("refused")


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080), (390, 844)])
@pytest.mark.usefixtures("voice")
def test_the_defaults_stand_beside_the_title(open_window: Open, size: tuple[int, int]) -> None:
    window = open_window(viewport={"width": size[0], "height": size[1]})
    page = window.page
    window.go("/datasets/ready/segment")
    defaults = page.get_by_role("button", name="Defaults").bounding_box()
    title = page.get_by_role("heading", name="Segmentation").bounding_box()
    assert defaults
    assert title
    assert abs(defaults["y"] + defaults["height"] / 2 - title["y"] - title["height"] / 2) < 12
    page.get_by_label("Shortest segment").fill("5")
    page.get_by_role("button", name="Defaults").click()
    expect(page.get_by_label("Shortest segment")).to_have_value("7")
    assert window.overflow() == 0
    window.shot(f"segment-{size[0]}")
