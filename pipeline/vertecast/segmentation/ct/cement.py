"""Two corrections of the network round cement: leaks that it misses, and leaks that it takes for a part of the body."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.anatomy import Structure

Array: TypeAlias = npt.NDArray[np.float32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

SURE: Final = 0.5
BATCH_LEAST_ML: Final = 0.3
"""So much cement must have been found before its brightness is a measure for more."""

BATCH_LEAST_HU: Final = 1000.0
"""Below this, cortex is as bright as cement and brightness tells nothing."""

BATCH_SHARE: Final = 0.75
BATCH_PEAK_SHARE: Final = 0.9
"""Shares of the typical cement's HU that every voxel of a further piece, and its brightest one, must reach."""

BATCH_MEAN_SHARE: Final = 1.35
"""A further piece that is brighter than this share of the typical cement on the whole is metal or its streaks."""

BATCH_LARGEST_ML: Final = 3.0
"""A further piece that holds no cement that the network is sure of is no larger: leaks are rarely above 2 mL."""

BATCH_REACH_MM: Final = 40.0
"""Farther away it is another material until proven: the network alone decides."""

BATCH_PROBABILITY: Final = 0.6

LEAST_BONE_SHARE: Final = 0.3
"""A body needs this share of it free of cement for its outline to be drawn through what is left."""


def add_same_batch(cement: Array, metal: Array, hu: Array, spacing_mm: float) -> None:
    """Mark, in place, what is as bright as the cement that was found and lies near it: one mixture has one density.

    The network sees cement in a body better than a thin leak; a leak is told from cortex by its brightness.

    Args:
        cement: Probability of cement (i, j, k), changed in place.
        metal: Probability of metal.
        hu: The image on the same grid.
        spacing_mm: Spacing of the isotropic grid.
    """
    sure = (cement >= SURE) & (metal < SURE)
    if sure.sum() * spacing_mm**3 < 1000 * BATCH_LEAST_ML:
        return
    typical_hu = float(np.median(hu[sure]))
    if typical_hu < BATCH_LEAST_HU:
        return
    near = ndimage.distance_transform_edt(~sure) * spacing_mm <= BATCH_REACH_MM
    bright = near & (hu >= max(BATCH_LEAST_HU, BATCH_SHARE * typical_hu)) & (metal < SURE)
    pieces, count = ndimage.label(bright, structure=np.ones((3, 3, 3)))
    numbers = np.arange(count + 1)
    peaks = np.asarray(ndimage.maximum(hu, pieces, numbers))
    means = np.asarray(ndimage.mean(hu, pieces, numbers))
    volumes_ml = np.bincount(pieces.ravel(), minlength=count + 1) * spacing_mm**3 / 1000
    holds_sure = np.bincount(pieces[sure], minlength=count + 1) > 0
    same = (peaks >= BATCH_PEAK_SHARE * typical_hu) & (means <= BATCH_MEAN_SHARE * typical_hu)
    same &= holds_sure | (volumes_ml <= BATCH_LARGEST_ML)
    same[0] = False
    found = same[pieces]
    cement[found] = np.maximum(cement[found], BATCH_PROBABILITY)


def beyond_outline(structure: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], cement: BoolArray) -> BoolArray:
    """Cement that stands out of a body, though the network gave it to the body.

    The outline as it was without cement is taken as the convex hull of the body's voxels free of cement, one voxel
    wider: rims and walls span it even where cement has reached an endplate.

    Args:
        structure: `Structure` per voxel (i, j, k).
        labels: Vertebra per voxel.
        cement: Where cement is.

    Returns:
        Voxels to be taken away from bodies.
    """
    from skimage.morphology import convex_hull_image

    leaked = np.zeros(structure.shape, dtype=bool)
    bodies = np.where(structure == Structure.BODY, labels, 0)
    stained = ndimage.binary_dilation(cement, iterations=1)
    for n, box in enumerate(ndimage.find_objects(bodies), start=1):
        if box is None or not (stained[box] & (bodies[box] == n)).any():
            continue
        body = np.pad(bodies[box] == n, 1)
        bone = ndimage.binary_opening(body & ~np.pad(stained[box], 1))
        if bone.sum() < LEAST_BONE_SHARE * body.sum():
            continue
        hull = ndimage.binary_dilation(convex_hull_image(bone), iterations=1)
        leaked[box] |= (body & ~hull)[1:-1, 1:-1, 1:-1] & stained[box]
    return leaked
