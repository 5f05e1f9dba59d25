"""``labels_<n>.nii.gz``: what was found, on the voxels of the CT itself.

Numbers: 1-7 C1-C7, 8-19 T1-T12, 20-25 L1-L6, 26 S1, 28 T13 (VerSe) for bodies, 41, 42, ... for V1, V2, ... of unknown
level; the same + 100 for posterior elements; 200 cement inside, 201 cement leaked, 210 metal. Only numbered vertebrae
are written: the sacrum as a whole is no S1 body and stays 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core import anatomy, geometry
from vertecast.core.anatomy import Level, Structure
from vertecast.core.images import Mask, Segmentation, Volume
from vertecast.core.results import LevelAssignment

BODY_THRESHOLD: Final = 0.5
"""The outline of a body is the 0.5 surface of its probability (`Segmentation.body_probability`)."""

_SLAB_VOXELS: Final = 4_000_000
"""Voxels resampled at a time: bounds the memory to some 80 MB whatever the size of the CT."""

_Bounds = tuple[slice, slice, slice]


def level_number(name: str) -> int:
    """Number of a level's body in the label map: 20 for "L1", 43 for "V3".

    Raises:
        ValueError: no such level.
    """
    if name.startswith("V") and name[1:].isdecimal():
        number = anatomy.UNKNOWN_LEVEL_LABEL_START + int(name[1:])
        if anatomy.UNKNOWN_LEVEL_LABEL_START < number < anatomy.POSTERIOR_LABEL_OFFSET:
            return number
    elif name in Level.__members__:
        return int(Level[name])
    raise ValueError(f"{name!r} is no level")


def label_map(
    segmentation: Segmentation,
    levels: Sequence[LevelAssignment],
    cement_labels: npt.NDArray[np.integer],
    volume: Volume,
) -> Mask:
    """Carry a segmentation from its working grid to the grid of the CT.

    Bodies end at the linearly interpolated 0.5 surface of their probability, so that they show no stairs of the working
    grid; which vertebra, posterior elements, cement and metal come from the nearest voxel. Cement lies over bone.

    Args:
        segmentation: Found vertebrae on the working grid.
        levels: One per vertebra, in the order of ``segmentation.instance``.
        cement_labels: 0, 200, 201 or 210 per voxel of the working grid.
        volume: The CT that gives the grid.

    Returns:
        uint8 labels on the grid of ``volume``.

    Raises:
        ValueError: the count of levels or the shape of ``cement_labels`` does not fit the segmentation.
    """
    if len(levels) != segmentation.count:
        raise ValueError(f"{len(levels)} levels for {segmentation.count} vertebrae")
    if cement_labels.shape != segmentation.structure.shape:
        raise ValueError(f"cement_labels has shape {cement_labels.shape}, the grid {segmentation.structure.shape}")
    labels = np.zeros(volume.shape, np.uint8)
    source = bounds(np.asarray((segmentation.instance > 0) | (cement_labels > 0)), margin=2)
    if source is None:
        return Mask(labels=labels, lps_from_index=volume.lps_from_index)
    lps_from_source = _shifted(segmentation.lps_from_index, source)
    probability = segmentation.body_probability[source].astype(np.float32)
    bodies, other = _numbered(segmentation, levels, cement_labels, source)
    for slab in _slabs(lps_from_source, probability.shape, volume):
        grid, shape = _shifted(volume.lps_from_index, slab), labels[slab].shape
        inside = geometry.resample(probability, lps_from_source, grid, shape) >= BODY_THRESHOLD
        body = geometry.resample(bodies, lps_from_source, grid, shape, order=0).astype(np.uint8)
        written = geometry.resample(other, lps_from_source, grid, shape, order=0).astype(np.uint8)
        covers = inside & (body > 0) & (written < anatomy.CEMENT_INSIDE_LABEL)
        written[covers] = body[covers]
        labels[slab] = written
    return Mask(labels=labels, lps_from_index=volume.lps_from_index)


def write_nifti(mask: Mask, path: Path) -> None:
    """Write a label map as compressed NIfTI-1, uint8, with its affine in RAS as the format asks.

    Raises:
        OSError: the file cannot be written.
    """
    import nibabel

    ras_from_index = geometry.LPS_FROM_RAS @ mask.lps_from_index
    # NIfTI is written column by column; asking for that order once is faster than a strided walk while compressing.
    voxels = np.asfortranarray(mask.labels, dtype=np.uint8)
    image: Any = nibabel.nifti1.Nifti1Image(voxels, ras_from_index)
    image.header.set_xyzt_units("mm")
    image.set_sform(ras_from_index, code="scanner")
    image.set_qform(ras_from_index, code="scanner")
    nibabel.loadsave.save(image, path)


def _numbered(
    segmentation: Segmentation,
    levels: Sequence[LevelAssignment],
    cement_labels: npt.NDArray[np.integer],
    source: _Bounds,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Label numbers on the cropped working grid: bodies, grown by one voxel, and everything else."""
    from scipy import ndimage

    numbers = np.zeros(256, np.uint8)
    numbers[1 : len(levels) + 1] = [level_number(level.name) for level in levels]
    numbered = numbers[segmentation.instance[source]]
    structure = segmentation.structure[source]
    body = np.where(structure == Structure.BODY, numbered, 0).astype(np.uint8)
    # The 0.5 surface runs between voxel centres, so part of it lies nearer to a background voxel.
    body = np.where(body > 0, body, ndimage.maximum_filter(body, size=3)).astype(np.uint8)
    is_posterior = (structure == Structure.POSTERIOR) & (numbered > 0)
    other = np.where(is_posterior, numbered + np.uint8(anatomy.POSTERIOR_LABEL_OFFSET), 0).astype(np.uint8)
    foreign = cement_labels[source]
    return body, np.where(foreign > 0, foreign, other).astype(np.uint8)


def bounds(occupied: npt.NDArray[np.generic], margin: int) -> _Bounds | None:
    """The box round the voxels that are not 0 and a margin inside the array, or None where all are 0."""
    slices = []
    for axis in range(3):
        used = np.flatnonzero(occupied.any(axis=tuple(a for a in range(3) if a != axis)))
        if used.size == 0:
            return None
        slices.append(slice(max(int(used[0]) - margin, 0), int(used[-1]) + 1 + margin))
    return slices[0], slices[1], slices[2]


def _shifted(lps_from_index: geometry.FloatArray, box: _Bounds) -> geometry.FloatArray:
    """Affine of the part of a grid that a box of slices cuts out."""
    return geometry.shifted(lps_from_index, [part.start for part in box])


def _slabs(lps_from_source: geometry.FloatArray, shape: tuple[int, ...], volume: Volume) -> list[_Bounds]:
    """Slabs along the last axis of the CT that together hold every voxel near the source."""
    corners = geometry.corner_points_lps_mm(lps_from_source, shape)
    index = geometry.apply(geometry.inverse(volume.lps_from_index), corners)
    low = np.clip(np.floor(index.min(axis=0)), 0, volume.shape).astype(int)
    high = np.clip(np.ceil(index.max(axis=0)) + 1, 0, volume.shape).astype(int)
    if np.any(high <= low):
        return []
    in_plane = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
    thickness = max(_SLAB_VOXELS // int((high[0] - low[0]) * (high[1] - low[1])), 1)
    starts = range(int(low[2]), int(high[2]), thickness)
    return [(*in_plane, slice(start, min(start + thickness, int(high[2])))) for start in starts]
