"""One vertebra of two CT studies laid over each other by its posterior elements.

A body changes its shape when it collapses, and again with treatment; its arch and processes do not. They carry the
earlier body into the later study.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from vertecast.core import geometry
from vertecast.core.anatomy import POSTERIOR_LABEL_OFFSET
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Mask
from vertecast.core.results import NotMeasured

GRID_MM: Final = 1.0
REACH_MM: Final = 8.0
"""Distances are cut off here: parts that only one of the two images shows then pull no farther."""

LEAST_ARCH_ML: Final = 1.5
"""Posterior elements smaller than this are cut off; whole ones hold 6 mL (T1) to 25 mL (L3)."""

LARGEST_ERROR_MM: Final = 2.0
"""A worse fit is no fit: another vertebra, or half of one. Neighbouring arches fit each other to 2 to 3 mm."""

POINTS: Final = 1500
"""Points of either surface that take part: enough for a tenth of a millimetre."""

LEVER_MM: Final = 30.0
"""Half the size of the posterior elements: a turn counts as the way that it moves their ends."""

SOFT_MM: Final = 1.0
"""Distances beyond this count less than their square: what only one of the outlines shows must not pull."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """Where a vertebra of an earlier study lies in a later one.

    Attributes:
        later_from_earlier: (4, 4), LPS mm to LPS mm, rigid.
        error_mm: Mean distance of the two surfaces of the posterior elements, both ways.
    """

    later_from_earlier: FloatArray
    error_mm: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Arch:
    """Signed distance (mm, negative inside) to posterior elements, cut off at `REACH_MM`, on an LPS-aligned grid."""

    distance: npt.NDArray[np.float32]
    origin_mm: FloatArray
    surface_lps_mm: FloatArray
    center_lps_mm: FloatArray

    def beside(self, surface_lps_mm: FloatArray) -> FloatArray:
        """Distance (mm) of the surface voxels of another map, which lie half a voxel inside theirs, to this surface."""
        index = (surface_lps_mm - self.origin_mm) / GRID_MM
        distance = ndimage.map_coordinates(self.distance, index.T, output=np.float64, order=1, cval=REACH_MM)
        return np.asarray(distance + GRID_MM / 2)


def align_vertebra(earlier: Mask, later: Mask, numbers: tuple[int, int], start: FloatArray) -> Alignment | NotMeasured:
    """Find the rigid motion of one vertebra between two studies.

    Args:
        earlier, later: Label maps round the vertebra, numbers as in ``labels_<n>.nii.gz``.
        numbers: Number of the body in the earlier and in the later map; its posterior elements have 100 more.
        start: (4, 4), first guess of ``later_from_earlier``; only its rotation is used.

    Returns:
        The motion, or why there is none.
    """
    first, second = (_arch(mask, number) for mask, number in zip((earlier, later), numbers, strict=True))
    if first is None or second is None:
        study = "earlier" if first is None else "later"
        return NotMeasured(reason=f"too little of the posterior elements in the {study} study")
    motion = _register(first, second, start[:3, :3])
    there = np.abs(second.beside(geometry.apply(motion, first.surface_lps_mm)))
    back = np.abs(first.beside(geometry.apply(geometry.inverse(motion), second.surface_lps_mm)))
    error_mm = float(np.mean([there.mean(), back.mean()]))
    if error_mm > LARGEST_ERROR_MM:
        return NotMeasured(reason="the posterior elements of the two studies do not fit each other")
    return Alignment(later_from_earlier=motion, error_mm=error_mm)


def _arch(mask: Mask, number: int) -> _Arch | None:
    """The posterior elements of one vertebra, or None where too little of them is there."""
    part = np.asarray(mask.labels == number + POSTERIOR_LABEL_OFFSET)
    boxes = ndimage.find_objects(part.astype(np.uint8))
    volume_ml = np.count_nonzero(part) * geometry.voxel_volume_mm3(mask.lps_from_index) / 1000
    if not boxes or volume_ml < LEAST_ARCH_ML:
        return None
    box = boxes[0]
    cut = np.pad(part[box], 1).astype(np.float32)
    lps_from_cut = geometry.shifted(mask.lps_from_index, [s.start - 1 for s in box])
    corners = geometry.corner_points_lps_mm(lps_from_cut, cut.shape)
    origin = corners.min(axis=0) - REACH_MM
    i, j, k = (np.ceil((corners.max(axis=0) + REACH_MM - origin) / GRID_MM).astype(int) + 1).tolist()
    share = geometry.resample(cut, lps_from_cut, geometry.scaling_affine([GRID_MM] * 3, origin), (i, j, k))
    inside = share >= 0.5
    if not inside.any():
        return None
    outer, inner = ndimage.distance_transform_edt(~inside), ndimage.distance_transform_edt(inside)
    distance = np.where(inside, 0.5 - inner, outer - 0.5) * GRID_MM
    surface = np.argwhere(inside & ~ndimage.binary_erosion(inside)) * GRID_MM + origin
    return _Arch(
        distance=np.clip(distance, -REACH_MM, REACH_MM).astype(np.float32),
        origin_mm=origin,
        surface_lps_mm=surface,
        center_lps_mm=(np.argwhere(inside) * GRID_MM + origin).mean(axis=0),
    )


def _register(earlier: _Arch, later: _Arch, rotation: FloatArray) -> FloatArray:
    """Least squares of the distances of either surface to the other, far points counting less."""
    step = max(len(earlier.surface_lps_mm), len(later.surface_lps_mm)) // POINTS + 1
    first, second = earlier.surface_lps_mm[::step], later.surface_lps_mm[::step]

    def motion(parameters: FloatArray) -> FloatArray:
        turned = Rotation.from_rotvec(parameters[:3] / LEVER_MM).as_matrix() @ rotation
        return geometry.affine(turned, later.center_lps_mm + parameters[3:] - turned @ earlier.center_lps_mm)

    def distances(parameters: FloatArray) -> FloatArray:
        there = motion(parameters)
        back = geometry.inverse(there)
        return np.hstack([later.beside(geometry.apply(there, first)), earlier.beside(geometry.apply(back, second))])

    fit = optimize.least_squares(distances, np.zeros(6), loss="soft_l1", f_scale=SOFT_MM)
    return motion(np.asarray(fit.x))
