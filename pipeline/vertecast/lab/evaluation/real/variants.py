"""Images made from a real one, to ask what the models do when something that they lean on is missing or misleads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.errors import UnreadableError
from vertecast.core.images import Mask, Volume
from vertecast.lab.evaluation import metrics
from vertecast.lab.evaluation.real.whole import index_axis

Variant: TypeAlias = Literal["back cut", "contrast"]

CANAL_MM2: Final = 100.0
"""A hole in a slice of a vertebra that is larger than this is the canal (about 150 to 350 mm² on real masks); smaller
ones are foramina and holes of the mask."""

WALL_SPREAD_MM: Final = 12.0
"""Slices are kept while their posterior walls lie this close together: a straight cut through a curved column would
go through the bodies at one end and leave whole arches at the other."""

VESSEL_HU: Final = (120.0, 400.0)
"""Contrast-filled vessels and heart on a portal-venous or arterial CT; soft tissue lies below, cortical bone above."""

BRIGHT_HU: Final = 500.0
"""Dense contrast of a CT angiography, brighter than most cancellous bone."""

AWAY_MM: Final = 4.0
"""Left alone round the vertebrae: their own blurred edge, and vessels that touch them."""

VESSEL_ML: Final = 5.0
"""Smaller pieces are calcifications and marrow of ribs, not vessels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Derived:
    """An image made from another one, with the whole vertebrae in it."""

    volume: Volume
    whole: Mask


def derive(variant: Variant, volume: Volume, whole: Mask) -> Derived:
    """Make a variant of an image.

    Args:
        variant: Which one.
        volume: The image.
        whole: Its whole vertebrae, on the same grid.

    Raises:
        UnreadableError: The two grids differ in shape, or the vertebrae show no canal.
    """
    if volume.shape != whole.labels.shape:
        raise UnreadableError(f"image {volume.shape} and vertebrae {whole.labels.shape} differ; fetch both again")
    return cut_behind_bodies(volume, whole) if variant == "back cut" else brighten_vessels(volume, whole)


def cut_behind_bodies(volume: Volume, whole: Mask) -> Derived:
    """The image up to a coronal plane at the posterior wall of its bodies: everything behind it is gone.

    The wall of a slice is the front of the canal, which the vertebra encloses there. Kept is the longest stretch of
    the column whose walls lie within `WALL_SPREAD_MM`, and the plane is their median, so that bodies lose or keep a
    few millimetres at their back.
    """
    affine = whole.lps_from_index
    along, back = index_axis(affine, lps_axis=2), index_axis(affine, lps_axis=1)
    first, last, plane_mm = _straight_stretch(posterior_walls_mm(whole))
    steps = np.zeros((whole.labels.shape[back], 3))
    steps[:, back] = np.arange(len(steps))
    kept = np.flatnonzero(geometry.apply(affine, steps)[:, 1] <= plane_mm)
    if not len(kept):
        raise UnreadableError("nothing of the image lies in front of the posterior wall; fetch it again")
    box = [slice(None)] * 3
    box[along], box[back] = slice(first, last + 1), slice(int(kept[0]), int(kept[-1]) + 1)
    moved = geometry.shifted(affine, [part.start or 0 for part in box])
    return Derived(
        volume=Volume(hu=volume.hu[tuple(box)], lps_from_index=moved, outside_hu=volume.outside_hu),
        whole=Mask(labels=whole.labels[tuple(box)], lps_from_index=moved),
    )


def posterior_walls_mm(whole: Mask) -> dict[int, float]:
    """By slice that encloses the canal, its most anterior place (LPS mm to posterior)."""
    from scipy import ndimage

    affine = whole.lps_from_index
    along = index_axis(affine, lps_axis=2)
    sides = np.delete(geometry.spacing_mm(affine), along)
    walls = {}
    for number, bone in enumerate(np.moveaxis(np.asarray(whole.labels) != 0, along, 0)):
        pieces, count = ndimage.label(ndimage.binary_fill_holes(bone) & ~bone)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * sides.prod()
        if not count or sizes.max() < CANAL_MM2:
            continue
        index = np.insert(np.argwhere(pieces == sizes.argmax() + 1), along, number, axis=1)
        walls[number] = float(geometry.apply(affine, index)[:, 1].min())
    return walls


def _straight_stretch(walls_mm: dict[int, float]) -> tuple[int, int, float]:
    """First and last slice of the longest stretch whose walls lie close together, and their median."""
    if not walls_mm:
        raise UnreadableError("no slice of the vertebrae encloses a canal; is it a map of whole vertebrae?")
    numbers = sorted(walls_mm)
    best = (numbers[0], numbers[0], walls_mm[numbers[0]])
    for n, first in enumerate(numbers):
        for last in numbers[n:]:
            own = [walls_mm[one] for one in numbers if first <= one <= last]
            if max(own) - min(own) > WALL_SPREAD_MM:
                break
            if last - first > best[1] - best[0]:
                best = (first, last, float(np.median(own)))
    return best


def brighten_vessels(volume: Volume, whole: Mask) -> Derived:
    """The image with its contrast-filled vessels at `BRIGHT_HU`.

    Vessels are connected voxels within `VESSEL_HU`, farther than `AWAY_MM` from the vertebrae and of more than
    `VESSEL_ML`. What else is as dense and as large, as the marrow of the breastbone, is raised with them.
    """
    from scipy import ndimage

    hu = np.array(volume.hu, dtype=np.float32)
    dense = (hu >= VESSEL_HU[0]) & (hu <= VESSEL_HU[1]) & ~_near(whole)
    pieces, count = ndimage.label(dense)
    voxel_ml = geometry.voxel_volume_mm3(volume.lps_from_index) / 1000
    large = np.bincount(pieces.ravel(), minlength=count + 1) * voxel_ml > VESSEL_ML
    large[0] = False
    hu[large[pieces]] = BRIGHT_HU
    bright = Volume(hu=hu, lps_from_index=volume.lps_from_index, outside_hu=volume.outside_hu)
    return Derived(volume=bright, whole=whole)


def _near(whole: Mask) -> npt.NDArray[np.bool_]:
    """Voxels within `AWAY_MM` of a vertebra, itself included."""
    from scipy import ndimage

    bone = np.asarray(whole.labels) != 0
    spacing = geometry.spacing_mm(whole.lps_from_index)
    box = metrics.bounding_box(bone, margin=int(np.ceil(AWAY_MM / spacing.min())))
    near = np.zeros(bone.shape, dtype=bool)
    if box is not None:
        near[box] = ndimage.distance_transform_edt(~bone[box], sampling=spacing) <= AWAY_MM
    return near
