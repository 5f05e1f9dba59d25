"""Bone cement below voxel size: which voxels, what share of each, whose vertebra, inside or outside its outline.

The network tells cement from cortex and metal; the native CT gives the boundary. A voxel's share of cement is its
height between the local surroundings and the cement's own plateau, so that the sum keeps the volume whatever the blur,
and the visible boundary (share one half) is the half-maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast import geometry
from vertecast.geometry import FloatArray
from vertecast.images import Segmentation, Volume
from vertecast.measurement import distances
from vertecast.measurement.bone import Z95
from vertecast.measurement.bony_outline import bony_outlines
from vertecast.measurement.endplates import BodyGeometry
from vertecast.measurement.outline import CEMENT_PROBABILITY
from vertecast.results import NotMeasured, Quantity

CEMENT_HU: Final = 700.0
"""Default lower limit: PMMA with barium sulphate or zirconia lies at about 1,000 to 3,000 HU, dense cortex below 1,900;
a voxel must also belong to what the network calls cement."""

CLIP_HU: Final = 3071.0
"""Largest value of 12-bit CT: the true value may be higher."""

METAL_PROBABILITY: Final = 0.5
GATE_REACH_MM: Final = 4.0
"""Outside the bone cement may lie this far from what the network marked: thin leaks lose contrast on its grid."""

INNER_GATE_REACH_MM: Final = 1.5
"""In and at the bone one voxel of the network's grid: beyond, dense cortex beside the cement would be taken for it."""

MIN_TREATED_ML: Final = 0.2
"""Less bright material inside a body is a bone island or sclerosis, not a treatment (usual fills: 2 to 8 mL)."""

MIN_PIECE_ML: Final = 0.03
BACKGROUND_SHELL_MM: Final = (2.5, 6.0)
TAIL_MM: Final = 1.75
"""Partial volume is counted this far from the visible cement: beyond lies 1 % of a ball at a blur (SD) of 1 mm, and the
cortex that would be counted too."""

THIN_FRACTION: Final = 0.3
"""Share at which thin cement outside the bone is still visible; beside the cortex one half is asked for as inside."""

FRACTION_RANGE: Final = (-0.2, 1.2)
"""Noise about 0 and 1 is kept, so that it averages out in a volume."""

CLIP_EDGE_MM: Final = 2.0
"""Clipped voxels nearer to the boundary are between their clipped share and 1."""

DEEP_MM: Final = 2.0
"""Voxels this deep inside the bright region show the plateau of solid cement, free of blur."""

PLATEAU_POWER: Final = 4
PLATEAU_SMOOTHING_MM: Final = 2.5
BRIDGE_SHARE: Final = 0.1
"""A piece of cement belongs to two bodies when each holds at least this share of it."""

VOLUME_EDGE_VOXELS: Final = 0.06
"""Common shift (1 SD) of the cement's boundary, in mean native voxels, for the interval of a volume."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CementMap:
    """Cement on a crop of the native CT grid; all arrays (i, j, k).

    Attributes:
        lps_from_index: (4, 4) affine of the crop.
        first_index: Native index (3,) of the crop's voxel [0, 0, 0].
        fraction: Share of each voxel that is cement; slightly below 0 or above 1 is noise that averages out.
        mask: Visible cement (share one half or more; outside the bone also thinner than a voxel).
        vertebra: Instance that each counted voxel belongs to, 0 elsewhere.
        piece: Number of the leak piece, 0 inside the outline.
        outside_mm: Signed distance to the nearest outline, positive outside.
        plateau_hu: Typical value of solid cement.
        warnings: What the reader must know of it.
    """

    lps_from_index: FloatArray
    first_index: tuple[int, int, int]
    fraction: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    vertebra: npt.NDArray[np.uint8]
    piece: npt.NDArray[np.int16]
    outside_mm: npt.NDArray[np.float32]
    plateau_hu: float
    warnings: tuple[str, ...] = ()

    def volume_ml(self, where: npt.NDArray[np.bool_]) -> Quantity:
        """Volume of the cement ``where`` with an interval from the length of its boundary."""
        voxel = geometry.voxel_volume_mm3(self.lps_from_index)
        value = max(float(self.fraction[where].sum(dtype=np.float64)) * voxel / 1000, 0.0)
        visible = self.mask & where
        boundary = np.count_nonzero(visible & ~ndimage.binary_erosion(visible))
        error = float(Z95 * VOLUME_EDGE_VOXELS * boundary * voxel / 1000)
        return Quantity(value=value, unit="mL", interval95=(max(value - error, 0.0), value + error))

    @property
    def treated(self) -> frozenset[int]:
        """Instances that hold cement."""
        return frozenset(int(n) for n in np.unique(self.vertebra[self.mask]) if n)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Crop:
    """The part of the native CT round the cement, and what the working grid says of its voxels."""

    lps_from_index: FloatArray
    first_index: tuple[int, int, int]
    hu: npt.NDArray[np.float32]
    marked_mm: npt.NDArray[np.float32]
    seed: npt.NDArray[np.bool_]
    metal: npt.NDArray[np.bool_]
    outside_mm: npt.NDArray[np.float32]
    nearest: npt.NDArray[np.uint8]

    @property
    def spacing_mm(self) -> FloatArray:
        return geometry.spacing_mm(self.lps_from_index)

    @property
    def tolerance_mm(self) -> float:
        """How far blur and the outline's own error may carry cement or cortex over the outline."""
        return 0.5 * float(self.spacing_mm.max()) + 0.75

    def smooth(self, values: npt.NDArray[np.float32], sigma_mm: float) -> npt.NDArray[np.float32]:
        return np.asarray(ndimage.gaussian_filter(values, sigma_mm / self.spacing_mm, truncate=3.0))

    def distance_mm(self, mask: npt.NDArray[np.bool_], reach_mm: float) -> npt.NDArray[np.float64]:
        """Distance of every voxel to the mask, exact up to ``reach_mm``."""
        return distances.distance_mm(mask, self.spacing_mm, reach_mm)

    def depth_mm(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Distance of every voxel of the mask to the nearest one outside."""
        return distances.depth_mm(mask, self.spacing_mm)


def find_cement(
    volume: Volume,
    segmentation: Segmentation,
    *,
    bodies: Sequence[BodyGeometry | NotMeasured] = (),
    metal: npt.NDArray[np.bool_] | None = None,
    threshold_hu: float = CEMENT_HU,
) -> CementMap | None:
    """Find cement on the native CT.

    Args:
        volume: Native CT.
        segmentation: What the network found.
        bodies: Geometry of every vertebra, for its outline without the cement; empty: the network's outline.
        metal: Result of `metal_mask`, when already known.
        threshold_hu: Lowest value of cement.

    Returns:
        The map, or None where no vertebra holds cement.
    """
    crop = _crop(volume, segmentation, metal_mask(segmentation) if metal is None else metal, bodies)
    if crop is None:
        return None
    reach = np.where(crop.outside_mm > crop.tolerance_mm, GATE_REACH_MM, INNER_GATE_REACH_MM)
    bright = (crop.hu >= threshold_hu) & (crop.marked_mm <= reach) & ~crop.metal
    bright = _touching(bright, crop.seed)
    if not bright.any():
        return None
    plateau = _plateau(crop, bright)
    typical = float(np.percentile(plateau[bright], 75))
    clipped = float(np.mean(crop.hu[bright] >= min(CLIP_HU, float(volume.hu.max()))))
    background = _background(crop, bright, threshold_hu)
    notes = []
    if clipped > 0.05 and crop.hu.max() >= CLIP_HU - 1:
        notes.append("cement reaches the largest value of 12-bit CT (3071 HU): its true density is not known")
        typical = max(typical, _unclipped_plateau(crop, bright, float(np.median(background[bright]))))
        plateau = np.where(plateau > 0.9 * CLIP_HU, typical, plateau)
    plateau = np.where(crop.outside_mm > 0, np.maximum(plateau, typical), plateau)
    fraction = np.clip((crop.hu - background) / np.maximum(plateau - background, 1.0), *FRACTION_RANGE)
    thin = (fraction >= THIN_FRACTION) & (crop.outside_mm > crop.tolerance_mm)
    visible = _touching(bright & ((fraction >= 0.5) | thin), crop.seed)
    depth = crop.depth_mm(visible)
    at_clip = (crop.hu >= CLIP_HU) & visible
    fraction = np.where(at_clip, np.where(depth > CLIP_EDGE_MM, 1.0, (1 + np.minimum(fraction, 1.0)) / 2), fraction)
    fraction = np.where((depth > TAIL_MM) & (crop.outside_mm <= 0), 1.0, fraction)
    return _attribute(crop, fraction.astype(np.float32), visible, (typical, tuple(notes)))


def metal_mask(segmentation: Segmentation) -> npt.NDArray[np.bool_]:
    """Metal on the working grid: more likely than cement and than not."""
    metal = segmentation.metal_probability >= METAL_PROBABILITY
    at = np.nonzero(metal)
    metal[at] = segmentation.metal_probability[at] >= segmentation.cement_probability[at]
    return metal


def _crop(
    volume: Volume,
    segmentation: Segmentation,
    metal: npt.NDArray[np.bool_],
    bodies: Sequence[BodyGeometry | NotMeasured],
) -> _Crop | None:
    """Cut out the cement with a margin and carry the working grid's knowledge onto native voxels."""
    marked = (segmentation.cement_probability >= CEMENT_PROBABILITY) & ~metal
    if not marked.any():
        return None
    margin_mm = GATE_REACH_MM + BACKGROUND_SHELL_MM[1]
    index = np.argwhere(marked)
    low, high = index.min(axis=0), index.max(axis=0)
    margin = int(np.ceil((margin_mm + 4.0) / segmentation.spacing_mm))
    work = tuple(
        slice(int(max(a - margin, 0)), int(min(b + margin + 1, n)))
        for a, b, n in zip(low, high, marked.shape, strict=True)
    )
    lps_from_work = geometry.shifted(segmentation.lps_from_index, [s.start for s in work])
    shape = tuple(s.stop - s.start for s in work)
    corners = geometry.corner_points_lps_mm(lps_from_work, shape)
    native = geometry.apply(geometry.inverse(volume.lps_from_index), corners)
    first = np.clip(np.floor(native.min(axis=0)), 0, np.array(volume.shape) - 1).astype(int)
    last = np.clip(np.ceil(native.max(axis=0)) + 1, 1, volume.shape).astype(int)
    if (last <= first).any():
        return None
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    lps_from_crop = geometry.shifted(volume.lps_from_index, first)
    hu = volume.hu[box].astype(np.float32)
    target = (hu.shape[0], hu.shape[1], hu.shape[2])

    def carry(values: npt.NDArray[np.generic], order: int, fill: float = 0.0) -> npt.NDArray[np.float32]:
        return geometry.resample(values, lps_from_work, lps_from_crop, target, order=order, fill=fill)

    spacing = segmentation.spacing_mm
    reach = ndimage.distance_transform_edt(~marked[work]) * spacing
    marked_mm = carry(reach.astype(np.float32), 1, fill=1e3)
    signed, nearest = bony_outlines(segmentation, work, bodies)
    return _Crop(
        lps_from_index=lps_from_crop,
        first_index=(int(first[0]), int(first[1]), int(first[2])),
        hu=hu,
        marked_mm=marked_mm,
        seed=marked_mm < 0.75 * spacing,
        metal=carry(metal[work].astype(np.float32), 1) >= 0.5,
        outside_mm=carry(signed, 1, fill=1e3),
        nearest=carry(nearest, 0).astype(np.uint8),
    )


def _touching(mask: npt.NDArray[np.bool_], seed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Connected pieces of the mask (26 neighbours) that hold a seed voxel."""
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    keep = np.unique(pieces[mask & seed])
    return np.asarray(np.isin(pieces, keep[keep > 0]))


def _plateau(crop: _Crop, bright: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Local value of solid cement.

    The mean of the voxels deep inside; where cement is too thin to have any, a mean in which the brightest voxels
    weigh most, so that blurred edges hardly count.
    """
    value = np.where(bright, crop.hu / 1000, 0.0).astype(np.float32)
    lower = crop.smooth(value**PLATEAU_POWER, PLATEAU_SMOOTHING_MM)
    upper = crop.smooth(value ** (PLATEAU_POWER + 1), PLATEAU_SMOOTHING_MM)
    thin = upper / np.maximum(lower, 1e-6)
    deep = bright & (crop.depth_mm(bright) >= DEEP_MM)
    weight = crop.smooth(deep.astype(np.float32), PLATEAU_SMOOTHING_MM)
    solid = crop.smooth(np.where(deep, value, 0.0).astype(np.float32), PLATEAU_SMOOTHING_MM)
    return np.asarray(1000 * np.where(weight > 1e-2, solid / np.maximum(weight, 1e-2), thin), dtype=np.float32)


def _background(crop: _Crop, bright: npt.NDArray[np.bool_], threshold_hu: float) -> npt.NDArray[np.float32]:
    """Local value of what surrounds the cement, from a shell beyond its blur."""
    distance = crop.distance_mm(bright, BACKGROUND_SHELL_MM[1])
    shell = (distance >= BACKGROUND_SHELL_MM[0]) & (distance <= BACKGROUND_SHELL_MM[1])
    shell &= (crop.hu < threshold_hu) & ~crop.metal
    if not shell.any():
        return np.zeros(crop.hu.shape, dtype=np.float32)
    weight = crop.smooth(shell.astype(np.float32), 3.0)
    value = crop.smooth(np.where(shell, crop.hu, 0.0).astype(np.float32), 3.0)
    overall = float(np.median(crop.hu[shell]))
    return np.asarray(np.where(weight > 1e-3, value / np.maximum(weight, 1e-3), overall), dtype=np.float32)


def _unclipped_plateau(crop: _Crop, bright: npt.NDArray[np.bool_], background_hu: float) -> float:
    """Plateau of clipped cement: a blurred edge is steepest at half its height, and that height is not clipped."""
    gradient = np.sqrt(sum(g**2 for g in np.gradient(crop.hu, *crop.spacing_mm)))
    edges = np.arange(background_hu + 200, CLIP_HU - 100, 150.0)
    near = crop.distance_mm(bright, TAIL_MM) < TAIL_MM
    if len(edges) < 5 or not near.any():
        return CLIP_HU
    place = np.digitize(crop.hu[near], edges)
    counts = np.bincount(place, minlength=len(edges) + 1)[1:-1]
    sums = np.bincount(place, weights=gradient[near], minlength=len(edges) + 1)[1:-1]
    good = counts >= 20
    if good.sum() < 5:
        return CLIP_HU
    centers = (edges[:-1] + edges[1:])[good] / 2
    a, b, _ = np.polyfit(centers, sums[good] / counts[good], 2, w=np.sqrt(counts[good]))
    half = float(np.clip(-b / (2 * a), centers[0], centers[-1])) if a < 0 else CLIP_HU / 2
    return float(np.clip(2 * half - background_hu, CLIP_HU, 2 * CLIP_HU))


def _attribute(
    crop: _Crop, fraction: npt.NDArray[np.float32], visible: npt.NDArray[np.bool_], about: tuple[float, tuple[str, ...]]
) -> CementMap | None:
    """Give every piece its vertebra, divide bridges, cut off what lies outside the outline, count partial voxels."""
    voxel_ml = geometry.voxel_volume_mm3(crop.lps_from_index) / 1000
    owner = np.zeros(visible.shape, dtype=np.uint8)
    pieces, _ = ndimage.label(visible, structure=np.ones((3, 3, 3)))
    inside = visible & (crop.outside_mm <= 0)
    held = np.bincount(crop.nearest[inside], minlength=256) * voxel_ml
    treated = [n for n in range(1, 256) if held[n] >= MIN_TREATED_ML]
    if not treated:
        return None
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        own = pieces[box] == number
        counts = np.bincount(crop.nearest[box][own & inside[box]], minlength=256)
        owners = [n for n in treated if counts[n] >= max(BRIDGE_SHARE * own.sum(), 1)]
        owners = owners or [n for n in treated if counts[n]] or treated
        owner[box][own] = _nearest_owner(crop.nearest[box][own], owners)
    leaked = _leaks(crop, visible)
    piece, _ = ndimage.label(leaked, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(piece.ravel(), weights=np.where(leaked, fraction, 0).ravel()) * voxel_ml
    piece = np.where(sizes[piece] >= MIN_PIECE_ML, piece, 0)
    box = distances.box_around(visible, crop.spacing_mm, TAIL_MM)
    distance, index = ndimage.distance_transform_edt(~visible[box], sampling=crop.spacing_mm, return_indices=True)
    counted = np.zeros(visible.shape, dtype=bool)
    counted[box] = (distance <= TAIL_MM) & ~crop.metal[box]
    vertebra, numbered = np.zeros_like(owner), np.zeros(visible.shape, dtype=np.int16)
    vertebra[box], numbered[box] = owner[box][tuple(index)], piece[box][tuple(index)]
    typical, notes = about
    return CementMap(
        lps_from_index=crop.lps_from_index,
        first_index=crop.first_index,
        fraction=np.where(counted, fraction, 0).astype(np.float32),
        mask=visible,
        vertebra=np.where(counted, vertebra, 0).astype(np.uint8),
        piece=np.where(counted, numbered, 0).astype(np.int16),
        outside_mm=crop.outside_mm,
        plateau_hu=typical,
        warnings=notes,
    )


def _nearest_owner(nearest: npt.NDArray[np.uint8], owners: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The nearest body where it is an owner, else the owner next to it in the column."""
    table = [owners[int(np.argmin([abs(n - o) for o in owners]))] for n in range(256)]
    return np.asarray(np.array(table, dtype=np.uint8)[nearest])


def _leaks(crop: _Crop, visible: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Cement outside the outline, where it reaches farther than blur and the outline's own error can explain."""
    seeds = visible & (crop.outside_mm > crop.tolerance_mm)
    if not seeds.any():
        return seeds
    reach_mm = crop.tolerance_mm + 0.5
    return np.asarray(visible & (crop.outside_mm > 0) & (crop.distance_mm(seeds, reach_mm) <= reach_mm))
