"""Bodies cut out of the whole vertebrae of a label map, as a label map of the same grid."""

from __future__ import annotations

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    CEMENT_LEAKED_LABEL,
    METAL_LABEL,
    UNKNOWN_LEVEL_LABEL_START,
    Level,
    Structure,
)
from vertecast.core.images import Mask
from vertecast.segmentation.label_map.bodies import segment_label_map
from vertecast.segmentation.label_map.schemes import label_scheme

KEPT = (Level.S1.value, CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL, METAL_LABEL)
"""Numbers of the map that stay as they are."""


def cut_bodies(mask: Mask) -> Mask | None:
    """Cut the bodies out, as `vertecast.segmentation.label_map.body_cut` does for ``analyze --segmentation``.

    Args:
        mask: Map in the numbers of ``labels_<n>.nii.gz``.

    Returns:
        The map with bodies alone; None where it holds bodies alone already: no vertebra has a hole for the canal.

    Raises:
        UnsupportedError: As `segment_label_map`.
    """
    cut = segment_label_map(mask, label_scheme("vertecast"))
    if not np.isin(cut.structure, [Structure.CANAL, Structure.POSTERIOR]).any():
        return None
    numbers = np.array([0, *map(_number, cut.levels)], dtype=np.uint8)
    bodies = np.where(cut.structure == Structure.BODY, numbers[cut.instance], 0)
    shape = (mask.labels.shape[0], mask.labels.shape[1], mask.labels.shape[2])
    moved = geometry.resample(bodies, cut.lps_from_index, mask.lps_from_index, shape, order=0).astype(np.uint8)
    labels = np.asarray(mask.labels, dtype=np.uint8)
    kept = np.isin(labels, KEPT)
    # The working grid is coarser than many a map: what the map itself says of the edge of a vertebra holds.
    return Mask(labels=np.where(kept, labels, np.where(labels == moved, moved, 0)), lps_from_index=mask.lps_from_index)


def _number(level: str) -> int:
    return UNKNOWN_LEVEL_LABEL_START + int(level[1:]) if level.startswith("V") else Level[level].value
