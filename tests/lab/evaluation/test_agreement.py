from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.agreement import estimate


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=1, max_size=20))
def test_the_interval_lies_between_the_extremes_and_holds_for_the_mean(units: list[tuple[float, int]]) -> None:
    values, patients = [unit[0] for unit in units], [unit[1] for unit in units]
    result = estimate([(value,) for value in values], patients, agreement.mean)
    assert result.value == pytest.approx(np.mean(values))
    assert (result.count, result.patients) == (len(values), len(set(patients)))
    if len(set(patients)) < 2:
        assert result.interval95 is None
    else:
        assert result.interval95 is not None
        low, high = result.interval95
        assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_bodies_of_one_patient_do_not_count_as_many_patients() -> None:
    rng = np.random.default_rng(4)
    offsets = rng.normal(0, 1, 12)
    rows = [(offset,) for offset in offsets for _ in range(10)]
    by_patient = estimate(rows, [n // 10 for n in range(120)], agreement.mean)
    by_body = estimate(rows, list(range(120)), agreement.mean)
    assert by_patient.interval95 is not None
    assert by_body.interval95 is not None
    widths = [high - low for low, high in (by_patient.interval95, by_body.interval95)]
    # Ten copies of each value carry no more knowledge than one: wider by the square root of ten.
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(10), rel=0.25)


def test_nothing_to_score_is_no_number() -> None:
    for statistic in (agreement.mean, agreement.median, agreement.ratio, agreement.grade_kappa):
        result = estimate([], [], statistic)
        assert (result.value, result.interval95, result.count) == (None, None, 0)
    assert estimate([(2, 0), (1, 0)], ["a", "b"], agreement.ratio).value is None
    assert estimate([(1, 1), (1, 1)], ["a", "b"], agreement.grade_kappa).value is None


def test_statistics() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 1.0], [8.0, 1.0]])
    assert agreement.mean(rows) == 4
    assert agreement.median(rows) == 3
    assert agreement.total(rows) == 12
    assert agreement.ratio(rows) == 3
    assert agreement.grade_kappa(np.array([[0, 0], [3, 3], [1, 1]])) == 1


def test_the_same_studies_give_the_same_interval() -> None:
    rows, patients = [(float(n % 5),) for n in range(30)], [n // 3 for n in range(30)]
    assert estimate(rows, patients, agreement.median) == estimate(rows, patients, agreement.median)
