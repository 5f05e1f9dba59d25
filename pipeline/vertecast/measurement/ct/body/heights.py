"""Heights, ratios, height loss, deformity and Genant grade of every vertebra of a CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.core.images import Grid, Segmentation, Volume
from vertecast.core.results import HeightReference, LevelAssignment, Measured, NotMeasured, Quantity, VertebraFinding
from vertecast.measurement.ct.body import bone
from vertecast.measurement.ct.body.endplates import CUT, BodyGeometry, fit_body
from vertecast.measurement.ct.body.outline import find_bodies
from vertecast.measurement.ct.body.posterior_wall import retropulsion, trace_posterior_wall
from vertecast.measurement.shared.comparison import (
    PLACES,
    Comparison,
    Heights,
    compare,
    genant_grade,
    length,
    sound_bodies,
)

__all__ = ["fit_bodies", "genant_grade", "measure_vertebrae"]

NO_CT: Final = NotMeasured(reason="a label map without its CT shows no density")


def fit_bodies(volume: Volume | Grid, segmentation: Segmentation) -> tuple[BodyGeometry | NotMeasured, ...]:
    """Fit every body, cranial to caudal."""
    layout = find_bodies(segmentation)
    return tuple(fit_body(volume, segmentation, n + 1, layout=layout) for n in range(segmentation.count))


def measure_vertebrae(
    volume: Volume | Grid,
    segmentation: Segmentation,
    levels: Sequence[LevelAssignment],
    *,
    series_instance_uid: str,
    treated: frozenset[int] = frozenset(),
    geometries: Sequence[BodyGeometry | NotMeasured] | None = None,
) -> tuple[VertebraFinding, ...]:
    """Measure every vertebra of one series.

    Args:
        volume: Native CT, or its grid alone: then nothing is said of what is inside a body.
        segmentation: What the network found.
        levels: One per instance.
        series_instance_uid: Of the CT.
        treated: Instances (from 1) that hold cement; they never serve as a reference.
        geometries: Result of `fit_bodies`, when already known.
    """
    bodies = tuple(geometries) if geometries is not None else fit_bodies(volume, segmentation)
    names = [level.name for level in levels]
    heights = [body if isinstance(body, NotMeasured) else _heights(body) for body in bodies]
    sound = sound_bodies(heights, names, treated)
    depths = [bone.canal_depth_mm(segmentation, b) if isinstance(b, BodyGeometry) else None for b in bodies]
    layout = find_bodies(segmentation)
    walls = [
        body if isinstance(body, NotMeasured) else trace_posterior_wall(segmentation, body, n + 1, layout)
        for n, body in enumerate(bodies)
    ]
    findings = []
    for n, (body, level) in enumerate(zip(bodies, levels, strict=True)):
        volume_ml = bone.body_volume(segmentation, n + 1, layout)
        common = _Common(
            series_instance_uid=series_instance_uid, level=level, treated=n + 1 in treated,
            touches_border=segmentation.touches_border[n], volume_ml=volume_ml,
        )  # fmt: skip
        if isinstance(body, NotMeasured):
            findings.append(_unmeasured(common, body, layout.centers_lps_mm[n]))
            continue
        compared = compare(heights, names, sound, n)
        confidence = segmentation.instance_confidence[n] * float(np.exp(-max(body.residual_mm - 0.5, 0.0)))
        inside = _Inside(
            density=bone.trabecular_density(volume, body, treated=common.treated)
            if isinstance(volume, Volume)
            else NO_CT,
            cleft=bone.cleft_gas(volume, body) if isinstance(volume, Volume) else NO_CT,
            canal_compromise=bone.canal_compromise(depths, sound, n),
            retropulsion=retropulsion(walls, bodies, names, n),
        )
        findings.append(_measured(common, body, compared, inside, confidence))
    return tuple(findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    series_instance_uid: str
    level: LevelAssignment
    treated: bool
    touches_border: bool
    volume_ml: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inside:
    density: Measured
    cleft: Measured
    canal_compromise: Measured
    retropulsion: Measured


def _heights(body: BodyGeometry) -> Heights:
    return Heights(value=body.heights_mm, sd=body.height_sd_mm)


def _measured(
    common: _Common,
    body: BodyGeometry,
    compared: Comparison,
    inside: _Inside,
    confidence: float,
) -> VertebraFinding:
    """The finding of a body that was fitted."""
    angle, angle_error = body.wedge_angle_deg, bone.Z95 * body.wedge_sd_deg
    return VertebraFinding(
        series_instance_uid=common.series_instance_uid,
        level=common.level.name,
        level_confidence=common.level.confidence,
        level_source=common.level.source,
        complete=True,
        treated=common.treated,
        center_lps_mm=_point(body.center_lps_mm),
        six_points_lps_mm=body.six_points_lps_mm,
        heights={p: length(body.heights_mm[p], body.height_sd_mm[p]) for p in PLACES},
        ratios=compared.ratios,
        height_loss=compared.height_loss,
        reference=compared.reference,
        wedge_angle=Quantity.around(angle, angle_error, "deg"),
        deformity=compared.deformity,
        genant_grade=compared.genant_grade,
        genant_grade_range=compared.genant_grade_range,
        genant_grade_probability=compared.genant_grade_probability,
        volume=common.volume_ml,
        density=inside.density,
        cleft=inside.cleft,
        canal_compromise=inside.canal_compromise,
        retropulsion=inside.retropulsion,
        confidence=confidence,
    )


def _unmeasured(common: _Common, reason: NotMeasured, center_lps_mm: FloatArray) -> VertebraFinding:
    """The finding of a body that could not be fitted: every number carries the same reason."""
    return VertebraFinding(
        series_instance_uid=common.series_instance_uid,
        level=common.level.name,
        level_confidence=common.level.confidence,
        level_source=common.level.source,
        complete=not common.touches_border and reason != CUT,
        treated=common.treated,
        center_lps_mm=_point(np.nan_to_num(center_lps_mm)),
        six_points_lps_mm=reason,
        heights=dict.fromkeys(PLACES, reason),
        ratios={"wedge": reason, "biconcave": reason, "crush": reason},
        height_loss=reason,
        reference=HeightReference(method="none"),
        wedge_angle=reason,
        deformity=reason,
        genant_grade=reason,
        genant_grade_range=reason,
        genant_grade_probability=reason,
        volume=common.volume_ml,
        density=reason,
        cleft=reason,
        canal_compromise=reason,
        retropulsion=reason,
        confidence=0.0,
    )


def _point(xyz: FloatArray) -> tuple[float, float, float]:
    return float(xyz[0]), float(xyz[1]), float(xyz[2])
