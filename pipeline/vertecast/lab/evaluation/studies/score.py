"""One line of the table of scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.agreement import Statistic
from vertecast.lab.evaluation.studies.scoring import StudyScore

Rows: TypeAlias = Iterable[tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One line of the table.

    Attributes:
        key: Its name in ``scores.json``.
        label: What it is, with the unit.
        rows: What one study adds to it.
        statistic: From all rows to the number.
        target: What a model must reach on simulated images.
        decimals: Printed.
    """

    key: str
    label: str
    rows: Callable[[StudyScore], Rows]
    statistic: Statistic = agreement.mean
    target: tuple[Literal["≥", "≤"], float] | None = None
    decimals: int = 3

    def reached(self, value: float | None) -> bool | None:
        """Does a value reach the target? None where there is no target or no value."""
        if self.target is None or value is None:
            return None
        sign, limit = self.target
        return value >= limit if sign == "≥" else value <= limit
