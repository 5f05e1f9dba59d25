"""Reports against the truth of studies: folders in; scores with their targets, and a table for each kind of thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from vertecast.core.errors import InputError, UnreadableError
from vertecast.core.results import Measured, NotMeasured, Quantity
from vertecast.lab.evaluation.assessment import assess
from vertecast.lab.evaluation.cases import case_of_study
from vertecast.lab.evaluation.datasets import (
    PLACES,
    REPORT_NAME,
    RUN_NAME,
    FoundStudy,
    TrueStudy,
    is_truth_of_studies,
    read_found,
    read_truth,
)
from vertecast.lab.evaluation.maps.surfaces import TOLERANCE_MM
from vertecast.lab.evaluation.pages import output
from vertecast.lab.evaluation.studies import summary
from vertecast.lab.evaluation.studies.scores import SCORES, Results, summarize
from vertecast.lab.evaluation.studies.scoring import BodyScore, StudyScore, score_study, with_changes
from vertecast.run.workers import Lost, run_in_processes

Row = Mapping[str, object]


def evaluate_folders(
    truth: Path, found: Path, out: Path, *, listener: Callable[[StudyScore, int, int], None] = lambda *_: None
) -> Results:
    """Score every true study and write the scores.

    Args:
        truth: Folder with the truth of the studies, as ``vertecast simulate`` writes it.
        found: Output folder of ``vertecast analyze``.
        out: Folder for the scores; made if absent.
        listener: Told of each study, how many are done, how many there are.

    Returns:
        The studies and their scores.

    Raises:
        UnreadableError: There is no truth, no report, or a file is damaged.
        OutputError: ``out`` cannot be written.
    """
    results = score_folders(truth, found, listener=listener)
    assessment = assess([case_of_study(study) for study in results.studies])
    output.write(assessment, out, head=scores_document(results), texts=tables(results))
    return results


def has_reports(truth: Path, found: Path) -> bool:
    """Whether one folder holds the truth of studies and the other one reports."""
    reported = any(next(found.rglob(name), None) is not None for name in (REPORT_NAME, RUN_NAME))
    return reported and is_truth_of_studies(truth)


def score_folders(
    truth: Path,
    found: Path,
    *,
    listener: Callable[[StudyScore, int, int], None] = lambda *_: None,
    workers: int = 1,
    tolerance_mm: float = TOLERANCE_MM,
) -> Results:
    """Score every true study; arguments and errors as of `evaluate_folders`.

    Args:
        truth: Folder of the truth.
        found: Folder of the reports.
        listener: Told of each study.
        workers: Processes at the same time.
        tolerance_mm: Of the normalized surface Dice.
    """
    truths, reports = read_truth(truth), read_found(found)
    if not truths:
        raise UnreadableError(f"{truth}: holds no truth; give a folder that 'vertecast simulate' has written")
    if not reports:
        raise UnreadableError(f"{found}: holds no report; give the output folder of 'vertecast analyze'")
    jobs = [(one, reports.get(one.study_instance_uid), tolerance_mm) for one in truths]
    scored: dict[str, StudyScore] = {}
    for job, study in _run(jobs, workers):
        if isinstance(study, Lost):
            raise InputError(f"{job[0].labels}: its process ended without a word; score with fewer --workers")
        scored[job[0].study_instance_uid] = study
        listener(study, len(scored), len(jobs))
    return summarize(with_changes([scored[one.study_instance_uid] for one in truths], reports))


_Job: TypeAlias = tuple[TrueStudy, FoundStudy | None, float]


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[_Job, StudyScore | Lost]]:
    if workers > 1:
        yield from run_in_processes(_score, jobs, workers)
    else:
        yield from ((job, _score(job)) for job in jobs)


def _score(job: _Job) -> StudyScore:
    truth, found, tolerance_mm = job
    return score_study(truth, found, tolerance_mm=tolerance_mm)


def tables(results: Results) -> dict[str, str]:
    """``scores.txt``, ``studies.csv``, ``vertebrae.csv``, ``leaks.csv`` and ``changes.csv``."""
    studies = results.studies
    return {
        "scores.txt": summary.text_table(results),
        "studies.csv": output.csv_text(map(_study_row, studies)),
        "vertebrae.csv": output.csv_text(row for study in studies for row in _body_rows(study)),
        "leaks.csv": output.csv_text(row for study in studies for row in _leak_rows(study)),
        "changes.csv": output.csv_text(row for study in studies for row in _change_rows(study)),
    }


def scores_document(results: Results) -> dict[str, Any]:
    """All scores as JSON values; ``value`` is null where there was nothing to score."""
    studies, scores = results.studies, {}
    for score in SCORES:
        value = results.estimates[score.key]
        scores[score.key] = {
            "label": score.label,
            **value.document(),
            "target": None if score.target is None else f"{score.target[0]}{score.target[1]:g}",
            "reached": score.reached(value.value),
        }
    return {
        "simulated": results.simulated,
        "studies": len(studies),
        "without_report": {s.truth.study_instance_uid: s.reason for s in studies if s.reason},
        "scores": scores,
        "genant_confusion": {
            "rows": "true grade 0 to 3",
            "columns": "found grade 0 to 3, not graded, missed",
            "counts": summary.genant_confusion(studies),
        },
        "leaks_by_compartment": summary.leaks_by_compartment(studies),
        "abstentions": summary.abstentions(studies),
    }


def _study_row(study: StudyScore) -> Row:
    verdicts = [leak.verdict for leak in study.leaks]
    return {
        "study_instance_uid": study.truth.study_instance_uid,
        "patient": study.truth.patient,
        "reason": study.reason,
        "voxel_mm": f"{study.voxel_mm:.3g}",
        "levels_countable": int(study.anchored),
        "bodies": len(study.complete),
        "bodies_found": len(study.measured),
        "levels_right": sum(body.level_right for body in study.complete),
        "false_bodies": " ".join(study.false_bodies),
        "body_dice": _number(study.body_dice),
        "cement_dice": _number(study.cement_dice),
        "treated": " ".join(cement.level for cement in study.cement),
        "false_cement": " ".join(study.false_cement),
        **{f"leaks_{verdict.replace(' ', '_')}": verdicts.count(verdict) for verdict in _VERDICTS},
    }


_VERDICTS: Final = ("found", "missed", "fragment", "false", "out of view")


def _body_rows(study: StudyScore) -> Iterator[Row]:
    cement = {item.level: item for item in study.cement}
    for body in study.bodies:
        truth, found, filled = body.truth, body.found, cement.get(body.truth.level)
        yield {
            "study_instance_uid": study.truth.study_instance_uid,
            "voxel_mm": f"{study.voxel_mm:.3g}",
            "level": truth.level,
            "found_level": "" if found is None else found.level,
            "complete": int(truth.complete),
            "treated": int(truth.treated),
            "found_treated": "" if found is None else int(found.treated),
            "dice": _number(body.dice),
            **_height_cells(body),
            "wedge_angle_deg": _number(truth.wedge_angle_deg),
            "found_wedge_angle_deg": "" if found is None else _value(found.wedge_angle),
            "height_loss": _number(truth.height_loss),
            "found_height_loss": "" if found is None else _value(found.height_loss),
            "genant_grade": truth.genant_grade,
            "found_genant_grade": _grade(body),
            "cement_ml": "" if filled is None else _number(filled.true_ml),
            "found_cement_ml": "" if filled is None or filled.found is None else _value(filled.found),
        }


def _height_cells(body: BodyScore) -> Row:
    cells: dict[str, object] = {}
    for place in PLACES:
        cells[f"{place}_height_mm"] = _number(body.truth.heights_mm[place])
        cells[f"found_{place}_height_mm"] = "" if body.found is None else _value(body.found.heights[place])
    return cells


def _grade(body: BodyScore) -> object:
    if body.found is None or isinstance(body.found.genant_grade, NotMeasured):
        return ""
    return body.found.genant_grade


def _leak_rows(study: StudyScore) -> Iterator[Row]:
    for leak in study.leaks:
        truth, found = leak.truth, leak.found
        yield {
            "study_instance_uid": study.truth.study_instance_uid,
            "verdict": leak.verdict,
            "level": "" if truth is None else truth.level,
            "found_level": "" if found is None else found.level,
            "compartment": "" if truth is None else truth.compartment,
            "found_compartment": "" if found is None else found.compartment,
            "yeom_type": "" if truth is None else truth.yeom_type or "",
            "found_yeom_type": "" if found is None else found.yeom_type or "",
            "volume_ml": "" if truth is None else _number(truth.volume_ml),
            "found_volume_ml": "" if found is None else _value(found.volume),
        }


def _change_rows(study: StudyScore) -> Iterator[Row]:
    for change in study.changes:
        for level in change.levels:
            found = level.found
            yield {
                "study_instance_uid": study.truth.study_instance_uid,
                "earlier_study": change.earlier,
                "level": level.level,
                "treated": int(level.treated),
                "compared": int(found is not None),
                **{f"{place}_gain_mm": _number(level.gain_mm[place]) for place in PLACES},
                **{
                    f"found_{place}_gain_mm": "" if found is None else _value(found.height_gain[place])
                    for place in PLACES
                },
                "wedge_change_deg": _number(level.wedge_deg),
                "found_wedge_change_deg": "" if found is None else _value(found.wedge_change),
                "kyphosis_change_deg": _number(level.kyphosis_deg),
                "found_kyphosis_change_deg": "" if found is None else _value(found.kyphosis_change),
                "cement_change_ml": _number(level.cement_ml),
                "found_cement_change_ml": "" if found is None else _value(found.cement_change),
                "recollapse": _flag(level.recollapsed),
                "found_recollapse": "" if found is None else _flag(found.recollapse),
                "new_fracture": int(level.broke),
                "found_new_fracture": int(level.said_broken),
            }


def _flag(value: bool | NotMeasured | None) -> object:
    return int(value) if isinstance(value, bool) else ""


def _value(measured: Measured | None) -> str:
    return _number(measured.value) if isinstance(measured, Quantity) else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
