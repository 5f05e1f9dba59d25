"""The sum of the Genant grades from T4 to L4."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantoms.spine import vertebra_without_numbers
from vertecast.core.results import DeformityIndex, NotMeasured, VertebraFinding
from vertecast.measurement.shared.deformity_index import LEVELS, deformity_indices


def graded(level: str, grade: int, *, span: tuple[int, int] | None = None, series: str = "1.2") -> VertebraFinding:
    return replace(
        vertebra_without_numbers(level), series_instance_uid=series, genant_grade=grade,
        genant_grade_range=span or (grade, grade),
    )  # fmt: skip


def only(findings: list[VertebraFinding]) -> DeformityIndex:
    (index,) = deformity_indices(findings)
    return index


def test_thirteen_levels_and_no_others() -> None:
    assert (LEVELS[0], LEVELS[-1], len(LEVELS)) == ("T4", "L4", 13)
    found = only([graded(level, 1) for level in ("T3", *LEVELS, "T13", "L5", "L6")])
    assert (found.index, found.graded, found.levels) == (13, 13, 13)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=13))
def test_it_is_the_sum_of_what_was_graded(grades: list[int]) -> None:
    found = only([graded(level, grade) for level, grade in zip(LEVELS, grades, strict=False)])
    assert (found.index, found.graded, found.index_range) == (sum(grades), len(grades), (sum(grades), sum(grades)))


def test_ranges_add_up_and_ungraded_bodies_leave_it_partial() -> None:
    found = only([graded("T12", 1, span=(0, 2)), vertebra_without_numbers("L1"), graded("L2", 3, span=(3, 3))])
    assert (found.index, found.index_range, found.graded) == (4, (3, 5), 2)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [(("V1", "V2"), "the levels are unknown"), (("L1", "L2"), "no body from T4 to L4 was graded")],
)
def test_without_grades_there_is_a_reason(levels: tuple[str, ...], reason: str) -> None:
    found = only([vertebra_without_numbers(level) for level in levels])
    assert found.index == found.index_range == NotMeasured(reason=reason)
    assert found.graded == 0


def test_unknown_levels_have_no_index_even_if_graded() -> None:
    assert only([graded("V1", 2), graded("V2", 0)]).index == NotMeasured(reason="the levels are unknown")


def test_one_index_a_series_and_none_of_an_ap_view() -> None:
    ap = replace(graded("L1", 0, series="1.4"), heights={"left": NotMeasured(reason="x")})
    found = deformity_indices([graded("L1", 2), graded("L1", 1, series="1.3"), graded("L1", 3, series="1.3"), ap])
    assert [(index.series_instance_uid, index.index) for index in found] == [("1.2", 2), ("1.3", 3)]
    assert deformity_indices([]) == ()
