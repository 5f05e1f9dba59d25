"""Small grids cut from a CT for the viewer: one body along its own axes, or the whole spine along the patient's.

Axis 0 of a grid runs to the left, 1 to posterior, 2 to superior: of the body or of the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import anatomy, geometry
from vertecast.core.images import Mask, Volume
from vertecast.core.results import NotMeasured, VertebraFinding
from vertecast.report.figures import planes
from vertecast.report.html.viewer.greys import CT_GREYS
from vertecast.report.labels import level_number

CANAL_CODE: Final = 1
METAL_CODE: Final = 2
LEAK_CODE: Final = 3
POSTERIOR_CODE: Final = 4
BODY_CODE: Final = 10
"""Of the first vertebra, 11 of the second, ..."""

CEMENT_CODE: Final = 120
"""Of cement inside the first vertebra, 121 inside the second, ...: cement is no hole in its body's outline."""

BODY_SPACING_MM: Final = 0.9
SPINE_SPACING_MM: Final = (1.5, 1.0, 1.0)
BODY_VOXELS: Final = 6_000_000
"""Of all bodies of a study together: a page with many of them has coarser ones instead of growing without end."""

SPINE_VOXELS: Final = 4_500_000
_BODY_EXTENT_MM: Final = ((-50.0, 50.0), (-44.0, 56.0), (-40.0, 40.0))
_SPINE_MARGIN_MM: Final = ((50.0, 50.0), (50.0, 72.0), (32.0, 32.0))

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewGrid:
    """Voxels of the viewer.

    Attributes:
        greys: Codes of `CT_GREYS`, uint8 (i, j, k).
        codes: What was found in each voxel, uint8 (i, j, k): the ``_CODE`` constants, 0 nothing.
        lps_from_index: (4, 4) affine.
    """

    greys: npt.NDArray[np.uint8]
    codes: npt.NDArray[np.uint8]
    lps_from_index: geometry.FloatArray

    def index(self, points_lps_mm: npt.ArrayLike) -> geometry.FloatArray:
        """Where points (..., 3) in LPS mm lie, as fractional voxel indices."""
        return geometry.apply(geometry.inverse(self.lps_from_index), points_lps_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """What grids are cut from.

    Attributes:
        volume: The CT, or None where only a label map was given: the picture is then black.
        labels: Label map of `labels.label_map`, on any grid.
        canal: Non-zero inside the spinal canal, on any grid, or None.
        vertebrae: Of that CT, cranial to caudal.
    """

    volume: Volume | None
    labels: Mask
    canal: Mask | None
    vertebrae: Sequence[VertebraFinding]


def body_grid(sources: Sources, vertebra: VertebraFinding, count: int = 1) -> ViewGrid:
    """The surroundings of a body, 100 x 100 x 80 mm.

    Its axes are those of the six points, which all lie in one sagittal slice of voxel centres.

    Args:
        sources: CT and label map.
        vertebra: With a place in the patient.
        count: Bodies that share the page's room.
    """
    frame = planes.body_frame(vertebra)
    extents = [high - low for low, high in _BODY_EXTENT_MM]
    spacing = max(BODY_SPACING_MM, float(np.prod(extents) * count / BODY_VOXELS) ** (1 / 3))
    first = np.ceil([low / spacing for low, _ in _BODY_EXTENT_MM])
    last = np.floor([high / spacing for _, high in _BODY_EXTENT_MM])
    axes = np.column_stack([frame.left, frame.posterior, frame.superior]) * spacing
    lps_from_index = geometry.affine(axes, _middle(vertebra, frame) + axes @ first)
    return _cut(sources, lps_from_index, _shape(last - first + 1))


def spine_grid(sources: Sources) -> ViewGrid:
    """The labelled spine with what lies round it, along the patient's axes; all of the image where none was found."""
    image = sources.volume or sources.labels
    size = sources.volume.shape if sources.volume else sources.labels.labels.shape
    corners = geometry.corner_points_lps_mm(image.lps_from_index, size)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if sources.vertebrae:
        centers = np.array([vertebra.center_lps_mm for vertebra in sources.vertebrae])
        before, after = np.array(_SPINE_MARGIN_MM).T
        low, high = np.maximum(low, centers.min(axis=0) - before), np.minimum(high, centers.max(axis=0) + after)
    spacing = np.array(SPINE_SPACING_MM)
    spacing *= max(1.0, float(np.prod((high - low) / spacing) / SPINE_VOXELS) ** (1 / 3))
    shape = np.maximum(np.floor((high - low) / spacing), 1)
    return _cut(sources, geometry.scaling_affine(spacing, low + spacing / 2), _shape(shape))


def _shape(counts: geometry.FloatArray) -> Shape:
    i, j, k = (int(n) for n in counts)
    return i, j, k


def _middle(vertebra: VertebraFinding, frame: planes.BodyFrame) -> geometry.FloatArray:
    """The body's centre, moved across into the plane of its six points."""
    points = vertebra.six_points_lps_mm
    if points is None or isinstance(points, NotMeasured):
        return frame.center_lps_mm
    middle = np.mean([point for plate in points.values() for point in plate.values()], axis=0)
    return np.asarray(frame.center_lps_mm + np.dot(middle - frame.center_lps_mm, frame.left) * frame.left)


def _cut(sources: Sources, lps_from_index: geometry.FloatArray, shape: Shape) -> ViewGrid:
    greys = np.zeros(shape, np.uint8)
    if sources.volume is not None:
        greys = CT_GREYS.encode(_sampled_hu(sources.volume, lps_from_index, shape))
    return ViewGrid(greys=greys, codes=_codes(sources, lps_from_index, shape), lps_from_index=lps_from_index)


def _sampled_hu(volume: Volume, lps_from_index: geometry.FloatArray, shape: Shape) -> npt.NDArray[np.float32]:
    """HU on a grid. Voxels much finer than the grid's are averaged first: less noise, and none folded back."""
    hu, source = _part(volume.hu, volume.lps_from_index, lps_from_index, shape)
    ratio = geometry.spacing_mm(lps_from_index).min() / geometry.spacing_mm(source)
    step = np.maximum((ratio + 0.25).astype(int), 1)
    if np.any(step > 1) and min(hu.shape // step) > 0:
        whole = hu[tuple(slice(n // s * s) for n, s in zip(hu.shape, step, strict=True))]
        blocks = whole.reshape([size for n, s in zip(whole.shape, step, strict=True) for size in (n // s, s)])
        hu = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
        source = geometry.affine(source[:3, :3] * step, geometry.apply(source, (step - 1) / 2))
    return geometry.resample(hu, source, lps_from_index, shape, fill=planes.AIR_HU)


def _codes(sources: Sources, lps_from_index: geometry.FloatArray, shape: Shape) -> npt.NDArray[np.uint8]:
    """What was found in each voxel."""
    labels = _nearest(sources.labels, lps_from_index, shape)
    table = np.zeros(256, np.uint8)
    table[anatomy.POSTERIOR_LABEL_OFFSET + 1 : anatomy.CEMENT_INSIDE_LABEL] = POSTERIOR_CODE
    table[anatomy.CEMENT_LEAKED_LABEL], table[anatomy.METAL_LABEL] = LEAK_CODE, METAL_CODE
    for n, vertebra in enumerate(sources.vertebrae):
        table[level_number(vertebra.level)] = BODY_CODE + n
    codes = table[labels]
    cement = np.argwhere(labels == anatomy.CEMENT_INSIDE_LABEL)
    if len(cement) and sources.vertebrae:
        centers = np.array([vertebra.center_lps_mm for vertebra in sources.vertebrae])
        places = geometry.apply(lps_from_index, cement)
        nearest = np.stack([((places - center) ** 2).sum(axis=1) for center in centers]).argmin(axis=0)
        codes[tuple(cement.T)] = CEMENT_CODE + nearest
    if sources.canal is not None:
        codes[(codes == 0) & (_nearest(sources.canal, lps_from_index, shape) != 0)] = CANAL_CODE
    return codes


def _nearest(mask: Mask, lps_from_index: geometry.FloatArray, shape: Shape) -> npt.NDArray[np.uint8]:
    labels, source = _part(mask.labels, mask.lps_from_index, lps_from_index, shape)
    return geometry.resample(labels, source, lps_from_index, shape, order=0).astype(np.uint8)


def _part(
    values: npt.NDArray[np.generic], lps_from_index: geometry.FloatArray, target: geometry.FloatArray, shape: Shape
) -> tuple[npt.NDArray[np.generic], geometry.FloatArray]:
    """The part of an array that a grid covers, and its affine; one voxel at least."""
    corners = geometry.apply(geometry.inverse(lps_from_index), geometry.corner_points_lps_mm(target, shape))
    last = np.array(values.shape) - 1
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, last)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, last) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return values[box], geometry.shifted(lps_from_index, low)
