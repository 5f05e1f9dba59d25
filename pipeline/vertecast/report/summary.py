"""A run over many studies: what became of each (``run.json``), and a row per vertebra and series (``summary.csv``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from vertecast import __version__
from vertecast.core import report_json
from vertecast.core.patient import Patient
from vertecast.core.results import (
    FRACTURED_GRADE,
    CementFinding,
    LeakFinding,
    Measured,
    NotMeasured,
    Quantity,
    StudyReport,
    VertebraFinding,
)
from vertecast.report import wording


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """One study of a run.

    Attributes:
        study_instance_uid: UID, or the stem of a file that is no DICOM.
        directory: Folder of its outputs, relative to the run's.
        status: "analyzed" (a report was written), "skipped" (nothing in it to analyse) or "failed".
        reason: Why it was skipped or failed; "" where analysed.
        not_compared: Why it was not compared with other studies of the run that may be of the same patient; "" where
            there is nothing to say.
        outputs: Files written, relative to the run's folder.
        timing_s: Seconds by step.
        report: The report, where there is one.
        patient: Whom ``index.html`` names; None unless the operator asks for it. Never in ``run.json``.
    """

    study_instance_uid: str
    directory: str
    status: Literal["analyzed", "skipped", "failed"]
    reason: str = ""
    not_compared: str = ""
    outputs: tuple[str, ...] = ()
    timing_s: Mapping[str, float] = field(default_factory=dict)
    report: StudyReport | None = None
    patient: Patient | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run: its studies, when it started (ISO 8601), and the configuration it ran with (JSON values)."""

    studies: tuple[StudyRun, ...]
    started: str
    config: Mapping[str, Any] = field(default_factory=dict)


COLUMNS: Final[Mapping[str, str]] = {
    "study_instance_uid": "study",
    "series_instance_uid": "series that the vertebra was measured in",
    "phase": "pre, intra (cement appears in a cine) or post vertebroplasty, or unknown",
    "level": "C1 to S1; V1, V2, ... from the top where the level is unknown",
    "level_confidence": "0 to 1",
    "level_source": "what the level was counted from",
    "complete": "1 when the whole body is in the image",
    "treated": "1 when the body holds cement",
    "anterior_height_mm": "height at the anterior wall, along the vertebral axis",
    "middle_height_mm": "height at the middle",
    "posterior_height_mm": "height at the posterior wall",
    "left_height_mm": "AP view: height at the left in the picture",
    "right_height_mm": "AP view: height at the right in the picture",
    "wedge_ratio": "anterior / posterior height",
    "biconcave_ratio": "middle / posterior height",
    "crush_ratio": "posterior height / that of the reference",
    "height_loss": "1 - height / reference, the largest of the three places, 0 to 1",
    "height_loss_low": "lower end of its 95 % interval",
    "height_loss_high": "upper end of its 95 % interval",
    "reference_method": "what heights were compared with",
    "reference_levels": "levels of the reference",
    "wedge_angle_deg": "angle between the two endplates",
    "deformity": "none, wedge, biconcave or crush",
    "genant_grade": "0 to 3; empty where it is not decided",
    "genant_grade_low": "lowest grade within the uncertainty",
    "genant_grade_high": "highest grade within the uncertainty",
    "fracture_probability": "probability of Genant grade 2 or 3",
    "deformity_index": "sum of the Genant grades from T4 to L4 in this series",
    "deformity_index_levels": "how many of these 13 levels were graded; with fewer the sum is partial",
    "body_volume_ml": "volume of the body",
    "density_hu": "mean of the trabecular core",
    "canal_compromise": "1 - canal diameter / that of the neighbours; not scored yet, so the page does not show it",
    "retropulsion_mm": "how far the posterior wall reaches behind the line of its neighbours' walls",
    "cement_volume_ml": "all cement of the vertebra, inside and leaked",
    "cement_inside_ml": "cement inside the body",
    "fill_fraction": "cement inside / volume of the body",
    "anterior_third_filled": "share of the front third of the body's depth that cement fills",
    "middle_third_filled": "the same of the middle third",
    "posterior_third_filled": "the same of the back third",
    "gas_beside_cement_ml": "gas inside the body beside the cement",
    "cement_area_mm2": "projection: area of the cement",
    "cement_area_fraction": "projection: area of the cement / that of the body",
    "cement_share_outside": "projection: share of the cement outside the body's outline",
    "leak_count": "pieces of leaked cement",
    "leak_volume_ml": "their volumes together",
    "canal_fill": "largest share of the canal's cross-section that a leak fills",
    "disc_crossed": "largest share of a disc's height that a leak crosses",
    "leak_area_mm2": "projection: their areas together",
    "leak_compartments": "where they lie",
    "confidence": "0 to 1",
    "not_measured": "what is missing in this row, and why",
}
"""Columns of ``summary.csv`` and what they hold. An empty cell was not measured; ``not_measured`` says why."""


def summary_csv(run: RunSummary) -> str:
    """The table of all vertebrae of a run, comma separated with a header line."""
    return vertebra_csv([study.report for study in run.studies if study.report is not None])


def vertebra_csv(reports: Iterable[StudyReport]) -> str:
    """The table of all vertebrae of some reports."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for report in reports:
        writer.writerows(_row(report, vertebra) for vertebra in report.vertebrae)
    return text.getvalue()


def run_document(run: RunSummary) -> dict[str, Any]:
    """``run.json`` as JSON values: program, configuration, and every study with its status, reason, files and times."""
    return {
        "schema_version": report_json.SCHEMA_VERSION,
        "software": {"name": "vertecast", "version": __version__},
        "started": run.started,
        "config": dict(run.config),
        "studies": [
            {
                "study_instance_uid": study.study_instance_uid,
                "directory": study.directory,
                "status": study.status,
                "reason": study.reason,
                "not_compared": study.not_compared,
                "outputs": list(study.outputs),
                "timing_s": dict(study.timing_s),
                "series": [] if study.report is None else report_json.to_document(study.report)["series"],
            }
            for study in run.studies
        ],
    }


def _row(report: StudyReport, vertebra: VertebraFinding) -> dict[str, object]:
    span, chances = vertebra.genant_grade_range, vertebra.genant_grade_probability
    quantities = _quantities(report, vertebra)
    graded = {"deformity": vertebra.deformity, "genant_grade": vertebra.genant_grade}
    values = {**quantities, **graded}.items()
    missing = wording.by_reason((name, value.reason) for name, value in values if isinstance(value, NotMeasured))
    loss = vertebra.height_loss
    interval = loss.interval95 if isinstance(loss, Quantity) else None
    leaks = _leaks(report, vertebra)
    uid = vertebra.series_instance_uid
    index = next((one for one in report.deformity_indices if one.series_instance_uid == uid), None)
    return {
        "study_instance_uid": report.study_instance_uid,
        "series_instance_uid": vertebra.series_instance_uid,
        "phase": report.phase,
        "level": vertebra.level,
        "level_confidence": f"{vertebra.level_confidence:.3f}",
        "level_source": vertebra.level_source,
        "complete": int(vertebra.complete),
        "treated": int(vertebra.treated),
        **{name: f"{value.value:.4g}" for name, value in quantities.items() if isinstance(value, Quantity)},
        "height_loss_low": "" if interval is None else f"{interval[0]:.4g}",
        "height_loss_high": "" if interval is None else f"{interval[1]:.4g}",
        "reference_method": vertebra.reference.method,
        "reference_levels": " ".join(vertebra.reference.levels),
        "deformity": _plain(vertebra.deformity),
        "genant_grade": _plain(vertebra.genant_grade),
        "genant_grade_low": "" if isinstance(span, NotMeasured) else span[0],
        "genant_grade_high": "" if isinstance(span, NotMeasured) else span[1],
        "fracture_probability": "" if isinstance(chances, NotMeasured) else f"{sum(chances[FRACTURED_GRADE:]):.3f}",
        "deformity_index": "" if index is None else _plain(index.index),
        "deformity_index_levels": "" if index is None else index.graded,
        "leak_count": len(leaks),
        "leak_compartments": " ".join(sorted({leak.compartment.value for leak in leaks})),
        "confidence": f"{vertebra.confidence:.3f}",
        "not_measured": "; ".join(f"{names}: {reason}" for reason, names in missing),
    }


def _quantities(report: StudyReport, vertebra: VertebraFinding) -> dict[str, Measured]:
    """Every column that holds a quantity. Cement columns stay empty, without a reason, where there is no cement."""
    columns: dict[str, Measured] = {
        **{f"{place}_height_mm": height for place, height in vertebra.heights.items()},
        **{f"{name}_ratio": ratio for name, ratio in vertebra.ratios.items()},
        "height_loss": vertebra.height_loss,
        "wedge_angle_deg": vertebra.wedge_angle,
        "body_volume_ml": vertebra.volume,
        "density_hu": vertebra.density,
        "canal_compromise": vertebra.canal_compromise,
        "retropulsion_mm": vertebra.retropulsion,
    }
    cement = _cement(report, vertebra)
    if cement:
        columns["cement_volume_ml"] = _total([piece.volume for piece in cement])
        columns["cement_inside_ml"] = _total([piece.volume_inside for piece in cement])
        columns["fill_fraction"] = _total([piece.fill_fraction for piece in cement])
    columns |= _inside(cement)
    columns |= _areas(cement)
    leaks = _leaks(report, vertebra)
    if leaks:
        columns["leak_volume_ml"] = _total([leak.volume for leak in leaks])
        areas = [leak.area for leak in leaks if leak.area is not None]
        columns |= {"leak_area_mm2": _total(areas)} if areas else {}
        relations = {
            "canal_fill": [leak.canal_fill for leak in leaks if leak.canal_fill is not None],
            "disc_crossed": [leak.disc_crossed for leak in leaks if leak.disc_crossed is not None],
        }
        columns |= {name: _largest(parts) for name, parts in relations.items() if parts}
    return columns


def _inside(cement: Sequence[CementFinding]) -> dict[str, Measured]:
    """Where in one body of a CT the cement lies; nothing on a projection."""
    if len(cement) != 1:
        return {}
    (piece,) = cement
    columns = {} if piece.gas_beside is None else {"gas_beside_cement_ml": piece.gas_beside}
    if isinstance(piece.thirds_filled, Mapping):
        columns |= {f"{third}_third_filled": filled for third, filled in piece.thirds_filled.items()}
    return columns


def _areas(cement: Sequence[CementFinding]) -> dict[str, Measured]:
    """Cement of one body on a projection, where it has one finding; nothing on CT."""
    if len(cement) != 1:
        return {}
    (piece,) = cement
    columns = {
        "cement_area_mm2": piece.area,
        "cement_area_fraction": piece.area_fraction,
        "cement_share_outside": piece.share_outside,
    }
    return {name: value for name, value in columns.items() if value is not None}


def _cement(report: StudyReport, vertebra: VertebraFinding) -> list[CementFinding]:
    place = (vertebra.series_instance_uid, vertebra.level)
    return [finding for finding in report.cement if (finding.series_instance_uid, finding.level) == place]


def _leaks(report: StudyReport, vertebra: VertebraFinding) -> list[LeakFinding]:
    place = (vertebra.series_instance_uid, vertebra.level)
    return [leak for leak in report.leaks if (leak.evidence.series_instance_uid, leak.level) == place]


def _total(parts: Sequence[Measured]) -> Measured:
    """Sum of quantities of one unit; a part that was not measured leaves the sum unmeasured too."""
    total, unit = 0.0, ""
    for part in parts:
        if isinstance(part, NotMeasured):
            return part
        total, unit = total + part.value, part.unit
    return Quantity(value=total, unit=unit)


def _largest(parts: Sequence[Measured]) -> Measured:
    """The largest quantity; a reason only where none was measured."""
    return max((part for part in parts if isinstance(part, Quantity)), key=lambda part: part.value, default=parts[0])


def _plain(value: object) -> object:
    return "" if isinstance(value, NotMeasured) else value
