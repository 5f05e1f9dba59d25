"""Angles between endplates in the sagittal plane of the spine; kyphosis is positive, lordosis negative."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.results import (
    AngleFinding,
    Endplate,
    Measured,
    NotMeasured,
    Place,
    Point,
    Quantity,
    VertebraFinding,
)
from vertecast.measurement.ct.body.bone import Z95
from vertecast.measurement.ct.sacrum import SacralEndplate
from vertecast.measurement.shared.counting import are_adjacent

REGIONS: Final = (
    ("thoracic kyphosis T4-T12", "T4", "T12"),
    ("thoracolumbar angle T10-L2", "T10", "L2"),
    ("lumbar angle L1-L5", "L1", "L5"),
)
"""Usual Cobb spans (T4-T12 and T10-L2: Spinal Deformity Study Group manual, O'Brien et al. 2008). The lumbar span that
ends at the inferior endplate of L5 needs no sacrum."""

LORDOSIS: Final = "lumbar lordosis L1-S1"

Cobb: TypeAlias = Callable[[VertebraFinding, VertebraFinding], Measured]
"""Signed angle (deg) between the superior endplate of one body and the inferior endplate of a lower one."""


def measure_angles(findings: Sequence[VertebraFinding], *, cobb: Cobb | None = None) -> tuple[AngleFinding, ...]:
    """Local kyphosis at every fractured or treated body, and the regional angles whose two ends are in view.

    Args:
        findings: Vertebrae of one series, cranial to caudal.
        cobb: Measures the angle between two of them; without it, from the six points in space.
    """
    cobb = cobb or _cobb
    result = [
        _local(findings, n, cobb)
        for n, finding in enumerate(findings)
        if finding.treated or (isinstance(finding.genant_grade, int) and finding.genant_grade >= 1)
    ]
    by_level = {f.level: f for f in findings}
    for name, upper, lower in REGIONS:
        if upper in by_level and lower in by_level:
            angle = cobb(by_level[upper], by_level[lower])
            result.append(_finding(name, by_level[upper], by_level[lower], angle))
    return tuple(result)


def lumbar_lordosis(
    findings: Sequence[VertebraFinding], sacral_endplate: SacralEndplate | NotMeasured
) -> tuple[AngleFinding, ...]:
    """Superior endplate of L1 to the endplate of S1 (deg), in the sagittal plane of L1 and the lowest body; negative.

    Nothing where L1 is not in view.

    Args:
        findings: Vertebrae of one CT, cranial to caudal.
        sacral_endplate: Of `sacrum.fit_sacral_endplate`.
    """
    first = next((finding for finding in findings if finding.level == "L1"), None)
    if first is None:
        return ()
    uid = first.series_instance_uid
    angle = _to_sacrum(first, findings[-1], sacral_endplate)
    return (
        AngleFinding(series_instance_uid=uid, name=LORDOSIS, upper="L1 superior", lower="S1 superior", angle=angle),
    )


def _to_sacrum(
    first: VertebraFinding, lowest: VertebraFinding, sacral_endplate: SacralEndplate | NotMeasured
) -> Measured:
    """Signed angle from the superior endplate of one body to the endplate of S1."""
    if isinstance(first.six_points_lps_mm, NotMeasured):
        return NotMeasured(reason=f"{first.level}: {first.six_points_lps_mm.reason}")
    if isinstance(sacral_endplate, NotMeasured):
        return sacral_endplate
    back, left, error = _endplate(first, "superior")
    if not isinstance(lowest.six_points_lps_mm, NotMeasured):
        left = left + _endplate(lowest, "inferior")[1]
    sacral_error = Z95 * sacral_endplate.slope_sd_deg
    sacral_back = np.cross(sacral_endplate.normal_lps, left)
    return _signed(back, sacral_back, geometry.unit(left), float(np.hypot(error, sacral_error)))


def _finding(name: str, upper: VertebraFinding, lower: VertebraFinding, angle: Measured) -> AngleFinding:
    return AngleFinding(
        series_instance_uid=upper.series_instance_uid,
        name=name,
        upper=f"{upper.level} superior",
        lower=f"{lower.level} inferior",
        angle=angle,
    )


def _local(findings: Sequence[VertebraFinding], at: int, cobb: Cobb) -> AngleFinding:
    """Superior endplate of the body above to inferior endplate of the body below."""
    own = findings[at]
    name = f"local kyphosis {own.level}"
    if at == 0 or at == len(findings) - 1:
        missing = "above" if at == 0 else "below"
        reason = NotMeasured(reason=f"no body {missing} in view")
        return _finding(name, own, own, reason)
    above, below = findings[at - 1], findings[at + 1]
    if not (are_adjacent(above.level, own.level) and are_adjacent(own.level, below.level)):
        return _finding(name, above, below, NotMeasured(reason="a neighbouring body was not found"))
    return _finding(name, above, below, cobb(above, below))


def _cobb(upper: VertebraFinding, lower: VertebraFinding) -> Measured:
    """Signed angle between the superior endplate of one body and the inferior endplate of another (deg)."""
    for finding in (upper, lower):
        if finding.six_points_lps_mm is None:
            raise ValueError("a vertebra of a projection has no points in space")
        if isinstance(finding.six_points_lps_mm, NotMeasured):
            return NotMeasured(reason=f"{finding.level}: {finding.six_points_lps_mm.reason}")
    first, first_left, first_error = _endplate(upper, "superior")
    second, second_left, second_error = _endplate(lower, "inferior")
    return _signed(first, second, geometry.unit(first_left + second_left), float(np.hypot(first_error, second_error)))


def _signed(first: FloatArray, second: FloatArray, left: FloatArray, error_deg: float) -> Quantity:
    """Angle (deg) from one direction to posterior to another, in the plane across ``left``; kyphosis is positive."""
    a, b = first - np.dot(first, left) * left, second - np.dot(second, left) * left
    angle = float(np.degrees(np.arctan2(np.dot(np.cross(b, a), left), np.dot(a, b))))
    return Quantity.around(angle, error_deg, "deg")


def _endplate(finding: VertebraFinding, plate: Endplate) -> tuple[FloatArray, FloatArray, float]:
    """Direction of an endplate to posterior, the body's left, and the half width of the slope's interval (deg)."""
    points = finding.six_points_lps_mm
    assert points is not None
    assert not isinstance(points, NotMeasured)
    back = _vector(points[plate]["anterior"], points[plate]["posterior"])
    up = _vector(points["inferior"]["middle"], points["superior"]["middle"])
    return back, geometry.unit(np.cross(back, up)), _slope_error_deg(finding.heights, float(np.linalg.norm(back)))


def _slope_error_deg(heights: Mapping[Place, Measured], span_mm: float) -> float:
    """Half width of a slope's interval: 1/sqrt(2) of a height's error at each of its two ends."""
    widths = [h.interval95[1] - h.interval95[0] for h in heights.values() if isinstance(h, Quantity) and h.interval95]
    return float(np.degrees(np.arctan2(max(widths, default=0.0) / 2, span_mm)))


def _vector(start: Point, end: Point) -> FloatArray:
    return np.asarray(end, dtype=np.float64) - np.asarray(start, dtype=np.float64)
