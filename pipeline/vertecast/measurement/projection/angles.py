"""Angles of one projection image: lateral kyphosis and lordosis, AP tilt and the largest Cobb angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.core.images import View
from vertecast.core.results import AngleFinding, Measured, NotMeasured, Quantity, VertebraFinding
from vertecast.measurement.ct.angles import LORDOSIS, measure_angles
from vertecast.measurement.projection.bodies import MeasuredPlane, PlaneBody
from vertecast.measurement.shared.comparison import Z95

LARGEST_COBB: Final = "largest Cobb angle"
TILT: Final = "coronal tilt"

SACRAL_SD_SHARE: Final = 0.03
"""Standard deviation of an end of the sacral endplate, as share of its length: corner errors of networks on films are
2.9 to 4.0 % (ziaf017)."""


def measure_projection_angles(
    findings: Sequence[VertebraFinding],
    bodies: Sequence[PlaneBody | NotMeasured],
    plane: MeasuredPlane,
    *,
    view: View,
    sacral_endplate_px: FloatArray | None = None,
) -> tuple[AngleFinding, ...]:
    """Angles of one image, from the picture alone; an oblique view has none.

    Args:
        findings: Bodies of the image, cranial first.
        bodies: Their geometry.
        plane: Of the picture.
        view: Lateral: local kyphosis, regional angles, lordosis; kyphosis is positive. AP: the tilt of every body and
            the largest Cobb angle.
        sacral_endplate_px: (2, 2) ends of the endplate of S1.
    """
    if view == "oblique":
        return ()
    measured = {n: b for n, b in enumerate(bodies) if not isinstance(b, NotMeasured) and b.refusal is None}
    if view == "ap":
        return (*_tilts(findings, measured), *_largest_cobb(findings, measured))
    by_finding = {id(finding): body for finding, body in zip(findings, bodies, strict=True)}

    def cobb(upper: VertebraFinding, lower: VertebraFinding) -> Measured:
        pair = []
        for finding in (upper, lower):
            body = by_finding[id(finding)]
            reason = body if isinstance(body, NotMeasured) else body.refusal
            if isinstance(body, NotMeasured) or reason is not None:
                return NotMeasured(reason=f"{finding.level}: {reason.reason if reason else ''}")
            pair.append(body)
        return cobb_deg(*pair)

    return (*measure_angles(findings, cobb=cobb), *_lordosis(findings, measured, plane, sacral_endplate_px))


def cobb_deg(upper: PlaneBody, lower: PlaneBody) -> Quantity:
    """Signed angle from the superior endplate of one body to the inferior endplate of a lower one.

    Positive where the two endplates come closer in front (kyphosis); on an AP view, at the left of the picture.
    """
    value = _turned(upper.slope_deg(0, lower) - lower.slope_deg(1))
    return _angle(value, float(np.hypot(upper.slope_sd_deg(0), lower.slope_sd_deg(1))))


def _angle(value: float, sd: float) -> Quantity:
    return Quantity.around(value, Z95 * sd, "deg")


def _turned(angle_deg: float) -> float:
    """The same angle between -180 and 180 degrees."""
    return (angle_deg + 180) % 360 - 180


def _lordosis(
    findings: Sequence[VertebraFinding],
    measured: Mapping[int, PlaneBody],
    plane: MeasuredPlane,
    sacral_endplate_px: FloatArray | None,
) -> tuple[AngleFinding, ...]:
    """Superior endplate of L1 to the endplate of S1; lordosis is negative, as everywhere."""
    first = next((n for n, finding in enumerate(findings) if finding.level == "L1"), None)
    if first is None or sacral_endplate_px is None or not np.isfinite(sacral_endplate_px).all():
        return ()
    angle: Measured
    if first in measured:
        body, line = measured[first], np.diff(sacral_endplate_px * plane.scale, axis=0)[0]
        slope = float(np.degrees(np.arctan2(line @ body.up, line @ body.across)))
        sacral_sd = float(np.degrees(np.sqrt(2) * SACRAL_SD_SHARE))
        angle = _angle(_turned(body.slope_deg(0) - slope), float(np.hypot(body.slope_sd_deg(0), sacral_sd)))
    else:
        reason = findings[first].wedge_angle
        angle = NotMeasured(reason=f"L1: {reason.reason if isinstance(reason, NotMeasured) else 'not measured'}")
    uid = findings[first].series_instance_uid
    return (
        AngleFinding(series_instance_uid=uid, name=LORDOSIS, upper="L1 superior", lower="S1 superior", angle=angle),
    )


def _tilts(findings: Sequence[VertebraFinding], measured: Mapping[int, PlaneBody]) -> list[AngleFinding]:
    """Tilt of every body against the straight line through the spine in view; positive: its left end (of the picture,
    cranial end upwards) is lower. The patient's own axis, so that a turned picture gives the same."""
    if len(measured) < 2:
        return []
    centers = np.array([body.center for body in measured.values()])
    down = np.linalg.svd(centers - centers.mean(axis=0), full_matrices=False)[2][0]
    up = -down * np.sign(down @ (centers[-1] - centers[0]))
    result = []
    for n, body in measured.items():
        side = np.array([-up[1], up[0]])
        side *= np.sign(side @ body.across)
        line = (body.points[:, 2] - body.points[:, 0]).mean(axis=0)
        value = float(np.degrees(np.arctan2(line @ up, line @ side)))
        sd = 0.5 * float(np.hypot(body.slope_sd_deg(0), body.slope_sd_deg(1)))
        level = findings[n].level
        result.append(
            AngleFinding(
                series_instance_uid=findings[n].series_instance_uid, name=f"{TILT} {level}",
                upper=f"{level} superior", lower=f"{level} inferior", angle=_angle(value, sd),
            )
        )  # fmt: skip
    return result


def _largest_cobb(findings: Sequence[VertebraFinding], measured: Mapping[int, PlaneBody]) -> tuple[AngleFinding, ...]:
    """The two bodies with the largest angle between the upper one's superior and the lower one's inferior endplate."""
    pairs = [(abs(cobb_deg(measured[m], measured[n]).value), m, n) for m, n in combinations(sorted(measured), 2)]
    if not pairs:
        return ()
    value, m, n = max(pairs)
    low, high = cobb_deg(measured[m], measured[n]).interval95 or (value, value)
    half = (high - low) / 2
    angle = Quantity.around(value, half, "deg", least=0.0)
    upper, lower = findings[m], findings[n]
    return (
        AngleFinding(
            series_instance_uid=upper.series_instance_uid,
            name=LARGEST_COBB,
            upper=f"{upper.level} superior",
            lower=f"{lower.level} inferior",
            angle=angle,
        ),
    )
