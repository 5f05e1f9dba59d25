"""The height of a body between its endplates at every place of its footprint."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.images import HeightMap, Segmentation
from vertecast.core.results import NotMeasured
from vertecast.measurement.ct.body.bony_outline import endplate_heights_mm
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.outline import OUTLINE_PROBABILITY, Layout, cut_out

PIXEL_MM: Final = 0.5
MARGIN_MM: Final = 4.0
STEP_MM: Final = 1.0

LEAST_THICKNESS_SHARE: Final = 0.4
"""Share of the body's median thickness from which a place belongs to its footprint: spurs of the rim are thinner."""


def height_map(
    segmentation: Segmentation, body: BodyGeometry, instance: int, level: str, layout: Layout
) -> HeightMap | None:
    """Height between the two fitted endplates over the footprint of one body.

    Args:
        segmentation: What the network found.
        body: Fitted geometry of the body.
        instance: Its number in ``segmentation.instance``, from 1.
        level: Its name.
        layout: Result of `find_bodies`.

    Returns:
        The map, or None where the body has no footprint.
    """
    region = cut_out(segmentation, instance, layout)
    if isinstance(region, NotMeasured):
        return None
    half = np.array([body.width_mm, body.depth_mm]) * 0.65 + MARGIN_MM
    x = np.arange(-half[0], half[0] + PIXEL_MM, PIXEL_MM)
    y = np.arange(-half[1], half[1] + PIXEL_MM, PIXEL_MM)
    # Rows run from anterior (-y) to posterior, columns from the patient's right (-x) to the left.
    rows, columns = np.meshgrid(y, x, indexing="ij")
    top, bottom = endplate_heights_mm(body, columns, rows)
    z = np.arange(float(bottom.min()) - STEP_MM, float(top.max()) + STEP_MM, STEP_MM)
    grid = np.stack(np.broadcast_arrays(columns[..., None], rows[..., None], z), axis=-1)
    inside = region.sample(body.lps_from_local, grid) >= OUTLINE_PROBABILITY
    footprint = _footprint(np.count_nonzero(inside, axis=-1))
    if footprint is None:
        return None
    height = np.where(footprint, top - bottom, np.nan).astype(np.float32)
    return HeightMap(level=level, height_mm=height, pixel_mm=PIXEL_MM, midline_column=float(half[0] / PIXEL_MM))


def _footprint(thickness: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_] | None:
    """The largest piece that is thick enough, without holes."""
    if not thickness.any():
        return None
    pieces, count = ndimage.label(thickness >= LEAST_THICKNESS_SHARE * np.median(thickness[thickness > 0]))
    if count == 0:
        return None
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(largest))
