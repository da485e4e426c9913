"""How fast is the web page? Size and load time of its first view; frame times while scrolling 10,000 segments.

The page is opened many times in a browser without a cache, by turns with an answer of the same server that loads nothing (the
floor): from the beginning of the navigation to when it can be used, which is when its cards are there. Then the review table
of 10,000 segments is scrolled by so many pixels a frame, beside the same rows in one plain table that is wholly in the
document, in the same browser. Times between frames are the browser's own (requestAnimationFrame).

It needs chromium (Debian's package) and starts a stack of its own with the tiny models.
"""

from __future__ import annotations

import gzip
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from tests.webui.browser import CHROMIUM, launch, window
from tests.webui.large import COUNT, write_large_dataset
from timbre.demo.stack import running_stack

ROUNDS = 9
FRAMES = 300
WHEEL_PIXELS = 400

# Scrolls an element by so many pixels a frame, and returns the times between frames, in milliseconds.
_SCROLL = """
async ([selector, frames, pixels]) => {
  const element = selector === "document" ? document.scrollingElement : document.querySelector(selector);
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let frame = 0; frame < frames; frame++) {
    element.scrollTop += pixels;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}
"""

# The same rows in one table, as a page without virtualisation would have them.
_PLAIN_TABLE = """
async (folder) => {
  const rows = [];
  while (true) {
    const answer = await fetch(`/training/dataset/segments?folder=${folder}&limit=2500&offset=${rows.length}`);
    const page = await answer.json();
    rows.push(...page.segments);
    if (!page.segments.length || rows.length >= page.total) break;
  }
  const began = performance.now();
  const table = document.createElement("table");
  for (const row of rows) {
    const tr = table.insertRow();
    const cells = [row.id, row.transcript, row.normalised, row.duration_s, row.confidence, row.loudness, row.flags.join(" ")];
    for (const cell of cells) tr.insertCell().textContent = cell;
    const button = document.createElement("button");
    button.textContent = "x";
    tr.insertCell().append(button);
  }
  document.body.replaceChildren(table);
  await new Promise(requestAnimationFrame);
  return performance.now() - began;
}
"""


def first_view(url: str) -> tuple[int, int, int]:
    """Returns the compressed bytes of script and of style that the first view loads, and the number of files."""
    page = httpx.get(f"{url}/webui").text
    paths = re.findall(r'(?:src|href)="(/webui/assets/[^"]+)"', page)
    sizes = {}
    for path in paths:
        with httpx.stream("GET", url + path, headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join(answer.iter_raw())
        gzip.decompress(raw)  # it is what it says
        sizes[path] = len(raw)
    script = sum(size for path, size in sizes.items() if path.endswith(".js"))
    style = sum(size for path, size in sizes.items() if path.endswith(".css"))
    return script, style, len(sizes)


def load_times(browser: Browser, url: str) -> tuple[list[float], list[float]]:
    """Returns milliseconds from navigation to usable, of the page and of the plain one, by turns."""
    ours, floor = [], []
    for _ in range(ROUNDS):
        with window(browser, url) as opened:
            opened.page.goto(f"{url}/webui", wait_until="commit")
            opened.page.locator(".voice-card").first.wait_for()
            ours.append(opened.page.evaluate("performance.now()"))
        with window(browser, url) as opened:
            opened.page.goto(f"{url}/healthz")
            floor.append(opened.page.evaluate("performance.now()"))
    return ours, floor


def scroll(page: Page, selector: str) -> list[float]:
    """Scrolls, and returns the times between frames."""
    times: list[float] = page.evaluate(_SCROLL, [selector, FRAMES, WHEEL_PIXELS])
    return times


def summary(name: str, times: list[float]) -> str:
    """Returns a line with the median, the 95th percentile and the longest."""
    ordered = sorted(times)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    dropped = sum(one > 25 for one in times) / len(times)
    return (
        f"  {name:<28} median {statistics.median(times):6.1f} ms   p95 {p95:6.1f} ms   longest {ordered[-1]:6.1f} ms   "
        f"over 25 ms: {100 * dropped:.1f} %"
    )


def measure(url: str, browser: Browser) -> None:
    """Prints the figures."""
    script, style, files = first_view(url)
    print(f"First view, gzip, {files} files: {script / 1000:.1f} kB of script (bound: 300 kB), {style / 1000:.1f} kB of style")

    ours, floor = load_times(browser, url)
    print(f"Navigation to usable, median of {ROUNDS}, empty cache:")
    print(f"  the page        {statistics.median(ours):7.0f} ms   (slowest {max(ours):.0f} ms; bound: 1000 ms)")
    times = statistics.median(ours) / statistics.median(floor)
    print(f"  an empty answer {statistics.median(floor):7.0f} ms   the page takes {times:.1f} times as long")

    print(f"Scrolling {COUNT:,} segments, {FRAMES} frames of {WHEEL_PIXELS} px each:")
    with window(browser, url) as opened:
        opened.page.goto(f"{url}/webui/datasets/large/review", wait_until="commit")
        opened.page.locator(".segment-scroll [role=row]").first.wait_for()
        shown = opened.page.evaluate("performance.now()")
        opened.page.wait_for_timeout(1000)
        virtual = scroll(opened.page, ".segment-scroll")
    with window(browser, url) as opened:
        opened.page.goto(f"{url}/webui/sign-in")
        built: float = opened.page.evaluate(_PLAIN_TABLE, "datasets/large")
        opened.page.wait_for_timeout(1000)
        plain = scroll(opened.page, "document")
    print(summary("the review table", virtual))
    print(summary("all rows in one table", plain))
    print(f"  first rows of the review table after {shown:.0f} ms; the plain table takes {built:.0f} ms to build from its data")
    ratio = statistics.median(virtual) / statistics.median(plain)
    print(f"  a frame takes {ratio:.2f} times what it takes with the plain table")


def main() -> None:
    """Starts what is measured, and measures it."""
    if CHROMIUM is None:
        raise SystemExit("There is no chromium on PATH: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_large_dataset(data / "objects" / "datasets" / "large")
        environment: dict[str, Any] = {"TIMBRE_BASE_MODEL": "tiny", "TIMBRE_WHISPER_MODEL": "tiny-demo"}
        with running_stack(data, Path(folder) / "log", environment) as url, sync_playwright() as playwright:
            browser = launch(playwright)
            measure(url, browser)
            browser.close()


if __name__ == "__main__":
    main()
