"""What is reported: quantities with intervals, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from vertecast.anatomy import Compartment, YeomType

Point: TypeAlias = tuple[float, float, float]
Place: TypeAlias = Literal["anterior", "middle", "posterior"]
Endplate: TypeAlias = Literal["superior", "inferior"]
SixPoints: TypeAlias = Mapping[Endplate, Mapping[Place, Point]]
"""Six points in LPS mm: ``six_points["superior"]["anterior"]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A measured number. ``unit`` is UCUM (mm, deg, mL, mm2, [hnsf'U], 1); ``interval95`` its 95 % interval or None."""

    value: float
    unit: str
    interval95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMeasured:
    """Why a number is missing, as a sentence fragment for the reader ("cut by the edge of the image")."""

    reason: str


Measured: TypeAlias = Quantity | NotMeasured
Deformity: TypeAlias = Literal["none", "wedge", "biconcave", "crush"]
LevelSource: TypeAlias = Literal["sacrum", "ribs", "sacrum+ribs", "operator", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelAssignment:
    """The level of one vertebra. ``name`` is "L1", or "V3" (third from the top) where the level is unknown."""

    name: str
    source: LevelSource
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightReference:
    """What a height is compared with. ``method``: "neighbours", "own posterior height" or "none"."""

    method: Literal["neighbours", "own posterior height", "none"]
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VertebraFinding:
    """One vertebra of one series. Heights in mm along the body's own axis; definitions in docs/measurement.md."""

    series_instance_uid: str
    level: str
    level_confidence: float
    level_source: LevelSource
    complete: bool
    treated: bool
    center_lps_mm: Point
    six_points_lps_mm: SixPoints | NotMeasured
    heights: Mapping[Place, Measured]
    ratios: Mapping[Literal["wedge", "biconcave", "crush"], Measured]
    height_loss: Measured
    reference: HeightReference
    wedge_angle: Measured
    deformity: Deformity | NotMeasured
    genant_grade: int | NotMeasured
    genant_grade_range: tuple[int, int] | NotMeasured
    volume: Measured
    density: Measured
    cleft: Measured
    canal_compromise: Measured
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AngleFinding:
    """An angle between two endplates: ``upper`` and ``lower`` name level and endplate, "T12 superior"."""

    name: str
    upper: str
    lower: str
    angle: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class CementFinding:
    """The cement of one treated vertebra."""

    id: str
    series_instance_uid: str
    level: str
    volume: Measured
    volume_inside: Measured
    fill_fraction: Measured
    pattern: Literal["compact", "interdigitated"] | NotMeasured
    endplate_contact: Literal["none", "superior", "inferior", "both"] | NotMeasured
    crosses_midline: bool | NotMeasured
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where to look: a point in LPS mm, the slice that holds it (from 1, as DICOM counts), the series."""

    series_instance_uid: str
    slice_number: int
    sop_instance_uid: str | None
    point_lps_mm: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakFinding:
    """One piece of cement outside the bony outline of its vertebra."""

    cement_id: str
    level: str
    compartment: Compartment
    yeom_type: YeomType | NotMeasured
    volume: Measured
    farthest: Measured
    canal_distance: Measured
    evidence: Evidence
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareFinding:
    """Metal in view. ``kind`` is "metal" until a later step can tell needle, screw, cage and stent apart."""

    series_instance_uid: str
    kind: str
    volume: Measured
    center_lps_mm: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesResult:
    """One series of the study and what became of it."""

    series_instance_uid: str
    kind: Literal["ct", "radiograph", "cine", "other"]
    view: Literal["lateral", "ap", "oblique"] | None
    status: Literal["analyzed", "skipped", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsed:
    """A set of weights that took part."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """Everything that is known of one study; each output is written from this object alone."""

    study_instance_uid: str
    phase: Literal["pre", "intra", "post", "unknown"]
    phase_source: Literal["operator", "cement seen", "no cement seen", "unknown"]
    series: tuple[SeriesResult, ...]
    models: tuple[ModelUsed, ...] = ()
    vertebrae: tuple[VertebraFinding, ...] = ()
    angles: tuple[AngleFinding, ...] = ()
    cement: tuple[CementFinding, ...] = ()
    leaks: tuple[LeakFinding, ...] = ()
    hardware: tuple[HardwareFinding, ...] = ()
    limits: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
