"""All questions answered by all cases, as JSON values and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from vertecast.lab.evaluation.agreement import Estimate
from vertecast.lab.evaluation.cases import Case
from vertecast.lab.evaluation.comparison import Difference
from vertecast.lab.evaluation.maps.masks import OTHERS
from vertecast.lab.evaluation.maps.questions import MASK_QUESTIONS
from vertecast.lab.evaluation.projections.questions import FILM_QUESTIONS
from vertecast.lab.evaluation.questions import Answer, Question, answer
from vertecast.lab.evaluation.studies.questions import STUDY_QUESTIONS

Row: TypeAlias = Mapping[str, object]

QUESTIONS: Final[tuple[Question, ...]] = (*MASK_QUESTIONS, *STUDY_QUESTIONS, *FILM_QUESTIONS)

RULES: Final = (
    "A structure that one map holds and the other does not costs the worst: Dice and NSD 0, distances the diagonal of "
    "the true map. A structure that neither holds has no score and is counted as absent.",
    "Vertebrae are paired by place, whatever their names; found vertebrae that are none are counted apart and cost in "
    "the panoptic quality. Sacrum, cement and metal are paired by number, and a false one counts as a miss does.",
    "The found map is brought to the true grid by the nearest voxel; spacing and obliqueness are in every distance.",
    "What was not measured is in no error and is counted beside it. A vertebra that was missed counts as called sound.",
    "Intervals are 95 % percentile bootstrap over patients, 1,000 draws.",
)
"""How the numbers come about; printed with them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assessment:
    """The cases, the answers to every question that has one, and what was found for a comparison.

    Attributes:
        cases: Every true image.
        answers: In the order of `QUESTIONS`.
        tolerance_mm: Of the normalized surface Dice; None without label maps.
        notes: What a reader must know of the data ("bodies were cut out of whole vertebrae").
        differences: This model less another one; () without a second model.
        against: Name of the other model.
    """

    cases: tuple[Case, ...]
    answers: tuple[Answer, ...]
    tolerance_mm: float | None
    notes: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    against: str = ""

    @property
    def simulated(self) -> bool:
        """True when every image is simulated."""
        return all(case.simulated for case in self.cases)

    @property
    def data(self) -> str:
        """What the data are, in words, for every page."""
        count = sum(case.simulated for case in self.cases)
        if count == len(self.cases):
            return "SIMULATED DATA: every image was simulated; nothing here tells how the model does on real patients."
        if count:
            return f"PARTLY SIMULATED DATA: {count} of {len(self.cases)} images were simulated."
        return "The images are not marked as simulated."

    @property
    def without_score(self) -> Mapping[str, int]:
        """For each structure of `OTHERS`, the images in which it has no score: neither map holds it, or no true one."""
        maps = [case.masks for case in self.cases if case.masks is not None]
        present = Counter(name for masks in maps for name in {one.structure for one in masks.structures})
        return {name: len(maps) - present[name] for name in OTHERS}


def assess(cases: Sequence[Case], *, notes: Sequence[str] = ()) -> Assessment:
    """Answer every question; the bootstrap takes some seconds."""
    answers = (answer(question, cases) for question in QUESTIONS)
    return Assessment(
        cases=tuple(cases),
        answers=tuple(one for one in answers if one is not None),
        tolerance_mm=next((case.masks.tolerance_mm for case in cases if case.masks is not None), None),
        notes=tuple(notes),
    )


def document(assessment: Assessment) -> dict[str, Any]:
    """The answers as JSON values, by section and question."""
    sections: dict[str, dict[str, Any]] = {}
    for one in assessment.answers:
        sections.setdefault(one.question.section, {})[one.question.key] = {
            "label": one.question.label,
            "statistics": {
                line.key: {"label": line.label, "better": line.better, **one.estimates[line.key].document()}
                for line in one.question.lines
            },
            "groups": {
                name: {value: {key: e.document() for key, e in lines.items()} for value, lines in values.items()}
                for name, values in one.groups.items()
            },
        }
    return {
        "data": assessment.data,
        "cases": len(assessment.cases),
        "patients": len({case.patient for case in assessment.cases}),
        "nothing_found_in": {case.name: case.reason for case in assessment.cases if case.reason},
        "nsd_tolerance_mm": assessment.tolerance_mm,
        "notes": list(assessment.notes),
        "rules": list(RULES),
        "without_score": dict(assessment.without_score),
        "sections": sections,
        "against": assessment.against,
        "comparison": [dict(row) for row in comparison_rows(assessment.differences)],
    }


def statistic_rows(answers: Sequence[Answer]) -> Iterator[Row]:
    """Rows of ``statistics.csv``: every statistic, of all rows and of every sub-group."""
    for one in answers:
        yield from _rows(one, "", "", one.estimates)
        for name, values in one.groups.items():
            for value, lines in values.items():
                yield from _rows(one, name, value, lines)


def _rows(one: Answer, name: str, value: str, estimates: Mapping[str, Estimate]) -> Iterator[Row]:
    for key, estimate in estimates.items():
        low, high = estimate.interval95 or (None, None)
        yield {
            "section": one.question.section,
            "question": one.question.key,
            "statistic": key,
            "group": name,
            "group_value": value,
            "value": number(estimate.value),
            "low": number(low),
            "high": number(high),
            "count": estimate.count,
            "patients": estimate.patients,
        }


def structure_rows(cases: Sequence[Case]) -> Iterator[Row]:
    """Rows of ``structures.csv``: every structure of every image."""
    names = sorted({name for case in cases for name in case.groups})
    for case in cases:
        for one in () if case.masks is None else case.masks.structures:
            yield {
                "case": case.name,
                "patient": case.patient,
                "simulated": int(case.simulated),
                "structure": one.structure,
                "level": one.level,
                "found_level": one.found_level,
                "verdict": one.verdict,
                "cut": int(one.cut),
                "dice": number(one.overlap.dice),
                "nsd": number(one.overlap.nsd),
                "assd_mm": number(one.overlap.assd_mm),
                "hd95_mm": number(one.overlap.hd95_mm),
                "true_ml": number(one.true_ml),
                "found_ml": number(one.found_ml),
                **{f"group: {name}": case.groups.get(name, "") for name in names},
            }


def comparison_rows(differences: Sequence[Difference]) -> Iterator[Row]:
    """Rows of ``comparison.csv``: every statistic of both models and their difference."""
    for one in differences:
        low, high = one.difference.interval95 or (None, None)
        yield {
            "section": one.question.section,
            "question": one.question.key,
            "statistic": one.line.key,
            "better": one.line.better,
            "first": one.first,
            "second": one.second,
            "difference": one.difference.value,
            "low": low,
            "high": high,
            "verdict": one.verdict,
            "count": one.difference.count,
            "patients": one.difference.patients,
            "only_first": one.only_first,
            "only_second": one.only_second,
        }


def number(value: float | None) -> str:
    """A number as the tables print it; "" for none."""
    return "" if value is None else f"{value:.4g}"
