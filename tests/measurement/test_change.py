"""What changed between two studies, from findings made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantoms.spine import vertebra_without_numbers
from vertecast.core.images import Mask
from vertecast.core.results import (
    AngleFinding,
    CementFinding,
    ChangeFinding,
    LevelChange,
    Measured,
    NotMeasured,
    Quantity,
    SeriesResult,
    StudyReport,
    VertebraFinding,
)
from vertecast.core.study_result import StudyResult
from vertecast.measurement.change.study import (
    MIXED,
    ONE_FILM,
    Visit,
    compare_studies,
    difference,
    shared_modality,
    timeline,
)
from vertecast.run.jobs import NO_LABELS
from vertecast.study import EarlierStudy, with_changes

UNKNOWN = NotMeasured(reason="not seen")
numbers = st.floats(-100, 100)
quantities = st.builds(lambda v, w: Quantity(value=v, unit="mm", interval95=(v - w, v + w)), numbers, st.floats(0, 9))


def mm(value: float, error: float = 1.0) -> Quantity:
    return Quantity(value=value, unit="mm", interval95=(value - error, value + error))


def body(
    level: str, heights: tuple[float, float, float], *, grade: int = 0, treated: bool = False, wedge: float = 0.0
) -> VertebraFinding:
    return replace(
        vertebra_without_numbers(level),
        heights=dict(zip(("anterior", "middle", "posterior"), map(mm, heights), strict=True)),
        wedge_angle=Quantity(value=wedge, unit="deg", interval95=(wedge - 2, wedge + 2)),
        genant_grade=grade,
        treated=treated,
    )


def study(
    uid: str, *vertebrae: VertebraFinding, kind: str = "ct", cement: dict[str, float] | None = None
) -> StudyReport:
    view = "lateral" if kind == "radiograph" else None
    series = SeriesResult(series_instance_uid="1.2", kind=kind, view=view, status="analyzed", reason="")  # type: ignore[arg-type]
    found = tuple(
        CementFinding(
            id=f"C{n}",
            series_instance_uid="1.2",
            level=level,
            volume=Quantity(value=ml, unit="mL", interval95=(ml, ml)),
            volume_inside=UNKNOWN,
            fill_fraction=UNKNOWN,
            pattern=UNKNOWN,
            endplate_contact=UNKNOWN,
            crosses_midline=UNKNOWN,
            confidence=0.9,
        )
        for n, (level, ml) in enumerate((cement or {}).items())
    )
    return StudyReport(
        study_instance_uid=uid, phase="unknown", phase_source="unknown", series=(series,), vertebrae=vertebrae,
        cement=found,
    )  # fmt: skip


def compared(earlier: StudyReport, later: StudyReport, days: int | None = 30) -> ChangeFinding:
    modality = shared_modality(earlier, later)
    assert modality is not None
    day = None if days is None else 1000 + days
    return compare_studies(Visit(report=earlier, day=1000), Visit(report=later, day=day), modality, {})


def of(change: ChangeFinding, level: str) -> LevelChange:
    (found,) = (one for one in change.levels if one.level == level)
    return found


def value(measured: Measured | None) -> float:
    assert isinstance(measured, Quantity)
    return measured.value


@given(quantities, quantities)
def test_a_difference_turns_round_with_its_interval(a: Quantity, b: Quantity) -> None:
    forth, back = difference(a, b), difference(b, a)
    assert isinstance(forth, Quantity)
    assert isinstance(back, Quantity)
    assert forth.value == -back.value
    assert forth.interval95 is not None
    assert back.interval95 is not None
    assert forth.interval95 == pytest.approx((-back.interval95[1], -back.interval95[0]))
    widths = [q.interval95[1] - q.interval95[0] for q in (a, b, forth) if q.interval95]
    assert max(widths[:2]) <= widths[2] + 1e-9 <= sum(widths[:2]) + 2e-9


@given(quantities)
def test_what_one_study_lacks_is_a_reason(a: Quantity) -> None:
    assert difference(a, UNKNOWN) == NotMeasured(reason="earlier study: not seen")
    assert difference(UNKNOWN, a) == NotMeasured(reason="later study: not seen")
    other = difference(a, replace(a, unit="deg"))
    assert isinstance(other, NotMeasured)


@pytest.mark.parametrize(
    ("kind", "treated", "half_mm"),
    [
        ("ct", (False, False), 0.65 * 2**0.5),
        ("ct", (True, True), 0.65 * 2**0.5),
        ("ct", (False, True), 2**0.5),
        ("radiograph", (False, False), 2**0.5),
    ],
)
def test_errors_cancel_on_ct_unless_cement_came_in_between(
    kind: str, treated: tuple[bool, bool], half_mm: float
) -> None:
    before, after = (body("L1", (20.0, 20.0, 20.0), treated=one) for one in treated)
    one = of(compared(study("a", before, kind=kind), study("b", after, kind=kind)), "L1")
    for gain in one.height_gain.values():
        assert isinstance(gain, Quantity)
        assert gain.interval95 == pytest.approx((-half_mm, half_mm))


def test_height_regained_by_the_treatment() -> None:
    before = body("L1", (15.0, 18.0, 24.0), grade=2, wedge=14.0)
    after = body("L1", (19.0, 19.5, 24.5), grade=1, treated=True, wedge=8.0)
    change = compared(study("a", before), study("b", after, cement={"L1": 4.0}))
    one = of(change, "L1")
    assert {place: value(gain) for place, gain in one.height_gain.items()} == {
        "anterior": 4.0, "middle": 1.5, "posterior": 0.5,
    }  # fmt: skip
    assert value(one.wedge_change) == -6.0
    assert (one.grade_before, one.grade_after, one.recollapse) == (2, 1, None)
    assert value(one.cement_change) == 4.0
    assert (change.pre_study, change.days, change.new_fractures) == ("a", 30, ())


@pytest.mark.parametrize(
    ("heights", "wedge", "expected"),
    [((20.0, 20.0, 24.0), 5.0, False), ((16.9, 20.0, 24.0), 5.0, True), ((20.0, 20.0, 24.0), 15.0, True)],
)
def test_a_treated_body_that_gives_way(heights: tuple[float, float, float], wedge: float, expected: bool) -> None:
    before = body("L1", (20.0, 20.0, 24.0), treated=True, wedge=5.0)
    after = body("L1", heights, treated=True, wedge=wedge)
    assert of(compared(study("a", before), study("b", after)), "L1").recollapse is expected


def test_recollapse_is_not_denied_where_no_height_was_measured() -> None:
    before = replace(vertebra_without_numbers("L1"), treated=True)
    angle_alone = replace(before, wedge_angle=Quantity(value=5.0, unit="deg"))
    for body_before in (before, angle_alone):
        one = of(compared(study("a", body_before), study("b", body_before)), "L1")
        assert isinstance(one.recollapse, NotMeasured)


def test_new_fractures_beside_and_far_from_the_treated_body() -> None:
    sound, broken = (24.0, 24.0, 25.0), (18.0, 20.0, 25.0)
    before = [body(level, sound) for level in ("T10", "T11", "T12", "L1", "L2")]
    after = [
        body("T10", broken, grade=2),
        body("T11", sound),
        body("T12", broken, grade=2),
        body("L1", sound, treated=True),
        body("L2", sound, grade=1),
    ]
    found = compared(study("a", *before), study("b", *after)).new_fractures
    assert [(one.level, one.grade, one.adjacent) for one in found] == [("T10", 2, False), ("T12", 2, True)]
    assert found[0].height_change.value == pytest.approx(-0.25)


def test_an_old_fracture_is_not_new() -> None:
    before, after = body("L1", (18.0, 20.0, 25.0), grade=2), body("L1", (14.0, 20.0, 25.0), grade=3)
    change = compared(study("a", before), study("b", after))
    assert change.new_fractures == ()
    assert value(of(change, "L1").height_change) == pytest.approx(-4 / 18)


def test_films_without_millimetres_are_compared_by_loss_and_angle() -> None:
    def film(loss: float, wedge: float, grade: int) -> VertebraFinding:
        no_mm = NotMeasured(reason="the size of a pixel is not known: no mm")
        heights = dict.fromkeys(("anterior", "middle", "posterior"), no_mm)
        height_loss = Quantity(value=loss, unit="1", interval95=(loss - 0.05, loss + 0.05))
        one = body("L1", (1.0, 1.0, 1.0), grade=grade, wedge=wedge)
        return replace(one, heights=heights, height_loss=height_loss)

    change = compared(
        study("a", film(0.0, 1.0, 0), kind="radiograph"), study("b", film(0.3, 9.0, 2), kind="radiograph")
    )
    one = of(change, "L1")
    assert (change.modality, one.registration_error) == ("radiograph", ONE_FILM)
    assert value(one.height_change) == pytest.approx(-0.3)
    assert value(one.height_loss_change) == pytest.approx(0.3)
    assert value(one.wedge_change) == 8.0
    assert [new.level for new in change.new_fractures] == ["L1"]


def test_a_film_and_a_ct_share_levels_and_grades_alone() -> None:
    one, other = body("L1", (20.0, 20.0, 24.0)), body("L1", (15.0, 18.0, 24.0), grade=2)
    change = compared(study("a", one), study("b", other, kind="radiograph"))
    level = of(change, "L1")
    assert (change.modality, level.grade_before, level.grade_after) == ("mixed", 0, 2)
    assert set(level.height_gain.values()) == {MIXED}
    assert change.new_fractures == ()


def test_unknown_levels_match_nothing() -> None:
    one = body("V1", (20.0, 20.0, 24.0))
    change = compared(study("a", one), study("b", one), days=None)
    assert change.levels == ()
    assert isinstance(change.days, NotMeasured)


def test_kyphosis_changes_where_both_studies_measured_it() -> None:
    def with_angle(report: StudyReport, angle: float) -> StudyReport:
        measured = Quantity(value=angle, unit="deg", interval95=(angle - 1, angle + 1))
        name = "local kyphosis L1"
        finding = AngleFinding(series_instance_uid="1.2", name=name, upper="T12", lower="L2", angle=measured)
        return replace(report, angles=(finding,))

    one = body("L1", (20.0, 20.0, 24.0))
    first, second = with_angle(study("a", one), 18.0), with_angle(study("b", one), 11.5)
    assert value(of(compared(first, second), "L1").kyphosis_change) == -6.5
    assert isinstance(of(compared(study("a", one), second), "L1").kyphosis_change, NotMeasured)


def test_the_course_shows_what_was_ever_broken_or_treated() -> None:
    sound = body("L2", (24.0, 24.0, 25.0))
    studies = [
        study("a", body("L1", (18.0, 20.0, 25.0), grade=2), sound),
        study("f", sound, kind="radiograph"),
        study("b", body("L1", (20.0, 21.0, 25.0), treated=True), sound, cement={"L1": 3.0}),
    ]
    days = (10, 12, 15)
    course = timeline([Visit(report=one, day=day) for one, day in zip(studies, days, strict=True)], "ct")
    assert [(one.study_instance_uid, one.days) for one in course] == [("a", 0), ("b", 5)]
    assert [[level.level for level in one.levels] for one in course] == [["L1"], ["L1"]]
    assert value(course[1].levels[0].cement_volume) == 3.0


def test_an_earlier_label_map_that_cannot_be_read_is_a_reason() -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:4, 2:5] = 20
    later = StudyResult(
        report=study("b", body("L1", (20, 20, 21), treated=True), cement={"L1": 3.0}),
        labels=Mask(labels=labels, lps_from_index=np.eye(4)),
    )
    earlier = EarlierStudy(report=study("a", body("L1", (22, 21, 22))), day=1000, labels=lambda: NO_LABELS)
    change = with_changes(later, 1030, [earlier]).report.change
    assert change is not None
    assert of(change, "L1").registration_error == NO_LABELS
    assert value(of(change, "L1").height_change) == pytest.approx(-2 / 22)
