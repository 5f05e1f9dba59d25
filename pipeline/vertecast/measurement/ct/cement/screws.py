"""Pedicle screws that were taken for cement: cylinders behind the body that are too thick for a needle's tract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.results import NotMeasured
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.cement.map import CementMap

SCREW_MIN_LENGTH_MM: Final = 25.0
"""From the back of the body through the pedicle a screw runs farther than this before its head."""

SCREW_MIN_SECTION_MM2: Final = 20.0
"""The widest cannula for cement, 8 G, is 4.2 mm across (14 mm2); the thinnest lumbar screws are 5 mm (20 mm2)."""

BEHIND_SHARE: Final = 0.7
"""Share of the piece that lies behind the body."""


def without_screws(
    found: CementMap, bodies: Sequence[BodyGeometry | NotMeasured]
) -> tuple[CementMap, npt.NDArray[np.bool_]]:
    """Take pedicle screws out of the cement.

    What of a screw lies inside the body cannot be told from cement there and stays; a warning says so.

    Args:
        found: Cement on the native grid.
        bodies: Geometry of every vertebra.

    Returns:
        The cement without the screws, and the visible voxels of the screws on the same grid.
    """
    screws = np.zeros(found.mask.shape, dtype=bool)
    levels = set()
    for number, box in enumerate(ndimage.find_objects(found.piece), start=1):
        if box is None:
            continue
        own = found.piece[box] == number
        visible = np.argwhere(own & found.mask[box]) + [part.start for part in box]
        instance = int(np.bincount(found.vertebra[tuple(visible.T)]).argmax()) if len(visible) else 0
        body = bodies[instance - 1] if instance else None
        if isinstance(body, BodyGeometry) and _is_screw(found, visible, body):
            screws[box] |= own
            levels.add(instance)
    if not levels:
        return found, screws
    warning = (
        "dense rods through the pedicles are too thick for cement along a needle and count as metal; "
        "the cement beside them may hold part of a screw"
    )
    cleaned = replace(
        found,
        fraction=np.where(screws, 0, found.fraction).astype(np.float32),
        mask=found.mask & ~screws,
        vertebra=np.where(screws, 0, found.vertebra).astype(np.uint8),
        piece=np.where(screws, 0, found.piece).astype(np.int16),
        warnings=(*found.warnings, warning),
    )
    return cleaned, screws & found.mask


def _is_screw(found: CementMap, visible: npt.NDArray[np.intp], body: BodyGeometry) -> bool:
    points = geometry.apply(found.lps_from_index, visible)
    y = body.local_mm(points)[:, 1]
    if np.mean(y > body.posterior_wall_y_mm) < BEHIND_SHARE or np.ptp(y) < SCREW_MIN_LENGTH_MM:
        return False
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    length = float(np.ptp(points @ axis))
    volume = float(found.fraction[tuple(visible.T)].sum()) * geometry.voxel_volume_mm3(found.lps_from_index)
    return volume / length >= SCREW_MIN_SECTION_MM2
