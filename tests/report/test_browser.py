"""The pages in a real browser: drawn, scrolled, windowed, clicked, typed to, and judged by axe-core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from page_visit import Visit
from vertecast.report import outputs
from vertecast.report.figures import pictures
from vertecast.report.html import index, page
from vertecast.report.summary import RunSummary, StudyRun


@pytest.fixture(scope="module")
def report_path(case, tmp_path_factory) -> Path:
    shown = pictures.render_pictures(case.volume, case.labels, case.report, canal=case.canal)
    scenes = outputs.render_scenes(
        outputs.Sources(volume=case.volume, labels=case.labels, canal=case.canal, vertebrae=case.report.vertebrae),
        case.report,
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.write_page(case.report, shown, scenes), encoding="utf-8")
    return path


@pytest.fixture
def report(browser, report_path) -> Iterator[Visit]:
    visit = Visit(browser, report_path)
    visit.page.wait_for_selector(".stage.live .spine")
    visit.page.locator("#level-L1").scroll_into_view_if_needed()
    visit.page.wait_for_selector("#level-L1 .live")
    yield visit
    assert visit.wrong == []
    assert visit.requests == [report_path.as_uri()]
    visit.page.context.close()


SAGITTAL = "#level-L1 [data-plane=sagittal] canvas"
AXIAL = "#level-L1 [data-plane=axial] canvas"


def test_slices_scroll_by_keys_wheel_and_slider(report) -> None:
    slider = "#level-L1 [data-plane=sagittal] input"
    first = report.drawn(SAGITTAL)
    report.page.locator(SAGITTAL).focus()
    report.page.keyboard.press("ArrowUp")
    second = report.drawn(SAGITTAL)
    assert second != first
    assert report.page.locator("#level-L1 [data-plane=sagittal] output").text_content() == "0.9 mm left"
    report.page.locator(SAGITTAL).click()
    before = report.page.locator(slider).input_value()
    report.page.mouse.wheel(0, 100)
    report.settled()
    assert report.page.locator(slider).input_value() == str(int(before) - 1)
    report.page.locator(slider).focus()
    report.page.keyboard.press("ArrowRight")
    report.settled()
    assert report.page.locator(slider).input_value() == before


def test_planes_are_linked_and_findings_can_be_gone_to(report) -> None:
    before = report.drawn(AXIAL)
    report.page.get_by_role("button", name="L1: leak 0.3 mL into the disc above").last.click()
    assert report.drawn(AXIAL) != before
    assert "above" in (report.page.locator("#level-L1 [data-plane=axial] output").text_content() or "")


def test_windows_marks_and_zoom(report) -> None:
    level = report.page.locator("#level-L1")
    seen = [report.drawn(SAGITTAL)]
    level.get_by_role("button", name="Soft tissue").click()
    seen.append(report.drawn(SAGITTAL))
    assert level.get_by_role("button", name="Soft tissue").get_attribute("aria-pressed") == "true"
    level.get_by_label("all marks").uncheck()
    seen.append(report.drawn(SAGITTAL))
    level.get_by_label("all marks").check()
    level.get_by_label("cement", exact=True).uncheck()
    seen.append(report.drawn(SAGITTAL))
    level.get_by_role("button", name="Zoom in").click()
    seen.append(report.drawn(SAGITTAL))
    assert len(set(seen)) == len(seen)
    level.get_by_label("cement", exact=True).check()
    level.get_by_role("button", name="Reset").click()
    assert report.drawn(SAGITTAL) == seen[0]


def test_dragging_changes_the_window(report) -> None:
    box = report.page.locator(SAGITTAL).bounding_box()
    assert box is not None
    report.page.mouse.move(box["x"] + 100, box["y"] + 100)
    report.page.mouse.down(button="right")
    report.page.mouse.move(box["x"] + 160, box["y"] + 100, steps=3)
    report.page.mouse.up(button="right")
    report.settled()
    assert int(report.page.locator("#level-L1 [data-set=width]").input_value()) > 1500


def test_light_and_dark(report) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = report.page.evaluate(ground)
    report.page.locator("[data-theme-switch]").click()
    assert report.page.evaluate(ground) != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(browser, report_path, scheme: str) -> None:
    visit = Visit(browser, report_path, color_scheme=scheme)
    visit.page.wait_for_selector(".live")
    found = Axe().run(visit.page)
    assert found.violations_count == 0, found.generate_report()


def test_without_scripts_and_on_paper_the_pictures_stay(browser, report_path) -> None:
    plain = Visit(browser, report_path, java_script_enabled=False)
    assert plain.page.locator(".static img").first.is_visible()
    assert not plain.page.locator(".viewer").first.is_visible()
    printed = Visit(browser, report_path)
    printed.page.wait_for_selector(".live")
    assert not printed.page.locator(".static img").first.is_visible()
    printed.page.emulate_media(media="print")
    assert printed.page.locator(".static img").first.is_visible()
    assert not printed.page.locator(".viewer").first.is_visible()


def test_the_index_sorts_and_filters(browser, case, tmp_path: Path) -> None:
    sound = replace(
        case.report,
        vertebrae=tuple(v for v in case.report.vertebrae if v.level not in ("L1", "T11")),
        leaks=(),
        cement=(),
    )
    runs = (
        StudyRun(study_instance_uid="1.1", directory="a", status="analyzed", timing_s={"read": 9.0}, report=sound),
        StudyRun(study_instance_uid="1.2", directory="b", status="failed", reason="slices are missing"),
        StudyRun(
            study_instance_uid="1.3", directory="c", status="analyzed", timing_s={"read": 2.0}, report=case.report
        ),
    )
    path = tmp_path / "index.html"
    path.write_text(index.write_index(RunSummary(studies=runs, started="2020-01-01")), encoding="utf-8")
    visit = Visit(browser, path)
    rows = visit.page.locator("#studies tbody tr:visible th")

    def order() -> list[str]:
        return [text.strip() for text in rows.all_text_contents()]

    assert order() == ["1.2", "1.3", "1.1"]
    visit.page.get_by_role("button", name="Time").click()
    assert order() == ["1.2", "1.3", "1.1"]
    visit.page.get_by_role("button", name="Time").press("Enter")
    assert order() == ["1.1", "1.3", "1.2"]
    assert visit.page.locator("th[aria-sort=descending]").text_content() == "Time"
    visit.page.get_by_label("Finding").select_option("fracture")
    assert order() == ["1.3"]
    visit.page.get_by_label("Finding").select_option("")
    visit.page.get_by_label("Find", exact=True).fill("slices missing")
    assert order() == ["1.2"]
    assert visit.page.locator("#told").text_content() == "1 of 3 shown"
    assert Axe().run(visit.page).violations_count == 0
    assert visit.wrong == []
    assert visit.requests == [path.as_uri()]
