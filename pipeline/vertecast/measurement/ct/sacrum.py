"""The endplate of S1: a plane through the top of the sacrum below the lowest body, between the alae."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Grid, Segmentation, Volume
from vertecast.core.results import NotMeasured
from vertecast.measurement.ct.body.crossings import LINE_SPACING_MM
from vertecast.measurement.ct.body.edges import move_to_ct_edge
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.fitting import robust_solve
from vertecast.measurement.ct.body.outline import axes
from vertecast.measurement.ct.levels import SACRUM_MIN_VOLUME_ML

HALF_WIDTH_MM: Final = 12.0
"""Lines run this near to the midline: the alae and the facets of S1 begin some 15 to 25 mm beside it."""

HALF_DEPTH_MM: Final = 24.0
RIM_MM: Final = 4.0
"""Left out at the front and the back: the promontory and the posterior lip are rounded."""

DEEPEST_DISC_MM: Final = 25.0
"""Farther below the lowest body no sacrum is its neighbour: a body was missed between (a lumbar one is 23 mm high)."""

INTO_BODY_MM: Final = 4.0
PLANE_REACH_MM: Final = 2.5
"""Crossings farther from the plane of the round before are no part of the endplate."""

STEP_MM: Final = 0.25
ROUNDS: Final = 4
MIN_LINES: Final = 150
"""Half of the lines that cross an endplate of 24 x 30 mm."""

LARGEST_SCATTER_MM: Final = 0.7
"""Robust scatter (1 SD) of the crossings about the plane, a third of it the voxels', beyond which it is no endplate.
On 40 simulated studies the five planes with more were wrong by 1 to 13 degrees."""

SLOPE_SD_DEG: Final = 1.6
"""Error (1 SD) of the plane's slope in the sagittal plane, found on 40 simulated studies: 23 endplates in
view were measured, wrong by 1.0 degree in the mean and 3.3 at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SacralEndplate:
    """The plane of the endplate of S1: a point in its middle and its upward unit normal (LPS mm)."""

    center_lps_mm: FloatArray
    normal_lps: FloatArray
    slope_sd_deg: float = SLOPE_SD_DEG


def fit_sacral_endplate(
    volume: Volume | Grid, segmentation: Segmentation, lowest: BodyGeometry | NotMeasured
) -> SacralEndplate | NotMeasured:
    """Fit a plane to the top of the sacrum; the native CT moves it to the edge of the bone where that is clear.

    Args:
        volume: Native CT, or its grid alone.
        segmentation: What the network found.
        lowest: The body above the sacrum; lines run down from its inferior endplate.

    Returns:
        The plane, or why there is none.
    """
    sacrum = _Sacrum.of(segmentation)
    if sacrum is None:
        return NotMeasured(reason="the sacrum is not in view")
    if isinstance(lowest, NotMeasured):
        return NotMeasured(reason=f"the body above the sacrum: {lowest.reason}")
    frame = lowest.lps_from_local
    below = -min(lowest.heights_mm.values()) / 2
    points = sacrum.first_crossings(
        frame,
        np.arange(lowest.anterior_wall_y_mm, lowest.posterior_wall_y_mm, LINE_SPACING_MM),
        np.arange(below + INTO_BODY_MM, below - DEEPEST_DISC_MM, -STEP_MM),
    )
    for _ in range(ROUNDS):
        if len(points) < MIN_LINES:
            return NotMeasured(reason="the endplate of S1 was not found below the lowest body")
        frame = _frame_of_plane(frame, points)
        points = sacrum.first_crossings(
            frame,
            np.arange(-HALF_DEPTH_MM, HALF_DEPTH_MM + STEP_MM, LINE_SPACING_MM),
            np.arange(2 * PLANE_REACH_MM, -2 * PLANE_REACH_MM, -STEP_MM),
        )
        points = points[np.abs(points[:, 2]) <= PLANE_REACH_MM]
        if len(points):
            front, back = np.percentile(points[:, 1], [2.0, 98.0])
            points = points[(points[:, 1] > front + RIM_MM) & (points[:, 1] < back - RIM_MM)]
    if len(points) < MIN_LINES:
        return NotMeasured(reason="the endplate of S1 was not found below the lowest body")
    if isinstance(volume, Volume):
        points = np.column_stack([points[:, :2], move_to_ct_edge(volume, frame, points, 1.0)])
    if _plane(points)[1] > LARGEST_SCATTER_MM:
        return NotMeasured(reason="the top of the sacrum is not flat enough for an endplate")
    frame = _frame_of_plane(frame, points)
    return SacralEndplate(center_lps_mm=frame[:3, 3].copy(), normal_lps=frame[:3, 2].copy())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sacrum:
    """The sacrum cut out of the working grid, 1 inside and 0 outside."""

    share: FloatArray
    lps_from_index: FloatArray

    @staticmethod
    def of(segmentation: Segmentation) -> _Sacrum | None:
        """None where less is in view than S1 holds."""
        mask = segmentation.structure == Structure.SACRUM
        if np.count_nonzero(mask) * segmentation.spacing_mm**3 < SACRUM_MIN_VOLUME_ML * 1000:
            return None
        (box,) = ndimage.find_objects(mask.astype(np.uint8))
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        first = [side.start for side in box]
        return _Sacrum(
            share=mask[box].astype(np.float64), lps_from_index=geometry.shifted(segmentation.lps_from_index, first)
        )

    def first_crossings(self, frame: FloatArray, y_mm: FloatArray, z_mm: FloatArray) -> FloatArray:
        """(n, 3) local points where lines along the falling ``z_mm`` first enter the sacrum."""
        x_mm = np.arange(-HALF_WIDTH_MM, HALF_WIDTH_MM + STEP_MM, LINE_SPACING_MM)
        x, y, z = np.meshgrid(x_mm, y_mm, z_mm, indexing="ij")
        index = geometry.apply(geometry.inverse(self.lps_from_index) @ frame, np.stack([x, y, z], axis=-1))
        values = ndimage.map_coordinates(self.share, np.moveaxis(index, -1, 0), order=1, mode="constant", cval=0.0)
        inside = values >= 0.5
        entered = inside.any(axis=-1) & ~inside[..., 0]
        first = z_mm[np.argmax(inside, axis=-1)]
        return np.stack([x[..., 0][entered], y[..., 0][entered], first[entered]], axis=1)


def _plane(points: FloatArray) -> tuple[FloatArray, float]:
    """Slopes and height (3,) of the robust plane z(x, y) through points, and their scatter."""
    return robust_solve(np.column_stack([points[:, :2], np.ones(len(points))]), points[:, 2])


def _frame_of_plane(frame: FloatArray, points: FloatArray) -> FloatArray:
    """The frame turned and moved so that the plane through its local points is its level plane."""
    slope_x, slope_y, height = _plane(points)[0]
    middle = float(points[:, 1].min() + points[:, 1].max()) / 2
    normal = frame[:3, :3] @ geometry.unit([-slope_x, -slope_y, 1.0])
    return geometry.affine(axes(normal, frame[:3, 1]), geometry.apply(frame, [0.0, middle, slope_y * middle + height]))
