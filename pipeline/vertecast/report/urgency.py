"""How soon somebody should look at a study: one stated order, used to sort the index of a run.

The order is ours, no score of the literature: what may need an intervention today first, then what nobody has seen
because it failed, then fractures by grade, then what is merely unsure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vertecast.core.results import FRACTURED_GRADE, NotMeasured, StudyReport
from vertecast.report import wording
from vertecast.report.summary import StudyRun

_Test = Callable[[StudyReport], bool]


def highest_grade(report: StudyReport) -> int | None:
    """The highest Genant grade of a study, None where nothing was graded."""
    grades = [v.genant_grade for v in report.vertebrae if not isinstance(v.genant_grade, NotMeasured)]
    return max(grades, default=None)


def presses_on_canal(report: StudyReport) -> bool:
    """A posterior wall that surely stands behind its neighbours'."""
    walls = [v.retropulsion for v in report.vertebrae if not isinstance(v.retropulsion, NotMeasured)]
    return any((wall.interval95 or (wall.value, wall.value))[0] >= wording.MENTIONED_RETROPULSION_MM for wall in walls)


def has_new_fracture(report: StudyReport) -> bool:
    """A body broke, or a treated one fell in again, since an earlier study."""
    return any(c.new_fractures or any(one.recollapse is True for one in c.levels) for c in report.changes)


def _grade_at_least(grade: int) -> _Test:
    return lambda report: (highest_grade(report) or 0) >= grade


def _may_be_fractured(report: StudyReport) -> bool:
    """A vertebra whose grade is not decided is likelier fractured than not."""
    return any(
        isinstance(v.genant_grade, NotMeasured)
        and not isinstance(v.genant_grade_probability, NotMeasured)
        and sum(v.genant_grade_probability[FRACTURED_GRADE:]) > 0.5
        for v in report.vertebrae
    )


FAILED: Final = "failed"
NOT_ALL: Final = "not everything measured"
SKIPPED: Final = "nothing to analyse"
SOUND: Final = "no finding"
_BEFORE_FAILURES: Final[dict[str, _Test]] = {
    "cement in or at the canal or a foramen": lambda report: any(map(wording.is_at_nerves, report.leaks)),
    "distant cement": lambda report: any(map(wording.is_far, report.leaks)),
    "retropulsion": presses_on_canal,
    "new fracture": has_new_fracture,
}
_AFTER_FAILURES: Final[dict[str, _Test]] = {
    "Genant grade 3": _grade_at_least(3),
    "Genant grade 2": _grade_at_least(2),
    "Genant grade 2 possible": _may_be_fractured,
    "leak": lambda report: bool(report.leaks),
    "Genant grade 1": _grade_at_least(1),
    NOT_ALL: lambda report: bool(wording.open_points(report)) or not report.vertebrae,
}
ORDER: Final = (*_BEFORE_FAILURES, FAILED, *_AFTER_FAILURES, SOUND, SKIPPED)
"""Reasons to look, the most urgent first; a study stands under the first that holds."""


def is_urgent(reason: str) -> bool:
    """Whether a reason of `ORDER` may need an intervention today."""
    return reason in _BEFORE_FAILURES


def is_finding(reason: str) -> bool:
    """Whether a reason of `ORDER` is something that was found."""
    return reason not in (FAILED, SKIPPED, SOUND, NOT_ALL)


def reason_to_look(study: StudyRun) -> str:
    """The first reason of `ORDER` that holds."""
    if study.report is None or study.status != "analyzed":
        return SKIPPED if study.status == "skipped" else FAILED
    report = study.report
    tests = {**_BEFORE_FAILURES, **_AFTER_FAILURES}
    return next((reason for reason, holds in tests.items() if holds(report)), SOUND)
