"""Affines, frames and lines in LPS millimetres; nowhere else in the package is an axis turned by hand.

Conventions. Arrays are indexed ``[i, j, k]``; ``lps_from_index`` maps the index of a voxel *centre* to patient
coordinates in mm (x to the left, y to posterior, z to superior). A transform is named ``a_from_b`` so that a chain
reads as ``a_from_c = a_from_b @ b_from_c``. All affines are float64, shape (4, 4).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LPS_FROM_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI stores RAS; DICOM and this package use LPS. The matrix is its own inverse."""

ORTHOGONALITY_TOLERANCE: Final = 1e-3
"""Largest cosine between two index axes that still counts as a right angle (DICOM PS3.3 C.7.6.2.1.1 gives 1e-3)."""


def affine(columns: npt.ArrayLike, origin_mm: npt.ArrayLike) -> FloatArray:
    """Build a (4, 4) affine from a (3, 3) matrix of column vectors in mm and an origin in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = columns
    matrix[:3, 3] = origin_mm
    return matrix


def scaling_affine(spacing_mm: npt.ArrayLike, origin_mm: npt.ArrayLike) -> FloatArray:
    """Affine of an LPS-aligned grid with the given spacing (3,) and centre of voxel [0, 0, 0]."""
    return affine(np.diag(np.asarray(spacing_mm, dtype=np.float64)), origin_mm)


def shifted(lps_from_index: npt.ArrayLike, first: npt.ArrayLike) -> FloatArray:
    """Affine of a part of a grid whose voxel [0, 0, 0] is voxel ``first`` (3,) of the whole."""
    matrix = np.asarray(lps_from_index, dtype=np.float64)
    return affine(matrix[:3, :3], apply(matrix, first))


def apply(a_from_b: npt.ArrayLike, points: npt.ArrayLike) -> FloatArray:
    """Map points (..., 3) through a (4, 4) affine."""
    matrix = np.asarray(a_from_b, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def inverse(a_from_b: npt.ArrayLike) -> FloatArray:
    """Return ``b_from_a``. Raises ``numpy.linalg.LinAlgError`` for a degenerate grid."""
    return np.asarray(np.linalg.inv(np.asarray(a_from_b, dtype=np.float64)))


def spacing_mm(lps_from_index: npt.ArrayLike) -> FloatArray:
    """Voxel spacing (3,) in mm along the index axes."""
    return np.asarray(np.linalg.norm(np.asarray(lps_from_index, dtype=np.float64)[:3, :3], axis=0))


def voxel_volume_mm3(lps_from_index: npt.ArrayLike) -> float:
    """Volume of one voxel in mm3, right for sheared grids too."""
    return float(abs(np.linalg.det(np.asarray(lps_from_index, dtype=np.float64)[:3, :3])))


def is_orthogonal(lps_from_index: npt.ArrayLike) -> bool:
    """True when the index axes are at right angles (no gantry shear)."""
    matrix = np.asarray(lps_from_index, dtype=np.float64)[:3, :3]
    unit = matrix / np.linalg.norm(matrix, axis=0)
    return bool(np.abs(unit.T @ unit - np.eye(3)).max() <= ORTHOGONALITY_TOLERANCE)


def corner_points_lps_mm(lps_from_index: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """The eight outer corners (8, 3) of a grid in LPS mm, half a voxel beyond the outer voxel centres."""
    ends = [(-0.5, n - 0.5) for n in shape]
    index = np.array([[i, j, k] for i in ends[0] for j in ends[1] for k in ends[2]])
    return apply(lps_from_index, index)


def aligned_grid(
    lps_from_index: npt.ArrayLike, shape: tuple[int, ...], grid_spacing_mm: float
) -> tuple[FloatArray, tuple[int, int, int]]:
    """The LPS-aligned isotropic grid that covers another grid.

    Returns:
        The affine of the new grid and its shape.
    """
    corners = corner_points_lps_mm(lps_from_index, shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    counts = np.maximum(np.ceil((high - low) / grid_spacing_mm - 1e-6), 1).astype(int)
    origin = (low + high) / 2 - (counts - 1) * grid_spacing_mm / 2
    return scaling_affine([grid_spacing_mm] * 3, origin), (int(counts[0]), int(counts[1]), int(counts[2]))


def unit(vector: npt.ArrayLike) -> FloatArray:
    """Scale a vector (..., 3) to length one. Raises ``ValueError`` for a zero vector."""
    array = np.asarray(vector, dtype=np.float64)
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    if not np.all(length > 0):
        raise ValueError("a zero vector has no direction")
    return np.asarray(array / length)


def angle_deg(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Angle in degrees between two directions (3,), 0 to 180."""
    cosine = float(np.clip(np.dot(unit(a), unit(b)), -1.0, 1.0))
    return float(np.degrees(np.arccos(cosine)))


def rotation(axis: npt.ArrayLike, angle_rad: float) -> FloatArray:
    """(3, 3) right-handed rotation about an axis (Rodrigues)."""
    x, y, z = unit(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross)


def resample(
    values: npt.NDArray[np.generic],
    lps_from_index: npt.ArrayLike,
    target_lps_from_index: npt.ArrayLike,
    target_shape: tuple[int, int, int],
    *,
    order: int = 1,
    fill: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Resample an array onto another grid by linear (1) or nearest (0) interpolation.

    Args:
        values: Array (i, j, k).
        lps_from_index: Affine of ``values``.
        target_lps_from_index: Affine of the result.
        target_shape: Shape of the result.
        order: 0 nearest, 1 linear.
        fill: Value outside ``values``.
    """
    from scipy import ndimage

    source_from_target = inverse(lps_from_index) @ np.asarray(target_lps_from_index, dtype=np.float64)
    return np.asarray(
        ndimage.affine_transform(
            values,
            source_from_target[:3, :3],
            source_from_target[:3, 3],
            output_shape=target_shape,
            output=np.float32,
            order=order,
            mode="constant",
            cval=fill,
            prefilter=False,
        )
    )
