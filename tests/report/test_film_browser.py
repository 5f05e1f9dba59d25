"""The films of a page in a real browser: zoomed, moved, windowed, and led to what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator

from page_visit import Visit
from vertecast.core.study_result import StudyResult
from vertecast.report.figures.films import render_films
from vertecast.report.figures.filmstrip import render_strips
from vertecast.report.html import page
from vertecast.report.html.viewer.film_scenes import render_film_scenes

LATERAL, CINE = "[data-scene=film_1]", "[data-scene=film_3]"


@pytest.fixture(scope="module")
def film_path(film_case: StudyResult, tmp_path_factory) -> Path:
    report = film_case.report
    shown = render_films(film_case.films, report) | render_strips(film_case.strips, report.cines)
    path = tmp_path_factory.mktemp("films") / "report.html"
    scenes = render_film_scenes(film_case.films, report)
    path.write_text(page.write_page(report, shown, scenes), encoding="utf-8")
    return path


@pytest.fixture
def films(browser, film_path: Path) -> Iterator[Visit]:
    visit = Visit(browser, film_path)
    for scene in (LATERAL, CINE):
        visit.page.locator(f".stage:has({scene})").scroll_into_view_if_needed()
        visit.page.wait_for_selector(f".live {scene}")
    yield visit
    assert visit.wrong == []
    assert visit.requests == [film_path.as_uri()]
    visit.page.context.close()


def test_the_wheel_zooms_and_the_arrow_keys_move(films) -> None:
    canvas = f"{LATERAL} canvas"
    whole = films.drawn(canvas)
    films.page.locator(canvas).click()
    films.page.mouse.wheel(0, -100)
    zoomed = films.drawn(canvas)
    films.page.keyboard.press("ArrowLeft")
    moved = films.drawn(canvas)
    assert len({whole, zoomed, moved}) == 3
    films.page.keyboard.press("ArrowRight")
    assert films.drawn(canvas) == zoomed
    films.page.keyboard.press("0")
    assert films.drawn(canvas) == whole


def test_dragging_does_what_is_chosen(films) -> None:
    tools = films.page.locator(LATERAL)
    canvas = tools.locator("canvas")
    tools.get_by_role("button", name="Zoom in").click()
    before = films.drawn(f"{LATERAL} canvas")
    width = tools.locator("[data-set=width]").input_value()
    assert tools.locator("[data-drag]:checked").get_attribute("data-drag") == "move"
    _drag(films, canvas)
    assert films.drawn(f"{LATERAL} canvas") != before
    assert tools.locator("[data-set=width]").input_value() == width
    tools.get_by_text("Window", exact=True).last.click()
    _drag(films, canvas)
    films.settled()
    assert tools.locator("[data-set=width]").input_value() != width


def test_a_suspected_leak_can_be_gone_to(films) -> None:
    before = films.drawn(f"{CINE} canvas")
    films.page.locator(CINE).get_by_role("button", name="leak").first.click()
    after = films.drawn(f"{CINE} canvas")
    assert after != before
    films.page.locator(CINE).get_by_role("button", name="Reset").click()
    assert films.drawn(f"{CINE} canvas") == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(browser, film_path, scheme: str) -> None:
    visit = Visit(browser, film_path, color_scheme=scheme)
    visit.page.wait_for_selector(".live")
    found = Axe().run(visit.page)
    assert found.violations_count == 0, found.generate_report()


def _drag(visit: Visit, canvas: Locator) -> None:
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + 100, box["y"] + 100)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 150, box["y"] + 100, steps=3)
    visit.page.mouse.up()
