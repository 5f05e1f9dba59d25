"""Angles between endplates in the sagittal plane of the spine; kyphosis is positive, lordosis negative."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from vertecast import geometry
from vertecast.anatomy import CRANIAL_TO_CAUDAL, Level
from vertecast.geometry import FloatArray
from vertecast.results import AngleFinding, Endplate, Measured, NotMeasured, Place, Point, Quantity, VertebraFinding

REGIONS: Final = (
    ("thoracic kyphosis T4-T12", "T4", "T12"),
    ("thoracolumbar angle T10-L2", "T10", "L2"),
    ("lumbar angle L1-L5", "L1", "L5"),
)
"""Usual Cobb spans (T4-T12 and T10-L2: Spinal Deformity Study Group manual, O'Brien et al. 2008). The lumbar span ends
at the inferior endplate of L5: the endplate of S1 is not measured."""


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
    if not (_adjacent(above, own) and _adjacent(own, below)):
        return _finding(name, above, below, NotMeasured(reason="a neighbouring body was not found"))
    return _finding(name, above, below, cobb(above, below))


def _adjacent(upper: VertebraFinding, lower: VertebraFinding) -> bool:
    """True unless both levels are known and another lies between them (variants T13, L6 may be absent)."""
    if upper.level not in Level.__members__ or lower.level not in Level.__members__:
        return True
    order: list[Level] = [level for level in CRANIAL_TO_CAUDAL if level not in (Level.T13, Level.L6)]
    if Level[upper.level] not in order or Level[lower.level] not in order:
        return True
    return order.index(Level[lower.level]) - order.index(Level[upper.level]) == 1


def _cobb(upper: VertebraFinding, lower: VertebraFinding) -> Measured:
    """Signed angle between the superior endplate of one body and the inferior endplate of another (deg)."""
    for finding in (upper, lower):
        if finding.six_points_lps_mm is None:
            raise ValueError("a vertebra of a projection has no points in space")
        if isinstance(finding.six_points_lps_mm, NotMeasured):
            return NotMeasured(reason=f"{finding.level}: {finding.six_points_lps_mm.reason}")
    first, first_left, first_error = _endplate(upper, "superior")
    second, second_left, second_error = _endplate(lower, "inferior")
    left = geometry.unit(first_left + second_left)
    a, b = first - np.dot(first, left) * left, second - np.dot(second, left) * left
    angle = float(np.degrees(np.arctan2(np.dot(np.cross(b, a), left), np.dot(a, b))))
    error = float(np.hypot(first_error, second_error))
    return Quantity(value=angle, unit="deg", interval95=(angle - error, angle + error))


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
