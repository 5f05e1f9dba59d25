"""The cement of one vertebra in two CT studies: how far it moved, and what lies outside the body as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL, POSTERIOR_LABEL_OFFSET
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Mask
from vertecast.core.results import Measured, NotMeasured, Quantity
from vertecast.measurement.change.registration import Alignment

MARGIN_MM: Final = 12.0
"""Cement farther from the vertebra than this is left out: pieces that travelled are leaks of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CementMotion:
    """Fields as in `vertecast.core.results.LevelChange`; None where there is nothing to say."""

    shift: Measured | None = None
    beyond_earlier: Measured | None = None


def follow_cement(
    earlier: Mask, later: Mask, numbers: tuple[int, int], alignment: Alignment, *, was_treated: bool
) -> CementMotion:
    """Compare the cement of one vertebra that is treated in the later study.

    Args:
        earlier, later: Label maps round the vertebra, numbers as in ``labels_<n>.nii.gz``; `MARGIN_MM` are enough.
        numbers: Number of the body in the earlier and in the later map.
        alignment: Where the earlier vertebra lies in the later study.
        was_treated: It held cement in the earlier study too; else what lay near it then was a neighbour's.
    """
    points = _cement_lps_mm(later, numbers[1])
    if not len(points):
        return CementMotion()
    error_mm = alignment.error_mm
    before = _cement_lps_mm(earlier, numbers[0])
    if was_treated and not len(before):
        return CementMotion(shift=NotMeasured(reason="no cement in the earlier label map"))
    if was_treated:
        way = points.mean(axis=0) - geometry.apply(alignment.later_from_earlier, before.mean(axis=0))
        shift = float(np.linalg.norm(way))
        interval = (max(shift - 2 * error_mm, 0.0), shift + 2 * error_mm)
        return CementMotion(shift=Quantity(value=shift, unit="mm", interval95=interval))
    carried = geometry.apply(geometry.inverse(alignment.later_from_earlier), points)
    outside_mm = _distance_mm(earlier, numbers[0], carried)
    voxel_ml = geometry.voxel_volume_mm3(later.lps_from_index) / 1000
    value, low, high = (float(np.count_nonzero(outside_mm > limit)) * voxel_ml for limit in (0.0, error_mm, -error_mm))
    return CementMotion(beyond_earlier=Quantity(value=value, unit="mL", interval95=(low, high)))


def _cement_lps_mm(mask: Mask, number: int) -> FloatArray:
    """Centres of the cement voxels (n, 3) that lie nearer to this vertebra than to any other."""
    is_cement = np.isin(mask.labels, (CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL))
    if not is_cement.any():
        return np.zeros((0, 3))
    # Cement lies over the body, so that of a filled body little but its rim may be left: the nearest bone decides.
    labels = np.asarray(mask.labels, dtype=np.int32)
    bone = (labels > 0) & (labels < CEMENT_INSIDE_LABEL)
    nearest = ndimage.distance_transform_edt(
        ~bone, sampling=geometry.spacing_mm(mask.lps_from_index), return_distances=False, return_indices=True
    )
    owner = labels[tuple(nearest)]
    own = is_cement & np.isin(owner, (number, number + POSTERIOR_LABEL_OFFSET))
    return geometry.apply(mask.lps_from_index, np.argwhere(own))


def _distance_mm(mask: Mask, number: int, points_lps_mm: FloatArray) -> FloatArray:
    """Signed distance (mm, positive outside) of points to the outline of a body."""
    inside = np.asarray(mask.labels == number)
    spacing = geometry.spacing_mm(mask.lps_from_index)
    outer = ndimage.distance_transform_edt(~inside, sampling=spacing)
    inner = ndimage.distance_transform_edt(inside, sampling=spacing)
    half = float(spacing.min()) / 2
    signed = np.where(inside, half - inner, outer - half)
    index = geometry.apply(geometry.inverse(mask.lps_from_index), points_lps_mm)
    return np.asarray(ndimage.map_coordinates(signed, index.T, output=np.float64, order=1, mode="nearest"))
