"""A simulated patient after vertebroplasty with everything a report can hold, on an oblique CT grid."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from phantoms.film_case import make_film_case
from vertecast.core import anatomy, geometry
from vertecast.core.anatomy import Compartment, Structure, YeomType
from vertecast.core.images import Mask, Segmentation, Volume
from vertecast.core.results import (
    AngleFinding,
    CementFinding,
    Evidence,
    HeightReference,
    LeakFinding,
    LevelAssignment,
    Measured,
    ModelUsed,
    NotMeasured,
    Quantity,
    SeriesResult,
    StudyReport,
    VertebraFinding,
)
from vertecast.core.study_result import StudyResult
from vertecast.report import labels

SERIES = "1.2.826.0.1.3680043.8.498.20"
LEVELS = ("T11", "T12", "L1", "L2", "L3")
FRACTURED, CUT = "L1", "T11"
BALLS = (
    ((-6.0, -1.0, 0.0), 7.0, anatomy.CEMENT_INSIDE_LABEL),
    ((2.0, -2.0, 14.0), 4.0, anatomy.CEMENT_LEAKED_LABEL),
    ((-28.0, 4.0, -2.0), 3.0, anatomy.CEMENT_LEAKED_LABEL),
)
"""Cement in the frame of L1: centre in mm (left, posterior, superior), radius in mm, label."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Image, segmentation, label map and report of one simulated study."""

    volume: Volume
    segmentation: Segmentation
    levels: tuple[LevelAssignment, ...]
    cement_labels: np.ndarray
    labels: Mask
    canal: Mask
    report: StudyReport
    column: Column


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def film_case() -> StudyResult:
    return make_film_case()


@pytest.fixture(scope="session")
def case() -> Case:
    return build_case()


@dataclass(frozen=True, kw_only=True)
class Column:
    """Wedge-shaped bodies with elliptic sections, 42 x 30 mm, on a line that leans forward and to the left."""

    anterior_mm: tuple[float, ...] = (22.0, 23.0, 15.5, 25.5, 26.5)
    posterior_mm: tuple[float, ...] = (23.0, 24.0, 25.0, 27.0, 28.0)

    def frame(self, n: int) -> np.ndarray:
        """LPS from the local millimetres (left, posterior, superior) of body n."""
        axes = geometry.rotation([1.0, 0.3, 0.0], 0.14 + 0.02 * n)
        return geometry.affine(axes, [12.0 + 2.5 * n, -28.0 - 5.5 * n, 806.0 - 36.0 * n])

    def local(self, n: int, points: np.ndarray) -> np.ndarray:
        """Coordinates x, y, z of LPS points in the frame of body n."""
        return np.moveaxis(geometry.apply(geometry.inverse(self.frame(n)), points), -1, 0)

    def distance_mm(self, n: int, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """About the depth below the surface of body n, negative outside."""
        return np.minimum((1 - np.hypot(x / 21, y / 15)) * 15, self.half_height_mm(n, y) - np.abs(z))

    def half_height_mm(self, n: int, y_mm: np.ndarray) -> np.ndarray:
        share = np.clip((y_mm + 15.0) / 30.0, 0.0, 1.0)
        return (self.anterior_mm[n] + (self.posterior_mm[n] - self.anterior_mm[n]) * share) / 2

    def six_points_lps_mm(self, n: int) -> dict[str, dict[str, tuple[float, ...]]]:
        places = {"anterior": -13.0, "middle": 0.0, "posterior": 13.0}
        return {
            plate: {
                place: tuple(map(float, geometry.apply(self.frame(n), [0, y, sign * self.half_height_mm(n, y)])))
                for place, y in places.items()
            }
            for plate, sign in (("superior", 1), ("inferior", -1))
        }


@functools.cache
def build_case() -> Case:
    """T11 to L3; L1 wedged and filled, with leaks into the disc above and to the right; T11 cut by the border."""
    column = Column()
    segmentation, cement_labels = _segmentation(column)
    volume = _ct(segmentation)
    levels = tuple(LevelAssignment(name=name, source="sacrum", confidence=0.97) for name in LEVELS)
    canal = (segmentation.structure == Structure.CANAL).astype(np.uint8)
    return Case(
        volume=volume,
        segmentation=segmentation,
        levels=levels,
        cement_labels=cement_labels,
        labels=labels.label_map(segmentation, levels, cement_labels, volume),
        canal=Mask(labels=canal, lps_from_index=segmentation.lps_from_index),
        report=_report(column),
        column=column,
    )


def _segmentation(column: Column) -> tuple[Segmentation, np.ndarray]:
    """A faultless network's answer at 2 mm, and its cement split into inside and leaked."""
    shape = (54, 56, 110)
    lps_from_index = geometry.scaling_affine([2.0] * 3, [-35.0, -85.0, 632.0])
    points = geometry.apply(lps_from_index, np.moveaxis(np.indices(shape), 0, -1))
    structure, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    probability, cement = np.zeros(shape), np.zeros(shape, np.uint8)
    for n in range(len(LEVELS)):
        x, y, z = column.local(n, points)
        structure[(np.abs(x) < 10) & (np.abs(y - 24) < 7) & (np.abs(z) < 17)] = Structure.CANAL
        arch = (np.abs(x) < 16) & (y > 15) & (y < 36) & (np.abs(z) < 8) & ~((np.abs(x) < 10) & (y < 31))
        p = 1 / (1 + np.exp(-np.clip(column.distance_mm(n, x, y, z), -20, 20)))
        for chosen, kind in ((arch, Structure.POSTERIOR), (p >= 0.5, Structure.BODY)):
            structure[chosen], instance[chosen] = kind, n + 1
        probability = np.maximum(probability, p)
    for center, radius, label in BALLS:
        at = geometry.apply(column.frame(LEVELS.index(FRACTURED)), center)
        cement[((points - at) ** 2).sum(axis=-1) <= radius**2] = label
    found = Segmentation(
        lps_from_index=lps_from_index,
        structure=structure,
        instance=instance,
        body_probability=probability.astype(np.float16),
        cement_probability=(cement > 0).astype(np.float16),
        metal_probability=np.zeros(shape, np.float16),
        instance_confidence=(0.97,) * len(LEVELS),
        touches_border=(True, False, False, False, False),
    )
    return found, cement


def _ct(segmentation: Segmentation) -> Volume:
    """Bone, cement and tissue on a turned grid of unequal sides and spacing."""
    hu = np.where(segmentation.structure > 0, 250.0, 40.0) + 2500.0 * segmentation.cement_probability
    hu += 150.0 * segmentation.body_probability
    corners = geometry.corner_points_lps_mm(segmentation.lps_from_index, hu.shape)
    spacing, low, high = np.array([1.1, 1.3, 1.7]), corners.min(axis=0), corners.max(axis=0)
    shape = tuple(int(n) for n in (high - low) // spacing)
    columns = geometry.rotation([1.0, 0.4, 0.2], 0.12) * spacing
    lps_from_index = geometry.affine(columns, (low + high) / 2 - columns @ ((np.array(shape) - 1) / 2))
    ct = geometry.resample(hu, segmentation.lps_from_index, lps_from_index, shape, fill=-1000.0)
    return Volume(hu=ct.astype(np.int16), lps_from_index=lps_from_index)


def _report(column: Column) -> StudyReport:
    return StudyReport(
        study_instance_uid="1.2.826.0.1.3680043.8.498.1",
        phase="post",
        phase_source="cement seen",
        series=(
            SeriesResult(series_instance_uid=SERIES, kind="ct", view=None, status="analyzed", reason="thinnest slices"),
            SeriesResult(
                series_instance_uid=SERIES + ".1", kind="ct", view=None, status="skipped", reason="localizer, no volume"
            ),
        ),
        models=(ModelUsed(name="ct_spine", version="0.1.0", sha256="ab" * 32),),
        vertebrae=tuple(_vertebra(column, n, name) for n, name in enumerate(LEVELS)),
        angles=(
            AngleFinding(
                series_instance_uid=SERIES,
                name="local kyphosis",
                upper="T12 superior",
                lower="L2 inferior",
                angle=_q(17.2, "deg", 2.0),
            ),
            AngleFinding(
                series_instance_uid=SERIES,
                name="Cobb",
                upper="T11 superior",
                lower="L3 inferior",
                angle=NotMeasured(reason="T11 is cut"),
            ),
        ),
        cement=(
            CementFinding(
                id="c1",
                series_instance_uid=SERIES,
                level=FRACTURED,
                volume=_q(4.1, "mL", 0.2),
                volume_inside=_q(3.7, "mL", 0.2),
                fill_fraction=_q(0.19, "1", 0.01),
                pattern="compact",
                endplate_contact="superior",
                crosses_midline=False,
                thirds_filled={
                    "anterior": _q(0.31, "1", 0.02),
                    "middle": _q(0.2, "1", 0.02),
                    "posterior": _q(0.04, "1", 0.01),
                },
                thirds_of_cement={
                    "anterior": _q(0.55, "1", 0.0),
                    "middle": _q(0.38, "1", 0.0),
                    "posterior": _q(0.07, "1", 0.0),
                },
                gas_beside=_q(0.0, "mL", 0.0),
                confidence=0.93,
            ),
        ),
        leaks=(
            _leak(column, Compartment.DISC_SUPERIOR, YeomType.DISC, (2.0, -2.0, 13.0), 0.3),
            _leak(
                column, Compartment.PARAVERTEBRAL_RIGHT, NotMeasured(reason="route not seen"), (-27.0, 4.0, -2.0), 0.06
            ),
        ),
        limits=("Density is read without a calibration phantom.",),
        warnings=("Slices are 1.2 mm thick; heights are as exact as their intervals say.",),
    )


def _q(value: float, unit: str, half_width: float) -> Quantity:
    return Quantity(value=value, unit=unit, interval95=(value - half_width, value + half_width))


def _vertebra(column: Column, n: int, name: str) -> VertebraFinding:
    fractured, cut = name == FRACTURED, name == CUT
    middle = (column.anterior_mm[n] + column.posterior_mm[n]) / 2
    missing = NotMeasured(reason="cut by the edge of the image")

    def unless_cut(value: Measured) -> Measured:
        return missing if cut else value

    loss = 0.34 if fractured else 0.04
    return VertebraFinding(
        series_instance_uid=SERIES,
        level=name,
        level_confidence=0.97,
        level_source="sacrum",
        complete=not cut,
        treated=fractured,
        center_lps_mm=tuple(map(float, column.frame(n)[:3, 3])),
        six_points_lps_mm=missing if cut else column.six_points_lps_mm(n),
        heights={
            "anterior": unless_cut(_q(column.anterior_mm[n], "mm", 0.6)),
            "middle": unless_cut(_q(middle, "mm", 0.6)),
            "posterior": unless_cut(_q(column.posterior_mm[n], "mm", 0.6)),
        },
        ratios={
            "wedge": unless_cut(_q(1 - loss, "1", 0.03)),
            "biconcave": unless_cut(_q(0.9, "1", 0.03)),
            "crush": unless_cut(_q(1.0, "1", 0.03)),
        },
        height_loss=unless_cut(_q(loss, "1", 0.03)),
        reference=HeightReference(method="none" if cut else "intact vertebrae", levels=() if cut else ("T12", "L2")),
        wedge_angle=unless_cut(_q(14.8 if fractured else 2.0, "deg", 1.2)),
        deformity=missing if cut else ("wedge" if fractured else "none"),
        genant_grade=missing if cut else (2 if fractured else 0),
        genant_grade_range=missing if cut else ((2, 2) if fractured else (0, 0)),
        genant_grade_probability=missing if cut else ((0.0, 0.0, 1.0, 0.0) if fractured else (1.0, 0.0, 0.0, 0.0)),
        volume=unless_cut(_q(24.0, "mL", 0.8)),
        density=NotMeasured(reason="cement in the body") if fractured else unless_cut(_q(96.0, "[hnsf'U]", 7.0)),
        cleft=NotMeasured(reason="filled with cement"),
        canal_compromise=unless_cut(_q(0.06, "1", 0.05)),
        retropulsion=unless_cut(_q(0.8, "mm", 1.4)),
        confidence=0.55 if cut else 0.94,
    )


def _leak(
    column: Column,
    compartment: Compartment,
    yeom_type: YeomType | NotMeasured,
    local_mm: tuple[float, float, float],
    volume_ml: float,
) -> LeakFinding:
    point = tuple(map(float, geometry.apply(column.frame(2), local_mm)))
    return LeakFinding(
        cement_id="c1",
        level=FRACTURED,
        compartment=compartment,
        yeom_type=yeom_type,
        volume=_q(volume_ml, "mL", 0.02),
        farthest=_q(6.1, "mm", 0.8),
        canal_distance=_q(14.0, "mm", 0.8),
        canal_contact=False,
        disc_crossed=_q(0.6, "1", 0.1) if compartment is Compartment.DISC_SUPERIOR else None,
        neighbour_contact=False if compartment is Compartment.DISC_SUPERIOR else None,
        evidence=Evidence(series_instance_uid=SERIES, slice_number=57, sop_instance_uid="1.2.3", point_lps_mm=point),
        confidence=0.9,
    )
