"""What a height loss decides, what it does not, and against which vertebrae it is measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertecast.core.anatomy import NORMAL_HEIGHTS_MM
from vertecast.core.results import FRACTURED_GRADE, NotMeasured
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.measurement.shared.comparison import (
    GENANT_LIMITS,
    PLACES,
    Comparison,
    Heights,
    compare,
    grade_probability,
    sound_bodies,
)

COLUMN = ("T10", "T11", "T12", "L1", "L2", "L3", "L4")
losses = st.floats(-0.3, 0.9)
doubts = st.floats(0.001, 0.3)


def normal(level: str, *, share: float = 1.0, sd_mm: float = 0.4) -> Heights:
    heights = NORMAL_HEIGHTS_MM[level]
    return Heights(
        value={place: share * mm for place, mm in zip(PLACES, heights, strict=True)}, sd=dict.fromkeys(PLACES, sd_mm)
    )


def compared(bodies: list[Heights], at: int, names: tuple[str, ...] = COLUMN) -> Comparison:
    return compare(bodies, names, sound_bodies(bodies, names, frozenset()), at)


def with_loss(loss: float, *, sd_mm: float = 0.4) -> Comparison:
    bodies = [normal(level) for level in COLUMN]
    bodies[3] = normal("L1", share=1 - loss, sd_mm=sd_mm)
    return compared(bodies, 3)


@given(losses, doubts)
def test_probabilities_are_of_four_grades_that_exclude_each_other(loss: float, sd: float) -> None:
    chances = grade_probability(loss, sd)
    assert sum(chances) == pytest.approx(1)
    assert all(0 <= chance <= 1 for chance in chances)


@given(losses, losses, doubts)
def test_a_greater_loss_is_likelier_a_fracture(one: float, other: float, sd: float) -> None:
    low, high = (sum(grade_probability(loss, sd)[FRACTURED_GRADE:]) for loss in sorted((one, other)))
    assert low <= high


@pytest.mark.parametrize("limit", GENANT_LIMITS)
def test_at_a_limit_the_grades_on_both_sides_are_as_likely(limit: float) -> None:
    chances = grade_probability(limit, 0.01)
    grade = GENANT_LIMITS.index(limit) + 1
    assert sum(chances[:grade]) == pytest.approx(0.5)


@pytest.mark.parametrize(("loss", "grade"), [(0.0, 0), (0.1, 0), (0.35, 2), (0.6, 3)])
def test_what_is_clear_is_graded(loss: float, grade: int) -> None:
    assert with_loss(loss).genant_grade == grade


def test_near_the_limit_no_grade_is_given_but_its_range_and_probability() -> None:
    found = with_loss(0.25)
    assert isinstance(found.genant_grade, NotMeasured)
    assert found.genant_grade.reason == "grades 0 to 2 are possible, the height loss is near a limit"
    assert found.deformity == found.genant_grade
    assert found.genant_grade_range == (0, 2)
    assert sum(found.genant_grade_probability[FRACTURED_GRADE:]) == pytest.approx(0.5, abs=0.01)
    assert found.height_loss.value == pytest.approx(0.25)


def test_an_unsure_outline_decides_nothing() -> None:
    found = with_loss(0.3, sd_mm=3.0)
    assert isinstance(found.genant_grade, NotMeasured)
    assert found.genant_grade.reason.endswith("the outline is unsure")


def test_alone_a_body_is_compared_with_itself() -> None:
    wedge = Heights(value={"anterior": 20.0, "middle": 22.0, "posterior": 27.0}, sd=dict.fromkeys(PLACES, 0.4))
    found = compared([wedge], 0, ("L1",))
    assert found.reference.method == "own posterior height"
    assert isinstance(found.genant_grade, NotMeasured)
    assert found.genant_grade.reason.endswith("no intact vertebra to compare with")


def test_two_low_neighbours_that_pass_as_intact_do_not_hide_a_fracture() -> None:
    """Each lost 15 %: against them alone the body between has lost 24 %, against the column a third."""
    bodies = [normal(level, share=0.85 if level in ("T12", "L2") else 1.0) for level in COLUMN]
    bodies[3] = normal("L1", share=0.65)
    loss = compared(bodies, 3).height_loss.value
    assert 0.27 < loss < 0.35


def test_the_nearest_count_most() -> None:
    """A patient whose lower spine is larger than his upper one than the table says."""
    bodies = [normal(level, share=1 + 0.02 * n) for n, level in enumerate(COLUMN)]
    expected = bodies[3].value["middle"] / (1 - compared(bodies, 0).height_loss.value)
    assert expected == pytest.approx(bodies[3].value["middle"], rel=0.06)
    upper, lower = (compared(bodies, n).ratios["crush"] for n in (0, 6))
    assert not isinstance(upper, NotMeasured)
    assert not isinstance(lower, NotMeasured)
    assert 0.9 < upper.value < 1 < lower.value < 1.1


def test_numbered_columns_grow_downwards() -> None:
    """A whole spine without names: nobody at its ends looks broken for being small."""
    names = tuple(f"V{n + 1}" for n in range(15))
    bodies = [normal(level) for level in list(NORMAL_HEIGHTS_MM)[7:22]]
    for n in range(15):
        found = compared(bodies, n, names)
        assert found.genant_grade == 0
        assert len(found.reference.levels) <= 6


def test_on_drawn_columns_a_decided_grade_is_right_but_near_the_limit() -> None:
    """Heights with an error of 0.5 mm; of what is decided 2 % are wrong at most, no intact body is called fractured."""
    wrong, decided, broken, found_broken = 0, 0, 0, 0
    for seed in range(60):
        rng = np.random.default_rng([31, seed])
        column = [
            v for v in sample_spine(rng).vertebrae if v.level.name in NORMAL_HEIGHTS_MM and v.level.name[0] != "C"
        ]
        names = tuple(vertebra.level.name for vertebra in column)
        truth = [max(1 - v.shape.heights_mm()[p] / v.intact.heights_mm()[p] for p in PLACES) for v in column]
        bodies = [
            Heights(
                value={p: mm + rng.normal(0, 0.5) for p, mm in v.shape.heights_mm().items() if p in PLACES},
                sd=dict.fromkeys(PLACES, 0.5),
            )
            for v in column
        ]
        for n, loss in enumerate(truth):
            grade = compared(bodies, n, names).genant_grade
            broken += loss >= GENANT_LIMITS[1]
            if isinstance(grade, NotMeasured):
                continue
            decided += 1
            found_broken += grade >= FRACTURED_GRADE and loss >= GENANT_LIMITS[1]
            wrong += (grade >= FRACTURED_GRADE) != (loss >= GENANT_LIMITS[1])
            assert not (grade >= FRACTURED_GRADE and loss == 0)
    assert decided > 700
    assert wrong < 0.02 * decided
    assert found_broken > 0.75 * broken
