"""What is reported: quantities with intervals, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from vertecast.core.anatomy import Compartment, YeomType

Point: TypeAlias = tuple[float, float, float]
PixelPoint: TypeAlias = tuple[float, float]
"""A point of a projection image, (column, row); the centre of the upper left pixel is (0, 0)."""
Place: TypeAlias = Literal["anterior", "middle", "posterior", "left", "right"]
"""A place on an endplate; ``left`` and ``right`` are those of the picture, on an AP view."""
Endplate: TypeAlias = Literal["superior", "inferior"]
SixPoints: TypeAlias = Mapping[Endplate, Mapping[Place, Point]]
"""Six points in LPS mm: ``six_points["superior"]["anterior"]``."""
SixPointsPx: TypeAlias = Mapping[Endplate, Mapping[Place, PixelPoint]]
"""Six points of a projection image; on an AP view the places are ``left``, ``middle``, ``right``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A measured number. ``unit`` is UCUM (mm, deg, mL, mm2, [hnsf'U], 1); ``interval95`` its 95 % interval or None."""

    value: float
    unit: str
    interval95: tuple[float, float] | None = None

    @classmethod
    def around(
        cls, value: float, half_width: float, unit: str, *, least: float = -math.inf, most: float = math.inf
    ) -> Quantity:
        """A number with an interval that reaches equally far to both sides, but not beyond what it can be."""
        return cls(value=value, unit=unit, interval95=(max(value - half_width, least), min(value + half_width, most)))

    @property
    def half_width(self) -> float:
        """Half of the interval; 0 without one."""
        return 0.0 if self.interval95 is None else (self.interval95[1] - self.interval95[0]) / 2

    def __str__(self) -> str:
        """As "17.0 mm (14.9 to 19.1)", for people who print it; pages have their own ways."""
        own = f"{self.value:.3g}" if self.unit == "1" else f"{self.value:.3g} {self.unit}"
        return own if self.interval95 is None else f"{own} ({self.interval95[0]:.3g} to {self.interval95[1]:.3g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMeasured:
    """Why a number is missing, as a sentence fragment for the reader ("cut by the edge of the image")."""

    reason: str

    def __str__(self) -> str:
        return f"not measured: {self.reason}"


Measured: TypeAlias = Quantity | NotMeasured
Third: TypeAlias = Literal["anterior", "middle", "posterior"]
"""A third of a body's depth."""
FRACTURED_GRADE: Final = 2
"""Genant grade from which a deformity is a fracture beyond dispute; of grade 1 readers disagree (Genant 1993)."""
Deformity: TypeAlias = Literal["none", "wedge", "biconcave", "crush"]
LevelSource: TypeAlias = Literal["sacrum", "ribs", "sacrum+ribs", "operator", "label map", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelAssignment:
    """The level of one vertebra. ``name`` is "L1", or "V3" (third from the top) where the level is unknown."""

    name: str
    source: LevelSource
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightReference:
    """What a height is compared with: the ``levels`` of the same column by ``method`` "intact vertebrae", which weigh
    the more the nearer they are; "own posterior height", or "none"."""

    method: Literal["intact vertebrae", "own posterior height", "none"]
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """The image of a projection series that points in pixels lie in; ``frame_number`` counts in its file, from 1."""

    sop_instance_uid: str
    frame_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VertebraFinding:
    """One vertebra of one series. Heights in mm along the vertebral axis; definitions in docs/measurement.md.

    A CT gives ``center_lps_mm`` and ``six_points_lps_mm``, a projection ``center_px`` and ``six_points_px``; the other
    two are None. ``image`` is the image of a projection that comes from DICOM. Heights on an AP view have the places
    ``left``, ``middle`` and ``right``.
    """

    series_instance_uid: str
    level: str
    level_confidence: float
    level_source: LevelSource
    complete: bool
    treated: bool
    center_lps_mm: Point | None = None
    center_px: PixelPoint | None = None
    six_points_lps_mm: SixPoints | NotMeasured | None = None
    six_points_px: SixPointsPx | NotMeasured | None = None
    heights: Mapping[Place, Measured]
    ratios: Mapping[Literal["wedge", "biconcave", "crush"], Measured]
    height_loss: Measured
    reference: HeightReference
    wedge_angle: Measured
    deformity: Deformity | NotMeasured
    genant_grade: int | NotMeasured
    genant_grade_range: tuple[int, int] | NotMeasured
    genant_grade_probability: tuple[float, float, float, float] | NotMeasured
    volume: Measured
    density: Measured
    cleft: Measured
    canal_compromise: Measured
    retropulsion: Measured
    confidence: float
    image: ImageReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AngleFinding:
    """An angle between two endplates: ``upper`` and ``lower`` name level and endplate, "T12 superior"."""

    series_instance_uid: str
    name: str
    upper: str
    lower: str
    angle: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class DeformityIndex:
    """Spinal deformity index of one series: the sum of the Genant grades from T4 to L4.

    Attributes:
        series_instance_uid: Of the CT or the lateral films.
        index: The sum over the levels that were graded, a partial one where ``graded`` is less than ``levels``.
        index_range: Sums of the lower and of the upper ends of the ranges, those of undecided levels too.
        graded: How many of the levels have a grade.
        levels: How many there are from T4 to L4: 13.
    """

    series_instance_uid: str
    index: int | NotMeasured
    index_range: tuple[int, int] | NotMeasured
    graded: int
    levels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CementFinding:
    """The cement of one treated vertebra.

    A projection gives its ``area`` (mm2), its share of the body's area ``area_fraction``, the share of it that lies
    outside the body's outline, its centre and its image; on CT these are None. A CT alone gives ``thirds_filled``
    (share of each third of the body's depth that cement fills), ``thirds_of_cement`` (share of the cement inside that
    lies there) and ``gas_beside`` (mL of gas inside the body beside the cement).
    """

    id: str
    series_instance_uid: str
    level: str
    volume: Measured
    area: Measured | None = None
    area_fraction: Measured | None = None
    share_outside: Measured | None = None
    center_px: PixelPoint | None = None
    volume_inside: Measured
    fill_fraction: Measured
    pattern: Literal["compact", "interdigitated"] | NotMeasured
    endplate_contact: Literal["none", "superior", "inferior", "both"] | NotMeasured
    crosses_midline: bool | NotMeasured
    thirds_filled: Mapping[Third, Measured] | NotMeasured | None = None
    thirds_of_cement: Mapping[Third, Measured] | NotMeasured | None = None
    gas_beside: Measured | None = None
    confidence: float
    image: ImageReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Where to look: the series, the slice or frame (from 1, as DICOM counts), and a point in it.

    CT: ``slice_number`` and ``point_lps_mm``; projection: ``frame_number`` and ``point_px``; the other two are None.
    """

    series_instance_uid: str
    slice_number: int | None = None
    frame_number: int | None = None
    sop_instance_uid: str | None = None
    point_lps_mm: Point | None = None
    point_px: PixelPoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakFinding:
    """One piece of cement outside the bony outline of its vertebra.

    On a projection it is only ``suspected`` (True), and ``area`` (mm2) and ``area_fraction`` (share of the body's area)
    take the place of the volume. On CT ``suspected`` is True for dense pieces in the lungs, else None.

    A CT alone says whether a leak touches the canal (``canal_contact``); of a leak into the canal, what share of the
    cross-section it fills at most (``canal_fill``); of one into a disc, what share of the disc's height it crosses
    (``disc_crossed``) and whether it touches the next body's endplate (``neighbour_contact``).
    """

    cement_id: str
    level: str
    compartment: Compartment
    suspected: bool | None = None
    yeom_type: YeomType | NotMeasured
    volume: Measured
    area: Measured | None = None
    area_fraction: Measured | None = None
    farthest: Measured
    canal_distance: Measured
    canal_contact: bool | NotMeasured | None = None
    canal_fill: Measured | None = None
    disc_crossed: Measured | None = None
    neighbour_contact: bool | NotMeasured | None = None
    evidence: Evidence
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareFinding:
    """Metal in view. ``kind`` is "metal" until a later step can tell needle, screw, cage and stent apart."""

    series_instance_uid: str
    kind: str
    volume: Measured
    area: Measured | None = None
    center_lps_mm: Point | None = None
    center_px: PixelPoint | None = None
    image: ImageReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthPoint:
    """Cement in one frame of a cine: mm2, or the share of a body's mean area (unit 1) where mm do not hold."""

    frame_number: int
    area: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class CineFinding:
    """One cine. Frames count from 1, as DICOM does; a frame that was never reached is a reason.

    Attributes:
        series_instance_uid: Of the cine.
        frame_rate: Frames per second, or why it is unknown.
        first_cement_frame: First frame of the cement that stayed.
        growth: A point per frame that was looked at, a few a second, and per frame that could not be used.
        first_suspected_leak_frame: First frame of the first leak that stayed; its place stands under ``leaks``.
    """

    series_instance_uid: str
    frame_rate: float | NotMeasured
    first_cement_frame: int | NotMeasured
    growth: tuple[GrowthPoint, ...]
    first_suspected_leak_frame: int | NotMeasured


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedLeak:
    """Leaks suspected at one level in the two views of a study, side by side.

    Attributes:
        level: As the lateral view names it; the AP view's name where the lateral one shows no leak here.
        lateral, ap: Compartments suspected in each view; empty where it shows none.
        seen_in_both: A disc leak on the same side of the body, the one compartment that both views show.
    """

    level: str
    lateral: tuple[Compartment, ...]
    ap: tuple[Compartment, ...]
    seen_in_both: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChange:
    """One vertebra in two studies; every number is the later one less the earlier.

    Attributes:
        level: Its name, the same in both studies.
        registration_error: Mean distance (mm) of the posterior elements once they are laid over each other; CT only.
        height_gain: Heights in mm.
        height_change: The largest fall of a height, as a share of the earlier one and negative; the least rise where
            none fell.
        height_loss_change: Height loss against the neighbours, as shares.
        wedge_change, kyphosis_change: Wedge angle, and local kyphosis (deg).
        grade_before, grade_after: Genant grades.
        recollapse: A body treated before lost 15 % of a height or tilted by 10 degrees; None where it was not treated.
        cement_change: Volume (mL) of all its cement; None where there is none in either study.
        cement_shift: How far the middle of its cement moved against the posterior elements (mm); None unless both
            studies show some.
        cement_beyond_earlier: Cement outside the earlier outline of the body (mL); None unless it came in between.
    """

    level: str
    registration_error: Measured
    height_gain: Mapping[Place, Measured]
    height_change: Measured
    height_loss_change: Measured
    wedge_change: Measured
    kyphosis_change: Measured
    grade_before: int | NotMeasured
    grade_after: int | NotMeasured
    recollapse: bool | NotMeasured | None = None
    cement_change: Measured | None = None
    cement_shift: Measured | None = None
    cement_beyond_earlier: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFracture:
    """A body, sound in the earlier study, that lost 15 % of a height since; ``adjacent``: beside a treated one."""

    level: str
    grade: int
    height_change: Quantity
    adjacent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFinding:
    """What changed since one earlier study of the patient.

    Attributes:
        pre_study: StudyInstanceUID of the earlier study.
        days: Between the two, or why that is unknown.
        modality: What is compared: CT with CT, lateral radiographs, or a film with a CT ("mixed": levels and grades).
        registration_error: Median over the levels (mm).
        levels: Every level that both studies name, cranial to caudal.
        new_fractures: Bodies that broke in between.
    """

    pre_study: str
    days: int | NotMeasured
    modality: Literal["ct", "radiograph", "mixed"]
    registration_error: Measured
    levels: tuple[LevelChange, ...]
    new_fractures: tuple[NewFracture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineLevel:
    """One vertebra at one time."""

    level: str
    treated: bool
    heights: Mapping[Place, Measured]
    wedge_angle: Measured
    genant_grade: int | NotMeasured
    cement_volume: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineStudy:
    """One study of a patient: days since the first, and the levels that were fractured or treated at any time."""

    study_instance_uid: str
    days: int | NotMeasured
    phase: Literal["pre", "intra", "post", "unknown"]
    modality: Literal["ct", "radiograph"]
    levels: tuple[TimelineLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesResult:
    """One series of the study and what became of it."""

    series_instance_uid: str
    kind: Literal["ct", "label map", "radiograph", "cine", "other"]
    view: Literal["lateral", "ap", "oblique"] | None
    status: Literal["analyzed", "skipped", "failed"]
    reason: str

    @property
    def is_volume(self) -> bool:
        """True for what has voxels in the patient: a CT, or a label map that stands for one."""
        return self.kind in ("ct", "label map")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsed:
    """A set of weights that took part."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """Everything that is known of one study; each output is written from this object alone.

    ``cine`` is the cine that shows most (the one with cement); others of the study stand under ``further_cines``.
    ``change`` is that since the study before, ``further_changes`` those since still earlier ones, latest first;
    ``timeline`` runs over three studies or more, this one last.
    """

    study_instance_uid: str
    phase: Literal["pre", "intra", "post", "unknown"]
    phase_source: Literal["operator", "cement seen", "no cement seen", "unknown"]
    series: tuple[SeriesResult, ...]
    models: tuple[ModelUsed, ...] = ()
    vertebrae: tuple[VertebraFinding, ...] = ()
    angles: tuple[AngleFinding, ...] = ()
    deformity_indices: tuple[DeformityIndex, ...] = ()
    cement: tuple[CementFinding, ...] = ()
    leaks: tuple[LeakFinding, ...] = ()
    hardware: tuple[HardwareFinding, ...] = ()
    combined_leaks: tuple[CombinedLeak, ...] = ()
    cine: CineFinding | None = None
    further_cines: tuple[CineFinding, ...] = ()
    change: ChangeFinding | None = None
    further_changes: tuple[ChangeFinding, ...] = ()
    timeline: tuple[TimelineStudy, ...] = ()
    limits: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def cines(self) -> tuple[CineFinding, ...]:
        """All cines, the one that shows most first."""
        return () if self.cine is None else (self.cine, *self.further_cines)

    @property
    def changes(self) -> tuple[ChangeFinding, ...]:
        """All changes, that since the study before first."""
        return () if self.change is None else (self.change, *self.further_changes)
