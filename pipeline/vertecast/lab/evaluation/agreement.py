"""Statistics with their intervals; patients, not bodies, are what is drawn again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation import metrics

Statistic: TypeAlias = Callable[[FloatArray], float]
"""A number from rows (n, k); NaN where it is not defined for them."""

Indices: TypeAlias = npt.NDArray[np.intp]

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

    def document(self) -> dict[str, Any]:
        """Its JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of something that each row has, as a statistic.

    Attributes:
        of: Value (n,) of every row; NaN for a row that has none and is left out.
    """

    of: Callable[[FloatArray], FloatArray]

    def __call__(self, rows: FloatArray) -> float:
        """The mean of the rows (n, k)."""
        return float(self.over(rows, np.ones((1, len(rows))))[0])

    def over(self, rows: FloatArray, weights: FloatArray) -> FloatArray:
        """The means (m,) of the rows, each counted as often as a row of the weights (m, n) says."""
        values = self.of(rows)
        given = np.isfinite(values)
        whole = weights[:, given].sum(axis=1)
        sums = weights[:, given] @ values[given]
        means = np.full(len(weights), np.nan)
        np.divide(sums, whole, out=means, where=whole > 0)
        return means


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
    return estimates(rows, patients, [statistic])[0]


def estimates(
    rows: Sequence[Sequence[float]], patients: Sequence[Hashable], statistics: Sequence[Statistic]
) -> list[Estimate]:
    """Several statistics of the same rows, on the same draws; arguments as of `estimate`."""
    table = as_table(rows)
    places = list(rows_by_patient(patients).values())
    values = bootstrap(table, places, draw_patients(len(places)), statistics)
    return [
        Estimate(
            value=value if np.isfinite(value := statistic(table)) else None,
            interval95=interval95(values[:, n]),
            count=len(table),
            patients=len(places),
        )
        for n, statistic in enumerate(statistics)
    ]


def bootstrap(
    table: FloatArray, places: Sequence[Indices], draws: Indices, statistics: Sequence[Statistic]
) -> FloatArray:
    """Every statistic (draws, statistics) of the rows of the patients in each draw.

    Args:
        table: Rows (n, k).
        places: For each patient, where its rows stand; may be empty.
        draws: Of `draw_patients`.
        statistics: What to compute; a `Mean` is computed for all draws at once.
    """
    values = np.full((len(draws), len(statistics)), np.nan)
    slow = [n for n, statistic in enumerate(statistics) if not isinstance(statistic, Mean)]
    if slow:
        for row, draw in enumerate(draws):
            part = table[np.concatenate([places[g] for g in draw])]
            values[row, slow] = [statistics[n](part) for n in slow]
    if len(slow) < len(statistics) and len(draws):
        weights = _weights(len(table), places, draws)
        for n, statistic in enumerate(statistics):
            if isinstance(statistic, Mean):
                values[:, n] = statistic.over(table, weights)
    return values


def _weights(count: int, places: Sequence[Indices], draws: Indices) -> FloatArray:
    """How often each row (draws, rows) is in each draw."""
    times = np.stack([np.bincount(draw, minlength=len(places)) for draw in draws]).astype(np.float64)
    owner = np.zeros(count, dtype=np.intp)
    for patient, own in enumerate(places):
        owner[own] = patient
    return np.asarray(times[:, owner])


def as_table(rows: Sequence[Sequence[float]]) -> FloatArray:
    """Rows (n, k) as an array; of no rows (0, 2)."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1) if len(rows) else np.empty((0, 2))


def rows_by_patient(patients: Sequence[Hashable]) -> dict[Hashable, Indices]:
    """The places of every patient's rows."""
    groups: dict[Hashable, list[int]] = {}
    for n, patient in enumerate(patients):
        groups.setdefault(patient, []).append(n)
    return {patient: np.array(places, dtype=np.intp) for patient, places in groups.items()}


def draw_patients(count: int) -> Indices:
    """`DRAWS` draws (draws, count) of patients with replacement; none for fewer than two of them."""
    if count < 2:
        return np.empty((0, 0), dtype=np.intp)
    return np.random.default_rng(BOOTSTRAP_SEED).integers(count, size=(DRAWS, count))


def interval95(values: FloatArray) -> tuple[float, float] | None:
    """Percentile interval of what the draws gave; None where none of them gave a number."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
