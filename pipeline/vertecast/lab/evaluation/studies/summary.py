"""What the scores look like in print: the table, the grades found against the true ones, and what was not measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vertecast.lab.evaluation.agreement import Estimate
from vertecast.lab.evaluation.counts import abstention_lines, confuse_grades, confusion_lines, count_abstentions
from vertecast.lab.evaluation.datasets import FoundBody
from vertecast.lab.evaluation.score import Score
from vertecast.lab.evaluation.studies.scores import REPORTED_LEAK_ML, SCORES, Results
from vertecast.lab.evaluation.studies.scoring import StudyScore

_QUANTITIES: Final[Mapping[str, Callable[[FoundBody], object]]] = {
    "anterior height": lambda body: body.heights["anterior"],
    "middle height": lambda body: body.heights["middle"],
    "posterior height": lambda body: body.heights["posterior"],
    "wedge angle": lambda body: body.wedge_angle,
    "height loss": lambda body: body.height_loss,
    "Genant grade": lambda body: body.genant_grade,
}


_LEAK_COUNTS: Final = ("in view", "found", "compartment right", "Yeom type right")


def abstentions(studies: Sequence[StudyScore]) -> dict[str, dict[str, Any]]:
    """For each quantity of the complete bodies that were found: how many were measured, and why the others were not."""
    return count_abstentions([body for study in studies for _, body in study.measured], _QUANTITIES)


def genant_confusion(studies: Sequence[StudyScore]) -> list[list[int]]:
    """Complete bodies by true grade (rows 0 to 3) and found grade (columns 0 to 3, not graded, missed)."""
    complete = (body for study in studies for body in study.complete)
    return confuse_grades((b.truth.genant_grade, None if b.found is None else b.found.genant_grade) for b in complete)


def leaks_by_compartment(studies: Sequence[StudyScore]) -> dict[str, dict[str, int]]:
    """Leaks from `REPORTED_LEAK_ML` in view by their true compartment: how many, and what is right of them."""
    counts: dict[str, Counter[str]] = {}
    for leak in (leak for study in studies for leak in study.leaks):
        if leak.truth is None or leak.verdict == "out of view" or leak.truth.volume_ml < REPORTED_LEAK_ML:
            continue
        row = counts.setdefault(leak.truth.compartment, Counter(dict.fromkeys(_LEAK_COUNTS, 0)))
        row["in view"] += 1
        row["found"] += leak.verdict == "found"
        row["compartment right"] += leak.compartment_right
        row["Yeom type right"] += leak.yeom_right is True
    return {name: dict(counts[name]) for name in sorted(counts)}


def text_table(results: Results) -> str:
    """The scores as text: value, interval, count and, for simulated images, the target."""
    studies, simulated = results.studies, results.simulated
    failed = [study for study in studies if study.reason]
    kind = "simulated" if simulated else "not all of them simulated"
    lines = [
        f"{len(studies)} studies ({kind}) of {len({s.truth.patient for s in studies})} patients,"
        f" {len(failed)} without a report; 95 % intervals by bootstrap over patients",
        "",
    ]
    width = max(len(score.label) for score in SCORES)
    lines.append(f"{'':{width}}  {'value':>8}  {'95 % interval':>17}  {'n':>5}{'  target' if simulated else ''}")
    lines += [_line(score, results.estimates[score.key], width, simulated=simulated) for score in SCORES]
    lines += ["", "Genant grade: true in rows, found in columns", *confusion_lines(genant_confusion(studies))]
    lines += ["", *_leak_lines(leaks_by_compartment(studies))]
    lines += ["not measured, of the complete bodies found", *abstention_lines(abstentions(studies))]
    if failed:
        lines += ["", "without a report:", *(f"  {s.truth.study_instance_uid}: {s.reason}" for s in failed)]
    return "\n".join(lines) + "\n"


def _line(score: Score[StudyScore], value: Estimate, width: int, *, simulated: bool) -> str:
    line = score.cells(value, width)
    if not simulated or score.target is None:
        return line
    verdict = {True: "reached", False: "missed", None: "nothing to score"}[score.reached(value.value)]
    return f"{line}  {score.target[0]}{score.target[1]:g} {verdict}"


def _leak_lines(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    if not counts:
        return []
    width = max(map(len, counts))
    lines = [f"leaks ≥{REPORTED_LEAK_ML:g} mL by their true compartment"]
    lines.append(" " * (width + 2) + "".join(f"{name:>19}" for name in _LEAK_COUNTS))
    rows = (f"  {name:{width}}" + "".join(f"{row[key]:>19}" for key in _LEAK_COUNTS) for name, row in counts.items())
    return [*lines, *rows, ""]
