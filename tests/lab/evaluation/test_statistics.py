from __future__ import annotations

import numpy as np
import pytest

from vertecast.lab.evaluation import metrics, statistics
from vertecast.lab.evaluation.statistics import FALSE, HIT, IMAGE, MISS

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Table 2 of Shrout and Fleiss 1979: ICC(2,1) is .29 there."""


def test_icc_of_the_published_table() -> None:
    assert statistics.icc_2_1(SHROUT_FLEISS) == pytest.approx(0.2898, abs=5e-5)


@pytest.mark.parametrize("seed", range(4))
def test_icc_agrees_with_an_analysis_of_variance_by_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(20, 4, (15, 1)) + rng.normal([0.0, 1.5], 1.2, (15, 2))
    subject, rater = np.divmod(np.arange(rows.size), 2)

    def rest(*factors: np.ndarray) -> float:
        """Residual sum of squares of the values on indicators of the factors."""
        design = np.column_stack([np.ones(rows.size), *(f[:, None] == np.unique(f)[1:] for f in factors)])
        fitted = design @ np.linalg.lstsq(design.astype(float), rows.ravel(), rcond=None)[0]
        return float(((rows.ravel() - fitted) ** 2).sum())

    error = rest(subject, rater) / 14
    subjects, raters = (rest(rater) - rest(subject, rater)) / 14, rest(subject) - rest(subject, rater)
    expected = (subjects - error) / (subjects + error + 2 * (raters - error) / 15)
    assert statistics.icc_2_1(rows) == pytest.approx(expected, rel=1e-6)


def test_a_constant_error_is_seen_by_icc_and_hidden_by_correlation() -> None:
    # Heights all 3 mm too large: the correlation is perfect, agreement is not.
    true = np.array([22.0, 24.0, 25.0, 21.0, 27.0])
    rows = np.column_stack([true, true + 3])
    assert np.corrcoef(rows.T)[0, 1] == pytest.approx(1.0)
    assert statistics.icc_2_1(rows) < 0.6
    assert (statistics.bias(rows), statistics.difference_sd(rows)) == pytest.approx((3.0, 0.0))


def test_limits_of_agreement_worked_by_hand() -> None:
    rows = np.array([[20.0, 21.0], [22.0, 21.0], [24.0, 27.0]])
    assert statistics.bias(rows) == 1.0
    assert statistics.mean_absolute_error(rows) == pytest.approx(5 / 3)
    assert statistics.difference_sd(rows) == 2.0
    assert (statistics.lower_limit(rows), statistics.upper_limit(rows)) == pytest.approx((1 - 3.92, 1 + 3.92))


def test_errors_that_cancel_have_no_bias_and_an_absolute_error() -> None:
    rows = np.array([[20.0, 25.0], [20.0, 15.0]])
    assert (statistics.bias(rows), statistics.mean_absolute_error(rows)) == (0.0, 5.0)


def test_coverage_leaves_out_what_has_no_interval() -> None:
    rows = np.array([[1.0, 9, 0.5, 1.5], [1.0, 9, 1.0, 2.0], [1.0, 9, 1.1, 2.0], [1.0, 9, np.nan, np.nan]])
    assert statistics.coverage(rows) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(6))
def test_detection_and_calibration_agree_with_scikit_learn(seed: int) -> None:
    from sklearn import metrics as judge

    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, 60)
    score = np.round(np.clip(0.3 * true + rng.random(60) * 0.7, 0, 1), 1)  # with ties
    rows = np.column_stack([true, score]).astype(float)
    said = np.column_stack([true, score >= 0.5]).astype(float)
    assert statistics.area_under_roc(rows) == pytest.approx(judge.roc_auc_score(true, score), abs=1e-6)
    assert statistics.sensitivity(said) == pytest.approx(judge.recall_score(true, score >= 0.5), abs=1e-6)
    assert statistics.specificity(said) == pytest.approx(judge.recall_score(true, score >= 0.5, pos_label=0), abs=1e-6)
    assert statistics.brier(rows[:, ::-1]) == pytest.approx(judge.brier_score_loss(true, score), abs=1e-6)
    x, y, _ = judge.roc_curve(true, score, drop_intermediate=False)
    assert np.allclose(statistics.roc_curve(rows), np.column_stack([x, y]), atol=1e-6)
    grades = rng.integers(0, 4, (40, 2))
    kappa = metrics.weighted_kappa(metrics.confusion(grades[:, 0], grades[:, 1], 4))
    assert kappa == pytest.approx(judge.cohen_kappa_score(*grades.T, weights="quadratic"), abs=1e-6)


def test_accuracy_flatters_at_low_prevalence_and_these_do_not() -> None:
    # Four fractures in a hundred bodies, none found: 96 % are right.
    rows = np.array([[1.0, 0.0]] * 4 + [[0.0, 0.0]] * 96)
    assert (rows[:, 0] == rows[:, 1]).mean() == 0.96
    assert (statistics.sensitivity(rows), statistics.specificity(rows)) == (0.0, 1.0)
    assert np.isnan(statistics.sensitivity(rows[4:]))


def test_calibration_error_worked_by_hand() -> None:
    # Ten times 0.95 sure, right six times; ten times 0.55 sure, right five times.
    rows = np.array([[0.95, float(n < 6)] for n in range(10)] + [[0.55, float(n < 5)] for n in range(10)])
    assert statistics.calibration_error(rows) == pytest.approx((0.35 + 0.05) / 2)
    assert np.allclose(statistics.reliability(rows), [[0.55, 0.5, 10], [0.95, 0.6, 10]])


def test_froc_worked_by_hand() -> None:
    # Two images, three leaks. Reports by score: hit 0.9, false 0.8, hit 0.7; one leak is never reported.
    rows = np.array([[IMAGE, 0], [IMAGE, 0], [HIT, 0.9], [FALSE, 0.8], [HIT, 0.7], [MISS, 0]])
    assert np.allclose(statistics.froc_curve(rows), [[0, 0], [0, 1 / 3], [0.5, 1 / 3], [0.5, 2 / 3]])
    assert statistics.sensitivity_at(0.25)(rows) == pytest.approx(1 / 3)
    assert statistics.sensitivity_at(0.5)(rows) == pytest.approx(2 / 3)
    assert statistics.mean_sensitivity(rows) == pytest.approx((2 * 1 + 5 * 2) / 3 / 7)
    assert np.isnan(statistics.mean_sensitivity(rows[:2]))


def test_what_is_not_defined_is_no_number() -> None:
    nothing = np.empty((0, 2))
    for statistic in (
        statistics.bias, statistics.mean_absolute_error, statistics.lower_limit, statistics.icc_2_1,
        statistics.sensitivity, statistics.area_under_roc, statistics.brier, statistics.calibration_error,
        statistics.mean_sensitivity, statistics.panoptic_quality,
    ):  # fmt: skip
        assert np.isnan(statistic(nothing)), statistic
    assert np.isnan(statistics.icc_2_1(np.ones((5, 2))))
    assert np.isnan(statistics.area_under_roc(np.array([[1.0, 0.3], [1.0, 0.4]])))
