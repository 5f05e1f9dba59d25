"""Statistics with their intervals; patients, not bodies, are what is drawn again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from vertecast.evaluation import metrics
from vertecast.geometry import FloatArray

Statistic: TypeAlias = Callable[[FloatArray], float]
"""A number from rows (n, k); NaN where it is not defined for them."""

DRAWS: Final = 1000
BOOTSTRAP_SEED: Final = 20240115
GENANT_GRADES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A statistic.

    Attributes:
        value: None where there is nothing to compute it from.
        interval95: Percentile bootstrap over patients; None for fewer than two of them.
        count: Rows that it comes from.
        patients: Patients that they belong to.
    """

    value: float | None
    interval95: tuple[float, float] | None
    count: int
    patients: int


def mean(rows: FloatArray) -> float:
    """Mean of the first column."""
    return float(rows[:, 0].mean()) if len(rows) else float("nan")


def median(rows: FloatArray) -> float:
    """Median of the first column."""
    return float(np.median(rows[:, 0])) if len(rows) else float("nan")


def total(rows: FloatArray) -> float:
    """Sum of the first column; of no rows it is 0."""
    return float(rows[:, 0].sum())


def ratio(rows: FloatArray) -> float:
    """Sum of the first column for each unit of the second's."""
    whole = float(rows[:, 1].sum())
    return float(rows[:, 0].sum()) / whole if whole else float("nan")


def grade_kappa(rows: FloatArray) -> float:
    """Quadratic weighted κ of grades: true in the first column, found in the second."""
    return metrics.weighted_kappa(metrics.confusion(rows[:, 0], rows[:, 1], GENANT_GRADES))


def estimate(rows: Sequence[Sequence[float]], patients: Sequence[Hashable], statistic: Statistic) -> Estimate:
    """Compute a statistic and its bootstrap interval.

    Bodies of one patient resemble each other, so whole patients are drawn with replacement; drawing bodies would give
    intervals that are too narrow.

    Args:
        rows: One for each unit (body, study, leak), all of the same length.
        patients: The patient of each row.
        statistic: What to compute.
    """
    groups: dict[Hashable, list[int]] = {}
    for n, patient in enumerate(patients):
        groups.setdefault(patient, []).append(n)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), -1) if len(rows) else np.empty((0, 2))
    value = statistic(table)
    return Estimate(
        value=value if np.isfinite(value) else None,
        interval95=_interval([table[indices] for indices in groups.values()], statistic),
        count=len(table),
        patients=len(groups),
    )


def _interval(groups: Sequence[FloatArray], statistic: Statistic) -> tuple[float, float] | None:
    if len(groups) < 2:
        return None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = rng.integers(len(groups), size=(DRAWS, len(groups)))
    values = np.array([statistic(np.concatenate([groups[g] for g in draw])) for draw in draws])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
