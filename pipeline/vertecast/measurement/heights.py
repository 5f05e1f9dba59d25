"""Heights, ratios, height loss against sound neighbours, deformity and Genant grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from vertecast.geometry import FloatArray
from vertecast.images import Segmentation, Volume
from vertecast.measurement import bone
from vertecast.measurement.endplates import CUT, BodyGeometry, fit_body
from vertecast.measurement.outline import find_bodies
from vertecast.results import (
    Deformity,
    HeightReference,
    LevelAssignment,
    Measured,
    NotMeasured,
    Place,
    Quantity,
    VertebraFinding,
)

PLACES: Final[tuple[Place, ...]] = ("anterior", "middle", "posterior")

NORMAL_POSTERIOR_MM: Final[Mapping[str, float]] = {
    "T1": 14.1, "T2": 15.6, "T3": 15.7, "T4": 16.2, "T5": 16.2, "T6": 17.4, "T7": 18.2, "T8": 18.7, "T9": 19.3,
    "T10": 20.2, "T11": 21.3, "T12": 22.7, "L1": 23.8, "L2": 24.3, "L3": 23.8, "L4": 24.1, "L5": 22.9,
}  # fmt: skip
"""Posterior body heights. Source: Panjabi et al., thoracic, Spine 1991;16:888-901; lumbar, Spine 1992;17:299-306. Only
ratios of two levels are used."""

NORMAL_ANTERIOR_SHARE: Final[Mapping[str, float]] = {
    "T1": 0.99, "T2": 0.98, "T3": 0.97, "T4": 0.96, "T5": 0.96, "T6": 0.95, "T7": 0.94, "T8": 0.94, "T9": 0.95,
    "T10": 0.95, "T11": 0.95, "T12": 0.96, "L1": 0.97, "L2": 0.99, "L3": 1.02, "L4": 1.04, "L5": 1.15,
}  # fmt: skip
"""Normal anterior / posterior height. Source: Berry et al., Spine 1987;12:362-367; Evans et al., Bone 1993;14:S45-S51,
rounded. On MRI of 115 people T10 to L2 were lower, 0.92, 0.92, 0.90, 0.89, 0.90, SD 0.06 to 0.08 (Matsumoto et al.,
Surg Radiol Anat 2011;33:223-228); neighbouring levels keep the same relation there."""

GENANT_LIMITS: Final = (0.20, 0.25, 0.40)
"""Height loss at which grades 1, 2 and 3 begin. Source: Genant et al., J Bone Miner Res 1993;8:1137-1148."""

WHOLE_BODY_SHARE: Final = 2 / 3
"""Posterior loss of at least this share of the largest loss makes a deformity a crush: the whole body is lower."""

REFERENCE_REACH: Final = 3
"""A neighbour serves up to three bodies away; beyond that a person departs too far from mean tables of sizes."""

NEIGHBOUR_SCATTER: Final = 0.03
"""Scatter (1 SD) of a sound body's height about the one scaled from a neighbour, within one person. General knowledge;
between people it is 0.06 to 0.08 (Matsumoto 2011)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """Expected heights of a body with their standard deviation (mm), and the indices of the bodies they come from."""

    heights_mm: Mapping[Place, float]
    sd_mm: Mapping[Place, float]
    neighbours: tuple[int, ...]


def fit_bodies(volume: Volume, segmentation: Segmentation) -> tuple[BodyGeometry | NotMeasured, ...]:
    """Fit every body, cranial to caudal."""
    layout = find_bodies(segmentation)
    return tuple(fit_body(volume, segmentation, n + 1, layout=layout) for n in range(segmentation.count))


def measure_vertebrae(
    volume: Volume,
    segmentation: Segmentation,
    levels: Sequence[LevelAssignment],
    *,
    series_instance_uid: str,
    treated: frozenset[int] = frozenset(),
    geometries: Sequence[BodyGeometry | NotMeasured] | None = None,
) -> tuple[VertebraFinding, ...]:
    """Measure every vertebra of one series.

    Args:
        volume: Native CT.
        segmentation: What the network found.
        levels: One per instance.
        series_instance_uid: Of the CT.
        treated: Instances (from 1) that hold cement; they never serve as a reference.
        geometries: Result of `fit_bodies`, when already known.
    """
    bodies = tuple(geometries) if geometries is not None else fit_bodies(volume, segmentation)
    names = [level.name for level in levels]
    sound = _sound_bodies(bodies, names, treated)
    depths = [bone.canal_depth_mm(segmentation, b) if isinstance(b, BodyGeometry) else None for b in bodies]
    layout = find_bodies(segmentation)
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
        reference = _reference(bodies, names, sound, n)
        confidence = segmentation.instance_confidence[n] * float(np.exp(-max(body.residual_mm - 0.5, 0.0)))
        inside = _Inside(
            density=bone.trabecular_density(volume, body, treated=common.treated),
            cleft=bone.cleft_gas(volume, body),
            canal_compromise=bone.canal_compromise(depths, sound, n),
        )
        findings.append(_measured(common, body, (reference, names), inside, confidence))
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


def _scale(names: Sequence[str], target: int, source: int, place: Place) -> float:
    """Normal height of the target's level over that of the source's; 1 where a level is unknown."""
    sizes = []
    for name in (names[target], names[source]):
        if name not in NORMAL_POSTERIOR_MM:
            return 1.0
        anterior = NORMAL_ANTERIOR_SHARE[name]
        share = {"anterior": anterior, "middle": (1 + anterior) / 2, "posterior": 1.0}[place]
        sizes.append(NORMAL_POSTERIOR_MM[name] * share)
    return sizes[0] / sizes[1]


def _reference(
    bodies: Sequence[BodyGeometry | NotMeasured], names: Sequence[str], sound: Sequence[bool], at: int
) -> _Reference | None:
    """Mean of the nearest sound bodies above and below, scaled to the level; None where neither is in reach."""
    above = next((n for n in range(at - 1, max(at - 1 - REFERENCE_REACH, -1), -1) if sound[n]), None)
    below = next((n for n in range(at + 1, min(at + 1 + REFERENCE_REACH, len(bodies))) if sound[n]), None)
    neighbours = tuple(n for n in (above, below) if n is not None)
    shapes = [(n, bodies[n]) for n in neighbours]
    heights: dict[Place, float] = {}
    sd: dict[Place, float] = {}
    for place in PLACES:
        values, variances = [], []
        for n, body in shapes:
            assert isinstance(body, BodyGeometry)
            scale = _scale(names, at, n, place)
            values.append(body.heights_mm[place] * scale)
            variances.append((body.height_sd_mm[place] * scale) ** 2 + (NEIGHBOUR_SCATTER * values[-1]) ** 2)
        if not values:
            return None
        heights[place] = float(np.mean(values))
        sd[place] = float(np.sqrt(np.sum(variances)) / len(values))
    return _Reference(heights_mm=heights, sd_mm=sd, neighbours=neighbours)


def _own_reference(body: BodyGeometry, name: str) -> _Reference:
    """The body's own posterior height; in front scaled by the normal shape of its level where that is known."""
    posterior, sd = body.heights_mm["posterior"], body.height_sd_mm["posterior"]
    share = NORMAL_ANTERIOR_SHARE.get(name, 1.0)
    shares: dict[Place, float] = {"anterior": share, "middle": min((1 + share) / 2, 1.0), "posterior": 1.0}
    return _Reference(
        heights_mm={p: posterior * s for p, s in shares.items()},
        sd_mm={p: float(np.hypot(sd, NEIGHBOUR_SCATTER * posterior)) * s for p, s in shares.items()},
        neighbours=(),
    )


def _losses(body: BodyGeometry, reference: _Reference) -> dict[Place, float]:
    return {p: 1 - body.heights_mm[p] / reference.heights_mm[p] for p in PLACES}


def _sound_bodies(
    bodies: Sequence[BodyGeometry | NotMeasured], names: Sequence[str], treated: frozenset[int]
) -> list[bool]:
    """Bodies fit to be a reference: measured, untreated, and without loss of their own.

    Bodies that are low by their own shape leave first; then, one by one, the body with the largest loss against the
    others, so that one crushed body does not make its neighbours look broken.
    """
    sound = [isinstance(b, BodyGeometry) and n + 1 not in treated for n, b in enumerate(bodies)]
    for n, body in enumerate(bodies):
        if sound[n] and isinstance(body, BodyGeometry):
            sound[n] = max(_losses(body, _own_reference(body, names[n])).values()) < GENANT_LIMITS[0]
    while True:
        losses = [_worst_loss(bodies, names, sound, n) if sound[n] else 0.0 for n in range(len(bodies))]
        worst = max(range(len(losses)), key=lambda n: losses[n], default=-1)
        if worst < 0 or losses[worst] < GENANT_LIMITS[0]:
            return sound
        sound[worst] = False


def _worst_loss(
    bodies: Sequence[BodyGeometry | NotMeasured], names: Sequence[str], sound: Sequence[bool], at: int
) -> float:
    """Largest loss of a body against either of its nearest sound neighbours alone: two that broke side by side do not
    vouch for each other."""
    body = bodies[at]
    losses = [0.0]
    for side in (range(at), range(at + 1, len(bodies))):
        reference = _reference(bodies, names, [s and n in side for n, s in enumerate(sound)], at)
        if reference is not None and isinstance(body, BodyGeometry):
            losses.append(max(_losses(body, reference).values()))
    return max(losses)


def _length(value: float, sd: float) -> Quantity:
    return Quantity(value=value, unit="mm", interval95=(max(value - bone.Z95 * sd, 0.0), value + bone.Z95 * sd))


def _ratio(value: float, reference: float, sd: float, reference_sd: float) -> Quantity:
    """Quotient of two heights with the interval from both."""
    ratio = value / reference
    error = bone.Z95 * float(np.hypot(sd / reference, ratio * reference_sd / reference))
    return Quantity(value=ratio, unit="1", interval95=(max(ratio - error, 0.0), ratio + error))


def genant_grade(height_loss: float) -> int:
    """Genant grade 0 to 3 of a height loss given as a share (0.2 = 20 %)."""
    return int(np.searchsorted(GENANT_LIMITS, height_loss, side="right"))


def _deformity(losses: Mapping[Place, float]) -> Deformity:
    largest = max(losses.values())
    if largest < GENANT_LIMITS[0]:
        return "none"
    if losses["posterior"] >= max(GENANT_LIMITS[0], WHOLE_BODY_SHARE * largest):
        return "crush"
    return "wedge" if losses["anterior"] >= losses["middle"] else "biconcave"


def _measured(
    common: _Common,
    body: BodyGeometry,
    compared: tuple[_Reference | None, Sequence[str]],
    inside: _Inside,
    confidence: float,
) -> VertebraFinding:
    """The finding of a body that was fitted; ``compared`` is its reference and the names of all levels."""
    neighbours, names = compared
    reference = neighbours or _own_reference(body, common.level.name)
    losses = _losses(body, reference)
    place = max(PLACES, key=lambda p: losses[p])
    share = _ratio(
        body.heights_mm[place], reference.heights_mm[place], body.height_sd_mm[place], reference.sd_mm[place]
    )  # fmt: skip
    low, high = share.interval95 or (share.value, share.value)
    loss = Quantity(value=max(losses[place], 0.0), unit="1", interval95=(max(1 - high, 0.0), max(1 - low, 0.0)))
    heights, sd = body.heights_mm, body.height_sd_mm
    crush: Measured = NotMeasured(reason="no sound neighbour to compare with")
    if neighbours is not None:
        crush = _ratio(
            heights["posterior"], reference.heights_mm["posterior"], sd["posterior"], reference.sd_mm["posterior"]
        )  # fmt: skip
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
        heights={p: _length(heights[p], sd[p]) for p in PLACES},
        ratios={
            "wedge": _ratio(heights["anterior"], heights["posterior"], sd["anterior"], sd["posterior"]),
            "biconcave": _ratio(heights["middle"], heights["posterior"], sd["middle"], sd["posterior"]),
            "crush": crush,
        },
        height_loss=loss,
        reference=HeightReference(
            method="neighbours" if neighbours else "own posterior height",
            levels=tuple(names[n] for n in reference.neighbours),
        ),
        wedge_angle=Quantity(value=angle, unit="deg", interval95=(angle - angle_error, angle + angle_error)),
        deformity=_deformity(losses),
        genant_grade=genant_grade(loss.value),
        genant_grade_range=(genant_grade(max(1 - high, 0.0)), genant_grade(max(1 - low, 0.0))),
        volume=common.volume_ml,
        density=inside.density,
        cleft=inside.cleft,
        canal_compromise=inside.canal_compromise,
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
        volume=common.volume_ml,
        density=reason,
        cleft=reason,
        canal_compromise=reason,
        confidence=0.0,
    )


def _point(xyz: FloatArray) -> tuple[float, float, float]:
    return float(xyz[0]), float(xyz[1]), float(xyz[2])
