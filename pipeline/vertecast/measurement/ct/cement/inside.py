"""Where in a body its cement lies: which third of the depth, and how much gas is left beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import Measured, NotMeasured, Quantity, Third
from vertecast.measurement.ct.body.bone import CLEFT_WALL_MM, GAS_HU
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.cement.map import CementMap

THIRDS: Final[tuple[Third, ...]] = ("anterior", "middle", "posterior")
GAS_REACH_MM: Final = 5.0
"""Gas farther from the cement is no remainder of the cleft that the cement went into."""

MIN_GAS_ML: Final = 0.02
"""Smaller pieces are noise and the dark streaks beside dense cement."""


def cement_by_third(
    found: CementMap,
    inside: npt.NDArray[np.bool_],
    segmentation: Segmentation,
    body: BodyGeometry,
    *,
    instance: int,
    body_volume: Measured,
) -> tuple[Mapping[Third, Measured] | NotMeasured, Mapping[Third, Measured] | NotMeasured]:
    """Divide the cement inside a body by the thirds of the body's mid-sagittal depth, in its own frame.

    Args:
        found: Cement on the native grid.
        inside: Voxels of the cement inside the body on that grid.
        segmentation: What the network found.
        body: Geometry of the body.
        instance: Its number in the segmentation.
        body_volume: Its volume (mL).

    Returns:
        The share of each third that is filled, and the share of the cement inside that lies in each third. Weighted
        with their volumes the first three give the fill fraction; the second three add up to 1.
    """
    if isinstance(body_volume, NotMeasured):
        return body_volume, body_volume
    bone = np.argwhere((segmentation.instance == instance) & (segmentation.structure == Structure.BODY))
    room = _shares(body, geometry.apply(segmentation.lps_from_index, bone), np.ones(len(bone)))
    points = geometry.apply(found.lps_from_index, np.argwhere(inside))
    lies = _shares(body, points, found.fraction[inside].astype(np.float64))
    if not room.all():
        missing = NotMeasured(reason="the body could not be divided into thirds")
        return missing, missing
    volume = found.volume_ml(inside)
    error = float(np.hypot(volume.half_width / max(volume.value, 1e-6), body_volume.half_width / body_volume.value))
    filled: dict[Third, Measured] = {}
    for third, part, whole in zip(THIRDS, lies, room, strict=True):
        value = float(part * volume.value / (whole * body_volume.value))
        interval = (max(value * (1 - error), 0.0), value * (1 + error))
        filled[third] = Quantity(value=value, unit="1", interval95=interval)
    shares: dict[Third, Measured] = {
        third: Quantity(value=float(part), unit="1") for third, part in zip(THIRDS, lies, strict=True)
    }
    return filled, shares


def _shares(body: BodyGeometry, points_lps_mm: FloatArray, weights: FloatArray) -> FloatArray:
    """Share of the weights in each third of the depth; what lies beyond a wall counts to the third before it."""
    y = body.local_mm(points_lps_mm)[:, 1]
    share = (y - body.anterior_wall_y_mm) / body.depth_mm
    third = np.clip(np.floor(3 * share), 0, 2).astype(int)
    sums = np.maximum(np.bincount(third, weights=weights, minlength=3), 0.0)
    return np.asarray(sums / max(float(sums.sum()), 1e-9))


def gas_beside(volume: Volume, found: CementMap, own: npt.NDArray[np.bool_]) -> Quantity:
    """Gas inside the body (mL) within `GAS_REACH_MM` of its cement; 0 where there is none.

    Args:
        volume: Native CT.
        found: Cement on the native grid.
        own: Voxels of the body's cement on that grid.
    """
    visible = own & found.mask
    reach = np.ceil(GAS_REACH_MM / geometry.spacing_mm(found.lps_from_index)).astype(int)
    index = np.argwhere(visible)
    low, high = np.maximum(index.min(axis=0) - reach, 0), index.max(axis=0) + reach + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    native = tuple(
        slice(part.start + first, min(part.stop, size) + first)
        for part, first, size in zip(box, found.first_index, found.mask.shape, strict=True)
    )
    hu = np.asarray(volume.hu[native], dtype=np.float32)
    gas = (hu <= GAS_HU) & (found.outside_mm[box] <= -CLEFT_WALL_MM)
    if volume.outside_hu is not None:
        gas &= hu > volume.outside_hu
    distance = ndimage.distance_transform_edt(~visible[box], sampling=geometry.spacing_mm(found.lps_from_index))
    pieces, _ = ndimage.label(gas & (distance <= GAS_REACH_MM))
    sizes = np.bincount(pieces.ravel())[1:] * geometry.voxel_volume_mm3(found.lps_from_index) / 1000
    return Quantity(value=float(sizes[sizes >= MIN_GAS_ML].sum()), unit="mL")
