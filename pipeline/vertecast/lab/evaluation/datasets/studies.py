"""Studies that are true and studies that were found, read from the folders that ``simulate`` and ``analyze`` write.

Truth: ``<StudyInstanceUID>.json`` with ``<StudyInstanceUID>.nii.gz`` beside it, anywhere below the folder. Found:
``report.json`` with ``labels_1.nii.gz`` beside it, and ``run.json`` for the studies that have no report. Of a report
only what is scored is read, so that the reports of another version can be scored too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vertecast.core.anatomy import Level
from vertecast.core.errors import UnreadableError
from vertecast.core.results import Measured, NotMeasured, Place, Point
from vertecast.lab.evaluation.datasets.tables import age_group
from vertecast.lab.evaluation.studies.reported import FoundChange, measured, read_changes, read_timeline

PLACES: Final[tuple[Place, ...]] = ("anterior", "middle", "posterior")

REPORT_NAME: Final = "report.json"
RUN_NAME: Final = "run.json"
LABELS_NAME: Final = "labels_1.nii.gz"
LOCAL_KYPHOSIS: Final = "local kyphosis "
TRUTH_MARK: Final = "truth_version"
"""Key that tells a truth file from any other JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBody:
    """One body as it is; lengths in mm, angle in degrees, height loss as a share of the intact height."""

    level: str
    complete: bool
    treated: bool
    heights_mm: Mapping[Place, float]
    height_loss: float
    wedge_angle_deg: float
    genant_grade: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueLeak:
    """One leak as it was made; ``yeom_type`` is None where the classification names none."""

    level: str
    compartment: str
    volume_ml: float
    center_lps_mm: Point
    yeom_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueStudy:
    """What is true of one study.

    Attributes:
        study_instance_uid: Finds the report of the same study.
        patient: Studies of one patient share it; never a name.
        phase: Before, during or after the treatment; "" where the truth does not say.
        simulated: The image is simulated, and so is every score on it.
        labels: Path of the label map.
        bodies: Every body of which some part is in view, cranial first.
        cement_ml: Cement of each treated level, inside and leaked.
        leaks: Every leak.
        local_kyphosis_deg: At each level between two others in view.
        groups: What sub-groups it belongs to, as the truth says: value by name.
    """

    study_instance_uid: str
    patient: str
    phase: str
    simulated: bool
    labels: Path
    bodies: tuple[TrueBody, ...]
    cement_ml: Mapping[str, float]
    leaks: tuple[TrueLeak, ...]
    local_kyphosis_deg: Mapping[str, float]
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBody:
    """One body as it was measured; what an older report does not hold is None or absent."""

    level: str
    treated: bool
    heights: Mapping[Place, Measured]
    height_loss: Measured
    wedge_angle: Measured
    genant_grade: int | NotMeasured
    ratios: Mapping[str, Measured] = field(default_factory=dict)
    confidence: float | None = None
    level_confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLeak:
    """One leak as it was reported; the point is the evidence for it, ``yeom_type`` None where none was given."""

    level: str
    compartment: str
    volume: Measured
    point_lps_mm: Point
    yeom_type: str | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudy:
    """What was found in one study; ``labels`` is None, and ``reason`` says why, where it has no report.

    ``timeline`` holds the study and the level of each of its lines, ``local_kyphosis`` the angle by level.
    """

    study_instance_uid: str
    labels: Path | None = None
    bodies: tuple[FoundBody, ...] = ()
    cement: Mapping[str, Measured]
    leaks: tuple[FoundLeak, ...] = ()
    changes: tuple[FoundChange, ...] = ()
    timeline: tuple[tuple[str, str], ...] = ()
    local_kyphosis: Mapping[str, Measured] = field(default_factory=dict)
    reason: str = ""


def read_truth(directory: Path) -> tuple[TrueStudy, ...]:
    """Read every truth below a folder, in the order of the file names.

    Raises:
        UnreadableError: A truth is damaged, or has no label map beside it.
    """
    documents = ((path, _json(path)) for path in sorted(directory.rglob("*.json")))
    return tuple(
        _true_study(path, document)
        for path, document in documents
        if isinstance(document, dict) and TRUTH_MARK in document
    )


def read_found(directory: Path) -> dict[str, FoundStudy]:
    """Read every report below a folder, and from ``run.json`` why other studies have none, by StudyInstanceUID.

    Reports on nothing but films and cines are left to `vertecast.lab.evaluation.projections`.

    Raises:
        UnreadableError: A report is damaged, has no label map beside it, or two reports are of one study.
    """
    studies: dict[str, FoundStudy] = {}
    for path in sorted(directory.rglob(REPORT_NAME)):
        document = _json(path)
        if _is_of_projections(document):
            continue
        study = _found_study(path, document)
        if study.study_instance_uid in studies:
            raise UnreadableError(f"{path}: a second report of the same study; evaluate one run at a time")
        studies[study.study_instance_uid] = study
    for path in sorted(directory.rglob(RUN_NAME)):
        for uid, reason in _without_report(path, _json(path)):
            studies.setdefault(uid, FoundStudy(study_instance_uid=uid, cement={}, reason=reason))
    return studies


def _is_of_projections(document: Any) -> bool:
    kinds = {one.get("kind") for one in document.get("series", ())} if isinstance(document, dict) else set()
    return bool(kinds) and kinds <= {"radiograph", "cine"}


def is_truth_of_studies(directory: Path) -> bool:
    """Whether a folder holds the truth of a study."""
    documents = (_json(path) for path in sorted(directory.rglob("*.json")))
    return any(isinstance(document, dict) and TRUTH_MARK in document for document in documents)


def true_study(path: Path) -> TrueStudy:
    """Read one truth.

    Raises:
        UnreadableError: It is damaged, or has no label map beside it.
    """
    return _true_study(path, _json(path))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UnreadableError(f"{path}: is not valid JSON; write it again") from error


def _labels_beside(path: Path, name: str) -> Path:
    labels = path.with_name(name)
    if not labels.is_file():
        raise UnreadableError(f"{labels}: is missing; a study is scored on its label map, so write it with one")
    return labels


def _damaged(path: Path, error: Exception) -> UnreadableError:
    return UnreadableError(f"{path}: lacks what is to be scored ({type(error).__name__}: {error}); write it again")


def _true_study(path: Path, document: Mapping[str, Any]) -> TrueStudy:
    try:
        uid = str(document["study_instance_uid"])
        return TrueStudy(
            study_instance_uid=uid,
            patient=str(document.get("seed", uid)),
            phase=str(document.get("phase", "")),
            simulated=bool(document["simulated"]),
            labels=_labels_beside(path, f"{path.stem}.nii.gz"),
            bodies=tuple(map(_true_body, document["vertebrae"])),
            cement_ml={str(item["level"]): float(item["volume_ml"]) for item in document["cement"]},
            leaks=tuple(
                TrueLeak(
                    level=str(leak["level"]),
                    compartment=str(leak["compartment"]),
                    volume_ml=float(leak["volume_ml"]),
                    center_lps_mm=_point(leak["center_lps_mm"]),
                    yeom_type=leak.get("yeom_type"),
                )
                for leak in document["leaks"]
            ),
            local_kyphosis_deg={
                str(angle["name"]).removeprefix(LOCAL_KYPHOSIS): float(angle["angle"])
                for angle in document.get("angles", ())
                if str(angle["name"]).startswith(LOCAL_KYPHOSIS)
            },
            groups={str(name): _group(name, value) for name, value in document.get("groups", {}).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _group(name: str, value: object) -> str:
    """The sub-group of a value; raises `ValueError` where an age is no number."""
    return age_group(float(str(value))) if name == "age" else str(value)


def _true_body(body: Mapping[str, Any]) -> TrueBody:
    return TrueBody(
        level=Level[body["level"]].name,
        complete=bool(body["complete"]),
        treated=bool(body["treated"]),
        heights_mm={place: float(body["heights"][place]) for place in PLACES},
        height_loss=float(body["height_loss"]),
        wedge_angle_deg=float(body["wedge_angle"]),
        genant_grade=int(body["genant_grade"]),
    )


def _found_study(path: Path, document: Mapping[str, Any]) -> FoundStudy:
    try:
        return FoundStudy(
            study_instance_uid=str(document["study"]["study_instance_uid"]),
            labels=_labels_beside(path, LABELS_NAME),
            bodies=tuple(map(_found_body, document["vertebrae"])),
            cement={str(item["level"]): measured(item["volume"]) for item in document["cement"]},
            leaks=tuple(
                FoundLeak(
                    level=str(leak["level"]),
                    compartment=str(leak["compartment"]),
                    volume=measured(leak["volume"]),
                    point_lps_mm=_point(leak["evidence"]["point"]),
                    yeom_type=_word(leak.get("yeom_type")),
                    confidence=leak.get("confidence"),
                )
                for leak in document["leaks"]
            ),
            changes=read_changes(document),
            timeline=tuple(read_timeline(document)),
            local_kyphosis={
                str(angle["name"]).removeprefix(LOCAL_KYPHOSIS): measured(angle["angle"])
                for angle in document.get("angles", ())
                if str(angle["name"]).startswith(LOCAL_KYPHOSIS)
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _found_body(body: Mapping[str, Any]) -> FoundBody:
    grade = body["genant_grade"]
    return FoundBody(
        level=str(body["level"]),
        treated=bool(body["treated"]),
        heights={place: measured(body["heights"][place]) for place in PLACES},
        height_loss=measured(body["height_loss"]),
        wedge_angle=measured(body["wedge_angle"]),
        genant_grade=NotMeasured(reason=str(grade["not_measured"])) if isinstance(grade, dict) else int(grade),
        ratios={name: measured(value) for name, value in body.get("ratios", {}).items()},
        confidence=body.get("confidence"),
        level_confidence=body.get("level_confidence"),
    )


def _without_report(path: Path, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        for study in document["studies"]:
            if study["status"] != "analyzed":
                yield str(study["study_instance_uid"]), str(study["reason"])
    except (KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _word(value: Any) -> str | None:
    """A word, or None for one that was not measured."""
    return value if isinstance(value, str) else None


def _point(values: Any) -> Point:
    x, y, z = values
    return float(x), float(y), float(z)
