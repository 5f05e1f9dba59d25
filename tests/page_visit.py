"""A page opened in Chromium."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page


class Visit:
    """An open page that keeps what must not happen: errors and requests for anything but the page's own files."""

    def __init__(self, browser: Browser, path: Path, **options: object) -> None:
        self.page: Page = browser.new_context(viewport={"width": 1400, "height": 900}, **options).new_page()
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def settled(self) -> None:
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def drawn(self, selector: str) -> str:
        """The pixels of a canvas."""
        self.settled()
        return str(self.page.locator(selector).evaluate("canvas => canvas.toDataURL()"))
