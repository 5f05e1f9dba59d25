"""The part of the native CT round the cement, and what the working grid says of each of its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import NotMeasured
from vertecast.measurement.ct.body.bony_outline import bony_outlines
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.outline import CEMENT_PROBABILITY, find_bodies
from vertecast.measurement.ct.cement import distances

METAL_PROBABILITY: Final = 0.5

GATE_REACH_MM: Final = 4.0
"""Outside the bone cement may lie this far from what the network marked: thin leaks lose contrast on its grid."""

BACKGROUND_SHELL_MM: Final = (2.5, 6.0)

MARK_REACH_MM: Final = 75.0
"""Farther from the centre of every body the network's marks are not believed: it learnt on crops of 120 mm round the
spine, and takes dense ribs at the flank for cement. The large veins before the spine lie within 60 mm."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CementCrop:
    """The part of the native CT round the cement, and what the working grid says of its voxels."""

    lps_from_index: FloatArray
    first_index: tuple[int, int, int]
    hu: npt.NDArray[np.float32]
    marked_mm: npt.NDArray[np.float32]
    marked: npt.NDArray[np.bool_]
    seed: npt.NDArray[np.bool_]
    metal: npt.NDArray[np.bool_]
    outside_mm: npt.NDArray[np.float32]
    nearest: npt.NDArray[np.uint8]

    @property
    def spacing_mm(self) -> FloatArray:
        return geometry.spacing_mm(self.lps_from_index)

    @property
    def tolerance_mm(self) -> float:
        """How far blur and the outline's own error may carry cement or cortex over the outline."""
        return 0.5 * float(self.spacing_mm.max()) + 0.75

    def smooth(self, values: npt.NDArray[np.float32], sigma_mm: float) -> npt.NDArray[np.float32]:
        return np.asarray(ndimage.gaussian_filter(values, sigma_mm / self.spacing_mm, truncate=3.0))

    def distance_mm(self, mask: npt.NDArray[np.bool_], reach_mm: float) -> npt.NDArray[np.float64]:
        """Distance of every voxel to the mask, exact up to ``reach_mm``."""
        return distances.distance_mm(mask, self.spacing_mm, reach_mm)

    def depth_mm(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Distance of every voxel of the mask to the nearest one outside."""
        return distances.depth_mm(mask, self.spacing_mm)


def metal_mask(segmentation: Segmentation) -> npt.NDArray[np.bool_]:
    """Metal on the working grid: more likely than cement and than not."""
    metal = segmentation.metal_probability >= METAL_PROBABILITY
    at = np.nonzero(metal)
    metal[at] = segmentation.metal_probability[at] >= segmentation.cement_probability[at]
    return metal


def _marked(segmentation: Segmentation, metal: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What the network calls cement, within `MARK_REACH_MM` of a body, on the working grid."""
    marked = (segmentation.cement_probability >= CEMENT_PROBABILITY) & ~metal
    index = np.argwhere(marked)
    centers = find_bodies(segmentation).centers_lps_mm
    centers = centers[np.isfinite(centers).all(axis=1)]
    if len(index) and len(centers):
        distance_mm, _ = cKDTree(centers).query(geometry.apply(segmentation.lps_from_index, index))
        marked[tuple(index[distance_mm > MARK_REACH_MM].T)] = False
    return np.asarray(marked)


def crop_round_cement(
    volume: Volume,
    segmentation: Segmentation,
    metal: npt.NDArray[np.bool_],
    bodies: Sequence[BodyGeometry | NotMeasured],
) -> CementCrop | None:
    """Cut out the cement with a margin and carry the working grid's knowledge onto native voxels."""
    marked = _marked(segmentation, metal)
    index = np.argwhere(marked)
    if not len(index):
        return None
    margin_mm = GATE_REACH_MM + BACKGROUND_SHELL_MM[1]
    low, high = index.min(axis=0), index.max(axis=0)
    margin = int(np.ceil((margin_mm + 4.0) / segmentation.spacing_mm))
    work = tuple(
        slice(int(max(a - margin, 0)), int(min(b + margin + 1, n)))
        for a, b, n in zip(low, high, marked.shape, strict=True)
    )
    lps_from_work = geometry.shifted(segmentation.lps_from_index, [s.start for s in work])
    shape = tuple(s.stop - s.start for s in work)
    corners = geometry.corner_points_lps_mm(lps_from_work, shape)
    native = geometry.apply(geometry.inverse(volume.lps_from_index), corners)
    first = np.clip(np.floor(native.min(axis=0)), 0, np.array(volume.shape) - 1).astype(int)
    last = np.clip(np.ceil(native.max(axis=0)) + 1, 1, volume.shape).astype(int)
    if (last <= first).any():
        return None
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    lps_from_crop = geometry.shifted(volume.lps_from_index, first)
    hu = volume.hu[box].astype(np.float32)
    target = (hu.shape[0], hu.shape[1], hu.shape[2])

    def carry(values: npt.NDArray[np.generic], order: int, fill: float = 0.0) -> npt.NDArray[np.float32]:
        return geometry.resample(values, lps_from_work, lps_from_crop, target, order=order, fill=fill)

    spacing = segmentation.spacing_mm
    reach = ndimage.distance_transform_edt(~marked[work]) * spacing
    marked_mm = carry(reach.astype(np.float32), 1, fill=1e3)
    signed, nearest = bony_outlines(segmentation, work, bodies)
    return CementCrop(
        lps_from_index=lps_from_crop,
        first_index=(int(first[0]), int(first[1]), int(first[2])),
        hu=hu,
        marked_mm=marked_mm,
        marked=carry(segmentation.cement_probability[work].astype(np.float32), 1) >= CEMENT_PROBABILITY,
        seed=marked_mm < 0.75 * spacing,
        metal=carry(metal[work].astype(np.float32), 1) >= 0.5,
        outside_mm=carry(signed, 1, fill=1e3),
        nearest=carry(nearest, 0).astype(np.uint8),
    )
