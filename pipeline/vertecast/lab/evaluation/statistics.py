"""Statistics of agreement, detection and calibration: plain functions of rows, for `agreement`.

Each takes rows (n, k) and gives a number, NaN where it is not defined for them. A comment before each group says what
the columns are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation.agreement import Mean, Statistic

LIMIT_SD: Final = 1.96
"""95 % limits of agreement lie so many SD about the bias (Bland and Altman, Lancet 1986;327:307-310)."""

CALIBRATION_BINS: Final = 10

# Columns: true, found.


bias: Final = Mean(lambda rows: rows[:, 1] - rows[:, 0])
"""Mean of found less true."""

mean_absolute_error: Final = Mean(lambda rows: np.abs(rows[:, 1] - rows[:, 0]))
"""Mean of the absolute differences."""


def difference_sd(rows: FloatArray) -> float:
    """Standard deviation (n - 1) of found less true."""
    return float((rows[:, 1] - rows[:, 0]).std(ddof=1)) if len(rows) > 1 else float("nan")


def lower_limit(rows: FloatArray) -> float:
    """Lower 95 % limit of agreement."""
    return bias(rows) - LIMIT_SD * difference_sd(rows)


def upper_limit(rows: FloatArray) -> float:
    """Upper 95 % limit of agreement."""
    return bias(rows) + LIMIT_SD * difference_sd(rows)


def icc_2_1(rows: FloatArray) -> float:
    """Intraclass correlation ICC(2,1): two-way random, absolute agreement, single measurement.

    Rows are subjects, columns raters; two or more of each. Source: Shrout and Fleiss, Psychol Bull 1979;86:420-428.
    """
    subjects, raters = rows.shape
    if subjects < 2:
        return float("nan")
    grand = rows.mean()
    between_subjects = raters * ((rows.mean(axis=1) - grand) ** 2).sum() / (subjects - 1)
    sum_raters = subjects * ((rows.mean(axis=0) - grand) ** 2).sum()
    residual = ((rows - grand) ** 2).sum() - between_subjects * (subjects - 1) - sum_raters
    between_raters = sum_raters / (raters - 1)
    error = residual / ((subjects - 1) * (raters - 1))
    whole = between_subjects + (raters - 1) * error + raters * (between_raters - error) / subjects
    return float((between_subjects - error) / whole) if whole > 0 else float("nan")


exact: Final = Mean(lambda rows: (rows[:, 0] == rows[:, 1]).astype(np.float64))
"""Share of the rows whose two columns are equal."""


def two_columns(statistic: Statistic) -> Statistic:
    """A statistic of the first two columns alone."""
    return lambda rows: statistic(rows[:, :2])


# Columns: true, found, low, high.


def _held(rows: FloatArray) -> FloatArray:
    held = (rows[:, 2] <= rows[:, 0]) & (rows[:, 0] <= rows[:, 3])
    return np.where(np.isfinite(rows[:, 2:4]).all(axis=1), held, np.nan)


coverage: Final = Mean(_held)
"""Share of the true values that lie in their interval; rows without an interval (NaN) are left out."""


# Columns: true (0 or 1), said (0 or 1).


sensitivity: Final = Mean(lambda rows: np.where(rows[:, 0] == 1, rows[:, 1] == 1, np.nan))
"""Share of what is true that was said."""

specificity: Final = Mean(lambda rows: np.where(rows[:, 0] == 0, rows[:, 1] == 0, np.nan))
"""Share of what is not true that was not said."""


# Columns: true (0 or 1), score.


def area_under_roc(rows: FloatArray) -> float:
    """Probability that a true one has the higher score than one that is not; ties count half (Mann and Whitney)."""
    positive = rows[:, 0] == 1
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return float("nan")
    ranks = stats.rankdata(rows[:, 1])
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def roc_curve(rows: FloatArray) -> FloatArray:
    """Points (n, 2) of 1 - specificity and sensitivity, from (0, 0) to (1, 1), one for each threshold."""
    order = np.argsort(-rows[:, 1], kind="stable")
    true, score = rows[order, 0], rows[order, 1]
    last = _last_of_each_score(score)
    hits, false = np.cumsum(true == 1)[last], np.cumsum(true == 0)[last]
    points = np.column_stack([false / max((true == 0).sum(), 1), hits / max((true == 1).sum(), 1)])
    return np.vstack([np.zeros((1, 2)), points])


def _last_of_each_score(score: FloatArray) -> npt.NDArray[np.intp]:
    """Where each run of equal scores ends: a threshold takes all of them or none."""
    return np.append(np.flatnonzero(np.diff(score)), len(score) - 1) if len(score) else np.array([], dtype=np.intp)


# Columns: confidence (0 to 1), right (0 or 1).


brier: Final = Mean(lambda rows: (rows[:, 0] - rows[:, 1]) ** 2)
"""Mean squared difference of confidence and outcome (Brier, Mon Weather Rev 1950;78:1-3)."""


def calibration_error(rows: FloatArray) -> float:
    """Expected calibration error over `CALIBRATION_BINS` equal bins (Guo et al., arXiv 1706.04599)."""
    bins = reliability(rows)
    return float((bins[:, 2] * np.abs(bins[:, 0] - bins[:, 1])).sum() / len(rows)) if len(rows) else float("nan")


def reliability(rows: FloatArray) -> FloatArray:
    """Mean confidence, share that is right, and count (bins, 3) of every bin of confidence that holds something."""
    number = np.clip(np.ceil(rows[:, 0] * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    groups = (rows[number == n] for n in np.unique(number))
    return np.array([[*group.mean(axis=0), len(group)] for group in groups]).reshape(-1, 3)


# Columns: kind (`HIT`, `FALSE`, `MISS` or `IMAGE`), score.

HIT, FALSE, MISS, IMAGE = 0.0, 1.0, 2.0, 3.0
"""A true thing that was reported; a report of none; a true thing that was not reported; an image that was looked at.
The score of the last two means nothing."""

FALSE_PER_IMAGE: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Operating points of the mean sensitivity, as in LUNA16 (Setio et al., doi 10.1016/j.media.2017.06.015)."""


def froc_curve(rows: FloatArray) -> FloatArray:
    """Points (n, 2) of false reports an image and sensitivity, from the strictest threshold to the mildest."""
    kind = rows[:, 0]
    images, true = int((kind == IMAGE).sum()), int(np.isin(kind, [HIT, MISS]).sum())
    if not images or not true:
        return np.empty((0, 2))
    reports = rows[np.isin(kind, [HIT, FALSE])]
    reports = reports[np.argsort(-reports[:, 1], kind="stable")]
    last = _last_of_each_score(reports[:, 1])
    false, hits = (np.cumsum(reports[:, 0] == one)[last] for one in (FALSE, HIT))
    return np.vstack([np.zeros((1, 2)), np.column_stack([false / images, hits / true])])


def sensitivity_at(false_per_image: float) -> Callable[[FloatArray], float]:
    """Sensitivity at the mildest threshold that has no more false reports an image than this."""

    def statistic(rows: FloatArray) -> float:
        curve = froc_curve(rows)
        return float(curve[curve[:, 0] <= false_per_image, 1].max()) if len(curve) else float("nan")

    return statistic


def mean_sensitivity(rows: FloatArray) -> float:
    """Mean sensitivity at `FALSE_PER_IMAGE`."""
    curve = froc_curve(rows)
    if not len(curve):
        return float("nan")
    return float(np.mean([curve[curve[:, 0] <= limit, 1].max() for limit in FALSE_PER_IMAGE]))


def panoptic_quality(rows: FloatArray) -> float:
    """Panoptic quality of all images together; columns as `InstanceScore.panoptic_terms`."""
    whole = float(rows[:, 1].sum())
    return float(rows[:, 0].sum()) / whole if whole else float("nan")
