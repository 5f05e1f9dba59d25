"""What is asked of the cases: rows to compute statistics from, each knowing what it is of and where it belongs.

A row has a key, so that two models are compared on the same things, a patient, so that the bootstrap draws patients,
and sub-groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.agreement import Estimate, Mean, Statistic
from vertecast.lab.evaluation.cases import Case

Better: TypeAlias = Literal["higher", "lower", "nearer 0", ""]

SMALLEST_GROUP: Final = 2
"""Patients from which on a sub-group is listed: of one nothing can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row.

    Attributes:
        key: What it is of: the case first; the same in another model's results.
        patient: Whose it is.
        groups: Sub-groups: value by name.
        row: Numbers, in the order that the question says.
    """

    key: tuple[str, ...]
    patient: str
    groups: Mapping[str, str]
    row: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One statistic of a question. ``main``: it is also given for every sub-group."""

    key: str
    label: str
    statistic: Statistic
    better: Better = ""
    main: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the cases.

    Attributes:
        section: Of the page and of ``scores.json`` that it stands in.
        key: Its name in ``scores.json``.
        label: What it is, with the unit.
        rows: Rows of one case.
        lines: Statistics.
        common: Two models are compared on the keys that both have; otherwise on all rows of each, because what a row
            is of depends on the model (a false report is nobody else's).
    """

    section: str
    key: str
    label: str
    rows: Callable[[Case], Iterator[Item]]
    lines: tuple[Line, ...]
    common: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """A question with its rows and its statistics: by the key of the line; sub-groups by name, value, key."""

    question: Question
    items: tuple[Item, ...]
    estimates: Mapping[str, Estimate]
    groups: Mapping[str, Mapping[str, Mapping[str, Estimate]]]

    @property
    def table(self) -> FloatArray:
        """The rows (n, k)."""
        return agreement.as_table([item.row for item in self.items])


def answer(question: Question, cases: Sequence[Case]) -> Answer | None:
    """Ask the cases; None where not one of them has a row."""
    items = tuple(item for case in cases for item in question.rows(case))
    if not items:
        return None
    return Answer(
        question=question,
        items=items,
        estimates=_estimates(question.lines, items),
        groups=_by_group([line for line in question.lines if line.main], items),
    )


def _estimates(lines: Sequence[Line], items: Sequence[Item]) -> dict[str, Estimate]:
    values = agreement.estimates(
        [item.row for item in items], [item.patient for item in items], [line.statistic for line in lines]
    )
    return {line.key: value for line, value in zip(lines, values, strict=True)}


def _by_group(lines: Sequence[Line], items: Sequence[Item]) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Sub-groups of which there are two or more; one of `SMALLEST_GROUP` patients or more each."""
    found: dict[str, dict[str, list[Item]]] = {}
    for item in items:
        for name, value in item.groups.items():
            found.setdefault(name, {}).setdefault(value, []).append(item)
    groups: dict[str, dict[str, dict[str, Estimate]]] = {}
    for name, values in sorted(found.items()) if lines else ():
        if len(values) > 1:
            groups[name] = {
                value: _estimates(lines, own)
                for value, own in sorted(values.items())
                if len({item.patient for item in own}) >= SMALLEST_GROUP
            }
    return groups


def column(number: int, where: int | None = None) -> Mean:
    """Mean of one column; with ``where`` of the rows alone that have something in that column."""
    if where is None:
        return Mean(lambda rows: rows[:, number])
    return Mean(lambda rows: np.where(rows[:, where] > 0, rows[:, number], np.nan))
