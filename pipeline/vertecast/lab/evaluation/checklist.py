"""What the checklist CLAIM asks of a study, with the answers that an evaluation knows.

Items after Mongan, Moy and Kahn, Radiol Artif Intell 2020;2:e200029, doi 10.1148/ryai.2020200029, shortened. What
cannot be known from the files is left to the authors and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vertecast import __version__
from vertecast.lab.evaluation.assessment import RULES, Assessment
from vertecast.lab.evaluation.datasets.maps import MapFile

TO_AUTHORS: Final = ""
"""Answer of an item that only the authors can fill in."""

_ITEMS: Final = (
    ("Title and abstract", "AI technique named"), ("Title and abstract", "structured summary"),
    ("Introduction", "background and clinical role"), ("Introduction", "objectives and hypotheses"),
    ("Study design", "prospective or retrospective"), ("Study design", "goal of the study"),
    ("Data", "sources"), ("Data", "eligibility"), ("Data", "preprocessing"), ("Data", "selection of subsets"),
    ("Data", "definitions of data elements"), ("Data", "de-identification"), ("Data", "missing data"),
    ("Ground truth", "definition of the reference standard"), ("Ground truth", "why this reference standard"),
    ("Ground truth", "source of annotations, qualification of annotators"), ("Ground truth", "annotation tools"),
    ("Ground truth", "variability within and between annotators"),
    ("Data partitions", "sample size and how it was chosen"), ("Data partitions", "how data were partitioned"),
    ("Data partitions", "level at which partitions are disjoint"),
    ("Model", "description"), ("Model", "software"), ("Model", "initialization of parameters"),
    ("Training", "approach"), ("Training", "how the final model was selected"), ("Training", "ensembling"),
    ("Evaluation", "metrics"), ("Evaluation", "significance and uncertainty"),
    ("Evaluation", "robustness or sensitivity analysis"), ("Evaluation", "explainability"),
    ("Evaluation", "external data"),
    ("Results: data", "flow of cases"), ("Results: data", "characteristics of the cases"),
    ("Results: performance", "metrics on all partitions"), ("Results: performance", "accuracy and its precision"),
    ("Results: performance", "failure analysis"),
    ("Discussion", "limitations"), ("Discussion", "implications for practice"),
    ("Other", "registration"), ("Other", "protocol"), ("Other", "funding"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistItem:
    """One item: its number, its part of the paper, what is asked, and the answer or `TO_AUTHORS`."""

    number: int
    part: str
    asked: str
    answer: str


def checklist(assessment: Assessment, head: Mapping[str, Any]) -> list[ChecklistItem]:
    """Every item of CLAIM.

    Args:
        assessment: All answers.
        head: What ``scores.json`` says of reports, empty for label maps alone.
    """
    known = _known(assessment, head)
    return [
        ChecklistItem(number=n, part=part, asked=asked, answer=known.get(n, TO_AUTHORS))
        for n, (part, asked) in enumerate(_ITEMS, start=1)
    ]


def _known(assessment: Assessment, head: Mapping[str, Any]) -> dict[int, str]:
    cases = assessment.cases
    patients = len({case.patient for case in cases})
    tolerance = assessment.tolerance_mm
    answered = [one for one in assessment.answers if one.groups]
    groups = sorted({name for one in answered for name in one.groups})
    without = [case for case in cases if case.reason]
    lines = [f"{one.question.label}: {line.label}" for one in assessment.answers for line in one.question.lines]
    known = {
        7: f"{assessment.data} Kinds of true maps: {', '.join(_kinds(assessment)) or 'not known'}.",
        9: "Found maps were brought to the true grid by the nearest voxel. What the model did before is in its card.",
        11: " ".join(RULES[:2]) + (f" Tolerance of NSD: {tolerance:g} mm." if tolerance is not None else ""),
        13: _missing(assessment, head),
        19: f"{len(cases)} images of {patients} patients were scored; how the number was chosen is for the authors.",
        23: f"Scores: vertecast {__version__}.",
        28: f"{len(lines)} statistics: {'; '.join(lines)}.",
        29: RULES[4] + (" Two models: paired, on the same draws." if assessment.against else ""),
        30: f"Sub-groups: {', '.join(groups)} (statistics.csv)." if groups else "No sub-group has two patients.",
        33: f"{len(cases)} images with a truth, {len(cases) - len(without)} with something to judge, {len(without)} "
            "without, which count as missed." if without else f"{len(cases)} images with a truth, all judged.",
        34: _characteristics(assessment),
        35: "Of the data scored here; other partitions are for the authors.",
        36: "index.html and statistics.csv, each value with its 95 % interval, count and patients.",
        37: "Worst cases with pictures in index.html; every structure in structures.csv.",
    }  # fmt: skip
    notes = " ".join(assessment.notes)
    if assessment.simulated:
        known |= {
            12: "Not needed: the patients were invented.",
            14: "The geometry that the images were simulated from.",
            15: "It is exact.",
            16: "None: the simulation itself.",
            17: "None.",
            18: "None: the truth is exact.",
            32: "None: all images come from one simulation.",
            38: "All images are simulated. " + notes,
        }
    elif notes:
        known[38] = f"Known from the files: {notes}"
    return known


def _kinds(assessment: Assessment) -> list[str]:
    names = {"file": "label map files", "folder": "folders of binary masks", "seg": "DICOM SEG"}
    kinds = {case.truth.kind for case in assessment.cases if isinstance(case.truth, MapFile)}
    return sorted(names[kind] for kind in kinds)


def _missing(assessment: Assessment, head: Mapping[str, Any]) -> str:
    parts = [RULES[3]]
    for name, count in head.get("abstentions", {}).items():
        if count["not_measured"]:
            whole = count["measured"] + count["not_measured"]
            parts.append(f"{name}: {count['not_measured']} of {whole} not measured.")
    without = sum(bool(case.reason) for case in assessment.cases)
    return " ".join([*parts, f"Images without a result: {without}, counted as missed."])


def _characteristics(assessment: Assessment) -> str:
    """How many images every sub-group of images has."""
    counts: dict[str, dict[str, int]] = {}
    for case in assessment.cases:
        for name, value in case.groups.items():
            own = counts.setdefault(name, {})
            own[value] = own.get(value, 0) + 1
    return "; ".join(
        f"{name}: {', '.join(f'{value} {count}' for value, count in sorted(values.items()))}"
        for name, values in sorted(counts.items())
    )
