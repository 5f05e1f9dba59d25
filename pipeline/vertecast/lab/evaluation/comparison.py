"""Two models on the same images: the difference of every statistic, with an interval that knows that it is paired.

The same patients are drawn for both, so that what makes an image hard for both models falls out of the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core.errors import InputError
from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation.agreement import Estimate, as_table, bootstrap, draw_patients, interval95
from vertecast.lab.evaluation.cases import Case
from vertecast.lab.evaluation.questions import Better, Item, Line, Question

Verdict: TypeAlias = Literal["better", "worse", "no difference shown", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One statistic of two models.

    Attributes:
        question: What was asked.
        line: The statistic.
        first: Of the model that is judged.
        second: Of the model it is held against.
        difference: First less second, with its interval.
        only_first: Rows that only the first model has; where the question says so, they are left out of all three.
        only_second: The same of the second model.
    """

    question: Question
    line: Line
    first: float | None
    second: float | None
    difference: Estimate
    only_first: int
    only_second: int

    @property
    def verdict(self) -> Verdict:
        """What the interval says of the first model; "" where more is neither better nor worse."""
        if not self.line.better or self.difference.interval95 is None:
            return ""
        return verdict(self.difference.interval95, self.line.better)


def verdict(interval: tuple[float, float], better: Better) -> Verdict:
    """What the interval of a difference says of the first model; of a bias the interval is that of its size."""
    low, high = interval
    if low <= 0 <= high:
        return "no difference shown"
    return "better" if (low > 0) == (better == "higher") else "worse"


def compare_cases(first: Sequence[Case], second: Sequence[Case], questions: Sequence[Question]) -> list[Difference]:
    """Compare what two models say of the same images.

    Raises:
        InputError: They were not scored on the same images.
    """
    if {case.name for case in first} != {case.name for case in second}:
        raise InputError("the two models were not scored on the same images; give both the same --truth")
    differences = []
    for question in questions:
        items = [[item for case in cases for item in question.rows(case)] for cases in (first, second)]
        keys = [{item.key for item in own} for own in items]
        if question.common:
            common = keys[0] & keys[1]
            items = [[item for item in own if item.key in common] for own in items]
        if items[0] and items[1]:
            counts = len(keys[0] - keys[1]), len(keys[1] - keys[0])
            differences += _differences(question, items[0], items[1], counts)
    return differences


def _differences(
    question: Question, first: Sequence[Item], second: Sequence[Item], only: tuple[int, int]
) -> list[Difference]:
    patients = sorted({item.patient for item in (*first, *second)})
    tables = [as_table([item.row for item in own]) for own in (first, second)]
    places = [
        [np.flatnonzero([item.patient == patient for item in own]) for patient in patients] for own in (first, second)
    ]
    draws = draw_patients(len(patients))
    statistics = [line.statistic for line in question.lines]
    spreads = [bootstrap(table, own, draws, statistics) for table, own in zip(tables, places, strict=True)]
    results = []
    for n, line in enumerate(question.lines):
        values = [line.statistic(table) for table in tables]
        difference = float(_difference(line, values[0], values[1]))
        spread = _difference(line, spreads[0][:, n], spreads[1][:, n])
        results.append(
            Difference(
                question=question,
                line=line,
                first=values[0] if np.isfinite(values[0]) else None,
                second=values[1] if np.isfinite(values[1]) else None,
                difference=Estimate(
                    value=difference if np.isfinite(difference) else None,
                    interval95=interval95(spread),
                    count=len(first),
                    patients=len(patients),
                ),
                only_first=only[0],
                only_second=only[1],
            )
        )
    return results


def _difference(line: Line, first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """First less second; of a bias the difference of its sizes, since -1 mm is no better than 1 mm."""
    values = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return np.asarray(np.abs(values[0]) - np.abs(values[1]) if line.better == "nearer 0" else values[0] - values[1])
