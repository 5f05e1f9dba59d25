"""One CT series as a volume in LPS mm, on a regular grid with right angles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.errors import GeometryError, UnsupportedError
from vertecast.core.images import Volume
from vertecast.io.checks import AIR_HU, check_values, refusal_reason
from vertecast.io.ct.selection import choose_ct_series
from vertecast.io.ct.stack import Stack, plan_stack
from vertecast.io.discover import SeriesFiles
from vertecast.io.pixels import read_planes, same_pixels
from vertecast.io.volumes import read_volume_file

__all__ = ["CtSeries", "choose_ct_series", "read_ct"]

Hounsfield = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CtSeries:
    """A CT that has been read.

    Attributes:
        volume: HU as int16; padding and the corners that a tilted gantry leaves empty are -1024.
        slice_sop_instance_uids: For each slice along axis k the SOP Instance UID of the nearest image, "" if none.
        slice_thickness_mm: Median of the header's, None where it has none.
        kernel: First value of ConvolutionKernel, "" if none.
        contrast: Contrast medium; None where the header says nothing, which does not mean that there was none.
        warnings: What was mended or left out.
    """

    volume: Volume
    series_instance_uid: str
    study_instance_uid: str
    slice_sop_instance_uids: tuple[str, ...]
    slice_thickness_mm: float | None
    kernel: str
    kvp: float | None
    contrast: bool | None
    warnings: tuple[str, ...]
    description: str


def read_ct(series: SeriesFiles) -> CtSeries:
    """Read one series.

    Slices are sorted by position, never by name or number. A tilted gantry is resampled to right angles within the
    slices; steps that vary a little are interpolated along them. Both are told in ``warnings``.

    Raises:
        UnreadableError: a file is truncated, damaged or in an unknown compression.
        UnsupportedError: no CT in Hounsfield units, a single slice, an empty image.
        GeometryError: slices are missing, contradict each other or lie on no common grid.
    """
    if series.volume_file is not None:
        return _read_file(series)
    reason = refusal_reason(series)
    if reason is not None:
        raise UnsupportedError(reason)
    if series.files_without_image:
        raise GeometryError(
            f"{series.files_without_image} files of the series are damaged and hold no image; send it again"
        )
    stack = plan_stack(series.planes)
    for kept, other in stack.duplicates:
        if not same_pixels(kept, other):
            raise GeometryError(
                f"the different images {kept.sop_instance_uid} and {other.sop_instance_uid} claim the same place; "
                "export the repeated scans as separate series"
            )
    slices = np.empty((len(stack.planes), stack.shape[1], stack.shape[0]), np.int16)
    padded, notes = read_planes(stack.planes, slices)
    hu: Hounsfield = slices.transpose(2, 1, 0)
    if not stack.is_regular:
        hu = _regular(hu, stack)
    notes += check_values(hu)
    thicknesses = [plane.thickness_mm for plane in stack.planes if plane.thickness_mm is not None]
    volume, tilt_notes = _upright(
        hu, stack.lps_from_index, stack.planes[0].frame_of_reference_uid or None, padded=padded
    )
    nearest = np.abs(stack.at_index[None, :] - np.arange(stack.depth)[:, None]).argmin(axis=1)
    return CtSeries(
        volume=volume,
        series_instance_uid=series.series_instance_uid,
        study_instance_uid=series.study_instance_uid,
        slice_sop_instance_uids=tuple(stack.planes[index].sop_instance_uid for index in nearest),
        slice_thickness_mm=float(np.median(thicknesses)) if thicknesses else None,
        kernel=series.kernel,
        kvp=series.kvp,
        contrast=series.contrast,
        warnings=series.notes + stack.warnings + notes + tilt_notes,
        description=series.description,
    )


def _read_file(series: SeriesFiles) -> CtSeries:
    """A NIfTI, MetaImage or NRRD volume."""
    assert series.volume_file is not None
    hu, lps_from_index = read_volume_file(series.volume_file)
    notes = check_values(hu)
    volume, shear_notes = _upright(hu, lps_from_index, None, padded=False)
    return CtSeries(
        volume=volume,
        series_instance_uid=series.series_instance_uid,
        study_instance_uid=series.study_instance_uid,
        slice_sop_instance_uids=("",) * volume.shape[2],
        slice_thickness_mm=None,
        kernel="",
        kvp=None,
        contrast=None,
        warnings=notes + shear_notes,
        description="",
    )


def _regular(hu: Hounsfield, stack: Stack) -> Hounsfield:
    """Interpolate slices (i, j, n) at uneven places to the regular grid (i, j, depth), linearly."""
    result = np.empty(stack.shape, np.int16, order="F")
    after = np.clip(np.searchsorted(stack.at_index, np.arange(stack.depth)), 1, len(stack.planes) - 1)
    for k, upper in enumerate(after):
        low, high = stack.at_index[upper - 1], stack.at_index[upper]
        weight = float((k - low) / (high - low))
        result[:, :, k] = np.rint((1 - weight) * hu[:, :, upper - 1] + weight * hu[:, :, upper])
    return result


def _upright(
    hu: Hounsfield, lps_from_index: geometry.FloatArray, frame_of_reference_uid: str | None, *, padded: bool
) -> tuple[Volume, tuple[str, ...]]:
    """The volume; where its grid is sheared, on one with right angles that keeps the plane of the slices.

    The slices stay where they are: each is only shifted within its plane, so that nothing is blurred across them.
    """
    notes: tuple[str, ...] = ()
    if not geometry.is_orthogonal(lps_from_index):
        sheared = np.asarray(lps_from_index, dtype=np.float64)
        lps_from_index, shape = _orthogonal_grid(sheared, hu.shape)
        hu = _shifted_slices(hu, geometry.inverse(sheared) @ lps_from_index, shape)
        padded = True
        tilt_deg = geometry.angle_deg(sheared[:3, 2], lps_from_index[:3, 2])
        notes = (f"the grid is sheared by {tilt_deg:.1f} degrees (gantry tilt); resampled to right angles",)
    volume = Volume(
        hu=hu,
        lps_from_index=lps_from_index,
        frame_of_reference_uid=frame_of_reference_uid,
        outside_hu=float(AIR_HU) if padded else None,
    )
    return volume, notes


def _shifted_slices(
    hu: Hounsfield, sheared_from_upright: geometry.FloatArray, shape: tuple[int, int, int]
) -> Hounsfield:
    """Shift every slice within its plane to the upright grid, bilinearly; -1024 where the slice does not reach."""
    from scipy import ndimage

    result = np.empty(shape, np.int16, order="F")
    for k in range(shape[2]):
        # Rounded, so that a shift by whole pixels stays one and loses no row at the rim.
        offset = np.round(geometry.apply(sheared_from_upright, [0, 0, k])[:2], 6)
        plane = ndimage.affine_transform(
            hu[:, :, k].astype(np.float32), np.ones(2), offset, shape[:2], order=1, cval=AIR_HU, prefilter=False
        )
        result[:, :, k] = np.rint(plane)
    return result


def _orthogonal_grid(
    sheared: geometry.FloatArray, shape: tuple[int, ...]
) -> tuple[geometry.FloatArray, tuple[int, int, int]]:
    """The grid with right angles that shares the slice planes of a sheared one and covers it."""
    row, column, step = sheared[:3, 0], sheared[:3, 1], sheared[:3, 2]
    if abs(float(geometry.unit(row) @ geometry.unit(column))) > geometry.ORTHOGONALITY_TOLERANCE:
        raise GeometryError("the axes within a slice are not at right angles; write the volume again")
    normal = geometry.unit(np.cross(row, column))
    along = float(step @ normal) * normal
    drift = step - along
    per_slice = np.array([drift @ row / (row @ row), drift @ column / (column @ column)])
    total = per_slice * (shape[2] - 1)
    first = np.floor(np.minimum(total, 0) + 1e-6).astype(int)
    last = np.ceil(np.array(shape[:2]) - 1 + np.maximum(total, 0) - 1e-6).astype(int)
    origin = sheared[:3, 3] + first[0] * row + first[1] * column
    counts = last - first + 1
    return geometry.affine(np.stack([row, column, along], axis=1), origin), (int(counts[0]), int(counts[1]), shape[2])
