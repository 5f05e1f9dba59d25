"""The scores of what is said to have changed between two studies of a patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from vertecast.core.results import Measured, Quantity
from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.score import Rows, Score
from vertecast.lab.evaluation.studies.change import LevelChangeScore
from vertecast.lab.evaluation.studies.reported import FoundLevelChange
from vertecast.lab.evaluation.studies.scoring import StudyScore


def _levels(study: StudyScore) -> Iterator[LevelChangeScore]:
    return (level for change in study.changes for level in change.levels)


def _matched(study: StudyScore) -> Rows:
    return ((float(level.found is not None),) for level in _levels(study) if level.named)


def _gains(study: StudyScore) -> Iterator[tuple[LevelChangeScore, Quantity, float]]:
    """Each gain of a height that was measured, with the true one (mm)."""
    for level in _levels(study):
        for place, gain in level.found.height_gain.items() if level.found else ():
            if isinstance(gain, Quantity):
                yield level, gain, level.gain_mm[place]


def _gain_errors(*, treated: bool) -> Callable[[StudyScore], Rows]:
    def rows(study: StudyScore) -> Rows:
        return ((abs(gain.value - true),) for level, gain, true in _gains(study) if level.treated == treated)

    return rows


def _signed_gain_errors(study: StudyScore) -> Rows:
    return ((gain.value - true,) for level, gain, true in _gains(study) if level.treated)


def _gain_coverage(*, treated: bool) -> Callable[[StudyScore], Rows]:
    def rows(study: StudyScore) -> Rows:
        return (row for level, gain, true in _gains(study) if level.treated == treated for row in _covered(gain, true))

    return rows


def _angles(
    true_of: Callable[[LevelChangeScore], float | None], found_of: Callable[[FoundLevelChange], Measured]
) -> Callable[[StudyScore], Iterator[tuple[Quantity, float]]]:
    def pairs(study: StudyScore) -> Iterator[tuple[Quantity, float]]:
        for level in _levels(study):
            true, found = true_of(level), None if level.found is None else found_of(level.found)
            if true is not None and isinstance(found, Quantity):
                yield found, true

    return pairs


_wedges = _angles(lambda level: level.wedge_deg, lambda found: found.wedge_change)
_kyphoses = _angles(lambda level: level.kyphosis_deg, lambda found: found.kyphosis_change)


def _covered(found: Quantity, true: float) -> Rows:
    if found.interval95 is not None:
        yield (float(found.interval95[0] <= true <= found.interval95[1]),)


def _recollapses(*, true: bool) -> Callable[[StudyScore], Rows]:
    """1 for each treated body of which the report says what is true; what it leaves open counts as denied."""

    def rows(study: StudyScore) -> Rows:
        for level in _levels(study):
            if level.recollapsed is true:
                said = level.found is not None and level.found.recollapse is True
                yield (float(said == true),)

    return rows


def _cement_errors(study: StudyScore) -> Rows:
    """Absolute errors in mL; nothing said of the cement counts as no change."""
    for level in _levels(study):
        if level.treated:
            found = None if level.found is None else level.found.cement_change
            yield (abs((found.value if isinstance(found, Quantity) else 0.0) - level.cement_ml),)


def _course(study: StudyScore) -> Rows:
    if study.course is not None:
        yield study.course.found, study.course.expected


CHANGE_SCORES: Final[tuple[Score[StudyScore], ...]] = (
    Score(
        key="change_levels_matched", label="change: levels matched, where both reports name them", rows=_matched,
        target=("≥", 1.0),
    ),
    *(
        Score(
            key=f"height_gain_{name}_{group}_mm", label=f"change: height gained, {group} bodies, {label} (mm)",
            rows=_gain_errors(treated=group == "treated"), statistic=statistic, target=("≤", 0.5), decimals=2,
        )
        for group in ("treated", "untreated")
        for name, label, statistic in (
            ("mae", "mean absolute error", agreement.mean), ("median", "median absolute error", agreement.median)
        )
    ),
    Score(
        key="height_gain_bias_treated_mm", label="change: height gained, treated bodies, mean signed error (mm)",
        rows=_signed_gain_errors, decimals=2,
    ),
    *(
        Score(
            key=f"height_gain_coverage_{group}", label=f"change: heights gained inside their interval, {group} bodies",
            rows=_gain_coverage(treated=group == "treated"),
        )
        for group in ("treated", "untreated")
    ),
    Score(
        key="wedge_change_mae_deg", label="change: wedge angle, mean absolute error (°)", target=("≤", 1.0), decimals=2,
        rows=lambda s: ((abs(found.value - true),) for found, true in _wedges(s)),
    ),
    Score(
        key="wedge_change_coverage", label="change: wedge angles inside their interval",
        rows=lambda s: (row for found, true in _wedges(s) for row in _covered(found, true)),
    ),
    Score(
        key="kyphosis_change_mae_deg", label="change: local kyphosis, mean absolute error (°)", decimals=2,
        rows=lambda s: ((abs(found.value - true),) for found, true in _kyphoses(s)),
    ),
    Score(
        key="kyphosis_change_coverage", label="change: local kyphoses inside their interval",
        rows=lambda s: (row for found, true in _kyphoses(s) for row in _covered(found, true)),
    ),
    Score(key="recollapse_sensitivity", label="change: recollapses found", rows=_recollapses(true=True)),
    Score(key="recollapse_specificity", label="change: no recollapse said, rightly", rows=_recollapses(true=False)),
    Score(
        key="new_fractures_found", label="change: new fractures found",
        rows=lambda s: ((float(level.said_broken),) for level in _levels(s) if level.broke),
    ),
    Score(
        key="false_new_fractures", label="change: false new fractures, two studies compared",
        rows=lambda s: ((len(change.false_fractures),) for change in s.changes),
    ),
    Score(
        key="cement_change_mae_ml", label="change: cement of treated bodies, mean absolute error (mL)",
        rows=_cement_errors, decimals=2,
    ),
    Score(
        key="cement_change_median_ml", label="change: cement of treated bodies, median absolute error (mL)",
        rows=_cement_errors, statistic=agreement.median, decimals=2,
    ),
    Score(
        key="timeline_complete", label="change: lines of the timelines, of those due", rows=_course,
        statistic=agreement.ratio,
    ),
)  # fmt: skip
"""Each pair of studies that a report compares counts, and each study with the one before it. The targets are the
project's own, for simulated images."""
