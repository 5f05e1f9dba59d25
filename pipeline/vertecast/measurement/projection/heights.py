"""Findings of the bodies of one projection image: heights, ratios, wedge, grade, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage, signal

from vertecast.core.geometry import FloatArray
from vertecast.core.images import Radiograph, View
from vertecast.core.results import (
    Endplate,
    HeightReference,
    LevelAssignment,
    Measured,
    NotMeasured,
    PixelPoint,
    Place,
    Quantity,
    SixPointsPx,
    VertebraFinding,
)
from vertecast.measurement.ct.body.endplates import CUT
from vertecast.measurement.projection.bodies import MeasuredPlane, PlaneBody
from vertecast.measurement.shared.comparison import PLACES, Z95, Comparison, Heights, compare, sound_bodies

AP_PLACES: Final[tuple[Place, ...]] = ("left", "middle", "right")
PLATES: Final[tuple[Endplate, ...]] = ("superior", "inferior")

NO_VOLUME: Final = NotMeasured(reason="a projection shows no volume")
NO_DENSITY: Final = NotMeasured(reason="a projection gives no Hounsfield units")
NO_CLEFT: Final = NotMeasured(reason="gas in a body is not told from gas before it on a projection")
NO_CANAL: Final = NotMeasured(reason="a projection does not show the width of the canal")
NO_RETROPULSION: Final = NotMeasured(reason="retropulsion is measured on CT alone")
NOT_SAGITTAL: Final = NotMeasured(reason="an AP view shows no anterior and posterior wall")

DOUBLED_CONFIDENCE: Final = 0.7
"""An endplate with a double contour is seen from an angle: its points may lie on either rim."""

MAGNIFIED_CONFIDENCE: Final = 0.95
"""Where the size of a pixel does not hold in the patient, magnification across the picture is not known either."""

DOUBLED_REACH: Final = 0.22
DOUBLED_GAP: Final = 0.06
DOUBLED_SHARE: Final = 0.6
"""A second ridge beside an endplate's own, within the first and beyond the second share of the body's height, and with
this share of its prominence, is a double contour."""

SHARP_POINT_SHARE: Final = 0.06
"""Points with a standard deviation up to this share of the body's depth keep the network's confidence."""


def measure_projection_vertebrae(
    radiograph: Radiograph,
    bodies: Sequence[PlaneBody | NotMeasured],
    levels: Sequence[LevelAssignment],
    plane: MeasuredPlane,
    *,
    view: View,
    series_instance_uid: str,
    centers_px: FloatArray,
    confidences: Sequence[float],
    treated: frozenset[int] = frozenset(),
) -> tuple[VertebraFinding, ...]:
    """Measure every body of one image.

    Args:
        radiograph: The image.
        bodies: Geometry of every body, cranial first, or why there is none.
        levels: One per body.
        plane: Of the picture.
        view: Lateral and oblique bodies have anterior and posterior heights, AP bodies left and right ones.
        series_instance_uid: Of the image.
        centers_px: (n, 2) centre of every body.
        confidences: Of the network, one per body.
        treated: Bodies (from 1) that hold cement; they never serve as a reference.
    """
    places = AP_PLACES if view == "ap" else PLACES
    names = [level.name for level in levels]
    heights = [_heights(body) for body in bodies]
    sound = sound_bodies(heights, names, treated) if view != "ap" else [False] * len(bodies)
    findings = []
    for n, (body, level) in enumerate(zip(bodies, levels, strict=True)):
        reason = body if isinstance(body, NotMeasured) else body.refusal
        finding = _found(level, series_instance_uid, centers_px[n], reason or NOT_SAGITTAL, places)
        finding = replace(finding, treated=n + 1 in treated)
        if not isinstance(body, NotMeasured) and reason is None:
            finding = replace(
                finding,
                six_points_px=six_points_px(body, plane, places),
                heights=_lengths(body, plane, places),
                confidence=confidences[n] * _trust(radiograph, body, plane),
            )
            finding = finding if view == "ap" else _sagittal(finding, body, compare(heights, names, sound, n))
        findings.append(finding)
    return tuple(findings)


def six_points_px(body: PlaneBody, plane: MeasuredPlane, places: Sequence[Place]) -> SixPointsPx:
    """The six points of a body in pixels."""
    points = body.points / plane.scale
    return {
        plate: {place: pixel(points[m, n]) for n, place in enumerate(places)} for m, plate in enumerate(PLATES)
    }  # fmt: skip


def wedge_angle_deg(body: PlaneBody) -> Quantity:
    """Angle between the two endplates; positive where the front (AP: the left) is lower."""
    value = body.slope_deg(0) - body.slope_deg(1)
    error = Z95 * float(np.hypot(body.slope_sd_deg(0), body.slope_sd_deg(1)))
    return Quantity.around(value, error, "deg")


def has_double_contour(radiograph: Radiograph, body: PlaneBody, plane: MeasuredPlane) -> bool:
    """True where an endplate shows two ridges: the near and the far rim of a body seen from an angle.

    The picture is averaged along the middle of the endplate, so that only what runs along it stays.
    """
    height = float(body.heights.mean())
    offsets = np.linspace(-DOUBLED_REACH, DOUBLED_REACH, 45) * height
    for plate in (0, 1):
        x = body.local(body.points[plate])[:, 0]
        at = np.linspace(x[0] + 0.2 * (x[2] - x[0]), x[2] - 0.2 * (x[2] - x[0]), 17)
        z = body.endplate(plate, at) + offsets[:, None]
        points = (body.center + at[None, :, None] * body.across + z[..., None] * body.up) / plane.scale
        where = [points[..., 1], points[..., 0]]
        values = np.asarray(
            ndimage.map_coordinates(radiograph.intensity, where, output=np.float64, order=1, mode="nearest")
        )
        profile = values.mean(axis=1)
        noise = float(values.std(axis=1).mean()) / np.sqrt(len(at))
        peaks, found = signal.find_peaks(profile, prominence=max(3 * noise, 1e-9))
        if len(peaks) < 2:
            continue
        strength = found["prominences"]
        first = int(np.argmax(strength))
        gap = np.abs(offsets[peaks] - offsets[peaks[first]])
        if ((strength >= DOUBLED_SHARE * strength[first]) & (gap >= DOUBLED_GAP * height)).any():
            return True
    return False


def _heights(body: PlaneBody | NotMeasured) -> Heights | NotMeasured:
    if isinstance(body, NotMeasured):
        return body
    if body.refusal is not None:
        return body.refusal
    return Heights(
        value=dict(zip(PLACES, body.heights.tolist(), strict=True)),
        sd=dict(zip(PLACES, body.height_sd.tolist(), strict=True)),
    )


def _trust(radiograph: Radiograph, body: PlaneBody, plane: MeasuredPlane) -> float:
    """How far rotation, blur of the points and unknown magnification lower the confidence; they move no number."""
    blur = max(float(body.sd.mean()) / body.depth - SHARP_POINT_SHARE, 0.0)
    trust = float(np.exp(-blur / SHARP_POINT_SHARE))
    if has_double_contour(radiograph, body, plane):
        trust *= DOUBLED_CONFIDENCE
    return trust if plane.no_mm is None else trust * MAGNIFIED_CONFIDENCE


def _lengths(body: PlaneBody, plane: MeasuredPlane, places: Sequence[Place]) -> dict[Place, Measured]:
    return {
        place: plane.length(float(value), float(sd))
        for place, value, sd in zip(places, body.heights, body.height_sd, strict=True)
    }


def _sagittal(finding: VertebraFinding, body: PlaneBody, compared: Comparison) -> VertebraFinding:
    """Add what only a view from the side shows."""
    return replace(
        finding,
        ratios=compared.ratios,
        height_loss=compared.height_loss,
        reference=compared.reference,
        wedge_angle=wedge_angle_deg(body),
        deformity=compared.deformity,
        genant_grade=compared.genant_grade,
        genant_grade_range=compared.genant_grade_range,
        genant_grade_probability=compared.genant_grade_probability,
    )


def _found(
    level: LevelAssignment,
    series_instance_uid: str,
    center_px: FloatArray,
    reason: NotMeasured,
    places: Sequence[Place],
) -> VertebraFinding:
    """A body that was found: every number carries the same reason until it is measured."""
    return VertebraFinding(
        series_instance_uid=series_instance_uid,
        level=level.name,
        level_confidence=level.confidence,
        level_source=level.source,
        complete=reason != CUT,
        treated=False,
        center_px=pixel(center_px),
        six_points_px=reason,
        heights=dict.fromkeys(places, reason),
        ratios={"wedge": reason, "biconcave": reason, "crush": reason},
        height_loss=reason,
        reference=HeightReference(method="none"),
        wedge_angle=reason,
        deformity=reason,
        genant_grade=reason,
        genant_grade_range=reason,
        genant_grade_probability=reason,
        volume=NO_VOLUME,
        density=NO_DENSITY,
        cleft=NO_CLEFT,
        canal_compromise=NO_CANAL,
        retropulsion=NO_RETROPULSION,
        confidence=0.0,
    )


def pixel(point: FloatArray) -> PixelPoint:
    """A point of the picture, (column, row), in plain numbers."""
    return float(point[0]), float(point[1])
