"""``vertecast evaluate``: what lies in the folders decides what is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from vertecast.core.errors import InputError
from vertecast.lab.evaluation import projections
from vertecast.lab.evaluation.assessment import QUESTIONS, assess
from vertecast.lab.evaluation.cases import Case, case_of_study, with_groups
from vertecast.lab.evaluation.comparison import compare_cases
from vertecast.lab.evaluation.datasets import is_truth_of_studies
from vertecast.lab.evaluation.datasets.corners import find_corners
from vertecast.lab.evaluation.datasets.tables import find_table, read_groups
from vertecast.lab.evaluation.maps.scoring import MapOptions, score_map_folders
from vertecast.lab.evaluation.pages import output
from vertecast.lab.evaluation.projections.questions import pair_films
from vertecast.lab.evaluation.projections.truth import read_projection_truth
from vertecast.lab.evaluation.studies import report, summary
from vertecast.lab.evaluation.studies.scores import Results

PROJECTIONS: Final = "projections"
"""Folder within ``out`` of the scores of simulated films and cines."""

Listener: TypeAlias = Callable[[str, int, int], None]
"""Told of each case, how many are done, how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be scored.

    Attributes:
        truth: Folder of the truth.
        predictions: Folder of the model that is judged.
        out: Folder for the scores; made if absent.
        maps: How label maps are read and compared.
        against: Folder of a second model on the same images.
        against_maps: How its label maps are read; None: as those of the first.
        groups: Table of sub-groups; None: that of the data set, where it has one.
    """

    truth: Path
    predictions: Path
    out: Path
    maps: MapOptions
    against: Path | None = None
    against_maps: MapOptions | None = None
    groups: Path | None = None


def evaluate(request: Request, listener: Listener = lambda *_: None) -> str:
    """Score a model, compare it with another one if there is one, write everything, and return the table as text.

    Reports of ``analyze`` on studies of ``simulate`` are scored with all that they say, films and cines among them in a
    folder of their own; anything else by its label maps or its corners.

    Raises:
        UnreadableError: There is no truth, nothing to judge, or a file is damaged.
        InputError: Truth and predictions have no case in common.
        OutputError: ``out`` cannot be written.
    """
    if not read_projection_truth(request.truth):
        return _evaluate_cases(request, listener)
    scored = projections.evaluate_projections(request.truth, request.predictions, request.out / PROJECTIONS)
    text = projections.text_table(scored)
    return f"{_evaluate_cases(request, listener)}\n{text}" if is_truth_of_studies(request.truth) else text


def _evaluate_cases(request: Request, listener: Listener) -> str:
    """Everything but simulated films and cines, which have scores of their own."""
    cases, notes, results = _score(request, listener)
    assessment = assess(cases, notes=notes)
    if request.against is not None:
        second = replace(request, predictions=request.against, maps=request.against_maps or request.maps)
        others, more, _ = _score(second, listener)
        assessment = replace(
            assessment,
            differences=tuple(compare_cases(cases, others, QUESTIONS)),
            against=request.against.name,
            notes=(*notes, *(f"{request.against.name}: {note}" for note in more if note not in notes)),
        )
    if results is None:
        output.write(assessment, request.out)
        return output.text_table(assessment)
    output.write(assessment, request.out, head=report.scores_document(results), texts=report.tables(results))
    return f"{summary.text_table(results)}\n{output.text_table(assessment)}"


def _score(request: Request, listener: Listener) -> tuple[list[Case], list[str], Results | None]:
    results, notes = None, list[str]()
    if report.has_reports(request.truth, request.predictions):
        results = report.score_folders(
            request.truth, request.predictions, workers=request.maps.workers, tolerance_mm=request.maps.tolerance_mm,
            listener=lambda study, done, total: listener(study.truth.study_instance_uid, done, total),
        )  # fmt: skip
        cases = [case_of_study(study) for study in results.studies]
    elif find_corners(request.truth):
        cases = pair_films(request.truth, request.predictions)
    else:
        cases, notes = score_map_folders(request.truth, request.predictions, request.maps, listener=listener)
    table = request.groups or find_table(request.truth)
    return _grouped(cases, table), notes, results


def _grouped(cases: Sequence[Case], table: Path | None) -> list[Case]:
    if table is None:
        return list(cases)
    groups = read_groups(table)
    if not any(case.name in groups or case.patient in groups for case in cases):
        raise InputError(f"{table}: names no case of the truth, such as {cases[0].name}; see docs/evaluation.md")
    return [with_groups(case, groups) for case in cases]
