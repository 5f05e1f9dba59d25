"""Vertebrae of a label map that the user brings in place of a network: drawn by hand or by another program.

A map may hold whole vertebrae or bodies alone; of a whole vertebra the body is cut out (`body_cut`). The outline is
where the mask, interpolated between its voxels, crosses one half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import CRANIAL_TO_CAUDAL, Structure
from vertecast.core.errors import UnsupportedError
from vertecast.core.images import Mask, Segmentation, Volume
from vertecast.segmentation.label_map.body_cut import CanalCentres, find_canal, find_posterior_wall, spine_directions
from vertecast.segmentation.label_map.schemes import LabelScheme

HEIGHT_SD_MM: Final = 0.5
"""Doubt (1 SD) that the outline adds to a height: spurs, and where an expert ends a rim. With it 94 % of the
intervals hold on 121 simulated bodies with spurs and fractures, drawn in voxels of 0.8 x 0.9 x 1.2 and 2 mm."""

GRID_MM: Final = 1.0
MARGIN_MM: Final = 8.0
OUTLINE: Final = 0.5

LEAST_ML: Final = 1.5
"""Smaller pieces under a label are slips of the brush."""

SHIFTS_MM: Final = (6.0, 12.0, 18.0, 24.0)
DENSER_HU: Final = 30.0
"""A map that was drawn on this CT loses bone wherever it is moved. Moved by half a vertebra its bodies cover a disc and
half of two bodies, some 50 HU less. A choice."""

BRIGHT_HU: Final = 300.0
"""Denser voxels count as this: cement, metal, vessels full of contrast medium and facets draw no map to them."""

SAMPLED_VOXELS: Final = 20_000
LEAST_INSIDE: Final = 0.7
"""Share of the sampled voxels that must lie in the image after a shift."""

RANK: Final[Mapping[str, int]] = {level.name: n for n, level in enumerate(CRANIAL_TO_CAUDAL)}
"""Place of a named level from head to foot."""

Labels: TypeAlias = npt.NDArray[Any]
Share: TypeAlias = npt.NDArray[np.float32]
Box: TypeAlias = tuple[slice, slice, slice]
WorkingGrid: TypeAlias = tuple[geometry.FloatArray, tuple[int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Vertebra:
    """One vertebra on its part of the working grid.

    Attributes:
        level: Its name.
        box: Where its part lies in the grid.
        whole: Share of every voxel that it covers.
        body: The same of its body, where the map has a label for that alone.
        voxels_lps_mm: Centres of its voxels on the grid (n, 3).
    """

    level: str
    box: Box
    whole: Share
    body: Share | None
    voxels_lps_mm: geometry.FloatArray


class LabelMapSegmenter:
    """Stands in for a network: gives the bodies of a label map for the CT that it belongs to.

    Args:
        mask: The map.
        scheme: What its numbers mean.
        sha256: Of the file, for the report.
    """

    def __init__(self, mask: Mask, scheme: LabelScheme, *, sha256: str) -> None:
        self.mask, self.scheme, self.sha256 = mask, scheme, sha256

    def segment(self, volume: Volume) -> Segmentation:
        """The bodies of the map.

        Raises:
            UnsupportedError: as `segment_label_map`, or the map lies outside the image or beside the bone.
        """
        ends = [
            geometry.corner_points_lps_mm(image.lps_from_index, shape)
            for image, shape in ((volume, volume.shape), (self.mask, self.mask.labels.shape))
        ]
        if np.any(ends[0].min(axis=0) > ends[1].max(axis=0)) or np.any(ends[1].min(axis=0) > ends[0].max(axis=0)):
            raise UnsupportedError("the label map lies outside this CT; give the study that it was drawn on")
        _require_on_bone(self.mask, self.scheme, volume)
        segmentation = segment_label_map(self.mask, self.scheme)
        return replace(segmentation, models=(("label map", self.scheme.name, self.sha256),))


def _require_on_bone(mask: Mask, scheme: LabelScheme, volume: Volume) -> None:
    """Raise `UnsupportedError` where the vertebrae of the map would lie on clearly denser voxels if it were moved."""
    bone = np.argwhere(np.isin(np.asarray(mask.labels), [*scheme.levels, *scheme.posterior]))
    points = geometry.apply(mask.lps_from_index, bone[:: max(len(bone) // SAMPLED_VOXELS, 1)])
    if not len(points):
        return
    index_from_lps = geometry.inverse(volume.lps_from_index)

    def mean_hu(shift_mm: float) -> float | None:
        index = geometry.apply(index_from_lps, points + np.array([0.0, 0.0, shift_mm]))
        inside = np.all((index >= 0) & (index <= np.array(volume.shape) - 1), axis=1)
        if inside.mean() < LEAST_INSIDE:
            return None
        values = ndimage.map_coordinates(volume.hu, index[inside].T, order=1, output=np.float32)
        return float(np.minimum(values, BRIGHT_HU).mean())

    here = mean_hu(0.0)
    elsewhere = [
        (found, far) for far in (*SHIFTS_MM, *(-far for far in SHIFTS_MM)) if (found := mean_hu(far)) is not None
    ]
    if here is None or not elsewhere:
        return
    best, far = max(elsewhere)
    if best > here + DENSER_HU:
        raise UnsupportedError(
            f"the vertebrae of the label map lie beside the bone: moved by {abs(far):.0f} mm along the patient they "
            f"would cover voxels that are {best - here:.0f} HU denser; give the CT that it was drawn on"
        )


def segment_label_map(mask: Mask, scheme: LabelScheme) -> Segmentation:
    """The bodies of a label map, as a network would give them, with their levels.

    Args:
        mask: The map.
        scheme: What its numbers mean.

    Raises:
        UnsupportedError: a number has no meaning, none is a vertebra, or levels do not run from head to foot.
    """
    part = _cropped(mask, scheme)
    labels = _without_holes(part.labels, scheme)
    grid = _working_grid(part)
    found = sorted(_vertebrae(labels, part.lps_from_index, scheme, grid), key=_height_mm, reverse=True)
    if not found:
        raise UnsupportedError("the label map holds no vertebra of a size that could be measured")
    # A vertebra that the edge cuts may show nothing but the tip of its spinous process, which hangs below its body.
    whole = [one.level for one in found if not _touches_border(mask, one.voxels_lps_mm)]
    _check_order(whole if len(whole) > 1 else [one.level for one in found])
    if all(one.level in RANK for one in found):
        found = sorted(found, key=lambda one: RANK[one.level])
    shape = grid[1]
    structure, instance = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    probability = np.zeros(shape, dtype=np.float16)
    structure[_share(np.isin(labels, list(scheme.sacrum)), part, grid) >= 0.5] = Structure.SACRUM
    directions = spine_directions(np.array([one.voxels_lps_mm.mean(axis=0) for one in found]))
    touches = []
    canals = [find_canal(one.voxels_lps_mm, up) for one, up in zip(found, directions, strict=True)]
    bodies_alone = not any(canals)
    for number, (one, canal) in enumerate(zip(found, canals, strict=True), start=1):
        points = _points(one.box, grid[0])
        body = one.whole if bodies_alone else _body(one, canal, points)
        own = body >= OUTLINE
        probability[one.box] = np.maximum(probability[one.box], body)
        arch = (one.whole >= OUTLINE) & ~own
        instance[one.box][own | arch] = number
        structure[one.box][arch] = Structure.POSTERIOR
        structure[one.box][own] = Structure.BODY
        if canal is not None:
            _draw_canal(structure[one.box], canal, points, one.voxels_lps_mm)
        # A vertebra at the edge may show too little of its arch for its body to be cut out: then all of it counts.
        seen = body if own.any() else one.whole
        touches.append(_touches_border(mask, points[seen > OUTLINE]))
    return Segmentation(
        lps_from_index=grid[0],
        structure=structure,
        instance=instance,
        body_probability=probability,
        cement_probability=_share(np.isin(part.labels, list(scheme.cement | scheme.leaked_cement)), part, grid),
        metal_probability=_share(np.isin(part.labels, list(scheme.metal)), part, grid),
        instance_confidence=(1.0,) * len(found),
        touches_border=tuple(touches),
        levels=tuple(one.level for one in found),
        height_sd_mm=(HEIGHT_SD_MM,) * len(found),
        canal_is_inferred=True,
    )


def _cropped(mask: Mask, scheme: LabelScheme) -> Mask:
    """The part of the map that holds what is used. Raises `UnsupportedError` for numbers without a meaning."""
    if mask.labels.min(initial=0) < 0:
        raise UnsupportedError("the label map holds negative numbers; give a map of whole numbers from 0")
    boxes = {n: box for n, box in enumerate(ndimage.find_objects(mask.labels.astype(np.int32)), start=1) if box}
    unknown = sorted(set(boxes) - scheme.known)
    if unknown:
        some = ", ".join(map(str, unknown[:8]))
        raise UnsupportedError(f"the label map holds numbers without a meaning ({some}); give --labels that names them")
    if not set(boxes) & set(scheme.levels):
        raise UnsupportedError("the label map holds no vertebra; choose other --labels")
    used = [box for n, box in boxes.items() if n not in scheme.ignored]
    low = [min(box[axis].start for box in used) for axis in range(3)]
    high = [max(box[axis].stop for box in used) for axis in range(3)]
    part = mask.labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    origin = geometry.apply(mask.lps_from_index, np.array(low, dtype=np.float64))
    return Mask(labels=part, lps_from_index=geometry.affine(mask.lps_from_index[:3, :3], origin))


def _without_holes(labels: Labels, scheme: LabelScheme) -> Labels:
    """Cement and metal inside a body given the number of the nearest vertebra: a body counts as it was without."""
    covering = np.isin(labels, list(scheme.cement | scheme.metal))
    if not covering.any():
        return labels
    bone = np.isin(labels, list(scheme.levels))
    _, nearest = ndimage.distance_transform_edt(~bone, return_indices=True)
    filled = labels.copy()
    filled[covering] = labels[tuple(nearest[:, covering])]
    return filled


def _working_grid(part: Mask) -> WorkingGrid:
    """LPS-aligned grid round the part."""
    corners = geometry.corner_points_lps_mm(part.lps_from_index, part.labels.shape)
    low, high = corners.min(axis=0) - MARGIN_MM, corners.max(axis=0) + MARGIN_MM
    i, j, k = np.ceil((high - low) / GRID_MM).astype(int) + 1
    return geometry.scaling_affine([GRID_MM] * 3, low), (int(i), int(j), int(k))


def _vertebrae(
    labels: Labels, lps_from_index: geometry.FloatArray, scheme: LabelScheme, grid: WorkingGrid
) -> Iterable[_Vertebra]:
    """Every vertebra that is large enough, in the order of the numbers."""
    posterior: dict[str, list[int]] = {}
    for number, level in scheme.posterior.items():
        posterior.setdefault(level, []).append(number)
    boxes = ndimage.find_objects(labels.astype(np.int32))
    least = 1000 * LEAST_ML / geometry.voxel_volume_mm3(lps_from_index)
    for number, level in scheme.levels.items():
        numbers = [n for n in (number, *posterior.get(level, ())) if n <= len(boxes) and boxes[n - 1] is not None]
        if number not in numbers:
            continue
        box: Box = tuple(
            slice(min(boxes[n - 1][a].start for n in numbers), max(boxes[n - 1][a].stop for n in numbers))
            for a in range(3)
        )  # type: ignore[assignment]
        body = _largest_piece(labels[box] == number)
        if np.count_nonzero(body) < least:
            continue
        whole = body if len(numbers) == 1 else body | np.isin(labels[box], numbers[1:])
        origin = geometry.apply(lps_from_index, np.array([s.start for s in box], dtype=np.float64))
        affine = geometry.affine(lps_from_index[:3, :3], origin)
        placed, share = _placed(whole, affine, grid)
        own = None if len(numbers) == 1 else _placed(body, affine, grid)[1]
        points = _points(placed, grid[0])[share >= OUTLINE]
        yield _Vertebra(level=level, box=placed, whole=share, body=own, voxels_lps_mm=points)


def _largest_piece(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    pieces, count = ndimage.label(mask)
    return mask if count < 2 else np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def _placed(mask: npt.NDArray[np.bool_], lps_from_index: geometry.FloatArray, grid: WorkingGrid) -> tuple[Box, Share]:
    """Share of each voxel that a mask covers, on the part of the working grid that lies round it."""
    padded = np.pad(mask, 1).astype(np.float32)
    affine = geometry.affine(lps_from_index[:3, :3], geometry.apply(lps_from_index, [-1.0, -1.0, -1.0]))
    corners = geometry.apply(geometry.inverse(grid[0]), geometry.corner_points_lps_mm(affine, padded.shape))
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, grid[1])
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, grid[1])
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    target = geometry.affine(grid[0][:3, :3], geometry.apply(grid[0], low.astype(np.float64)))
    shape = (i.stop - i.start, j.stop - j.start, k.stop - k.start)
    return (i, j, k), geometry.resample(padded, affine, target, shape)


def _share(mask: npt.NDArray[np.bool_], part: Mask, grid: WorkingGrid) -> npt.NDArray[np.float16]:
    """Share of every voxel of the working grid that a mask covers, linear between its voxels."""
    if not mask.any():
        return np.zeros(grid[1], dtype=np.float16)
    return geometry.resample(mask.astype(np.float32), part.lps_from_index, *grid).astype(np.float16)


def _height_mm(one: _Vertebra) -> float:
    return float(one.voxels_lps_mm[:, 2].mean())


def _check_order(levels: list[str]) -> None:
    """Raise `UnsupportedError` where a level stands below one that is caudal to it."""
    known = [level for level in levels if level in RANK]
    for upper, lower in pairwise(known):
        if RANK[upper] >= RANK[lower]:
            raise UnsupportedError(
                f"{upper} lies above {lower}: the map is numbered otherwise (choose other --labels), or upside down"
            )


def _body(one: _Vertebra, canal: CanalCentres | None, points: geometry.FloatArray) -> Share:
    """The body of a whole vertebra: its own label's, or what lies before the canal; nothing where no canal shows."""
    if one.body is not None:
        return one.body
    wall = None if canal is None else find_posterior_wall(one.voxels_lps_mm, canal)
    if wall is None:
        return np.zeros_like(one.whole)
    body = np.minimum(one.whole, np.clip(0.5 + wall.depth_mm(points) / GRID_MM, 0, 1)).astype(np.float32)
    body[(body >= OUTLINE) & ~_largest_piece(body >= OUTLINE)] = 0.0
    return body


def _points(box: Box, grid: geometry.FloatArray) -> geometry.FloatArray:
    """LPS mm of every voxel of a box, (i, j, k, 3)."""
    axes = [np.arange(s.start, s.stop) for s in box]
    return geometry.apply(grid, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def _draw_canal(
    structure: npt.NDArray[np.uint8], canal: CanalCentres, points: geometry.FloatArray, vertebra: geometry.FloatArray
) -> None:
    """Mark the hole over the height of the vertebra."""
    up = canal.lps_from_local[:3, 2]
    low, high = np.percentile(vertebra @ up, [2, 98])
    at = points @ up
    free = (structure == Structure.BACKGROUND) & (at >= low) & (at <= high)
    structure[free] = np.where(canal.holds(points[free]), Structure.CANAL, Structure.BACKGROUND)


def _touches_border(mask: Mask, points: geometry.FloatArray) -> bool:
    """Whether points of the working grid lie in the outermost voxels of the map, or nearer than the grid can tell."""
    index = geometry.apply(geometry.inverse(mask.lps_from_index), points)
    reach = np.maximum(0.5, GRID_MM / geometry.spacing_mm(mask.lps_from_index) - 0.5) + 1e-6
    return bool(np.any((index <= reach) | (index >= np.array(mask.labels.shape) - 1 - reach)))
