"""From votes to vertebrae: every voxel of bone points at the centre of its own body; the votes are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.anatomy import Structure

Array: TypeAlias = npt.NDArray[np.float32]

VOTE_BLUR_MM: Final = 2.5
"""Spread given to each vote; about the error of the network's offsets."""

SMALLEST_PITCH_MM: Final = 9.0
"""Two centres closer than this are one vertebra; crushed upper thoracic neighbours lie about 12 apart."""

SMALLEST_BODY_ML: Final = 0.8
"""Fewer body voxels than this are no vertebra, whole or cut."""

BODY_REACH_MM: Final = 14.0
"""A body voxel whose vote ends farther than this from every centre belongs to no vertebra."""

POSTERIOR_REACH_MM: Final = 22.0
"""The same for posterior elements and ribs, whose votes come from farther away."""


LARGEST_STEP_MM: Final = 75.0
"""Neighbouring centres of one column lie at most this far apart: two lumbar levels, so one may be missed."""

SMALLEST_DESCENT: Final = 0.55
"""Of each step from centre to centre at least this share goes downwards: 57 degrees of lean, a steep sacral end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instances:
    """Vertebrae told apart, cranial first.

    Attributes:
        labels: 1, 2, ... per voxel over bodies, posterior elements and ribs, uint8.
        centers_index: (n, 3) centre of each vertebra in voxels.
    """

    labels: npt.NDArray[np.uint8]
    centers_index: npt.NDArray[np.float64]

    def only(self, kept: list[int]) -> Instances:
        """The vertebrae with these indices (from 0, cranial first), numbered anew."""
        number = np.zeros(len(self.centers_index) + 1, dtype=np.uint8)
        number[np.array(kept, dtype=int) + 1] = np.arange(1, len(kept) + 1)
        return Instances(labels=number[self.labels], centers_index=self.centers_index[kept])


def separate(structure: npt.NDArray[np.uint8], offset_mm: Array, spacing_mm: float) -> Instances:
    """Tell vertebrae apart by their votes.

    Args:
        structure: `Structure` per voxel (i, j, k).
        offset_mm: (3, i, j, k) from each voxel to the centre of its own body.
        spacing_mm: Spacing of the isotropic grid; axis 2 runs to superior.
    """
    body = structure == Structure.BODY
    votes_index = np.argwhere(body) + offset_mm[:, body].T / spacing_mm
    centers = _peaks(votes_index, structure.shape, spacing_mm)
    labels = np.zeros(structure.shape, dtype=np.uint8)
    if not len(centers):
        return Instances(labels=labels, centers_index=np.zeros((0, 3)))
    labels[body] = nearest_center(votes_index, centers, BODY_REACH_MM / spacing_mm)
    labels, centers = _clean(labels, centers, spacing_mm)
    if len(centers):
        other = np.isin(structure, (Structure.POSTERIOR, Structure.RIB))
        votes = np.argwhere(other) + offset_mm[:, other].T / spacing_mm
        labels[other] = nearest_center(votes, centers, POSTERIOR_REACH_MM / spacing_mm)
    return Instances(labels=labels, centers_index=centers)


def enclosed(structure: npt.NDArray[np.uint8], outside: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
    """Voxels with bodies all round that the network leaves out: a vein, a haemangioma or a cleft is inside its body.

    Args:
        structure: `Structure` per voxel (i, j, k); k along the patient.
        outside: What lies beyond the image. A hole in a body that the image's upper or lower edge cuts opens there: it
            is enclosed where the body goes round it in the last slice.
    """
    body = structure == Structure.BODY
    closed = body
    if outside is not None:
        closed = body.copy()
        last = ndimage.binary_dilation(outside, structure=np.ones((1, 1, 3)), border_value=1) & ~outside
        for k in np.flatnonzero((last & body).any(axis=(0, 1))):
            closed[:, :, k] |= ndimage.binary_fill_holes(body[:, :, k]) & last[:, :, k]
    return np.asarray(ndimage.binary_fill_holes(closed) & ~body)


def _peaks(votes_index: npt.NDArray[np.float64], shape: tuple[int, ...], spacing_mm: float) -> npt.NDArray[np.float64]:
    """Centres (n, 3) where votes gather, strongest first, none nearer than the smallest pitch to a stronger one."""
    from skimage.feature import peak_local_max

    rounded = np.round(votes_index).astype(int)
    rounded = np.clip(rounded, 0, np.array(shape) - 1)
    density = np.zeros(shape, dtype=np.float32)
    np.add.at(density, tuple(rounded.T), 1.0)
    density = ndimage.gaussian_filter(density, VOTE_BLUR_MM / spacing_mm, mode="constant")
    blur_voxels = (2 * np.pi) ** 1.5 * (VOTE_BLUR_MM / spacing_mm) ** 3
    least = 0.25 * SMALLEST_BODY_ML * 1000 / spacing_mm**3 / blur_voxels
    found = peak_local_max(density, min_distance=2, threshold_abs=least, exclude_border=False)
    order = np.argsort(-density[tuple(found.T)], kind="stable")
    kept: list[npt.NDArray[np.int_]] = []
    for peak in found[order]:
        if all(np.linalg.norm(peak - other) * spacing_mm >= SMALLEST_PITCH_MM for other in kept):
            kept.append(peak)
    return np.array(kept, dtype=np.float64).reshape(-1, 3)


def nearest_center(
    votes_index: npt.NDArray[np.float64], centers: npt.NDArray[np.float64], reach: float
) -> npt.NDArray[np.uint8]:
    """1 + index of the nearest centre (n, 3) for each vote (m, 3), 0 beyond the reach; all in voxels."""
    from scipy.spatial import KDTree

    distance, index = KDTree(centers).query(votes_index, distance_upper_bound=reach)
    return np.where(np.isfinite(distance), index + 1, 0).astype(np.uint8)


def column(centers_mm: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> list[int]:
    """The chain of vertebrae with the most bone; what stands beside it (a hip, a kidney) is no vertebra.

    Args:
        centers_mm: (n, 3) centres, cranial first; axis 2 runs to superior.
        sizes: (n,) voxels of each.

    Returns:
        Indices of the chain, cranial first.
    """
    best = sizes.astype(float).copy()
    above = np.full(len(sizes), -1)
    for n in range(len(sizes)):
        for m in range(n):
            step = centers_mm[m] - centers_mm[n]
            length = float(np.linalg.norm(step))
            if length > LARGEST_STEP_MM or step[2] < SMALLEST_DESCENT * length:
                continue
            if best[m] + sizes[n] > best[n]:
                best[n], above[n] = best[m] + sizes[n], m
    chain: list[int] = []
    n = int(best.argmax()) if len(best) else -1
    while n >= 0:
        chain.append(n)
        n = int(above[n])
    return chain[::-1]


def _clean(
    labels: npt.NDArray[np.uint8], centers: npt.NDArray[np.float64], spacing_mm: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Keep the largest piece of each body, drop what is too small, number from cranial to caudal."""
    least = SMALLEST_BODY_ML * 1000 / spacing_mm**3
    kept: list[tuple[float, npt.NDArray[np.float64], tuple[slice, ...], npt.NDArray[np.bool_]]] = []
    for n, box in enumerate(ndimage.find_objects(labels, max_label=len(centers))):
        if box is None:
            continue
        pieces, count = ndimage.label(labels[box] == n + 1)
        if not count:
            continue
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.max() < least:
            continue
        piece = pieces == 1 + int(sizes.argmax())
        middle = np.argwhere(piece).mean(axis=0) + [s.start for s in box]
        kept.append((float(middle[2]), middle, box, piece))
    kept.sort(key=lambda entry: -entry[0])
    middles = np.array([entry[1] for entry in kept]).reshape(-1, 3) * spacing_mm
    kept = [kept[n] for n in column(middles, np.array([float(entry[3].sum()) for entry in kept]))]
    result = np.zeros_like(labels)
    for n, (_, _, box, piece) in enumerate(kept):
        result[box][piece] = n + 1
    return result, np.array([entry[1] for entry in kept]).reshape(-1, 3)
