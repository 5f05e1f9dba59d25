"""The scores: what each is computed from, and what it must reach on simulated images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vertecast.core.results import Measured, NotMeasured, Place, Quantity
from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.agreement import Estimate
from vertecast.lab.evaluation.datasets import PLACES, FoundBody, TrueBody
from vertecast.lab.evaluation.score import Rows, Score
from vertecast.lab.evaluation.studies.change_scores import CHANGE_SCORES
from vertecast.lab.evaluation.studies.leaks import LeakScore
from vertecast.lab.evaluation.studies.scoring import StudyScore

FINE_VOXEL_MM: Final = 1.5
"""Heights are promised for voxels up to this size, the grid that the network works on."""

HEIGHT_AIMS_MM: Final = (0.4, 0.3, 0.3)
"""Aims of the mean absolute error at these voxels, in the order of `PLACES`."""

COARSE_VOXEL_MM: Final = 2.5
"""Voxels from this size on are those of thick slices."""

REPORTED_LEAK_ML: Final = 0.1
"""Leaks from this volume on must be found; smaller ones are about a voxel of a usual CT."""

SMALL_LEAK_ML: Final = 0.05
"""About the smallest leak that a reader of CT reports; those up to `REPORTED_LEAK_ML` are scored apart."""


def _height_errors(place: Place, largest_voxel_mm: float = float("inf")) -> Callable[[StudyScore], Rows]:
    """Absolute errors in mm."""

    def rows(study: StudyScore) -> Rows:
        for truth, found in study.measured if study.voxel_mm <= largest_voxel_mm + 1e-3 else ():
            height = found.heights[place]
            if isinstance(height, Quantity):
                yield (abs(height.value - truth.heights_mm[place]),)

    return rows


def _all_height_errors(study: StudyScore) -> Rows:
    """Signed errors in mm of the three places."""
    for truth, found in study.measured:
        for place, height in found.heights.items():
            if isinstance(height, Quantity):
                yield (height.value - truth.heights_mm[place],)


def _height_coverage(study: StudyScore) -> Rows:
    for truth, found in study.measured:
        for place, height in found.heights.items():
            if isinstance(height, Quantity) and height.interval95 is not None:
                yield (float(height.interval95[0] <= truth.heights_mm[place] <= height.interval95[1]),)


def _absolute(
    truth_of: Callable[[TrueBody], float], found_of: Callable[[FoundBody], Measured], factor: float = 1.0
) -> Callable[[StudyScore], Rows]:
    def rows(study: StudyScore) -> Rows:
        for truth, found in study.measured:
            value = found_of(found)
            if isinstance(value, Quantity):
                yield (factor * abs(value.value - truth_of(truth)),)

    return rows


def _grades(study: StudyScore) -> Rows:
    for truth, found in study.measured:
        if not isinstance(found.genant_grade, NotMeasured):
            yield truth.genant_grade, found.genant_grade


def _levels(study: StudyScore) -> Rows:
    return ((float(body.level_right),) for body in study.complete if study.anchored)


def _all_levels(study: StudyScore) -> Rows:
    if study.anchored and study.complete:
        yield (float(all(body.level_right for body in study.complete)),)


def _claimed_levels(study: StudyScore) -> Rows:
    if not study.anchored:
        yield from ((float(not found.level.startswith("V")),) for _, found in study.measured)


def _volume_errors(study: StudyScore) -> Rows:
    for cement in study.cement:
        found_ml = cement.found.value if isinstance(cement.found, Quantity) else 0.0
        yield (abs(found_ml - cement.true_ml) / cement.true_ml,)


def _leaks_found(smallest_ml: float, largest_ml: float = float("inf")) -> Callable[[StudyScore], Rows]:
    def rows(study: StudyScore) -> Rows:
        for leak in study.leaks:
            if leak.truth is None or leak.verdict == "out of view":
                continue
            if smallest_ml <= leak.truth.volume_ml < largest_ml:
                yield (float(leak.verdict == "found"),)

    return rows


def _of_found_leaks(right: Callable[[LeakScore], bool | None]) -> Callable[[StudyScore], Rows]:
    """What is right of the leaks from `REPORTED_LEAK_ML` that were found; those without an answer are left out."""

    def rows(study: StudyScore) -> Rows:
        for leak in study.leaks:
            if leak.verdict == "found" and leak.truth is not None and leak.truth.volume_ml >= REPORTED_LEAK_ML:
                answer = right(leak)
                if answer is not None:
                    yield (float(answer),)

    return rows


def _false_leaks(smallest_ml: float) -> Callable[[StudyScore], Rows]:
    def rows(study: StudyScore) -> Rows:
        volumes = [leak.found.volume for leak in study.leaks if leak.verdict == "false" and leak.found is not None]
        false = [v for v in volumes if isinstance(v, NotMeasured) or v.value >= smallest_ml]
        yield len(false), len(study.cement)

    return rows


def _once(value: Callable[[StudyScore], float | None]) -> Callable[[StudyScore], Rows]:
    """One row for each study that has the value."""

    def rows(study: StudyScore) -> Rows:
        number = value(study)
        if number is not None:
            yield (float(number),)

    return rows


SCORES: Final[tuple[Score[StudyScore], ...]] = (
    Score(
        key="body_dice", label="body Dice, complete bodies, missed = 0",
        rows=lambda s: ((b.dice,) for b in s.complete), target=("≥", 0.95),
    ),
    Score(
        key="body_dice_study", label="body Dice, all bodies of a study together",
        rows=_once(lambda s: s.body_dice), target=("≥", 0.95),
    ),
    Score(
        key="bodies_found", label="complete bodies found",
        rows=lambda s: ((float(b.found is not None),) for b in s.complete),
    ),
    Score(
        key="false_bodies", label="bodies that are none, a study",
        rows=lambda s: [(len(s.false_bodies),)],
    ),
    Score(
        key="all_levels_right", label="studies with every level right, where it can be counted",
        rows=_all_levels, target=("≥", 0.97),
    ),
    Score(key="levels_right", label="levels right, where they can be counted", rows=_levels),
    Score(key="levels_claimed", label="levels named although nothing to count from is in view", rows=_claimed_levels),
    *(
        Score(
            key=f"{place}_height_mae_fine_mm",
            label=f"{place} height, mean absolute error, voxels ≤{FINE_VOXEL_MM:g} mm (mm)",
            rows=_height_errors(place, FINE_VOXEL_MM), target=("≤", aim_mm), decimals=2,
        )
        for place, aim_mm in zip(PLACES, HEIGHT_AIMS_MM, strict=True)
    ),
    *(
        Score(
            key=f"{place}_height_mae_mm", label=f"{place} height, mean absolute error (mm)",
            rows=_height_errors(place), decimals=2,
        )
        for place in PLACES
    ),
    Score(key="height_bias_mm", label="height, mean signed error (mm)", rows=_all_height_errors, decimals=2),
    Score(key="height_coverage", label="heights inside their 95 % interval", rows=_height_coverage),
    Score(
        key="wedge_angle_mae_deg", label="wedge angle, mean absolute error (°)", target=("≤", 1.2), decimals=2,
        rows=_absolute(lambda t: t.wedge_angle_deg, lambda f: f.wedge_angle),
    ),
    Score(
        key="height_loss_mae_points", label="height loss, mean absolute error (percentage points)", decimals=2,
        rows=_absolute(lambda t: t.height_loss, lambda f: f.height_loss, factor=100.0),
    ),
    Score(
        key="grade_kappa", label="Genant grade, quadratic weighted κ", rows=_grades,
        statistic=agreement.grade_kappa, target=("≥", 0.92),
    ),
    Score(
        key="grade_right", label="Genant grade, exactly right", rows=lambda s: ((float(t == f),) for t, f in _grades(s))
    ),
    Score(key="cement_dice", label="cement Dice, a study", rows=_once(lambda s: s.cement_dice), target=("≥", 0.92)),
    Score(
        key="cement_volume_error", label="cement volume, median relative error, missed = 1",
        rows=_volume_errors, statistic=agreement.median, target=("≤", 0.03),
    ),
    Score(
        key="cement_volume_error_coarse",
        label=f"cement volume, median relative error, voxels ≥{COARSE_VOXEL_MM:g} mm, missed = 1",
        rows=lambda s: _volume_errors(s) if s.voxel_mm >= COARSE_VOXEL_MM else (),
        statistic=agreement.median, target=("≤", 0.06),
    ),
    Score(
        key="treated_found", label="complete treated bodies with cement reported",
        rows=lambda s: ((float(c.found is not None),) for c in s.cement),
    ),
    Score(
        key="false_cement", label="bodies said to hold cement that hold none, in all",
        rows=lambda s: [(len(s.false_cement),)], statistic=agreement.total, decimals=0,
    ),
    Score(
        key="leaks_found", label=f"leaks ≥{REPORTED_LEAK_ML:g} mL found",
        rows=_leaks_found(REPORTED_LEAK_ML), target=("≥", 0.95),
    ),
    Score(
        key="compartments_right", label="their compartment right, of those found",
        rows=_of_found_leaks(lambda leak: leak.compartment_right), target=("≥", 0.90),
    ),
    Score(
        key="yeom_right", label="their Yeom type right, of those found that have one",
        rows=_of_found_leaks(lambda leak: leak.yeom_right), target=("≥", 0.85),
    ),
    Score(
        key="small_leaks_found", label=f"leaks of {SMALL_LEAK_ML:g} to {REPORTED_LEAK_ML:g} mL found",
        rows=_leaks_found(SMALL_LEAK_ML, REPORTED_LEAK_ML),
    ),
    Score(
        key="false_leaks", label="false leaks of any size, a treated body", rows=_false_leaks(0.0),
        statistic=agreement.ratio,
    ),
    Score(
        key="false_leaks_reported", label=f"false leaks ≥{REPORTED_LEAK_ML:g} mL, a treated body",
        rows=_false_leaks(REPORTED_LEAK_ML), statistic=agreement.ratio, target=("≤", 0.1),
    ),
    *CHANGE_SCORES,
)  # fmt: skip
"""Every score. The targets are the project's own, for simulated images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Studies with every score of `SCORES` by its key."""

    studies: tuple[StudyScore, ...]
    estimates: Mapping[str, Estimate]

    @property
    def simulated(self) -> bool:
        """True when every image is simulated."""
        return all(study.truth.simulated for study in self.studies)


def summarize(studies: Sequence[StudyScore]) -> Results:
    """Compute every score; the bootstrap takes some seconds for many studies."""
    estimates = {score.key: score.of(studies, lambda study: study.truth.patient) for score in SCORES}
    return Results(studies=tuple(studies), estimates=estimates)
