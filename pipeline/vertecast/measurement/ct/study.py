"""One series measured from end to end: vertebrae, angles, cement, leaks, metal and the cement's label map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL, METAL_LABEL
from vertecast.core.images import Grid, HeightMap, Piece, Segmentation, Volume
from vertecast.core.results import (
    AngleFinding,
    CementFinding,
    HardwareFinding,
    LeakFinding,
    LevelAssignment,
    NotMeasured,
    Quantity,
    VertebraFinding,
)
from vertecast.measurement.ct.angles import lumbar_lordosis, measure_angles
from vertecast.measurement.ct.body import bone
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.height_map import height_map
from vertecast.measurement.ct.body.heights import fit_bodies, measure_vertebrae
from vertecast.measurement.ct.body.outline import find_bodies
from vertecast.measurement.ct.cement.crop import metal_mask
from vertecast.measurement.ct.cement.emboli import LOOKALIKES, find_emboli
from vertecast.measurement.ct.cement.findings import measure_cement
from vertecast.measurement.ct.cement.leakage import ImageSource, find_leaks
from vertecast.measurement.ct.cement.map import CEMENT_HU, CementMap, CementSearch, DenseStructure, find_cement
from vertecast.measurement.ct.cement.screws import without_screws
from vertecast.measurement.ct.sacrum import fit_sacral_endplate
from vertecast.measurement.pieces import ct_pieces

MIN_METAL_ML: Final = 0.05
"""Smaller bright specks are noise or calcium; a needle tip of 2 mm section and 15 mm length holds as much."""

THICK_SLICE_MM: Final = 3.0
"""Slices thicker than this blur an endplate over its own disc: heights keep only the outline's precision."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurements:
    """Everything measured on one series.

    Attributes:
        cement_labels: 0, 200 cement inside, 201 cement leaked, 210 metal, uint8, on the segmentation's grid.
        height_maps: Of every fractured or treated body that was measured.
        pieces: Cement of each vertebra and each leak, as voxels of the native CT.
    """

    vertebrae: tuple[VertebraFinding, ...]
    angles: tuple[AngleFinding, ...]
    cement: tuple[CementFinding, ...]
    leaks: tuple[LeakFinding, ...]
    hardware: tuple[HardwareFinding, ...]
    cement_labels: npt.NDArray[np.uint8]
    height_maps: tuple[HeightMap, ...]
    warnings: tuple[str, ...]
    limits: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()


def measure_study(
    volume: Volume | Grid,
    segmentation: Segmentation,
    levels: Sequence[LevelAssignment],
    *,
    series_instance_uid: str,
    slice_sop_instance_uids: Sequence[str] = (),
    cement_hu: float = CEMENT_HU,
) -> Measurements:
    """Measure one CT series.

    Args:
        volume: Native CT; its last array axis runs over the slices. Or its grid alone: no cement is measured then.
        segmentation: What the network found.
        levels: One per instance, of `assign_levels`.
        series_instance_uid: Of the CT.
        slice_sop_instance_uids: Of each slice, in the order of the last array axis; empty for a file that has none.
        cement_hu: Lowest value of cement.

    Raises:
        ValueError: not one level per instance.
    """
    if len(levels) != segmentation.count:
        raise ValueError(f"{len(levels)} levels for {segmentation.count} vertebrae")
    bodies = fit_bodies(volume, segmentation)
    metal = metal_mask(segmentation)
    search = CementSearch()
    if isinstance(volume, Volume):
        search = find_cement(volume, segmentation, bodies=bodies, metal=metal, threshold_hu=cement_hu)
    found = search.cement
    if found is not None:
        found, screws = without_screws(found, bodies)
        box, share = _on_working_grid(segmentation, found, screws)
        metal[box] |= share >= 0.5
    vertebrae = measure_vertebrae(
        volume, segmentation, levels, series_instance_uid=series_instance_uid,
        treated=found.treated if found else frozenset(), geometries=bodies,
    )  # fmt: skip
    cement: tuple[CementFinding, ...] = ()
    leaks: tuple[LeakFinding, ...] = ()
    if found is not None and isinstance(volume, Volume):
        cement = measure_cement(
            volume, found, segmentation, bodies, levels,
            body_volumes=[v.volume for v in vertebrae], series_instance_uid=series_instance_uid,
        )  # fmt: skip
        source = ImageSource(series_instance_uid=series_instance_uid, slice_sop_instance_uids=slice_sop_instance_uids)
        leaks = find_leaks(found, segmentation, bodies, levels, cement, source)
        leaks += find_emboli(volume, found, segmentation, levels, cement, source, threshold_hu=cement_hu)
    hardware = _hardware(segmentation, metal, series_instance_uid)
    return Measurements(
        vertebrae=vertebrae,
        angles=(*measure_angles(vertebrae), *_lordosis(volume, segmentation, bodies, vertebrae)),
        cement=cement,
        leaks=leaks,
        hardware=hardware,
        cement_labels=_labels(segmentation, found, metal),
        height_maps=tuple(_height_maps(segmentation, bodies, vertebrae)),
        warnings=tuple(_warnings(volume, found, vertebrae, hardware, leaks)),
        limits=tuple(_doubt(levels[one.instance - 1], one) for one in search.doubtful),
        pieces=() if found is None else tuple(ct_pieces(found, segmentation, bodies, levels)),
    )


def _lordosis(
    volume: Volume | Grid,
    segmentation: Segmentation,
    bodies: Sequence[BodyGeometry | NotMeasured],
    vertebrae: Sequence[VertebraFinding],
) -> tuple[AngleFinding, ...]:
    """Lumbar lordosis, where there is a first lumbar body to measure it from."""
    if not bodies or all(vertebra.level != "L1" for vertebra in vertebrae):
        return ()
    return lumbar_lordosis(vertebrae, fit_sacral_endplate(volume, segmentation, bodies[-1]))


def _height_maps(
    segmentation: Segmentation, bodies: Sequence[BodyGeometry | NotMeasured], vertebrae: Sequence[VertebraFinding]
) -> Iterator[HeightMap]:
    """Maps of the bodies that a reader looks at."""
    layout = find_bodies(segmentation)
    for n, (body, vertebra) in enumerate(zip(bodies, vertebrae, strict=True)):
        fractured = isinstance(vertebra.genant_grade, int) and vertebra.genant_grade >= 1
        if isinstance(body, BodyGeometry) and (fractured or vertebra.treated):
            found = height_map(segmentation, body, n + 1, vertebra.level, layout)
            if found is not None:
                yield found


def _doubt(level: LevelAssignment, dense: DenseStructure) -> str:
    return (
        f"{level.name}: dense structure of {dense.volume_ml:.1f} mL, cement possible: it reaches {dense.hu:.0f} HU, "
        f"cement of this patient would exceed {dense.least_hu:.0f} HU. It is not counted as cement."
    )


def _warnings(
    volume: Volume | Grid,
    found: CementMap | None,
    vertebrae: Sequence[VertebraFinding],
    hardware: Sequence[HardwareFinding],
    leaks: Sequence[LeakFinding],
) -> list[str]:
    warnings = list(found.warnings) if found is not None else []
    thickest = float(volume.spacing_mm.max())
    if thickest > THICK_SLICE_MM:
        warnings.append(f"voxels are {thickest:.1f} mm long: heights and small leaks are less precise")
    if hardware:
        warnings.append("metal in view: streaks and bloom may change heights, densities and cement nearby")
    if any(leak.suspected for leak in leaks):
        warnings.append(LOOKALIKES)
    for n in bone.not_representative([vertebra.density for vertebra in vertebrae]):
        warnings.append(f"{vertebrae[n].level}: its density is far from that of the others and not representative")
    return warnings


def _hardware(
    segmentation: Segmentation, metal: npt.NDArray[np.bool_], series_instance_uid: str
) -> tuple[HardwareFinding, ...]:
    """Every connected piece of metal, cranial first."""
    if not metal.any():
        return ()
    pieces, count = ndimage.label(metal, structure=np.ones((3, 3, 3)))
    findings = []
    voxel_ml = segmentation.spacing_mm**3 / 1000
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * voxel_ml
    for number in np.flatnonzero(sizes >= MIN_METAL_ML) + 1:
        center = geometry.apply(segmentation.lps_from_index, np.argwhere(pieces == number).mean(axis=0))
        error = bone.Z95 * 0.5 * float(sizes[number - 1])
        findings.append(
            HardwareFinding(
                series_instance_uid=series_instance_uid,
                kind="metal",
                volume=Quantity.around(float(sizes[number - 1]), error, "mL", least=0.0),
                center_lps_mm=(float(center[0]), float(center[1]), float(center[2])),
            )
        )  # fmt: skip
    return tuple(sorted(findings, key=lambda f: -(f.center_lps_mm or (0.0, 0.0, 0.0))[2]))


def _labels(segmentation: Segmentation, found: CementMap | None, metal: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Cement and metal on the working grid."""
    labels = np.zeros(segmentation.structure.shape, dtype=np.uint8)
    if found is not None:
        box, visible = _on_working_grid(segmentation, found, found.mask)
        _, leaked = _on_working_grid(segmentation, found, found.mask & (found.piece > 0))
        labels[box][visible >= 0.5] = CEMENT_INSIDE_LABEL
        labels[box][(visible >= 0.5) & (leaked >= 0.5 * visible)] = CEMENT_LEAKED_LABEL
    labels[metal] = METAL_LABEL
    return labels


def _on_working_grid(
    segmentation: Segmentation, found: CementMap, part: npt.NDArray[np.bool_]
) -> tuple[tuple[slice, ...], npt.NDArray[np.float32]]:
    """A part of the cement map on the working grid: the box it lies in, and the share of each voxel there."""
    corners = geometry.corner_points_lps_mm(found.lps_from_index, found.piece.shape)
    index = geometry.apply(geometry.inverse(segmentation.lps_from_index), corners)
    first = np.clip(np.floor(index.min(axis=0)), 0, segmentation.structure.shape).astype(int)
    last = np.clip(np.ceil(index.max(axis=0)) + 1, 0, segmentation.structure.shape).astype(int)
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    target = geometry.shifted(segmentation.lps_from_index, first)
    shape = (int(last[0] - first[0]), int(last[1] - first[1]), int(last[2] - first[2]))
    return box, geometry.resample(part.astype(np.float32), found.lps_from_index, target, shape)
