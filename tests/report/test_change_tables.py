"""What changed between studies: on the page, in sentences, and in report.json and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vertecast.core.report_json import from_document, to_document, validate
from vertecast.core.results import (
    ChangeFinding,
    LevelChange,
    NewFracture,
    NotMeasured,
    Quantity,
    StudyReport,
    TimelineLevel,
    TimelineStudy,
)
from vertecast.report.html import change_tables
from vertecast.report.html.page import write_page

CUT = NotMeasured(reason="earlier study: cut by the edge of the image")


def mm(value: float) -> Quantity:
    return Quantity(value=value, unit="mm", interval95=(value - 0.5, value + 0.5))


@pytest.fixture
def report(case) -> StudyReport:
    """The report of a treated patient."""
    return case.report


@pytest.fixture
def changed(report: StudyReport) -> StudyReport:
    """The same with an earlier study: L1 gained height, L2 broke."""
    treated = LevelChange(
        level="L1",
        registration_error=Quantity(value=0.3, unit="mm"),
        height_gain={"anterior": mm(4.0), "middle": mm(-1.5), "posterior": CUT},
        height_change=Quantity(value=-0.08, unit="1", interval95=(-0.1, -0.06)),
        height_loss_change=Quantity(value=-0.1, unit="1"),
        wedge_change=Quantity(value=-6.2, unit="deg", interval95=(-8.0, -4.4)),
        kyphosis_change=CUT,
        grade_before=2,
        grade_after=1,
        cement_change=Quantity(value=4.1, unit="mL", interval95=(4.0, 4.2)),
    )
    broken = replace(treated, level="L2", grade_before=0, grade_after=2, cement_change=None)
    change = ChangeFinding(
        pre_study="1.2.3",
        days=12,
        modality="ct",
        registration_error=Quantity(value=0.3, unit="mm"),
        levels=(treated, broken),
        new_fractures=(NewFracture(level="L2", grade=2, height_change=Quantity(value=-0.3, unit="1"), adjacent=True),),
    )
    level = TimelineLevel(
        level="L1", treated=True, heights={"anterior": mm(20.0), "middle": mm(19.0), "posterior": CUT},
        wedge_angle=CUT, genant_grade=1, cement_volume=Quantity(value=4.1, unit="mL"),
    )  # fmt: skip
    days: tuple[int | NotMeasured, ...] = (0, 12, NotMeasured(reason="a study without a date"))
    course = tuple(
        TimelineStudy(study_instance_uid=f"1.{n}", days=day, phase="post", modality="ct", levels=(level,))
        for n, day in enumerate(days)
    )
    first = replace(change, pre_study="1.2.4", days=NotMeasured(reason="a study without a date"))
    return replace(report, change=change, further_changes=(first,), timeline=course)


def test_a_change_survives_the_way_through_json(changed: StudyReport) -> None:
    document = to_document(changed)
    validate(document)
    assert document["schema_version"] == "1.5"
    assert document["change"]["levels"][0]["height_gain"]["anterior"]["value"] == 4.0
    assert from_document(document) == changed


def test_the_first_screen_says_what_changed(changed: StudyReport) -> None:
    assert change_tables.change_sentences(changed) == (
        "Since the study 12 days before: new fracture of L2, height −30 %, Genant 2, beside a treated body.",
        "Since the study 12 days before: L1 anterior height +4.0 mm (3.5–4.5), wedge angle −6.2° (−8.0 to −4.4).",
    )


def test_what_may_be_no_change_is_no_news(changed: StudyReport) -> None:
    assert changed.change is not None
    unsure = Quantity(value=2.2, unit="deg", interval95=(-14.6, 19.0))
    gain = {
        place: Quantity(value=0.3, unit="mm", interval95=(-0.8, 1.4)) for place in ("anterior", "middle", "posterior")
    }
    one = replace(changed.change.levels[0], wedge_change=unsure)
    report = replace(changed, change=replace(changed.change, levels=(one,), new_fractures=()))
    (sentence,) = change_tables.change_sentences(report)
    assert sentence == "Since the study 12 days before: L1 anterior height +4.0 mm (3.5–4.5)."
    report = replace(report, change=replace(changed.change, levels=(replace(one, height_gain=gain),), new_fractures=()))
    (sentence,) = change_tables.change_sentences(report)
    assert sentence == "Since the study 12 days before: L1 no measurable change of anterior height and wedge angle."


def test_a_recollapse_is_said_first(changed: StudyReport) -> None:
    assert changed.change is not None
    again = replace(changed.change.levels[0], recollapse=True)
    report = replace(changed, change=replace(changed.change, levels=(again,), new_fractures=()))
    (sentence,) = change_tables.change_sentences(report)
    assert "L1 recollapse, anterior height" in sentence


def test_studies_without_a_common_level_say_so(changed: StudyReport) -> None:
    assert changed.change is not None
    report = replace(changed, change=replace(changed.change, levels=(), new_fractures=()))
    assert len(change_tables.change_sections(report)) == 1
    assert change_tables.change_sentences(report) == (
        "Since the study 12 days before: nothing compared, as no level is named in both studies.",
    )


def test_the_page_shows_each_comparison_and_the_course(changed: StudyReport) -> None:
    page = write_page(changed, {})
    assert "Since the study 12 days before (CT, study 1.2.3)" in page
    assert "Since the study before (CT, study 1.2.4)" in page
    assert "0 → 2" in page
    assert "Course of the levels" in page
    assert "Recollapse" not in page  # no body was treated before: the column is left out
    table = change_tables.timeline_table(changed)
    assert [row[1].text for row in table.rows] == ["0", "12", "–"]


def test_a_first_study_has_no_change(report: StudyReport) -> None:
    assert change_tables.change_sentences(report) == ()
    assert 'id="changes"' not in write_page(report, {})
