"""The tables of what was measured on films and cines, which have areas where a CT has volumes, and views."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.results import (
    CombinedLeak,
    Measured,
    NotMeasured,
    Quantity,
    SixPointsPx,
    StudyReport,
)
from vertecast.report import wording
from vertecast.report.html import tables
from vertecast.report.html.tables import Cell, Notes, Table

_TILT: Final = "coronal tilt"
_AP_HEADER: Final = (
    "Level",
    "Left",
    "Middle",
    "Right",
    "Left / right",
    "Middle / sides",
    "Coronal tilt",
    "Confidence",
)
_CEMENT_HEADER: Final = (
    "Level",
    "Series, view",
    "Area",
    "Of the body",
    "Outside the outline",
    "Endplates",
    "Crosses midline",
    "Confidence",
)
_LEAK_HEADER: Final = ("Level", "Where", "Area", "Of the body", "Farthest", "Series, frame", "Confidence")
_NO_TILT: Final = NotMeasured(reason="the tilt needs two measured bodies in the view, this one among them")

Xy = npt.NDArray[np.float64]


def ap_table(report: StudyReport) -> Table:
    """Vertebrae of AP views: heights at the left and the right of the picture, their ratios, and the tilt."""
    notes = Notes()
    vertebrae = [vertebra for vertebra in report.vertebrae if "left" in vertebra.heights]
    tilts = {(angle.series_instance_uid, angle.name): angle.angle for angle in report.angles}
    rows = []
    for vertebra in vertebrae:
        points = vertebra.six_points_px
        rows.append(
            (
                Cell(text=tables.vertebra_name(report, vertebra)),
                *(notes.cell(vertebra.heights[place]) for place in ("left", "middle", "right")),
                *(notes.cell(ratio) for ratio in _ratios(points)),
                notes.cell(tilts.get((vertebra.series_instance_uid, f"{_TILT} {vertebra.level}"), _reason(points))),
                tables.confidence(vertebra.confidence),
            )
        )
    return Table(
        header=_AP_HEADER,
        rows=tuple(rows),
        marked=tuple(vertebra.treated for vertebra in vertebrae),
        notes=tuple(notes.reasons),
    )


def angle_table(report: StudyReport) -> Table:
    """Angles with the view that they were measured in; the tilts of bodies stand in their own table."""
    notes = Notes()
    rows = tuple(
        (
            Cell(text=angle.name),
            Cell(text=_series_and_view(report, angle.series_instance_uid)),
            Cell(text=angle.upper),
            Cell(text=angle.lower),
            notes.cell(angle.angle),
        )
        for angle in report.angles
        if not angle.name.startswith(_TILT)
    )
    return tables.table(("Angle", "Series, view", "From", "To", "Value"), rows, notes)


def film_cement_table(report: StudyReport) -> Table:
    """Cement seen on films."""
    notes = Notes()
    rows = tuple(
        (
            Cell(text=cement.level),
            Cell(text=_series_and_view(report, cement.series_instance_uid)),
            notes.cell(cement.area),
            notes.cell(cement.area_fraction, percent=True),
            notes.cell(cement.share_outside, percent=True),
            notes.plain(cement.endplate_contact),
            notes.plain(cement.crosses_midline),
            tables.confidence(cement.confidence),
        )
        for cement in report.cement
        if cement.area is not None
    )
    return tables.table(_CEMENT_HEADER, rows, notes)


def film_leak_table(report: StudyReport) -> Table:
    """Leaks suspected on films."""
    notes = Notes()
    rows = tuple(
        (
            Cell(text=leak.level),
            Cell(text=wording.COMPARTMENT_PHRASES[leak.compartment]),
            notes.cell(leak.area),
            notes.cell(leak.area_fraction, percent=True),
            notes.cell(leak.farthest),
            Cell(text=tables.where(report, leak.evidence)),
            tables.confidence(leak.confidence),
        )
        for leak in report.leaks
        if leak.area is not None
    )
    return tables.table(_LEAK_HEADER, rows, notes)


def combined_table(report: StudyReport) -> Table:
    """Leaks of AP and lateral view side by side."""
    rows = tuple(
        (
            Cell(text=leak.level),
            Cell(text=_compartments(leak, "lateral")),
            Cell(text=_compartments(leak, "ap")),
            Cell(text="yes" if leak.seen_in_both else "no"),
        )
        for leak in report.combined_leaks
    )
    return tables.table(("Level", "Lateral view", "AP view", "Same disc in both"), rows, Notes())


def _reason(points: SixPointsPx | NotMeasured | None) -> NotMeasured:
    return points if isinstance(points, NotMeasured) else _NO_TILT


def _ratios(points: SixPointsPx | NotMeasured | None) -> tuple[Measured, Measured]:
    """Left over right height, and middle height over the mean of both: they need no size of a pixel."""
    if points is None or isinstance(points, NotMeasured):
        return _reason(points), _reason(points)
    walls: dict[str, Xy] = {
        place: np.subtract(points["superior"][place], points["inferior"][place])
        for place in ("left", "middle", "right")
    }
    # The body's own axis, the mean direction of its two walls.
    up = sum(walls[side] / np.linalg.norm(walls[side]) for side in ("left", "right"))
    left, middle, right = (float(walls[place] @ up) for place in ("left", "middle", "right"))
    return Quantity(value=left / right, unit="1"), Quantity(value=2 * middle / (left + right), unit="1")


def _series_and_view(report: StudyReport, series_instance_uid: str) -> str:
    """The series' number on the page, and its view or, of a CT, that it is one."""
    series = next((s for s in report.series if s.series_instance_uid == series_instance_uid), None)
    view = "unknown view"
    if series is not None:
        view = "CT" if series.kind == "ct" else wording.VIEWS.get(series.view or "", view)
    return f"{wording.series_number(report, series_instance_uid)}, {view}"


def _compartments(leak: CombinedLeak, view: str) -> str:
    names = leak.lateral if view == "lateral" else leak.ap
    return ", ".join(wording.COMPARTMENT_PHRASES[name] for name in names) or "none suspected"
