"""What is counted alike on CT and on projections: quantities that were not measured, and grades found against true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from vertecast.core.results import NotMeasured
from vertecast.lab.evaluation import metrics
from vertecast.lab.evaluation.agreement import GENANT_GRADES

Body = TypeVar("Body")


def count_abstentions(
    found: Sequence[Body], quantities: Mapping[str, Callable[[Body], object]]
) -> dict[str, dict[str, Any]]:
    """For each quantity of bodies that were found: how many were measured, and why the others were not."""
    result = {}
    for name, value_of in quantities.items():
        reasons = Counter(value.reason for value in map(value_of, found) if isinstance(value, NotMeasured))
        missing = reasons.total()
        result[name] = {
            "measured": len(found) - missing,
            "not_measured": missing,
            "reasons": dict(reasons.most_common()),
        }
    return result


def confuse_grades(grades: Iterable[tuple[int, int | NotMeasured | None]]) -> list[list[int]]:
    """Bodies by true grade (rows 0 to 3) and found grade (columns 0 to 3, not graded, missed).

    Args:
        grades: True and found grade of each body; None for a body that was missed.
    """
    table = metrics.confusion([], [], GENANT_GRADES + 2)
    for true, found in grades:
        column = GENANT_GRADES + 1 if found is None else GENANT_GRADES if isinstance(found, NotMeasured) else found
        table[true, column] += 1
    rows: list[list[int]] = table[:GENANT_GRADES].tolist()
    return rows
