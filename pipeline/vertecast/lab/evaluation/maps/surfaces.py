"""How far apart two outlines lie: Dice, normalized surface Dice, average and 95 % surface distance of one structure.

The surface of a mask is those of its voxels that have a face in common with a voxel outside it, or with the edge of
the image. Distances run between voxel centres in patient millimetres, so that spacing and shear are always in them, and
are computed once for all scores of a pair. The definitions are those of Nikolov et al., arXiv 1809.04430 (tolerance),
and of MONAI's ``compute_surface_dice``, ``compute_average_surface_distance(symmetric=True)`` and
``compute_hausdorff_distance(percentile=95)``, with which the numbers agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation.metrics import bounding_box

Region = npt.NDArray[np.bool_]

TOLERANCE_MM: Final = 1.0
"""Default tolerance of the normalized surface Dice, about the voxel of a usual spine CT; every output states it."""

PERCENTILE: Final = 95.0
ROUNDING_MM: Final = 1e-6
"""A distance that equals the tolerance lies within it, whatever an oblique affine does to its last digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Agreement of two masks of one structure.

    Attributes:
        dice: Of the volumes, 0 to 1.
        nsd: Share of both surfaces that lies within the tolerance of the other one, 0 to 1.
        assd_mm: Mean distance of all surface voxels of both from the other surface.
        hd95_mm: The larger of the two 95th centiles of the distances from one surface to the other.
    """

    dice: float
    nsd: float
    assd_mm: float
    hd95_mm: float


def compare(
    truth: Region,
    found: Region,
    lps_from_index: npt.ArrayLike,
    *,
    tolerance_mm: float = TOLERANCE_MM,
    worst_mm: float | None = None,
) -> Overlap | None:
    """Compare two masks on one grid; None where both are empty: there is nothing to agree about, and no number for it.

    Where one of them alone is empty, all is missed: Dice and NSD are 0, and both distances are the worst that could
    be. Left out, or not a number, a miss would raise the mean (MONAI issue 9095).

    Args:
        truth: True mask (i, j, k).
        found: The mask to be judged, on the same grid.
        lps_from_index: (4, 4) affine of the grid.
        tolerance_mm: Of the normalized surface Dice.
        worst_mm: Distance that a miss costs; by default the diagonal of the grid. Where the masks are a part of an
            image, give the diagonal of the whole.

    Raises:
        ValueError: The masks have different shapes.
    """
    if truth.shape != found.shape:
        raise ValueError(f"masks of shape {truth.shape} and {found.shape} have no voxels in common")
    box = bounding_box(truth | found)
    if box is None:
        return None
    if not truth.any() or not found.any():
        return worst(diagonal_mm(lps_from_index, truth.shape) if worst_mm is None else worst_mm)
    truth, found = truth[box], found[box]
    true_surface, found_surface = (_surface_lps_mm(mask, lps_from_index) for mask in (truth, found))
    to_found = cKDTree(found_surface).query(true_surface)[0]
    to_truth = cKDTree(true_surface).query(found_surface)[0]
    every = np.concatenate([to_found, to_truth])
    return Overlap(
        dice=float(2 * (truth & found).sum() / (truth.sum() + found.sum())),
        nsd=float(np.mean(every <= tolerance_mm + ROUNDING_MM)),
        assd_mm=float(every.mean()),
        hd95_mm=float(max(np.percentile(to_found, PERCENTILE), np.percentile(to_truth, PERCENTILE))),
    )


def worst(distance_mm: float) -> Overlap:
    """What a miss costs."""
    return Overlap(dice=0.0, nsd=0.0, assd_mm=distance_mm, hd95_mm=distance_mm)


def diagonal_mm(lps_from_index: npt.ArrayLike, shape: tuple[int, ...]) -> float:
    """Longest distance between two corners of a grid."""
    corners = geometry.corner_points_lps_mm(lps_from_index, shape)
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())


def _surface_lps_mm(mask: Region, lps_from_index: npt.ArrayLike) -> FloatArray:
    """Centres (n, 3) of the surface voxels from any origin: only their distances matter."""
    axes = geometry.affine(np.asarray(lps_from_index)[:3, :3], np.zeros(3))
    return geometry.apply(axes, np.argwhere(mask & ~ndimage.binary_erosion(mask)))
