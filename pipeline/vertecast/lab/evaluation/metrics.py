"""Overlap of label maps, pairing of bodies and weighted agreement: plain functions of arrays.

Label numbers are those of ``labels_<n>.nii.gz`` (`vertecast.core.anatomy`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from vertecast.core import geometry
from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    CEMENT_LEAKED_LABEL,
    POSTERIOR_LABEL_OFFSET,
    UNKNOWN_LEVEL_LABEL_START,
    Level,
)

Labels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

LABEL_COUNT: Final = 256
CEMENT: Final = [CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL]

SAME_BODY_SHARE: Final = 0.2
"""Two outlines show the same body when they share at least this part of the smaller one. Discs keep bodies apart, so
that an outline which only brushes its neighbour shares less."""

_UNKNOWN_LEVELS: Final = range(UNKNOWN_LEVEL_LABEL_START + 1, POSTERIOR_LABEL_OFFSET)
_IS_BODY: Final = np.isin(np.arange(LABEL_COUNT), [*(set(Level) - {Level.S1}), *_UNKNOWN_LEVELS])
"""Truth marks the whole sacrum with the number of S1, and the sacrum is no body."""

_CEMENT_MARGIN_VOXELS: Final = 3


def body_map(labels: Labels, spacing_mm: npt.ArrayLike) -> Labels:
    """Bodies with the cement inside them; everything else is 0.

    In a label map cement lies over bone, so a filled body would have a hole. Cement inside the outline goes to the
    nearest body.

    Args:
        labels: Label map (i, j, k).
        spacing_mm: Voxel spacing (3,).
    """
    bodies = np.where(_IS_BODY, np.arange(LABEL_COUNT), 0).astype(np.uint8)[labels]
    cement = labels == CEMENT_INSIDE_LABEL
    box = bounding_box(cement, margin=_CEMENT_MARGIN_VOXELS)
    if box is None or not bodies[box].any():
        return bodies
    nearest = ndimage.distance_transform_edt(
        bodies[box] == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    bodies[box] = np.where(cement[box], bodies[box][tuple(nearest)], bodies[box])
    return bodies


def bounding_box(occupied: npt.NDArray[np.generic], *, margin: int = 0) -> tuple[slice, ...] | None:
    """The smallest box of slices round the voxels that are not 0, and a margin; None where all are 0."""
    box = []
    for axis in range(occupied.ndim):
        used = np.flatnonzero(occupied.any(axis=tuple(a for a in range(occupied.ndim) if a != axis)))
        if used.size == 0:
            return None
        box.append(slice(max(int(used[0]) - margin, 0), int(used[-1]) + 1 + margin))
    return tuple(box)


def overlap_counts(truth: Labels, found: Labels) -> Counts:
    """How often each pair of numbers meets, (256, 256): ``counts[truth, found]``, without voxels that are 0 in both.

    Raises:
        ValueError: The maps lie on different grids.
    """
    if truth.shape != found.shape:
        raise ValueError(f"label maps of shape {truth.shape} and {found.shape} have no voxels in common")
    pairs = (truth.astype(np.uint16) << 8) | found
    return np.bincount(pairs[pairs > 0], minlength=LABEL_COUNT**2).reshape(LABEL_COUNT, LABEL_COUNT).astype(np.int64)


def dice(counts: Counts, truth: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Dice coefficient of two sets of numbers; NaN where neither map holds any of its own."""
    rows, columns = np.atleast_1d(truth), np.atleast_1d(found)
    total = counts[rows].sum() + counts[:, columns].sum()
    return float(2 * counts[np.ix_(rows, columns)].sum() / total) if total else float("nan")


def body_dice(counts: Counts) -> float:
    """Dice coefficient of all bodies together, whatever their level; NaN where neither map holds a body."""
    numbers = np.flatnonzero(_IS_BODY)
    return dice(counts, numbers, numbers)


def match_bodies(counts: Counts) -> dict[int, int]:
    """Pair the bodies of two maps by where they lie, whatever their numbers.

    The pairing has the largest sum of Dice coefficients; a pair that shares less than `SAME_BODY_SHARE` of the smaller
    body is none.

    Args:
        counts: Of `overlap_counts` on two `body_map`.

    Returns:
        Number in the found map by number in the truth.
    """
    sizes_truth, sizes_found = counts.sum(axis=1), counts.sum(axis=0)
    truth = np.flatnonzero((sizes_truth > 0) & _IS_BODY)
    found = np.flatnonzero((sizes_found > 0) & _IS_BODY)
    common = counts[np.ix_(truth, found)]
    smaller = np.minimum(sizes_truth[truth][:, None], sizes_found[found][None, :])
    scores = 2 * common / (sizes_truth[truth][:, None] + sizes_found[found][None, :])
    scores[common < SAME_BODY_SHARE * smaller] = 0.0
    rows, columns = optimize.linear_sum_assignment(scores, maximize=True)
    return {int(truth[r]): int(found[c]) for r, c in zip(rows, columns, strict=True) if scores[r, c] > 0}


def match_distances(distance_mm: geometry.FloatArray, reach_mm: float) -> list[tuple[int, int]]:
    """Pair rows with columns, each at most once: as many pairs as possible, then the least distance.

    Args:
        distance_mm: Distance (n, m) of every row from every column; ``inf`` never pairs.
        reach_mm: Things farther apart than this are no pair.
    """
    near = distance_mm <= reach_mm
    # A pair out of reach costs more than all pairs in reach together: it never pushes one of them out.
    beyond = (reach_mm + 1) * (min(distance_mm.shape) + 1)
    rows, columns = optimize.linear_sum_assignment(np.where(near, distance_mm, beyond))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if near[r, c]]


def confusion(truth: npt.ArrayLike, found: npt.ArrayLike, categories: int) -> Counts:
    """Counts (categories, categories): rows are the truth, columns what was found."""
    table = np.zeros((categories, categories), dtype=np.int64)
    np.add.at(table, (np.asarray(truth, dtype=np.intp), np.asarray(found, dtype=np.intp)), 1)
    return table


def weighted_kappa(table: Counts) -> float:
    """Cohen's κ with quadratic weights; NaN where chance alone gives full agreement (one grade, or nothing).

    Source: Cohen, Psychol Bull 1968;70:213-220.
    """
    number = np.arange(len(table))
    weights = (number[:, None] - number[None, :]) ** 2
    total = table.sum()
    if not total:
        return float("nan")
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    by_chance = float((weights * expected).sum())
    return 1 - float((weights * table).sum()) / by_chance if by_chance > 0 else float("nan")
