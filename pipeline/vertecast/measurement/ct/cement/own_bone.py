"""How dense the patient's own bone is on this CT: what is no denser may be bone, whatever a network says."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Segmentation, Volume

CORTEX_PERCENTILE: Final = 99.0
"""Of the densities in the arches: their cortex is the thickest of a vertebra, and cement seldom comes there. In six
simulated studies (seven fillings) the densest tenth of a filling began at 1.5 to 2.6 times this value."""

APART_MM: Final = 6.0
"""Farther than this from cement and metal their blur and streaks add nothing to bone."""

DENSEST_BONE_HU: Final = 1600.0
"""What is denser in one voxel of a hundred is metal that was not told from bone. A choice; with sharp kernels single
voxels of cortex reach 1,900."""

LEAST_VOXELS: Final = 1500
"""About 5 mL of arches at 1.5 mm; of less, a percentile so near the end tells nothing."""


def cortex_hu(volume: Volume, segmentation: Segmentation, foreign: npt.NDArray[np.bool_]) -> float | None:
    """Density (HU) that the cortex of the arches reaches, at most `DENSEST_BONE_HU`; None where too little is in view.

    Args:
        volume: Native CT.
        segmentation: What the network found.
        foreign: Cement and metal, (i, j, k) of the working grid.
    """
    arches = segmentation.structure == Structure.POSTERIOR
    if foreign.any():
        arches &= ndimage.distance_transform_edt(~foreign) * segmentation.spacing_mm > APART_MM
    if np.count_nonzero(arches) < LEAST_VOXELS:
        return None
    points = geometry.apply(segmentation.lps_from_index, np.argwhere(arches))
    index = geometry.apply(geometry.inverse(volume.lps_from_index), points)
    values = ndimage.map_coordinates(volume.hu, index.T, order=1, mode="nearest", output=np.float32)
    return min(float(np.percentile(values, CORTEX_PERCENTILE)), DENSEST_BONE_HU)
