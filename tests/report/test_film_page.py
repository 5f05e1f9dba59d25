"""The page of films and cines: growth, filmstrip, AP heights, areas, and what the modality misses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from page_checker import Checker
from phantoms.film_case import UID
from vertecast.core.report_json import from_document
from vertecast.core.results import CineFinding, GrowthPoint, NotMeasured, Quantity
from vertecast.core.study_result import StudyResult
from vertecast.report import wording
from vertecast.report.figures.filmstrip import render_strips
from vertecast.report.html import film_tables, growth, page
from vertecast.report.outputs import write_study

NONE = NotMeasured(reason="no cement seen in 40 frames")


def test_the_page_of_films_is_whole_and_needs_nothing_else(film_case: StudyResult, tmp_path: Path) -> None:
    study = StudyResult(report=film_case.report, films=film_case.films)
    written = write_study(study, tmp_path / "x")
    numbers = [frame.frame_number for frame in study.strips[0].frames]
    assert 5 <= len(numbers) <= 8
    assert {f"images/cine_1_frame_{number}.png" for number in numbers} <= set(written)
    text = (tmp_path / "x" / "report.html").read_text(encoding="utf-8")
    checked = Checker(text)
    assert len(checked.ids) == len(set(checked.ids))
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in checked.links)
    assert {link[1:] for link in checked.links if link.startswith("#")} <= set(checked.ids)
    assert not re.search(r"url\(|@import|<script[^>]*src|https?://", text)
    for number in numbers:
        assert f"Frame {number} ({(number - 1) / 7.5:.1f} s)" in text
    assert text.count("First suspected leak, ") == 1


def test_what_films_miss_stands_on_the_page_and_in_the_document(film_case: StudyResult, tmp_path: Path) -> None:
    write_study(StudyResult(report=film_case.report, films=film_case.films), tmp_path / "x")
    content = json.loads((tmp_path / "x" / "report.json").read_text(encoding="utf-8"))
    assert from_document(content) == film_case.report
    text = (tmp_path / "x" / "report.html").read_text(encoding="utf-8")
    for figures in (
        "fluoroscopy shows 75 %",
        "21 % of the epidural",
        "radiographs show 82 %",
        "42 % of the epidural",
        "2 of 28",
    ):
        assert figures in " ".join(content["limits"])
        assert figures in text
    sound = replace(film_case.report, leaks=())
    assert any("That is not no leak" in line for line in wording.summary(sound))
    assert not any("not no leak" in line for line in wording.summary(film_case.report))
    assert "That is not no leak" in page.write_page(replace(sound, vertebrae=()), {})
    untreated = replace(sound, cement=())
    assert not any("leak" in line for line in wording.summary(untreated)), "without cement nothing leaks"


def test_a_vertebra_in_two_views_is_one(film_case: StudyResult) -> None:
    lateral = [v for v in film_case.report.vertebrae if "left" not in v.heights]
    assert 0 < len(lateral) < len(film_case.report.vertebrae)
    assert f" {len(lateral)} vertebrae" in wording.summary(film_case.report)[0]


def test_ap_heights_are_ratios_where_mm_do_not_hold(film_case: StudyResult) -> None:
    table = film_tables.ap_table(film_case.report)
    names = [row[0].text for row in table.rows]
    assert names == ["L1 (series 2)", "L2 (series 2), treated", "L3 (series 2)", "L4 (series 2)"]
    rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert {row["Left"].text for row in rows} == {"–"}
    assert [row["Left / right"].text for row in rows] == ["1.00", "0.85", "1.00", "–"]
    assert rows[1]["Middle / sides"].text == "1.04"
    assert "no size of a pixel" in table.notes[rows[0]["Left"].note - 1]  # type: ignore[operator]
    assert "cut by the edge" in table.notes[rows[3]["Coronal tilt"].note - 1]  # type: ignore[operator]
    tilts = {angle.name: angle.angle for angle in film_case.report.angles if "tilt" in angle.name}
    assert rows[1]["Coronal tilt"].text == wording.quantity(tilts["coronal tilt L2"])  # type: ignore[arg-type]


def test_the_tilts_of_two_films_are_told_apart(film_case: StudyResult) -> None:
    """The second film measures all of its bodies, the first one only two."""
    first = [v for v in film_case.report.vertebrae if v.series_instance_uid == f"{UID}.2"]
    points = first[0].six_points_px
    blind = [replace(v, six_points_px=NONE) for v in first[:1]] + first[1:]
    second = [replace(v, series_instance_uid=f"{UID}.9", six_points_px=points) for v in first]
    angle = next(angle for angle in film_case.report.angles if "tilt" in angle.name)
    tilts = [
        (2, "L2", 1.0), (2, "L3", 2.0), (9, "L1", 3.0), (9, "L2", 4.0), (9, "L3", 5.0), (9, "L4", 6.0)
    ]  # fmt: skip
    angles = tuple(
        replace(
            angle, series_instance_uid=f"{UID}.{n}", name=f"coronal tilt {level}",
            angle=Quantity(value=value, unit="deg"),
        )
        for n, level, value in tilts
    )  # fmt: skip
    report = replace(film_case.report, vertebrae=(*blind, *second), angles=angles)
    column = film_tables.ap_table(report).header.index("Coronal tilt")
    shown = [row[column].text for row in film_tables.ap_table(report).rows]
    assert shown == ["–", "1.0°", "2.0°", "–", "3.0°", "4.0°", "5.0°", "6.0°"]


def test_angles_name_their_view_and_films_their_areas(film_case: StudyResult) -> None:
    rows = [[cell.text for cell in row] for row in film_tables.angle_table(film_case.report).rows]
    assert {row[1] for row in rows if row[0] == "largest Cobb angle"} == {"2, AP"}
    assert {row[1] for row in rows if row[0] != "largest Cobb angle"} <= {"1, lateral", "3, lateral"}
    assert not any("tilt" in row[0] for row in rows)
    cement = film_tables.film_cement_table(film_case.report)
    assert [row[1].text for row in cement.rows] == ["1, lateral", "2, AP", "3, lateral"]
    assert "mm²" in cement.rows[0][2].text
    assert (cement.rows[1][2].text, cement.rows[1][3].text[-1]) == ("–", "%")
    assert film_tables.film_leak_table(film_case.report).rows
    text = page.write_page(film_case.report, {})
    assert "Hounsfield" not in text, "columns of a CT have no place on the page of a film"
    assert "posterior elements" not in text, "nor have its colours"


def finding(values: list[float | None], *, rate: float | None = 4.0, unit: str = "mm2", leak: int = 0) -> CineFinding:
    missing = NotMeasured(reason="the frame is blank")
    return CineFinding(
        series_instance_uid=UID,
        frame_rate=NotMeasured(reason="the file gives no time of its frames") if rate is None else rate,
        first_cement_frame=next((n for n, v in enumerate(values, start=1) if v), NONE),
        growth=tuple(
            GrowthPoint(frame_number=n, area=missing if v is None else Quantity(value=v, unit=unit))
            for n, v in enumerate(values, start=1)
        ),
        first_suspected_leak_frame=leak or NONE,
    )


def test_the_curve_is_drawn_at_its_frames_and_breaks_where_a_frame_is_missing() -> None:
    plot = growth.plot_growth(finding([0, 0, 50, None, None, 100, 120, None, 200], leak=6))
    assert plot is not None
    wide = (growth.RIGHT - growth.LEFT) / 8
    starts = [float(re.match(r"M([\d.]+),", line)[1]) for line in plot.lines]  # type: ignore[index]
    assert starts == pytest.approx([growth.LEFT, growth.LEFT + 5 * wide, growth.RIGHT], abs=0.1)
    gaps = [place for gap in plot.gaps for place in gap]
    assert gaps == pytest.approx([growth.LEFT + 2.5 * wide, 2 * wide, growth.LEFT + 6.5 * wide, wide], abs=0.2)
    assert plot.lines[2].endswith(f",{growth.TOP} h0"), "the largest value is the top of the axis"
    assert [tick.text for tick in plot.values] == ["0", "50", "100", "150", "200"]
    assert [tick.text for tick in plot.seconds] == ["0", "0.5", "1", "1.5", "2"]
    assert plot.seconds[2].at == pytest.approx(growth.LEFT + 4 * wide, abs=0.1)
    assert [(mark.kind, mark.text) for mark in plot.marks] == [
        ("cement", "first cement: frame 3 (0.5 s)"),
        ("leak", "first suspected leak: frame 6 (1.2 s)"),
    ]
    assert plot.sentence == (
        "9 frames looked at; first cement in frame 3 (0.5 s); most in frame 9 (2.0 s): 200 mm²; first suspected leak "
        "in frame 6 (1.2 s); 3 frames without a value: the frame is blank."
    )


def test_shares_and_unknown_times_are_named_as_such() -> None:
    plot = growth.plot_growth(finding([0.0, 0.1, 0.31], rate=None, unit="1"))
    assert plot is not None
    assert plot.seconds == ()
    assert plot.axis == "Cement, % of a body's area"
    assert "most in frame 3: 31 % of a body's area" in plot.sentence


@pytest.mark.parametrize("values", [[0.0] * 3, [None] * 3, [0.0, None], [1e-6, 2e5], [3.0] * 2000])
def test_any_course_can_be_drawn(values: list[float | None], film_case: StudyResult) -> None:
    cine = finding(values)
    plot = growth.plot_growth(cine)
    assert plot is not None
    assert 2 <= len(plot.values) <= 12
    assert 2 <= len(plot.frames) <= 12
    Checker(page.write_page(replace(film_case.report, cine=cine), {}))


def test_one_frame_has_no_curve() -> None:
    assert growth.plot_growth(finding([1.0])) is None


def test_each_cine_has_its_own_strip(film_case: StudyResult) -> None:
    """Both planes of a biplane system share a series; the strip belongs to the cine it was made from."""
    other = finding([0.0, 0.0])
    report = replace(film_case.report, cine=other, further_cines=(film_case.strips[0].cine,))
    names = set(render_strips(film_case.strips, report.cines))
    assert names
    assert all(name.startswith("cine_2_frame_") for name in names)
