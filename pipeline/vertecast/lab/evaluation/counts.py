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


def confusion_lines(table: Sequence[Sequence[int]]) -> list[str]:
    """`confuse_grades` as text, without a heading."""
    names = [*map(str, range(GENANT_GRADES)), "not graded", "missed"]
    lines = ["   " + "".join(f"{name:>11}" for name in names)]
    return lines + [f"{grade:>3}" + "".join(f"{count:>11}" for count in row) for grade, row in enumerate(table)]


def abstention_lines(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`count_abstentions` as text, without a heading."""
    lines = []
    for name, count in counts.items():
        reasons = "; ".join(f"{reason} ({number})" for reason, number in count["reasons"].items())
        whole = count["measured"] + count["not_measured"]
        lines.append(f"  {name}: {count['not_measured']} of {whole}{': ' if reasons else ''}{reasons}")
    return lines
