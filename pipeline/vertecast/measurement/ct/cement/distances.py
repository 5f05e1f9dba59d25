"""Distances to a mask and depths below its surface, computed only where they are asked for."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.geometry import FloatArray

FAR_MM: Final = 1e3
"""Stands for every distance beyond the reach."""

Box = tuple[slice, ...]


def box_around(mask: npt.NDArray[np.bool_], spacing_mm: FloatArray, reach_mm: float) -> Box:
    """The box that holds the mask and ``reach_mm`` (a voxel at least) all round it, within the array.

    Args:
        mask: Any shape, with a voxel set.
        spacing_mm: Along each axis of the mask.
        reach_mm: Margin.
    """
    margin = np.maximum(np.ceil(reach_mm / spacing_mm), 1).astype(int)
    box = []
    for axis, wide in enumerate(margin):
        others = tuple(n for n in range(mask.ndim) if n != axis)
        held = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(int(held[0] - wide), 0), int(held[-1] + wide) + 1))
    return tuple(box)


def distance_mm(mask: npt.NDArray[np.bool_], spacing_mm: FloatArray, reach_mm: float) -> npt.NDArray[np.float64]:
    """Distance of every voxel to the mask, exact up to ``reach_mm``; beyond, at least that."""
    result = np.full(mask.shape, FAR_MM)
    if mask.any():
        box = box_around(mask, spacing_mm, reach_mm)
        result[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing_mm)
    return result


def depth_mm(mask: npt.NDArray[np.bool_], spacing_mm: FloatArray) -> npt.NDArray[np.float64]:
    """Distance of every voxel of the mask to the nearest one outside; 0 outside."""
    result = np.zeros(mask.shape)
    if mask.any():
        box = box_around(mask, spacing_mm, 0.0)
        result[box] = ndimage.distance_transform_edt(mask[box], sampling=spacing_mm)
    return result
