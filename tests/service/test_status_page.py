"""The status page in a real browser: read, followed, driven by keyboard, and judged by axe-core."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from page_checker import Checker
from services import UID, Face, face
from vertecast.service.queue import State

TOKEN = "0123456789 a long token"
DONE = "1.2.826.0.1.3680043.10.2"
NASTY = "<script>document.title='taken'</script> & \"slices\" are missing"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Face]:
    """One study that failed, one whose results an archive refuses for the moment."""
    with face(tmp_path) as found:
        for uid in (UID, DONE):
            found.queue.received(uid, f"{uid}.1", size_bytes=10, modified_ns=1)
            found.queue.notice(uid)
        while (study := found.queue.claim()) is not None:
            if study.study_instance_uid == UID:
                found.queue.failed(study, NASTY)
            else:
                found.queue.analyzed(study, ["orthanc", "pacs"], [])
        (found.options.results / DONE).mkdir(parents=True)
        (found.options.results / DONE / "report.html").write_text("<!DOCTYPE html><title>L1</title>")
        waiting = found.queue.study(DONE)
        assert waiting is not None
        found.queue.archives.delivered(waiting, "orthanc")
        found.queue.archives.refused(waiting, "pacs", "A700: out of resources")
        yield found


class Visit:
    """An open page that keeps what must not happen: errors, and requests to anyone else."""

    def __init__(self, browser: Browser, found: Face, **options: object) -> None:
        self.page: Page = browser.new_context(viewport={"width": 1400, "height": 900}, **options).new_page()
        self.wrong: list[str] = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self._look(request.url, found.client.url))
        self.page.goto(found.client.url)

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _look(self, url: str, expected: str) -> None:
        if not url.startswith(expected):
            self.wrong.append(url)

    def close(self) -> None:
        assert self.wrong == []
        self.page.context.close()


def test_the_page_tells_what_is_there(browser: Browser, served: Face) -> None:
    Checker(served.client.ask("/").text)
    visit = Visit(browser, served)
    assert visit.page.title() == "Vertecast service: 1 failed"
    assert visit.page.locator("#state-failed").text_content() == "1 failed"
    row = visit.page.get_by_role("row").filter(has_text=UID)
    assert NASTY in row.inner_text()
    row = visit.page.get_by_role("row").filter(has_text=DONE)
    assert "orthanc: delivered" in row.inner_text()
    assert "pacs: waiting: A700: out of resources" in row.inner_text()
    visit.page.get_by_role("link", name=f"Report of study {DONE}").click()
    expect(visit.page).to_have_title("L1")
    visit.page.go_back()
    visit.page.locator("#state-analyzed").click()
    assert visit.page.get_by_role("row").count() == 2
    assert "an archive has not taken them yet" in visit.page.locator("main").inner_text()
    visit.close()


def test_a_failed_study_is_started_again_by_keyboard(browser: Browser, served: Face) -> None:
    visit = Visit(browser, served)
    visit.page.get_by_role("button", name="Pause").click()
    button = visit.page.get_by_role("button", name=f"Try study {UID} again")
    for _ in range(40):
        if button.evaluate("one => one === document.activeElement"):
            break
        visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    visit.page.locator("#state-ready", has_text="1").wait_for()
    study = served.queue.study(UID)
    assert study is not None
    assert (study.state, study.attempts) == (State.READY, 0)
    visit.close()


def test_the_page_follows_the_service_until_it_is_paused(browser: Browser, served: Face) -> None:
    visit = Visit(browser, served)
    visit.page.locator("#state-receiving").focus()
    served.queue.received("1.2.3", "1.2.3.4", size_bytes=1, modified_ns=1)
    visit.page.get_by_role("row").filter(has_text="1.2.3").first.wait_for()
    assert visit.page.evaluate("document.activeElement.id") == "state-receiving"
    pause = visit.page.get_by_role("button", name="Pause")
    pause.click()
    assert pause.get_attribute("aria-pressed") == "true"
    served.queue.received("4.5.6", "4.5.6.7", size_bytes=1, modified_ns=1)
    visit.page.wait_for_timeout(6000)
    assert visit.page.get_by_text("4.5.6", exact=True).count() == 0
    pause.click()
    visit.page.get_by_text("4.5.6", exact=True).wait_for()
    visit.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(browser: Browser, served: Face, scheme: str) -> None:
    visit = Visit(browser, served, color_scheme=scheme)
    found = Axe().run(visit.page)
    assert found.violations_count == 0, found.generate_report()
    ground = "getComputedStyle(document.body).backgroundColor"
    before = visit.page.evaluate(ground)
    visit.page.locator("[data-theme-switch]").click()
    assert visit.page.evaluate(ground) != before
    visit.close()


def test_without_scripts_it_still_tells_and_retries(browser: Browser, served: Face) -> None:
    visit = Visit(browser, served, java_script_enabled=False)
    assert not visit.page.get_by_role("button", name="Pause").is_visible()
    visit.page.get_by_role("button", name=f"Try study {UID} again").click()
    assert visit.page.locator("#state-failed").text_content() == "0 failed"
    visit.close()


def test_many_studies_are_turned_page_by_page(browser: Browser, tmp_path: Path) -> None:
    with face(tmp_path) as found:
        for number in range(120):
            found.queue.received(f"1.2.{number}", "9", size_bytes=1, modified_ns=1)
        visit = Visit(browser, found)
        seen: list[str] = []
        while True:
            seen += visit.page.locator("tbody th").all_inner_texts()
            if not visit.page.locator("#older").count():
                break
            visit.page.locator("#older").click()
        assert sorted(seen) == sorted(f"1.2.{number}" for number in range(120))
        visit.page.locator("#newer").click()
        assert visit.page.locator("tbody th").count() == 50
        visit.close()


def test_the_token_is_asked_for_once(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_TEST_TOKEN", TOKEN)
    with face(tmp_path, web={"token_env": "WEB_TEST_TOKEN"}) as found:
        visit = Visit(browser, found)
        assert visit.page.url.endswith("/login")
        assert Axe().run(visit.page).violations_count == 0
        visit.page.get_by_label("Token of the service").fill("a wrong one")
        visit.page.keyboard.press("Enter")
        visit.page.get_by_role("alert").wait_for()
        visit.page.get_by_label("Token of the service").fill(TOKEN)
        visit.page.get_by_role("button", name="Sign in").click()
        visit.page.get_by_role("heading", name="Queue").wait_for()
        visit.page.get_by_role("button", name="Sign out").click()
        visit.page.goto(found.client.url)
        assert visit.page.url.endswith("/login")
        visit.close()
