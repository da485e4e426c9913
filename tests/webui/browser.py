"""A real browser on the page: Debian's chromium driven by Playwright, what it complains of, and axe to look for barriers."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, expect

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "artifacts" / "webui"
AXE = ROOT / "gateway" / "webui" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT_MILLISECONDS = 45_000  # the machine may be busy with something else

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
)


@dataclass
class Window:
    """A browser window on the page of a stack.

    Attributes:
        page: What Playwright drives.
        url: Where the stack is.
        complaints: What the browser's console said of errors, exceptions and broken policies.
        allowed: Patterns of complaints that a test brings about on purpose.
    """

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def go(self, path: str = "") -> None:
        """Opens one of the page's addresses, and waits until it shows something."""
        self.page.goto(f"{self.url}/webui{path}")
        self.page.locator("h1").first.wait_for()

    def shot(self, name: str) -> None:
        """Keeps a picture of what is to be seen."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(250)  # for the picture only: colours fade over
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def unexpected(self, since: int = 0) -> list[str]:
        """Returns the complaints that no test asked for, but for so many early ones."""
        return [one for one in self.complaints[since:] if not any(re.search(pattern, one) for pattern in self.allowed)]

    def barriers(self) -> list[str]:
        """Returns what axe calls serious or critical, each with the element it is about."""
        # through the protocol, since the page's policy lets in no script from elsewhere
        if not self.page.evaluate("typeof window.axe !== 'undefined'"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        # it would copy the styles of shadow trees into style elements, which the page's policy refuses
        options = "{resultTypes: ['violations'], preload: false}"
        results: dict[str, Any] = self.page.evaluate(f"axe.run(document, {options})")
        return [
            f"{one['impact']} {one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
            for one in results["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def overflow(self) -> int:
        """Returns by how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def launch(playwright: Playwright) -> Browser:
    """Starts the browser."""
    return playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(_FLAGS))


@contextlib.contextmanager
def window(browser: Browser, url: str, **options: Any) -> Iterator[Window]:
    """Opens a window of its own, without anything that another one keeps."""
    settings: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", "accept_downloads": True}
    context = browser.new_context(**(settings | options))
    context.set_default_timeout(WAIT_MILLISECONDS)
    expect.set_options(timeout=WAIT_MILLISECONDS)
    try:
        yield tab(context, url)
    finally:
        context.close()


def tab(context: BrowserContext, url: str) -> Window:
    """Opens a tab."""
    opened = Window(context.new_page(), url)

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            opened.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    opened.page.on("console", note)
    opened.page.on("pageerror", lambda error: opened.complaints.append(f"exception: {error.message} {error.stack or ''}"[:600]))
    return opened
