"""The order of urgency."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vertecast.cli.progress import study_line
from vertecast.core.anatomy import Compartment
from vertecast.core.results import ChangeFinding, NewFracture, NotMeasured, Quantity, StudyReport
from vertecast.report import urgency
from vertecast.report.summary import StudyRun


def reason(report: StudyReport) -> str:
    return urgency.reason_to_look(StudyRun(study_instance_uid="1", directory="a", status="analyzed", report=report))


@pytest.fixture
def sound(case) -> StudyReport:
    vertebrae = tuple(v for v in case.report.vertebrae if v.level not in ("L1", "T11"))
    return replace(case.report, vertebrae=vertebrae, leaks=(), cement=())


def test_each_reason_is_found(case, sound) -> None:
    wedge, leak = case.report.vertebrae[2], case.report.leaks[0]
    unknown = NotMeasured(reason="no earlier date")
    fracture = NewFracture(level="L1", grade=1, height_change=Quantity(value=-0.2, unit="1"), adjacent=False)
    change = ChangeFinding(
        pre_study="0", days=unknown, modality="ct", registration_error=unknown, levels=(), new_fractures=(fracture,)
    )
    cut = replace(sound.vertebrae[0], genant_grade=unknown)
    behind = Quantity(value=5.0, unit="mm", interval95=(3.5, 6.5))
    undecided = replace(wedge, genant_grade=unknown, genant_grade_probability=(0.2, 0.1, 0.6, 0.1))
    expected = {
        "cement in or at the canal or a foramen": replace(
            sound, leaks=(replace(leak, compartment=Compartment.FORAMEN),)
        ),
        "distant cement": replace(sound, leaks=(replace(leak, compartment=Compartment.DISTANT),)),
        "retropulsion": replace(sound, vertebrae=(replace(sound.vertebrae[0], retropulsion=behind),)),
        "new fracture": replace(sound, change=change),
        "Genant grade 3": replace(sound, vertebrae=(replace(wedge, genant_grade=3),)),
        "Genant grade 2": replace(case.report),
        "Genant grade 2 possible": replace(sound, vertebrae=(undecided,)),
        "leak": replace(sound, leaks=(leak,)),
        "Genant grade 1": replace(sound, vertebrae=(replace(wedge, genant_grade=1),)),
        "not everything measured": replace(sound, vertebrae=(*sound.vertebrae, cut)),
        "no finding": sound,
    }
    assert {name: reason(report) for name, report in expected.items()} == {name: name for name in expected}
    failed = StudyRun(study_instance_uid="1", directory="a", status="failed")
    skipped = replace(failed, status="skipped")
    places = [*expected, urgency.reason_to_look(failed), urgency.reason_to_look(skipped)]
    assert set(places) == set(urgency.ORDER)
    assert urgency.ORDER.index("new fracture") < urgency.ORDER.index("failed") < urgency.ORDER.index("Genant grade 3")


def test_specks_in_the_lungs_come_late(sound, case) -> None:
    speck = replace(case.report.leaks[0], compartment=Compartment.DISTANT, suspected=True)
    assert reason(replace(sound, leaks=(speck,))) == "leak"


def test_cement_that_touches_the_canal_comes_first(sound, case) -> None:
    touching = replace(case.report.leaks[0], canal_contact=True)
    assert reason(replace(case.report, leaks=(touching,))) == urgency.ORDER[0]


def test_a_line_says_why_to_look_at_a_study(case) -> None:
    fresh = StudyRun(study_instance_uid="1.2", directory="1.2", status="analyzed", timing_s={"analysis": 3.0})
    leaking = replace(fresh, report=case.report)
    assert study_line(leaking, 1, 2) == ("[1/2] 1.2: analysed in 3 s: Genant grade 2", "yellow")
    in_canal = replace(case.report.leaks[0], compartment=Compartment.CANAL)
    urgent = replace(fresh, report=replace(case.report, leaks=(in_canal,)))
    assert study_line(urgent, 2, 2) == ("[2/2] 1.2: analysed in 3 s: cement in or at the canal or a foramen", "red")
    sound = replace(case.report, vertebrae=case.report.vertebrae[3:], leaks=(), cement=())
    assert study_line(replace(fresh, timing_s={}, report=sound), 1, 1) == (
        "[1/1] 1.2: already analysed: no finding",
        "",
    )
    failed = StudyRun(study_instance_uid="1.3", directory="1.3", status="failed", reason="is damaged")
    assert study_line(failed, 1, 1) == ("[1/1] 1.3: failed: is damaged", "red")
