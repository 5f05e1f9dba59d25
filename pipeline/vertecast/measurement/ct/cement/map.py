"""Bone cement below voxel size: which voxels, what share of each, whose vertebra, inside or outside its outline.

The network tells cement from cortex and metal; the native CT gives the boundary. A voxel's share of cement is its
height between the local surroundings and the cement's own plateau, so that the sum keeps the volume whatever the blur,
and the visible boundary (share one half) is the half-maximum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import NotMeasured, Quantity
from vertecast.measurement.ct.body.bone import Z95
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.outline import CEMENT_PROBABILITY
from vertecast.measurement.ct.cement import distances
from vertecast.measurement.ct.cement.crop import (
    BACKGROUND_SHELL_MM,
    GATE_REACH_MM,
    CementCrop,
    crop_round_cement,
    metal_mask,
)
from vertecast.measurement.ct.cement.own_bone import cortex_hu

CEMENT_HU: Final = 700.0
"""Default lower limit: PMMA with barium sulphate or zirconia lies at about 1,000 to 3,000 HU, dense cortex below 1,900;
a voxel must also belong to what the network calls cement."""

CLIP_HU: Final = 3071.0
"""Largest value of 12-bit CT: the true value may be higher."""

INNER_GATE_REACH_MM: Final = 1.5
"""In and at the bone one voxel of the network's grid: beyond, dense cortex beside the cement would be taken for it."""

MIN_TREATED_ML: Final = 0.2
"""Less bright material inside a body is a bone island or sclerosis, not a treatment (usual fills: 2 to 8 mL)."""

MIN_MARKED_INSIDE: Final = 0.5
"""Share of a body's cement that the network must have marked itself. Solid cement is far wider than its grid and nearly
all marked; sclerotic bone beside a stray mark is bright too, and hardly marked."""

MIN_MARKED_OUTSIDE: Final = 0.05
"""The same of a piece outside, where cement is often thinner than the grid: less is a stray mark that dense bone or
calcium round it was gathered to."""

DENSEST_PERCENTILE: Final = 90.0
"""Of the densities of a body's cement; must exceed the cortex of the same patient's arches, or it may be bone itself:
sclerotic rims and bridging spurs reach 1,300 HU, and so do those arches."""

BATCH_SHARE: Final = 0.45
"""Of the densest cement of a study: a body that holds less dense material beside it is sclerotic, untreated. A choice;
cements of two operations may differ by as much as this."""

MIN_PIECE_ML: Final = 0.03
TAIL_MM: Final = 1.75
"""Partial volume is counted this far from the visible cement: beyond lies 1 % of a ball at a blur (SD) of 1 mm, and the
cortex that would be counted too."""

THIN_FRACTION: Final = 0.3
"""Share at which thin cement outside the bone is still visible; beside the cortex one half is asked for as inside."""

FRACTION_RANGE: Final = (-0.2, 1.2)
"""Noise about 0 and 1 is kept, so that it averages out in a volume."""

EDGE_HU: Final = (1500.0, 3001.0, 100.0)
"""Values at the edge of clipped cement from which its plateau is guessed, in steps: above bone, below the clip."""

EDGE_WIDENING: Final = 0.15
"""Growth of the edge's surface outward, in shares of itself an SD of the blur: a ball of 8 mm radius, a blur of 0.6 mm.
From 0.1 to 0.25 the plateaus of four simulated studies move by a tenth."""

MIN_EDGE_VOXELS: Final = 300
"""Of fewer voxels at the edge no plateau is guessed; a choice."""

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

CLIPPED_SHIFT_MM: Final = 0.2
"""The same beside it of cement that is clipped at 3,071 HU, half of whose height is guessed. The errors of six treated
bodies of five simulated studies, with ct_spine 0.7.0 and 0.8.0, are those of shifts of -0.14 to 0.23 mm (root mean
square 0.11); more is allowed, since the rule for its plateau was made on these."""

OUTLINE_SHIFT_MM: Final = 0.5
"""Common shift (1 SD) of a body's outline where cement crosses it: what lies on one side may lie on the other."""


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
        is_clipped: Whether that is a guess, since the image holds nothing brighter than 3,071 HU.
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
    is_clipped: bool = False
    warnings: tuple[str, ...] = ()

    def volume_ml(self, where: npt.NDArray[np.bool_]) -> Quantity:
        """Volume of the cement ``where``.

        Its interval holds a shift of its whole boundary and, where it goes on as cement that is not asked for, a shift
        of the outline between the two.
        """
        voxel = geometry.voxel_volume_mm3(self.lps_from_index)
        value = max(float(self.fraction[where].sum(dtype=np.float64)) * voxel / 1000, 0.0)
        visible = self.mask & where
        boundary = np.count_nonzero(visible & ~ndimage.binary_erosion(visible))
        clipped_voxels = CLIPPED_SHIFT_MM / np.cbrt(voxel) if self.is_clipped else 0.0
        own_ml = np.hypot(VOLUME_EDGE_VOXELS, clipped_voxels) * boundary * voxel / 1000
        shared_ml = OUTLINE_SHIFT_MM * self._shared_mm2(where) / 1000
        error = float(Z95 * np.hypot(own_ml, shared_ml))
        return Quantity.around(value, error, "mL", least=0.0)

    def _shared_mm2(self, where: npt.NDArray[np.bool_]) -> float:
        """Area in which the cement ``where`` touches other cement: exact for a plane, whatever way it looks."""
        this, other = self.mask & where, self.mask & ~where
        spacing = geometry.spacing_mm(self.lps_from_index)
        faces_mm2 = np.prod(spacing) / spacing
        projected_mm2 = np.zeros(3)
        for axis in range(3):
            a, b = np.moveaxis(this, axis, 0), np.moveaxis(other, axis, 0)
            projected_mm2[axis] = faces_mm2[axis] * np.count_nonzero((a[1:] & b[:-1]) | (b[1:] & a[:-1]))
        return float(np.linalg.norm(projected_mm2))

    @property
    def treated(self) -> frozenset[int]:
        """Instances that hold cement."""
        return frozenset(int(n) for n in np.unique(self.vertebra[self.mask]) if n)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseStructure:
    """What the network calls cement in a body (``instance``) although the patient's own bone is as dense.

    Attributes:
        instance: Of the body, from 1.
        volume_ml: Of its bright voxels.
        hu: What its densest tenth exceeds.
        least_hu: What cement of this patient must exceed.
    """

    instance: int
    volume_ml: float
    hu: float
    least_hu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CementSearch:
    """The cement, None where no vertebra holds any, and what may be cement or bone and is not claimed."""

    cement: CementMap | None = None
    doubtful: tuple[DenseStructure, ...] = ()


def find_cement(
    volume: Volume,
    segmentation: Segmentation,
    *,
    bodies: Sequence[BodyGeometry | NotMeasured] = (),
    metal: npt.NDArray[np.bool_] | None = None,
    threshold_hu: float = CEMENT_HU,
) -> CementSearch:
    """Find cement on the native CT.

    Args:
        volume: Native CT.
        segmentation: What the network found.
        bodies: Geometry of every vertebra, for its outline without the cement; empty: the network's outline.
        metal: Result of `metal_mask`, when already known.
        threshold_hu: Lowest value of cement.
    """
    metal = metal_mask(segmentation) if metal is None else metal
    crop = crop_round_cement(volume, segmentation, metal, bodies)
    if crop is None:
        return CementSearch()
    reach = np.where(crop.outside_mm > crop.tolerance_mm, GATE_REACH_MM, INNER_GATE_REACH_MM)
    bright = (crop.hu >= threshold_hu) & (crop.marked_mm <= reach) & ~crop.metal
    bright = _touching(bright, crop.seed)
    if not bright.any():
        return CementSearch()
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
    treated = _treated(crop, visible)
    bone_hu = None
    if treated and not segmentation.levels:  # outlines that came with their levels were drawn, cement too
        bone_hu = cortex_hu(volume, segmentation, metal | (segmentation.cement_probability >= CEMENT_PROBABILITY))
    doubtful = () if bone_hu is None else tuple(_no_denser(crop, visible, treated, bone_hu))
    treated = [n for n in treated if all(n != one.instance for one in doubtful)]
    if not treated:
        return CementSearch(doubtful=doubtful)
    visible = _believed(crop, visible, treated, [one.instance for one in doubtful])
    cement = _attribute(crop, fraction.astype(np.float32), visible, treated, (typical, tuple(notes)))
    return CementSearch(cement=replace(cement, is_clipped=bool(notes)), doubtful=doubtful)


def _touching(mask: npt.NDArray[np.bool_], seed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Connected pieces of the mask (26 neighbours) that hold a seed voxel."""
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    keep = np.unique(pieces[mask & seed])
    return np.asarray(np.isin(pieces, keep[keep > 0]))


def _plateau(crop: CementCrop, bright: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
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


def _background(crop: CementCrop, bright: npt.NDArray[np.bool_], threshold_hu: float) -> npt.NDArray[np.float32]:
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


def _unclipped_plateau(crop: CementCrop, bright: npt.NDArray[np.bool_], background_hu: float) -> float:
    """Plateau of clipped cement, from how many voxels of its edge hold which value.

    Across an edge that a Gaussian has blurred the value falls as its integral does: fast at half of the height, where
    few voxels lie, slowly near the plateau. Heights count by how well their numbers of voxels fit those below the clip.
    """
    edges = np.arange(*EDGE_HU)
    near = crop.distance_mm(bright, TAIL_MM) < TAIL_MM
    counts = np.histogram(crop.hu[near], edges)[0].astype(np.float64)
    if counts.sum() < MIN_EDGE_VOXELS or background_hu >= EDGE_HU[0]:
        return CLIP_HU
    heights = np.arange(CLIP_HU, 2 * CLIP_HU, 50.0) - background_hu
    outward = -special.ndtri(((edges[:-1] + edges[1:]) / 2 - background_hu) / heights[:, None])
    expected = (1 + EDGE_WIDENING * outward) * np.exp(outward**2 / 2)
    weight = 1 / np.maximum(counts, 1)
    scale = (weight * expected * counts).sum(axis=1) / (weight * expected**2).sum(axis=1)
    misfit = (weight * (scale[:, None] * expected - counts) ** 2).sum(axis=1)
    # Neighbours and noise scatter the numbers more than chance does; where many heights fit, their mean is taken.
    scatter = max(float(misfit.min()) / (len(counts) - 2), 1.0)
    likely = np.exp(-(misfit - misfit.min()) / (2 * scatter))
    return float((likely * heights).sum() / likely.sum() + background_hu)


def _attribute(
    crop: CementCrop,
    fraction: npt.NDArray[np.float32],
    visible: npt.NDArray[np.bool_],
    treated: Sequence[int],
    about: tuple[float, tuple[str, ...]],
) -> CementMap:
    """Give every piece its vertebra, divide bridges, cut off what lies outside the outline, count partial voxels."""
    voxel_ml = geometry.voxel_volume_mm3(crop.lps_from_index) / 1000
    owner = np.zeros(visible.shape, dtype=np.uint8)
    pieces, _ = ndimage.label(visible, structure=np.ones((3, 3, 3)))
    inside = visible & (crop.outside_mm <= 0)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        own = pieces[box] == number
        counts = np.bincount(crop.nearest[box][own & inside[box]], minlength=256)
        owners = [n for n in treated if counts[n] >= max(BRIDGE_SHARE * own.sum(), 1)]
        owners = owners or [n for n in treated if counts[n]] or list(treated)
        owner[box][own] = _nearest_owner(crop.nearest[box][own], owners)
    leaked = _leaks(crop, visible)
    piece, _ = ndimage.label(leaked, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(piece.ravel(), weights=np.where(leaked, fraction, 0).ravel()) * voxel_ml
    marked = np.bincount(piece[leaked & crop.marked], minlength=len(sizes))
    kept = (sizes >= MIN_PIECE_ML) & (marked >= MIN_MARKED_OUTSIDE * np.bincount(piece.ravel()))
    piece = np.where(kept[piece], piece, 0)
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


def _treated(crop: CementCrop, visible: npt.NDArray[np.bool_]) -> list[int]:
    """Bodies that hold cement: enough of it, and most of that marked by the network itself."""
    inside = visible & (crop.outside_mm <= 0)
    held = np.bincount(crop.nearest[inside], minlength=256)
    marked = np.bincount(crop.nearest[inside & crop.marked], minlength=256)
    voxel_ml = geometry.voxel_volume_mm3(crop.lps_from_index) / 1000
    enough = (held * voxel_ml >= MIN_TREATED_ML) & (marked >= MIN_MARKED_INSIDE * held)
    return [n for n in range(1, 256) if enough[n]]


def _no_denser(
    crop: CementCrop, visible: npt.NDArray[np.bool_], treated: Sequence[int], bone_hu: float
) -> Iterator[DenseStructure]:
    """Of the bodies that would be treated, those whose cement is no denser than the patient's own cortex, or far less
    dense than what another body certainly holds."""
    inside = visible & (crop.outside_mm <= 0)
    values = {n: crop.hu[inside & (crop.nearest == n)] for n in treated}
    densest = {n: float(np.percentile(own, DENSEST_PERCENTILE)) for n, own in values.items()}
    least = max(bone_hu, BATCH_SHARE * max(densest.values(), default=0.0))
    for n, hu in densest.items():
        if hu < least:
            volume_ml = len(values[n]) * geometry.voxel_volume_mm3(crop.lps_from_index) / 1000
            yield DenseStructure(instance=n, volume_ml=volume_ml, hu=hu, least_hu=least)


def _believed(
    crop: CementCrop, visible: npt.NDArray[np.bool_], treated: Sequence[int], doubtful: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Connected pieces of which the network marked enough itself: most, where they lie in a body without cement, and
    never enough where that body's dense structures are in doubt."""
    pieces, count = ndimage.label(visible, structure=np.ones((3, 3, 3)))
    inside = visible & (crop.outside_mm <= 0)
    is_treated = np.isin(crop.nearest, treated)

    def counted(where: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        return np.bincount(pieces[where], minlength=count + 1)

    elsewhere = (counted(inside & ~is_treated) > 0) & (counted(inside & is_treated) == 0)
    least = np.where(elsewhere, MIN_MARKED_INSIDE, MIN_MARKED_OUTSIDE)
    believed = counted(visible & crop.marked) >= least * counted(visible)
    beside_doubtful = counted(visible & np.isin(crop.nearest, doubtful)) > 0.5 * counted(visible)
    believed &= ~(beside_doubtful & (counted(inside & is_treated) == 0))
    return np.asarray(visible & believed[pieces])


def _nearest_owner(nearest: npt.NDArray[np.uint8], owners: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The nearest body where it is an owner, else the owner next to it in the column."""
    table = [owners[int(np.argmin([abs(n - o) for o in owners]))] for n in range(256)]
    return np.asarray(np.array(table, dtype=np.uint8)[nearest])


def _leaks(crop: CementCrop, visible: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Cement outside the outline, where it reaches farther than blur and the outline's own error can explain."""
    seeds = visible & (crop.outside_mm > crop.tolerance_mm)
    if not seeds.any():
        return seeds
    reach_mm = crop.tolerance_mm + 0.5
    return np.asarray(visible & (crop.outside_mm > 0) & (crop.distance_mm(seeds, reach_mm) <= reach_mm))
