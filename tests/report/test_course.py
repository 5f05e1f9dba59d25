"""Heights and cement over three studies, drawn."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from vertecast.core.results import NotMeasured, Quantity, StudyReport, TimelineLevel, TimelineStudy
from vertecast.report.html import course
from vertecast.report.html.page import write_page

CUT = NotMeasured(reason="cut by the edge of the image")


def quantity(value: float, unit: str = "mm") -> Quantity:
    return Quantity(value=value, unit=unit, interval95=(value - 1.0, value + 1.0))


def level(name: str, anterior: float | None, cement_ml: float | None = None, middle: float = 19.0) -> TimelineLevel:
    return TimelineLevel(
        level=name,
        treated=cement_ml is not None,
        heights={
            "anterior": CUT if anterior is None else quantity(anterior),
            "middle": quantity(middle),
            "posterior": quantity(24.0),
        },
        wedge_angle=CUT,
        genant_grade=1,
        cement_volume=None if cement_ml is None else quantity(cement_ml, "mL"),
    )


def studies(*levels: tuple[TimelineLevel, ...]) -> tuple[TimelineStudy, ...]:
    days: tuple[int | NotMeasured, ...] = (0, 8, NotMeasured(reason="a study without a date"), 400)
    phases = ("pre", "post", "post", "post")
    return tuple(
        TimelineStudy(study_instance_uid=f"1.{n}", days=days[n], phase=phases[n], modality="ct", levels=found)
        for n, found in enumerate(levels)
    )


@pytest.fixture
def report(case) -> StudyReport:
    timeline = studies(
        (level("L1", 16.0), level("L4", 25.0)),
        (level("L1", 20.0, 4.0), level("L4", 25.0)),
        (level("L1", 18.0, 3.0),),
    )
    return replace(case.report, timeline=timeline)


def test_heights_and_cement_stand_where_they_belong(report: StudyReport) -> None:
    first, second = course.plot_course(report)
    assert (first.level, second.level) == ("L1", "L4")
    assert [tick.text for tick in first.studies] == ["day 0", "day 8", "study 3"]
    assert [tick.text for tick in first.phases] == ["pre", "post", "post"]
    anterior = next(line for line in first.lines if line.place == "anterior")
    low, high = first.values[0], first.values[-1]

    def mm(at: float) -> float:
        per_unit = (float(high.text) - float(low.text)) / (low.at - high.at)
        return float(low.text) + (low.at - at) * per_unit

    assert [mm(point.y) for point in anterior.points] == pytest.approx([16.0, 20.0, 18.0], abs=0.05)
    assert [(mm(p.low), mm(p.high)) for p in anterior.points][1] == pytest.approx((19.0, 21.0), abs=0.05)
    assert [point.x for point in anterior.points] == [tick.at for tick in first.studies]
    assert len(anterior.paths) == 1
    assert [bar.text for bar in first.bars] == ["4.0 mL", "3.0 mL"]
    heights = [course.CEMENT_BOTTOM - bar.top for bar in first.bars]
    assert heights[1] / heights[0] == pytest.approx(0.75, abs=0.01)
    assert second.bars == ()
    assert second.values == first.values
    assert first.sentence == (
        "L1: anterior height day 0 16.0 mm, day 8 20.0 mm, study 3 18.0 mm; middle height day 0 19.0 mm, "
        "day 8 19.0 mm, study 3 19.0 mm; posterior height day 0 24.0 mm, day 8 24.0 mm, study 3 24.0 mm; "
        "cement day 8 4.0 mL, study 3 3.0 mL."
    )


def test_a_study_without_the_height_breaks_the_line(report: StudyReport) -> None:
    timeline = studies((level("L1", 16.0),), (level("L1", 17.0),), (level("L1", None),), (level("L1", 18.0),))
    (panel,) = course.plot_course(replace(report, timeline=timeline))
    anterior = panel.lines[0]
    assert len(anterior.points) == 3
    assert [path.count(",") for path in anterior.paths] == [2, 1]
    assert panel.bars == ()
    assert panel.height < course.HEIGHT[True]


def test_names_of_near_lines_stand_apart(report: StudyReport) -> None:
    timeline = studies(*[(level("L1", 19.1, middle=19.0),)] * 3)
    (panel,) = course.plot_course(replace(report, timeline=timeline))
    names = sorted(line.name_at for line in panel.lines)
    assert names[1] - names[0] >= course.NAME_GAP
    assert {line.place for line in panel.lines} == {"anterior", "middle", "posterior"}


def test_a_level_seen_once_is_not_drawn(report: StudyReport) -> None:
    timeline = studies((level("L1", 16.0),), (level("L1", 17.0),), (level("L1", 18.0), level("L5", 22.0)))
    assert [panel.level for panel in course.plot_course(replace(report, timeline=timeline))] == ["L1"]


def test_without_a_timeline_nothing_is_drawn(report: StudyReport) -> None:
    plain = replace(report, timeline=())
    assert course.plot_course(plain) == ()
    assert '<svg class="course"' not in write_page(plain, {})


def test_the_page_holds_a_drawing_per_level(report: StudyReport) -> None:
    page = write_page(report, {})
    assert len(re.findall(r'<svg class="course"', page)) == 2
    assert 'aria-labelledby="course-1"' in page
    assert "not to the scale of time" in page
