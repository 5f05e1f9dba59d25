"""Flat and curved cuts through a volume: where each pixel of a picture lies in the patient, and what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.images import Mask, Volume
from vertecast.core.results import NotMeasured, Place, VertebraFinding

AIR_HU: Final = -1024.0
_SLAB_OFFSETS_MM: Final = (-1.0, 0.0, 1.0)
"""A cut is the mean of three, 1 mm apart: less noise, still thinner than an endplate is curved."""
_PROJECTION_STEP_MM: Final = 1.5
_PROJECTION_STRIDE: Final = 4

BoolImage = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """A surface through the patient and the picture plane it is drawn on.

    Attributes:
        points_lps_mm: Where each pixel lies, (rows, columns, 3); the first row is the top of the picture.
        picture_from_lps: (2, 4): horizontal (to the right) and vertical (up) picture coordinates in mm of a point.
        extent_mm: Left, right, bottom and top edge of the picture.
        normal: Unit vector (3,) out of the picture plane.
    """

    points_lps_mm: geometry.FloatArray
    picture_from_lps: geometry.FloatArray
    extent_mm: tuple[float, float, float, float]
    normal: geometry.FloatArray

    def project(self, point_lps_mm: Sequence[float]) -> tuple[float, float]:
        """Picture coordinates in mm of a point in LPS mm, straight along the normal."""
        horizontal, vertical = self.picture_from_lps[:, :3] @ np.asarray(point_lps_mm) + self.picture_from_lps[:, 3]
        return float(horizontal), float(vertical)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BodyFrame:
    """The own axes of a vertebral body: unit vectors (3,) in LPS, right-handed as left, posterior, superior."""

    center_lps_mm: geometry.FloatArray
    left: geometry.FloatArray
    posterior: geometry.FloatArray
    superior: geometry.FloatArray


def body_frame(vertebra: VertebraFinding) -> BodyFrame:
    """Axes from the six points; the patient's own axes where there are none.

    Raises:
        ValueError: the vertebra was found on a projection, which has no axes in the patient.
    """
    if vertebra.center_lps_mm is None:
        raise ValueError("a vertebra of a projection has no place in the patient")
    center = np.asarray(vertebra.center_lps_mm, dtype=np.float64)
    points = vertebra.six_points_lps_mm
    superior, posterior = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    if points is not None and not isinstance(points, NotMeasured):
        top, bottom = (np.mean(list(points[plate].values()), axis=0) for plate in ("superior", "inferior"))
        places: tuple[Place, Place] = ("anterior", "posterior")
        front, back = (np.mean([points[p][place] for p in ("superior", "inferior")], axis=0) for place in places)
        if np.linalg.norm(np.cross(top - bottom, back - front)) > 0:
            superior = geometry.unit(top - bottom)
            posterior = geometry.unit(back - front - np.dot(back - front, superior) * superior)
    return BodyFrame(center_lps_mm=center, left=np.cross(posterior, superior), posterior=posterior, superior=superior)


def flat_cut(
    center_lps_mm: geometry.FloatArray,
    right: geometry.FloatArray,
    up: geometry.FloatArray,
    extent_mm: tuple[float, float, float, float],
    pixel_mm: float,
) -> Cut:
    """A plane through a point; ``right`` and ``up`` are the directions of the picture as unit vectors (3,)."""
    horizontal, vertical = _raster(extent_mm, pixel_mm)
    points = center_lps_mm + horizontal[None, :, None] * right + vertical[:, None, None] * up
    offsets = [-np.dot(right, center_lps_mm), -np.dot(up, center_lps_mm)]
    return Cut(
        points_lps_mm=points,
        picture_from_lps=np.column_stack([np.stack([right, up]), offsets]),
        extent_mm=extent_mm,
        normal=np.cross(right, up),
    )


def curved_cut(
    centers_lps_mm: geometry.FloatArray,
    axis: int,
    extent_mm: tuple[float, float, float, float],
    pixel_mm: float,
) -> Cut:
    """The surface that follows the spine: at every height, the plane through the curve of the body centres.

    The picture keeps the patient's own millimetres in height and in the shown horizontal direction.

    Args:
        centers_lps_mm: Body centres (n, 3), n ≥ 1, in any order.
        axis: LPS axis across which the surface bends: 0 gives a sagittal, 1 a coronal picture.
        extent_mm: Left, right, bottom and top edge in LPS mm.
        pixel_mm: Side of a pixel.
    """
    shown = 1 - axis
    horizontal, vertical = _raster(extent_mm, pixel_mm)
    points = np.zeros((vertical.size, horizontal.size, 3))
    points[..., shown] = horizontal[None, :]
    points[..., 2] = vertical[:, None]
    points[..., axis] = spine_curve(centers_lps_mm, axis, vertical)[:, None]
    picture_from_lps = np.zeros((2, 4))
    picture_from_lps[0, shown] = picture_from_lps[1, 2] = 1.0
    return Cut(points_lps_mm=points, picture_from_lps=picture_from_lps, extent_mm=extent_mm, normal=np.eye(3)[axis])


def sample_hu(volume: Volume, cut: Cut) -> npt.NDArray[np.float32]:
    """Hounsfield units on a cut (rows, columns), the mean of a 2 mm slab; air outside the volume."""
    from scipy import ndimage

    index_from_lps = geometry.inverse(volume.lps_from_index)
    total = np.zeros(cut.points_lps_mm.shape[:2], np.float32)
    for offset in _SLAB_OFFSETS_MM:
        index = geometry.apply(index_from_lps, cut.points_lps_mm + offset * cut.normal)
        coordinates = np.moveaxis(index, -1, 0)
        total += ndimage.map_coordinates(
            volume.hu, coordinates, output=np.float32, order=1, cval=AIR_HU, prefilter=False
        )
    return total / np.float32(len(_SLAB_OFFSETS_MM))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelCut:
    """The eight voxels round each pixel of a cut: their labels and trilinear weights, both (8, rows, columns)."""

    corners: npt.NDArray[np.generic]
    weights: npt.NDArray[np.float32]
    boxes: dict[int, tuple[slice, slice]]
    """Rows and columns that a label is found in; only labels that the cut meets."""

    def coverage(self, label: int) -> npt.NDArray[np.float32]:
        """Share from 0 to 1 of each pixel (rows, columns) that a label fills; its 0.5 line is a smooth outline."""
        share = np.zeros(self.corners.shape[1:], np.float32)
        if label in self.boxes:
            rows, columns = self.boxes[label]
            chosen = self.corners[:, rows, columns] == label
            share[rows, columns] = (self.weights[:, rows, columns] * chosen).sum(axis=0)
        return share


def sample_labels(mask: Mask, cut: Cut) -> LabelCut:
    """Look up a label map (whole numbers from 0) round every pixel of a cut; outside the map is background."""
    from scipy import ndimage

    index = np.moveaxis(geometry.apply(geometry.inverse(mask.lps_from_index), cut.points_lps_mm), -1, 0)
    low = np.floor(index).astype(np.int32)
    share = (index - low).astype(np.float32)
    axes = [[_inside(low[axis] + step, count) for step in (0, 1)] for axis, count in enumerate(mask.labels.shape)]
    parts = [(1 - share[axis], share[axis]) for axis in range(3)]
    corners, weights = [], []
    for i, j, k in product((0, 1), repeat=3):
        corners.append(_at(mask, axes[0][i], axes[1][j], axes[2][k]))
        weights.append(parts[0][i] * parts[1][j] * parts[2][k])
    stacked = np.stack(corners)
    found = ndimage.find_objects(stacked.astype(np.int32))
    boxes = {label: (box[1], box[2]) for label, box in enumerate(found, start=1) if box is not None}
    return LabelCut(corners=stacked, weights=np.stack(weights), boxes=boxes)


def project_label(mask: Mask, cut: Cut, label: int, reach_mm: float) -> BoolImage:
    """Where a ray along the normal meets a label within ``reach_mm`` of the cut, on every fourth row and column."""
    middle = slice(_PROJECTION_STRIDE // 2, None, _PROJECTION_STRIDE)
    points = cut.points_lps_mm[middle, middle]
    index_from_lps = geometry.inverse(mask.lps_from_index)
    index = np.moveaxis(geometry.apply(index_from_lps, points), -1, 0)
    step = index_from_lps[:3, :3] @ cut.normal
    met = np.zeros(points.shape[:2], bool)
    for depth in np.arange(-reach_mm, reach_mm + _PROJECTION_STEP_MM, _PROJECTION_STEP_MM):
        moved = (np.rint(index[axis] + depth * step[axis]).astype(np.int32) for axis in range(3))
        axes = [_inside(at, count) for at, count in zip(moved, mask.labels.shape, strict=True)]
        met |= _at(mask, *axes) == label
    return met


_AxisIndex = tuple[npt.NDArray[np.int32], BoolImage]


def _inside(index: npt.NDArray[np.int32], count: int) -> _AxisIndex:
    """Indices along one axis, moved to the nearest valid one, and whether they were valid."""
    valid = (index >= 0) & (index < count)
    return np.minimum(np.maximum(index, 0), count - 1), valid


def _at(mask: Mask, i: _AxisIndex, j: _AxisIndex, k: _AxisIndex) -> npt.NDArray[np.generic]:
    """Labels at voxel indices of one shape, 0 outside the map."""
    found = mask.labels[i[0], j[0], k[0]]
    found[~(i[1] & j[1] & k[1])] = 0
    return found


def pixel_centres(
    extent_mm: tuple[float, float, float, float], rows: int, columns: int
) -> tuple[geometry.FloatArray, geometry.FloatArray]:
    """Picture coordinates in mm of the pixels: horizontal from left to right, vertical from the top down."""
    left, right, bottom, top = extent_mm
    horizontal = left + (np.arange(columns) + 0.5) * (right - left) / columns
    vertical = top - (np.arange(rows) + 0.5) * (top - bottom) / rows
    return horizontal, vertical


def _raster(
    extent_mm: tuple[float, float, float, float], pixel_mm: float
) -> tuple[geometry.FloatArray, geometry.FloatArray]:
    """Pixel centres of a picture with pixels of about one size."""
    left, right, bottom, top = extent_mm
    rows, columns = max(round((top - bottom) / pixel_mm), 1), max(round((right - left) / pixel_mm), 1)
    return pixel_centres(extent_mm, rows, columns)


def spine_curve(centers_lps_mm: geometry.FloatArray, axis: int, heights_mm: geometry.FloatArray) -> geometry.FloatArray:
    """Coordinate of the spine's curve at each height; constant above the first and below the last centre."""
    from scipy.interpolate import PchipInterpolator

    heights, first = np.unique(centers_lps_mm[:, 2], return_index=True)
    values = centers_lps_mm[first, axis]
    if heights.size == 1:
        return np.full(heights_mm.shape, values[0])
    # Monotone between centres: no overshoot where one vertebra stands out.
    return np.asarray(PchipInterpolator(heights, values)(np.clip(heights_mm, heights[0], heights[-1])))
