"""What was found in projection studies, read from the output folder of ``analyze``.

``report.json`` with ``labels_<n>.png`` beside it, and ``run.json`` for the studies that have no report. Of a report
only what is scored is read, so that the reports of another version can be scored too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import numpy as np
from pydantic import BeforeValidator

from vertecast.core.errors import UnreadableError
from vertecast.core.geometry import FloatArray
from vertecast.core.images import View
from vertecast.core.results import NotMeasured, PixelPoint, Place, Quantity, SixPointsPx
from vertecast.lab.evaluation.datasets import REPORT_NAME, RUN_NAME
from vertecast.lab.evaluation.projections.truth import read_json, typed

LABELS_PATTERN: Final = "labels_*.png"

NO_REPORT: Final = "no report of this study"
NO_SERIES: Final = "the report does not name this series"

Value = TypeVar("Value")


def _as_reason(value: Any) -> Any:
    """``{"not_measured": reason}`` of a report as the type that stands for it."""
    if isinstance(value, dict) and value.keys() == {"not_measured"}:
        return NotMeasured(reason=str(value["not_measured"]))
    return value


Reported: TypeAlias = Annotated[Value | NotMeasured, BeforeValidator(_as_reason)]
"""A value of a report, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFilmBody:
    """One body as it was measured; the points are None for one of a CT."""

    series_instance_uid: str
    level: str
    treated: bool
    center_px: PixelPoint | None = None
    six_points_px: Reported[SixPointsPx] | None = None
    heights: Mapping[Place, Reported[Quantity]]
    ratios: Mapping[Literal["wedge", "biconcave", "crush"], Reported[Quantity]]
    wedge_angle: Reported[Quantity]
    genant_grade: Reported[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvidence:
    """Where a leak was seen."""

    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFilmLeak:
    """One leak that was suspected."""

    level: str
    compartment: str
    evidence: FoundEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCine:
    """The course of one cine as it was read."""

    series_instance_uid: str
    first_cement_frame: Reported[int]
    first_suspected_leak_frame: Reported[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSeries:
    """One series and what became of it."""

    series_instance_uid: str
    view: View | None
    status: Literal["analyzed", "skipped", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What is scored of a report."""

    study: Mapping[str, str]
    series: tuple[FoundSeries, ...]
    vertebrae: tuple[FoundFilmBody, ...]
    leaks: tuple[FoundFilmLeak, ...]
    cine: FoundCine | None = None
    further_cines: tuple[FoundCine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunStudy:
    """What became of one study."""

    study_instance_uid: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What is read of ``run.json``."""

    studies: tuple[_RunStudy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImage:
    """What was found in one image.

    Attributes:
        view: What it was taken for; None where it was not analysed, and ``reason`` says why.
        frame_number: Frame of a cine that bodies and labels belong to.
        labels: Path of the labels of cement and metal, or None.
    """

    view: View | None = None
    reason: str = ""
    bodies: tuple[FoundFilmBody, ...] = ()
    leaks: tuple[FoundFilmLeak, ...] = ()
    cine: FoundCine | None = None
    frame_number: int = 1
    labels: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFilmStudy:
    """What was found in one study, by series; no series, and a reason, where it has no report."""

    images: Mapping[str, FoundImage] = field(default_factory=dict)
    reason: str = ""

    def image(self, series_instance_uid: str) -> FoundImage:
        """What was found in a series; an empty finding with its reason where there is none."""
        return self.images.get(series_instance_uid) or FoundImage(reason=self.reason or NO_SERIES)


def read_projection_findings(directory: Path) -> dict[str, FoundFilmStudy]:
    """Read every report below a folder, and from ``run.json`` why other studies have none, by StudyInstanceUID.

    Raises:
        UnreadableError: A report is damaged, or two reports are of one study.
    """
    studies: dict[str, FoundFilmStudy] = {}
    for path in sorted(directory.rglob(REPORT_NAME)):
        report: _Report = typed(path, _Report, read_json(path))
        uid = report.study.get("study_instance_uid", "")
        if uid in studies:
            raise UnreadableError(f"{path}: a second report of the same study; evaluate one run at a time")
        studies[uid] = FoundFilmStudy(images=_images(report, path.parent))
    for path in sorted(directory.rglob(RUN_NAME)):
        run: _Run = typed(path, _Run, read_json(path))
        for study in run.studies:
            if study.status != "analyzed":
                studies.setdefault(study.study_instance_uid, FoundFilmStudy(reason=study.reason))
    return studies


def six_points_px(points: SixPointsPx) -> FloatArray:
    """Points (6, 2) in the order of `ProjectionSegmentation` from those of a report, whatever the view."""
    ends: tuple[tuple[Place, ...], ...] = (("anterior", "left"), ("middle",), ("posterior", "right"))
    plates = (points["superior"], points["inferior"])
    return np.array([next(plate[name] for name in names if name in plate) for plate in plates for names in ends])


def _images(report: _Report, folder: Path) -> dict[str, FoundImage]:
    """The findings of a report by series, with the labels that lie beside it."""
    cines = {cine.series_instance_uid: cine for cine in (report.cine, *report.further_cines) if cine is not None}
    labels = _labels(folder)
    images = {}
    for series in report.series:
        uid = series.series_instance_uid
        path, frame_number = labels.get(uid, (None, 1))
        images[uid] = FoundImage(
            view=series.view if series.status == "analyzed" else None,
            reason="" if series.status == "analyzed" else series.reason,
            bodies=tuple(b for b in report.vertebrae if b.series_instance_uid == uid and b.center_px is not None),
            leaks=tuple(leak for leak in report.leaks if leak.evidence.series_instance_uid == uid),
            cine=cines.get(uid),
            frame_number=frame_number,
            labels=path,
        )
    return images


def _labels(folder: Path) -> dict[str, tuple[Path, int]]:
    """Label pictures in a study's folder with their frame, by the series that their text chunks name."""
    from PIL import Image

    found = {}
    for path in sorted(folder.glob(LABELS_PATTERN)):
        try:
            with Image.open(path) as picture:
                found[str(picture.info["SeriesInstanceUID"])] = (path, int(picture.info["FrameNumber"]))
        except (OSError, KeyError, ValueError) as error:
            raise UnreadableError(
                f"{path}: does not say what it is of ({type(error).__name__}); write it again"
            ) from error
    return found
