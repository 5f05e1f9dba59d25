"""The outline of one vertebral body on the working grid, and a first frame for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation
from vertecast.core.results import NotMeasured

OUTLINE_PROBABILITY: Final = 0.5
"""The body's outline is where the probability of bone crosses one half."""

CEMENT_PROBABILITY: Final = 0.5
"""From here on a voxel is what the network calls cement."""

MIN_BODY_VOLUME_ML: Final = 1.5
"""Less than this is a fragment: a T1 body holds about 8 mL, and a collapsed one still more than half of that."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BodyRegion:
    """One body cut out of the working grid; ``probability`` is cleared of every other body."""

    probability: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    lps_from_index: FloatArray
    center_lps_mm: FloatArray

    def sample(self, lps_from_local: FloatArray, points_local_mm: FloatArray) -> npt.NDArray[np.float32]:
        """Probability at points (..., 3) of a local frame, 0 outside the region."""
        index = geometry.apply(geometry.inverse(self.lps_from_index) @ lps_from_local, points_local_mm)
        return np.asarray(
            ndimage.map_coordinates(self.probability, np.moveaxis(index, -1, 0), order=1, mode="constant", cval=0.0)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Where the bodies lie on the working grid.

    Attributes:
        boxes: Bounding box of every body, None where an instance has no body voxel.
        centers_lps_mm: Centroids (count, 3); NaN where there is no body.
    """

    boxes: tuple[tuple[slice, ...] | None, ...]
    centers_lps_mm: FloatArray


def find_bodies(segmentation: Segmentation) -> Layout:
    """Find the boxes and centroids of all bodies in one pass over the grid."""
    number = np.where(segmentation.structure == Structure.BODY, segmentation.instance, 0)
    boxes = tuple(ndimage.find_objects(number, max_label=segmentation.count)) if segmentation.count else ()
    centers = np.full((segmentation.count, 3), np.nan)
    for n, box in enumerate(boxes):
        if box is not None:
            index = np.argwhere(number[box] == n + 1).mean(axis=0) + [s.start for s in box]
            centers[n] = geometry.apply(segmentation.lps_from_index, index)
    return Layout(boxes=boxes, centers_lps_mm=centers)


def cut_out(segmentation: Segmentation, instance: int, layout: Layout) -> BodyRegion | NotMeasured:
    """The largest piece of the body with a margin; other bodies' probability is set to 0."""
    box = layout.boxes[instance - 1]
    if box is None:
        return NotMeasured(reason="no body found")
    margin = int(np.ceil(6.0 / segmentation.spacing_mm))
    box = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in box)
    probability = segmentation.body_probability[box].astype(np.float32)
    bone = (probability >= OUTLINE_PROBABILITY) & (segmentation.instance[box] == instance)
    pieces, count = ndimage.label(bone)
    if count == 0:
        return NotMeasured(reason="no body found")
    mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    if mask.sum() * segmentation.spacing_mm**3 < MIN_BODY_VOLUME_ML * 1000:
        return NotMeasured(reason="too little of the body was found")
    probability[(probability >= OUTLINE_PROBABILITY) & ~mask] = 0.0
    offset = np.array([s.start for s in box], dtype=np.float64)
    origin = geometry.apply(segmentation.lps_from_index, offset)
    lps_from_index = geometry.affine(segmentation.lps_from_index[:3, :3], origin)
    center = geometry.apply(lps_from_index, np.argwhere(mask).mean(axis=0))
    return BodyRegion(probability=probability, mask=mask, lps_from_index=lps_from_index, center_lps_mm=center)


def first_frame(segmentation: Segmentation, instance: int, region: BodyRegion, centers: FloatArray) -> FloatArray:
    """z from the neighbours' centres, y towards the canal and the posterior elements of the same vertebra."""
    near = [n for n in (instance - 1, instance + 1) if 1 <= n <= len(centers) and np.isfinite(centers[n - 1]).all()]
    ends = {n: centers[n - 1] for n in near}
    upper, lower = ends.get(instance - 1, region.center_lps_mm), ends.get(instance + 1, region.center_lps_mm)
    z = geometry.unit(upper - lower) if near else np.array([0.0, 0.0, 1.0])
    return geometry.affine(axes(z, _posterior_direction(segmentation, instance, region, z)), region.center_lps_mm)


def axes(z: FloatArray, posterior: FloatArray) -> FloatArray:
    """Columns x, y, z of a right-handed frame with the given z and y nearest to ``posterior``."""
    y = geometry.unit(posterior - np.dot(posterior, z) * z)
    return np.stack([np.cross(y, z), y, z], axis=1)


def _posterior_direction(segmentation: Segmentation, instance: int, region: BodyRegion, z: FloatArray) -> FloatArray:
    """Mean direction from the body to its canal and to its posterior elements; straight back where both are missing."""
    reach_mm, half_slab_mm = 60.0, 12.0
    center = geometry.apply(geometry.inverse(segmentation.lps_from_index), region.center_lps_mm)
    steps = int(np.ceil(reach_mm / segmentation.spacing_mm))
    low = np.maximum(np.floor(center).astype(int) - steps, 0)
    box = tuple(slice(int(a), int(b) + steps + 1) for a, b in zip(low, np.ceil(center), strict=True))
    structure, number = segmentation.structure[box], segmentation.instance[box]
    parts = ((structure == Structure.POSTERIOR) & (number == instance), structure == Structure.CANAL)
    directions = []
    for part in parts:
        points = geometry.apply(segmentation.lps_from_index, np.argwhere(part) + low) - region.center_lps_mm
        points = points[np.abs(points @ z) <= (reach_mm if part is parts[0] else half_slab_mm)]
        if len(points) * segmentation.spacing_mm**3 >= 300.0:
            across = points.mean(axis=0)
            directions.append(geometry.unit(across - np.dot(across, z) * z))
    return np.sum(directions, axis=0) if directions else np.array([0.0, 1.0, 0.0])
