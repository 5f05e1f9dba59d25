"""One line of a table of scores, whatever is scored: a CT study, or the images of one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.agreement import Estimate, Statistic, estimate

Unit = TypeVar("Unit")
Rows: TypeAlias = Iterable[tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Generic[Unit]):
    """One line of the table.

    Attributes:
        key: Its name in the JSON.
        label: What it is, with the unit.
        rows: What one unit adds to it.
        statistic: From all rows to the number.
        target: What a model must reach on simulated images.
        decimals: Printed.
    """

    key: str
    label: str
    rows: Callable[[Unit], Rows]
    statistic: Statistic = agreement.mean
    target: tuple[Literal["≥", "≤"], float] | None = None
    decimals: int = 3

    def of(self, units: Sequence[Unit], patient: Callable[[Unit], Hashable]) -> Estimate:
        """Compute it from many units, of which ``patient`` says whose each is."""
        rows: list[tuple[float, ...]] = []
        patients: list[Hashable] = []
        for unit in units:
            added = list(self.rows(unit))
            rows += added
            patients += [patient(unit)] * len(added)
        return estimate(rows, patients, self.statistic)

    def reached(self, value: float | None) -> bool | None:
        """Does a value reach the target? None where there is no target or no value."""
        if self.target is None or value is None:
            return None
        sign, limit = self.target
        return value >= limit if sign == "≥" else value <= limit

    def cells(self, value: Estimate, width: int) -> str:
        """Label, value, interval and count, in columns."""
        interval = "" if value.interval95 is None else " to ".join(map(self.shown, value.interval95))
        return f"{self.label:{width}}  {self.shown(value.value):>8}  {interval:>17}  {value.count:>5}"

    def shown(self, number: float | None) -> str:
        """A number as it is printed."""
        return "-" if number is None else f"{number:.{self.decimals}f}"
