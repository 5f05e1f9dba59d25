"""Pictures of projections: bodies outlined through their six points, levels, cement, leaks and metal in colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.images import Radiograph
from vertecast.core.results import NotMeasured, PixelPoint, SixPointsPx, StudyReport, VertebraFinding
from vertecast.core.study_result import Film
from vertecast.report import wording
from vertecast.report.figures import drawing
from vertecast.report.figures.pictures import Picture

_LONG_SIDE_PX: Final = 900
_WINDOW: Final = (1.0, 99.7)
"""Percentiles of the pixels that show the patient, from black to white."""


def render_films(films: Sequence[Film], report: StudyReport) -> dict[str, Picture]:
    """A picture of every film, by name: "film_1", "film_2", ..."""
    return {f"film_{n}": _render(film, report) for n, film in enumerate(films, start=1)}


def _render(film: Film, report: StudyReport) -> Picture:
    """One film with everything that was found on it."""
    uid, radiograph, labels = film.series_instance_uid, film.radiograph, film.labels
    aspect = 1.0 if radiograph.spacing is None else radiograph.spacing.row_mm / radiograph.spacing.column_mm
    figure, axes = drawing.film_figure(grey(radiograph, labels), labels, aspect, _LONG_SIDE_PX)
    own = [v for v in report.vertebrae if v.series_instance_uid == uid and v.image == film.image]
    bodies = [v for v in own if v.center_px is not None]
    for body in bodies:
        colour = drawing.FRACTURED if wording.is_fractured(body) else drawing.BODY
        points = body.six_points_px
        if points is not None and not isinstance(points, NotMeasured):
            outline = np.array(_outline(points))
            axes.plot(outline[:, 0], outline[:, 1], "-", color=colour, linewidth=1.0)
            axes.plot(outline[:-1, 0], outline[:-1, 1], "o", color=drawing.POINT, markersize=1.8)
        assert body.center_px is not None
        drawing.write(axes, *body.center_px, _name(body), ha="center", va="center", color=colour, bold=True)
    series = next((one for one in report.series if one.series_instance_uid == uid), None)
    view = wording.VIEWS.get((series and series.view) or "", "unknown")
    is_cine = series is not None and series.kind == "cine"
    kind = f"Frame {radiograph.frame_number} of a cine" if is_cine else "Radiograph"
    span = f"{bodies[0].level} to {bodies[-1].level}" if bodies else "no body found"
    frame = f", frame {radiograph.frame_number}" if is_cine else ""
    return Picture(
        png=drawing.png_bytes(figure),
        alt=f"{kind}, {view} view, {span}, bodies outlined.",
        caption=(f"Series {wording.series_number(report, uid)}, {view} view{frame}",),
    )


def grey(radiograph: Radiograph, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey values (rows, columns) with bone bright; what does not show the patient is dark."""
    low, high = usual_range(radiograph, labels)
    shades = np.clip((radiograph.intensity - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.asarray(np.where(radiograph.valid, shades, 0.3 * shades), dtype=np.uint8)


def usual_range(radiograph: Radiograph, labels: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Intensities that are drawn black and white."""
    # Much cement or metal would darken everything else, and more so from frame to frame of a cine.
    shown = radiograph.intensity[radiograph.valid & (labels == 0)]
    if not len(shown):
        return float(radiograph.intensity.max()), float(radiograph.intensity.max()) + 1.0
    low, high = np.percentile(shown, _WINDOW)
    return float(low), float(high)


def _outline(points: SixPointsPx) -> list[PixelPoint]:
    """The closed line along the superior endplate and back along the inferior one."""
    superior, inferior = (list(points[plate].values()) for plate in ("superior", "inferior"))
    return [*superior, *reversed(inferior), superior[0]]


def _name(body: VertebraFinding) -> str:
    grade = wording.grade_text(body)
    return f"{body.level}\nGenant {grade}" if wording.is_fractured(body) else body.level
