"""What a benchmark finds: figures with their aims in sections, and runtimes side by side; to and from JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

Column: TypeAlias = Literal["cold", "warm", "memory"]

UNITS_AFTER_A_SPACE: Final = ("s", "GiB", "%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What the project promises of a figure: at most ``value`` in one of its columns, or at least."""

    value: float
    column: Column
    at_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of a section; an empty tuple is a column that has no meaning for it.

    Attributes:
        name: What was measured.
        unit: Of ``cold`` and ``warm``: "s", "GiB", "%", "/s", "/h" or "×".
        cold: One value for each run in a fresh process, or the first one in a process, as its subject says.
        warm: One for each later run in the same process, weights and libraries loaded.
        memory_gib: Largest resident memory of each run.
        aims: What is promised of it.
    """

    name: str
    unit: str
    cold: tuple[float, ...] = ()
    warm: tuple[float, ...] = ()
    memory_gib: tuple[float, ...] = ()
    aims: tuple[Aim, ...] = ()

    def typical(self, column: Column) -> float | None:
        """The median of the runs, of a memory the largest; None where the column is empty."""
        values = {"cold": self.cold, "warm": self.warm, "memory": self.memory_gib}[column]
        if not values:
            return None
        return max(values) if "GiB" in (self.unit, self._unit(column)) else statistics.median(values)

    def text(self, column: Column) -> str:
        """The typical value with its unit; "" where there is none."""
        value = self.typical(column)
        return "" if value is None else in_unit(value, self._unit(column))

    def verdicts(self) -> list[str]:
        """Each aim, and whether it was reached; an aim of a column without a value was not measured."""
        return [self._verdict(aim) for aim in self.aims]

    def _verdict(self, aim: Aim) -> str:
        sign, unit = "≥" if aim.at_least else "≤", self._unit(aim.column)
        asked = f"{sign}{aim.value:g}{' ' if unit in UNITS_AFTER_A_SPACE else ''}{unit}"
        value = self.typical(aim.column)
        if value is None:
            return f"{asked} not measured"
        reached = value >= aim.value if aim.at_least else value <= aim.value
        return f"{asked} {'reached' if reached else 'missed'}"

    def _unit(self, column: Column) -> str:
        return "GiB" if column == "memory" else self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Figures of one thing, under its title."""

    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of one kind of measurement from that of the reference, in its unit: how many, mean and largest amount."""

    count: int
    mean: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeRow:
    """What one runtime takes, and what it changes; see `benchmarks.runtimes`.

    Attributes:
        loading_s, cold_s: Processor time of loading the networks and of the first segmentation of all studies.
        warm_s: Of each later one.
        peak_gib: Largest memory of its process.
        differences: By kind of measurement.
        grades_changed: Genant grades that are others.
        not_in_both: Measurements that one of the two gives and the other does not.
        failed: Why there is none of all this; "" otherwise.
    """

    name: str
    loading_s: float = 0.0
    cold_s: float = 0.0
    warm_s: tuple[float, ...] = ()
    peak_gib: float = 0.0
    differences: Mapping[str, Difference] = field(default_factory=dict)
    grades_changed: int = 0
    not_in_both: int = 0
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runtimes side by side, the reference first."""

    title: str
    rows: tuple[RuntimeRow, ...]


Found: TypeAlias = Section | Comparison


def in_unit(value: float, unit: str) -> str:
    """Three digits of a value, with its unit."""
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{decimals}f}{' ' if unit in UNITS_AFTER_A_SPACE else ''}{unit}"


def to_json(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Sections and comparisons as plain data."""
    return [asdict(one) for one in found]


def from_json(stored: Sequence[Mapping[str, Any]]) -> list[Found]:
    """What `to_json` gave.

    Raises:
        KeyError, TypeError: it is something else.
    """
    return [_comparison(one) if "rows" in one else _section(one) for one in stored]


def _section(one: Mapping[str, Any]) -> Section:
    figures = []
    for figure in one["figures"]:
        values = {key: tuple(figure[key]) for key in ("cold", "warm", "memory_gib")}
        aims = tuple(Aim(**aim) for aim in figure["aims"])
        figures.append(Figure(name=figure["name"], unit=figure["unit"], aims=aims, **values))
    return Section(title=one["title"], figures=tuple(figures))


def _comparison(one: Mapping[str, Any]) -> Comparison:
    rows = []
    for row in one["rows"]:
        differences = {kind: Difference(**difference) for kind, difference in row["differences"].items()}
        rows.append(RuntimeRow(**{**row, "warm_s": tuple(row["warm_s"]), "differences": differences}))
    return Comparison(title=one["title"], rows=tuple(rows))
