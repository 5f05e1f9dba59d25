"""Lines through a body along its axis: where they cross the outline, and which crossings cement spoils."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation
from vertecast.measurement.ct.body.outline import CEMENT_PROBABILITY, OUTLINE_PROBABILITY, BodyRegion

LINE_SPACING_MM: Final = 1.5
RIM_MARGIN_MM: Final = 2.0
"""Lines this near to the footprint's edge run into the rounded rim and say nothing of the endplate."""

MIN_LINES: Final = 40
CEMENT_REACH_MM: Final = 3.0
"""Two voxels of the network's grid: so near to cement the outline goes wrong, mostly by leaving out a filled corner."""

LEAST_FREE_SHARE: Final = 0.3
"""Share of an endplate that must be free of cement to carry it on over the rest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines:
    """Crossings of lines parallel to the body's axis: x, y and z of both endplates (mm), one entry per line inside."""

    x: FloatArray
    y: FloatArray
    top: FloatArray
    bottom: FloatArray
    half_extent_mm: FloatArray
    width_mm: float


def trace(region: BodyRegion, lps_from_local: FloatArray) -> Lines | None:
    """Cross the outline along lines parallel to the local z axis."""
    index = np.argwhere(region.mask)
    local = geometry.apply(geometry.inverse(lps_from_local) @ region.lps_from_index, index)
    low, high = local.min(axis=0) - 3.0, local.max(axis=0) + 3.0
    x = np.arange(np.floor(low[0]), high[0], LINE_SPACING_MM)
    y = np.arange(np.floor(low[1]), high[1], LINE_SPACING_MM)
    z = np.arange(low[2], high[2], LINE_SPACING_MM / 2)
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    values = region.sample(lps_from_local, grid)
    hit = (values >= OUTLINE_PROBABILITY).any(axis=2)
    # Near a wall the blur of the outline takes its share of every value on a line; half of what the line itself reaches
    # is where the endplate lies, while half of the whole would round the rim off.
    values = values / np.maximum(values.max(axis=2, keepdims=True), OUTLINE_PROBABILITY)
    inside = values >= OUTLINE_PROBABILITY
    first = np.argmax(inside, axis=2)
    last = len(z) - 1 - np.argmax(inside[:, :, ::-1], axis=2)
    hit &= (first > 0) & (last < len(z) - 1)
    top, bottom = half_crossing(values, z, last, last + 1), half_crossing(values, z, first, first - 1)
    thickness = np.where(hit, top - bottom, 0.0)
    if not hit.any():
        return None
    footprint = thickness >= 0.4 * float(np.median(thickness[hit]))
    pieces, count = ndimage.label(footprint)
    if count == 0:
        return None
    footprint = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    inner = ndimage.distance_transform_edt(np.pad(footprint, 1))[1:-1, 1:-1] * LINE_SPACING_MM > RIM_MARGIN_MM
    if inner.sum() < MIN_LINES:
        return None
    xs, ys = np.meshgrid(x, y, indexing="ij")
    half_extent = np.array([np.ptp(xs[footprint]), np.ptp(ys[footprint])]) / 2 + LINE_SPACING_MM
    return Lines(
        x=xs[inner], y=ys[inner], top=top[inner], bottom=bottom[inner], half_extent_mm=half_extent,
        width_mm=float(np.ptp(xs[footprint])),
    )  # fmt: skip


def half_crossing(
    values: npt.NDArray[np.float32], z: FloatArray, inner: npt.NDArray[np.intp], outer: npt.NDArray[np.intp]
) -> FloatArray:
    """z where the probability crosses one half between the last sample inside and the next one outside."""
    outer = np.clip(outer, 0, len(z) - 1)
    a = np.take_along_axis(values, inner[..., None], axis=2)[..., 0].astype(np.float64)
    b = np.take_along_axis(values, outer[..., None], axis=2)[..., 0].astype(np.float64)
    share = np.clip((a - OUTLINE_PROBABILITY) / np.maximum(a - b, 1e-6), 0.0, 1.0)
    return np.asarray(z[inner] + share * (z[outer] - z[inner]))


def beside_cement(
    segmentation: Segmentation, lps_from_local: FloatArray, lines: Lines
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Crossings of the superior and the inferior endplate beside cement, where the outline is not to be believed.

    None of an endplate that cement covers almost whole: then the outline is all that there is.
    """
    index_from_local = geometry.inverse(segmentation.lps_from_index) @ lps_from_local
    corners = np.stack([lines.x, lines.y, lines.top], axis=1), np.stack([lines.x, lines.y, lines.bottom], axis=1)
    places = [geometry.apply(index_from_local, points) for points in corners]
    reach = int(np.ceil(CEMENT_REACH_MM / segmentation.spacing_mm))
    low = np.clip(np.floor(np.min([p.min(axis=0) for p in places], axis=0)).astype(int) - reach - 1, 0, None)
    high = np.ceil(np.max([p.max(axis=0) for p in places], axis=0)).astype(int) + reach + 2
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    cement = segmentation.cement_probability[box] >= CEMENT_PROBABILITY
    if not cement.any():
        none = np.zeros(len(lines.x), dtype=bool)
        return none, none
    away_mm = ndimage.distance_transform_edt(~cement) * segmentation.spacing_mm
    result = []
    for place in places:
        distance = ndimage.map_coordinates(away_mm, (place - low).T, order=1, mode="nearest")
        near = distance <= CEMENT_REACH_MM
        enough = np.count_nonzero(~near) >= max(MIN_LINES, LEAST_FREE_SHARE * len(near))
        result.append(near if enough else np.zeros_like(near))
    return result[0], result[1]
